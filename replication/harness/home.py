"""Where things are: the experiments that come with the suite, the project's folders, the state under $REPLICATION_HOME."""

import os
from pathlib import Path

from replication.files import expanded
from replication.registry import unknown
from replication.types import InputError

PACKAGE = Path(__file__).resolve().parents[1]
CHECKOUT = PACKAGE.parent if (PACKAGE.parent / "experiments" / "published").is_dir() else None
SHIPPED = (CHECKOUT or PACKAGE) / "experiments"  # a wheel carries them inside the package


def project() -> Path:
    """The folder whose experiments/ are read and whose results/ are written.

    The current one if it has experiments of its own, else the checkout that the package comes from; the current one again
    where the package is installed from a wheel.
    """
    here = Path.cwd()
    return here if CHECKOUT is None or _tables(here / "experiments") else CHECKOUT


def experiments() -> dict[str, Path]:
    """File by name of the project's experiments; where it has none of its own, of those that come with the suite."""
    return _tables(project() / "experiments") or _tables(SHIPPED)


def experiments_beside(path: Path | None) -> dict[str, Path]:
    """File by name of the experiments in the folder of one; where a name is not there, the project's or the suite's."""
    return _tables(SHIPPED) | experiments() | (_tables(path.parent) if path else {})


def check_unambiguous(name: str) -> None:
    """Raises InputError where the name is that of an experiment and of what lies in this folder: no guess is right."""
    found = experiments()
    if name in found and Path(name).exists():
        raise InputError(f"{name} is an experiment, and it lies in this folder too: say ./{name} or {found[name]}")


def find_experiment(name: str, beside: Path | None = None) -> Path:
    """The experiment of that name beside one; raises InputError with the nearest name where there is none."""
    found = experiments_beside(beside)
    if name not in found:
        folders = dict.fromkeys([*([beside.parent] if beside else []), project() / "experiments", SHIPPED])
        raise InputError(f"{unknown('experiment', name, sorted(found))}; looked for in {', '.join(map(str, folders))}")
    return found[name]


def catalogue(kind: str) -> dict[str, Path]:
    """File by name in experiments/<kind>/: those that come with the suite, and the project's.

    Raises InputError where the project has another file under a name of the suite's: rows name what they follow.
    """
    shipped, own = _tables(SHIPPED / kind), _tables(project() / "experiments" / kind)
    for name in shipped.keys() & own.keys():
        if own[name] != shipped[name] and own[name].read_bytes() != shipped[name].read_bytes():
            raise InputError(f"{own[name]}: the suite has another {name!r} in {kind}: give this one a name of its own")
    return shipped | own


def state() -> Path:
    """Checkpoints, sample sets, journal, the default MLflow store: $REPLICATION_HOME, by default runs/ in the project."""
    return expanded(os.environ.get("REPLICATION_HOME") or project() / "runs", "REPLICATION_HOME").absolute()


def _tables(folder: Path) -> dict[str, Path]:
    """TOML files by name, without folders and what editors and systems leave beside them, .#ddpm.toml and ._ddpm.toml."""
    files = (path for path in sorted(folder.glob("*.toml")) if not (path.name.startswith(".") or path.is_dir()))
    return {path.stem: path for path in files}
