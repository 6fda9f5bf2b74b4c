"""Where things are: the project's folders, and the state under $REPLICATION_HOME."""

import os
from pathlib import Path


def project() -> Path:
    """The folder that holds experiments/ and results/: the current one if it does, else the checkout of this package."""
    here = Path.cwd()
    return here if (here / "experiments").is_dir() else Path(__file__).resolve().parents[2]


def state() -> Path:
    """Checkpoints, sample sets, journal, the default MLflow store: $REPLICATION_HOME, by default runs/ in the project."""
    return Path(os.environ.get("REPLICATION_HOME") or project() / "runs").expanduser().absolute()
