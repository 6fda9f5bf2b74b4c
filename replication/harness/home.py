"""Where things are: the project's folders, and the state under $REPLICATION_HOME."""

import os
from pathlib import Path


def project() -> Path:
    """The folder that holds experiments/ and results/: the current one if it does, else the checkout of this package."""
    here = Path.cwd()
    return here if (here / "experiments").is_dir() else Path(__file__).resolve().parents[2]


def catalogue(kind: str) -> dict[str, Path]:
    """File by name in experiments/<kind>/: those of the checkout that the package comes from, and the project's."""
    folders = (Path(__file__).resolve().parents[2], project())
    return {path.stem: path for folder in folders for path in (folder / "experiments" / kind).glob("*.toml")}


def state() -> Path:
    """Checkpoints, sample sets, journal, the default MLflow store: $REPLICATION_HOME, by default runs/ in the project."""
    return Path(os.environ.get("REPLICATION_HOME") or project() / "runs").expanduser().absolute()
