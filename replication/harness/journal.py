"""The row journal: one atomic JSON file per job, and its strip of images beside it. MLflow gets a row later."""

import json
from pathlib import Path
from typing import Any

from replication.files import write_atomically
from replication.types import InputError

MEASURED = ("metric.", "timing.", "cost.")  # how columns begin that hold what was measured, and numbers therefore
Record = dict[str, Any]  # flat: dotted column -> str, int, float or None
Curve = dict[str, Any]  # experiment, profile, training (its key) and title; by column, numbers at the watched steps


class Journal:
    """The rows of one experiment and profile under `folder`."""

    def __init__(self, folder: Path):
        self.folder = folder

    def strip_path(self, key: str) -> Path:
        """A PNG of the job's first images, side by side."""
        return self.folder / f"{key}.png"

    def write(self, record: Record, strip: bytes) -> None:
        """Strip first, row last: a row that exists is complete. Raises RunError if the folder can't be written."""
        key = record["cell"]
        write_atomically(self.strip_path(key), strip)
        write_atomically(self.folder / f"{key}.json", json.dumps(record, indent=1, allow_nan=False).encode())

    def read(self, key: str) -> Record | None:
        """The job's row, None if it has not been run; raises InputError for a file that is no row."""
        path = self.folder / f"{key}.json"
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: not a row ({error}); delete it and run again") from error
        if not isinstance(record, dict) or record.get("cell") != key:
            raise InputError(f"{path}: not the row of this key; delete it and run again")
        return record

    def done(self) -> list[str]:
        """The keys that have a row, sorted."""
        return sorted(path.stem for path in self.folder.glob("*.json"))

    def write_curve(self, curve: Curve) -> None:
        """The curve of a training, unless there is one as long; MLflow has yet to get it. Raises RunError."""
        key = f"curves/{curve['training']}"
        if self.curves().get(key, {"step": [0]})["step"][-1] < curve["step"][-1]:
            (self.folder / f"{key}.mlflow").unlink(missing_ok=True)
            write_atomically(self.folder / f"{key}.json", json.dumps(curve, allow_nan=False).encode())

    def curves(self) -> dict[str, Curve]:
        """By the key under which each is marked as synced; raises InputError for a file that is none."""
        found = {}
        for path in sorted((self.folder / "curves").glob("*.json")):
            try:
                found[f"curves/{path.stem}"] = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise InputError(f"{path}: not a curve ({error}); delete it and run again") from error
        return found

    def synced_with(self, key: str) -> str | None:
        """The tracking address that has this row, None if none has."""
        path = self.folder / f"{key}.mlflow"
        return path.read_text(encoding="utf-8") if path.exists() else None

    def mark_synced(self, key: str, address: str) -> None:
        write_atomically(self.folder / f"{key}.mlflow", address.encode())
