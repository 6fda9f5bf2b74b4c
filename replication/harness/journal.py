"""The row journal: one atomic JSON file per job, its strip of images and its replicates beside it. MLflow gets a row later."""

import hashlib
import json
import math
import re
from pathlib import Path
from typing import Any, NamedTuple

from pydantic_core import from_json

from replication.files import set_aside, unwritable, write_atomically
from replication.harness.replicates import load_replicates, replicates_of_row, save_replicates
from replication.metrics.uncertainty import Replicates
from replication.settings import content_key
from replication.types import InputError

MEASURED = ("metric.", "timing.", "cost.")  # how columns begin that hold what was measured, and numbers therefore
PROVENANCE = ("env.", "measured.")  # of the images, and of their measuring: code, versions, device
_KEY = re.compile("[0-9a-f]{64}")
SEAL = "sha256"
Record = dict[str, Any]  # flat: dotted column -> str, int, float or None
Curve = dict[str, Any]  # experiment, profile, training (its key) and title; by column, numbers at the watched steps


def plain(content: Any) -> Any:
    """The same for JSON, which has no number for a figure that is not finite: it becomes a text, "inf" or "nan"."""
    if isinstance(content, dict):
        return {key: plain(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [plain(value) for value in content]
    return repr(content) if isinstance(content, float) and not math.isfinite(content) else content


def sealed(content: dict[str, Any], indent: int | None = None) -> bytes:
    """A JSON of it whose last entry is the SHA-256 of the bytes before that one."""
    text = json.dumps(plain(content), indent=indent, allow_nan=False)[:-1].rstrip().encode()
    return text + _seal(text)


def _seal(text: bytes) -> bytes:
    return f',\n "{SEAL}": "{hashlib.sha256(text).hexdigest()}"\n}}'.encode()


def unsealed(data: bytes) -> Any:
    """The content of a JSON, without its seal; raises ValueError where that is broken. Older ones have none."""
    try:
        content = from_json(data)  # a fifth of the time, and what all rows say is kept in memory once
    except ValueError:  # halves of characters, which it refuses, or a JSON that is none
        content = json.loads(data)
    if isinstance(content, dict) and content.pop(SEAL, None) is not None:
        text, comma, seal = data.rpartition(b",")
        if comma + seal != _seal(text):
            raise ValueError("its content is not what was written")
    return content


def plain_key(content: Any) -> str:
    """The key of `plain(content)`, of which hardly any is needed."""
    try:
        return content_key(content)
    except ValueError:
        return content_key(plain(content))


def plain_json(content: Any) -> str:
    """The JSON of `plain(content)`, likewise."""
    try:
        return json.dumps(content, allow_nan=False)
    except ValueError:
        return json.dumps(plain(content))


def row_of_json(content: Any, key: str) -> Record:
    """The row that a JSON holds, its figures as numbers again; raises ValueError for what is none, or that of another key."""
    if not isinstance(content, dict) or content.get("cell") != key:
        raise ValueError("not the row of this key")
    return content | {
        column: _entry(column, value)
        for column, value in content.items()
        if type(value) is not float and (type(value) not in (str, int) or column.startswith(MEASURED))
    }


def _entry(column: str, value: Any) -> str | int | float | None:
    if value is not None and not isinstance(value, str | int | float):
        raise ValueError(f"{column} is neither text nor number")
    return _number(value) if column.startswith(MEASURED) and value is not None else value


def _number(value: Any) -> int | float:
    """One that a float can hold, perhaps as `plain` wrote it."""
    try:
        number = float(value)
    except (OverflowError, TypeError, ValueError) as error:
        raise ValueError(f"{str(value)[:40]!r} is no number") from error
    return value if isinstance(value, int) else number


def curve_of_json(content: Any) -> Curve:
    """The curve that a JSON holds; raises ValueError for what is none."""
    if not isinstance(content, dict) or not all(isinstance(content.get(k), str) for k in ("training", "title")):
        raise ValueError("not the curve of a training")
    curve = {name: list(map(_number, of)) if isinstance(of, list) else of for name, of in content.items()}
    steps = curve.get("step")
    if not isinstance(steps, list) or not steps or not all(float(step).is_integer() for step in steps):
        raise ValueError("it has no steps")
    if any(len(of) != len(steps) for of in curve.values() if isinstance(of, list)):
        raise ValueError("its columns are not equally long")
    return curve


class Computed(NamedTuple):
    """What a job comes to: its row, a PNG of its first images, and the row's figures under resampling, if any are."""

    record: Record
    strip: bytes
    replicates: Replicates | None = None


class Failure(NamedTuple):
    """Why a job has no row; `at`: in seconds of time.time()."""

    title: str
    reason: str
    trace: str
    at: float


class Journal:
    """The rows of one experiment and profile under `folder`."""

    def __init__(self, folder: Path):
        self.folder = folder

    def strip_path(self, key: str) -> Path:
        """A PNG of the job's first images, side by side."""
        return self.folder / f"{key}.png"

    def replicates_path(self, key: str) -> Path:
        """The row's figures under resampling, as harness/replicates.py has them."""
        return self.folder / f"{key}.safetensors"

    def write(self, computed: Computed) -> None:
        """Row last: one that exists is complete. MLflow has yet to get it. Raises RunError if the folder can't be written."""
        key = computed.record["cell"]
        write_atomically(self.strip_path(key), computed.strip)
        if computed.replicates is None:
            self.replicates_path(key).unlink(missing_ok=True)
        else:
            save_replicates(self.replicates_path(key), {key: computed.replicates})
        self._outdate(key)
        write_atomically(self.folder / f"{key}.json", sealed(computed.record, indent=1))
        self._failure_path(key).unlink(missing_ok=True)

    def _failure_path(self, key: str) -> Path:
        return self.folder / f"{key}.failed"

    def write_failure(self, key: str, failure: Failure) -> None:
        """Why the job has no row, until it has one; raises RunError if the folder can't be written."""
        write_atomically(self._failure_path(key), json.dumps(failure._asdict(), indent=1).encode())

    def failed(self) -> set[str]:
        """The keys of the jobs that were tried and have no row."""
        return {path.stem for path in self.folder.glob("*.failed")}

    def failure(self, key: str) -> Failure | None:
        """Why the job has no row, where it was tried; what can't be read says nothing."""
        try:
            return Failure(**json.loads(self._failure_path(key).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def read(self, key: str) -> Record | None:
        """The job's row, None if it has not been run. A damaged file is set aside; InputError for one that can't be read."""
        path = self.folder / f"{key}.json"
        try:
            return row_of_json(unsealed(path.read_bytes()), key)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror or error}); delete it and run again") from error
        except (ValueError, RecursionError) as error:
            set_aside(path, f"not a row: {error}")
            return None

    def rows(self) -> list[Record]:
        """Every row there is, by its key."""
        return [record for key in self.done() if (record := self.read(key)) is not None]

    def replicates(self, record: Record) -> Replicates | None:
        """Those of a row of the journal, None where it was written without.

        A damaged file, one of another row, or of another number than the row's resamples is set aside, and the row with it.
        """
        path = self.replicates_path(key := record["cell"])
        if not path.exists():
            return None
        try:
            found = load_replicates(path)
            if list(found) != [key]:
                raise InputError("not the replicates of this row")
            return replicates_of_row(record, path, found)
        except InputError as error:
            set_aside(path, str(error))
            set_aside(self.folder / f"{key}.json", "its replicates are")
            return None

    def artifacts(self, key: str) -> list[tuple[Path, str]]:
        """The files that belong to the row, each with the name of the folder that it has in MLflow."""
        files = [(self.strip_path(key), "samples"), (self.replicates_path(key), "replicates")]
        return [(path, folder) for path, folder in files if path.exists()]

    def done(self) -> list[str]:
        """The keys that have a row, sorted. Files of other names, such as a sync tool's copies, are passed over."""
        return sorted(path.stem for path in self.folder.glob("*.json") if _KEY.fullmatch(path.stem))

    def write_curve(self, curve: Curve) -> None:
        """The curve of a training, unless there is one as long; MLflow has yet to get it. Raises RunError."""
        key = f"curves/{curve['training']}"
        before = self._curve(path := self.folder / f"{key}.json")
        if (before["step"][-1] if before else 0) < curve["step"][-1]:
            self._outdate(key)
            write_atomically(path, sealed(curve))

    def curves(self) -> dict[str, Curve]:
        """By the key under which each is marked as synced. A damaged file is set aside."""
        paths = sorted(p for p in (self.folder / "curves").glob("*.json") if _KEY.fullmatch(p.stem))
        return {f"curves/{path.stem}": curve for path in paths if (curve := self._curve(path)) is not None}

    def _curve(self, path: Path) -> Curve | None:
        """None where there is none, or a damaged one, which is set aside."""
        try:
            return curve_of_json(unsealed(path.read_bytes()))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, RecursionError) as error:
            set_aside(path, f"not a curve: {error}")
            return None

    def run_of(self, key: str, address: str) -> str | None:
        """What has this row, as it is now, in the store at the address: a run; None where it was not given yet."""
        run, is_now = self._marks(key).get(address, (None, False))
        return run if is_now else None

    def outdated_run(self, key: str, address: str) -> str | None:
        """The run there of the row as it was before it was written again."""
        run, is_now = self._marks(key).get(address, (None, True))
        return None if is_now else run

    def mark_synced(self, key: str, address: str, run: str) -> None:
        self._mark(key, {**self._marks(key), address: (run, True)})

    def _outdate(self, key: str) -> None:
        """No store has the row as it will be."""
        if marks := self._marks(key):
            self._mark(key, {address: (run, False) for address, (run, _) in marks.items()})

    def _marks(self, key: str) -> dict[str, tuple[str, bool]]:
        """By tracking address, the run of the row, and whether it shows the row as it is now; none in a damaged file."""
        try:
            found = json.loads((self.folder / f"{key}.mlflow").read_text(encoding="utf-8"))
            return {address: (str(run), bool(is_now)) for address, (run, is_now) in found.items()}
        except (OSError, ValueError, TypeError, AttributeError, RecursionError):
            return {}

    def _mark(self, key: str, marks: dict[str, tuple[str, bool]]) -> None:
        """In place and without waiting for the disk: a mark that is lost costs a question to the store."""
        path = self.folder / f"{key}.mlflow"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(marks), encoding="utf-8")
        except OSError as error:
            raise unwritable(path, error) from error
