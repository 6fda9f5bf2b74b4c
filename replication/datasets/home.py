"""Where downloaded data lives."""

import os
from pathlib import Path


def data_home() -> Path:
    """`$REPLICATION_DATA`, or else `replication` in the user's cache folder. It is not created here."""
    if chosen := os.environ.get("REPLICATION_DATA"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "replication"
