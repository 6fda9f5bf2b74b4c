"""Where a row comes from: commit, versions, device."""

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path

import torch

from replication.metrics.timing import conditions

ELSEWHERE = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR")  # what would answer for another repository
LIBRARIES = ("torch", "torchvision", "numpy", "scipy", "torch-fidelity")


def provenance(device: torch.device, group: str = "env") -> dict[str, str]:
    """Columns of a row: `env.*` of its images and their times, `measured.*` of what was measured on them later or at once."""
    commit, dirty = _commit()
    found = {
        "commit": commit,
        "dirty": dirty,
        "python": platform.python_version(),
        **{name: version(name) for name in LIBRARIES},
        **conditions(device),
    }
    return {f"{group}.{name}": value for name, value in found.items()}


@cache
def _commit() -> tuple[str, str]:
    """(commit, "yes" or "no" for uncommitted changes to the code), or unknown outside a checkout of this project.

    $REPLICATION_COMMIT names that of a copy which has no history with it.
    """
    if stated := os.environ.get("REPLICATION_COMMIT"):
        return stated, "unknown"
    folder = Path(__file__).resolve().parents[2]
    try:
        if Path(git(folder, "rev-parse", "--show-toplevel")) != folder:
            return "unknown", "unknown"  # installed or copied inside another repository, whose commit is not ours
        commit = git(folder, "rev-parse", "HEAD")
        # results/ and the README's tables are what runs write, so they do not make the code another one
        return commit, "yes" if git(folder, "status", "--porcelain", "--", ".", ":!results", ":!README.md") else "no"
    except OSError:
        return "unknown", "unknown"


def git(folder: Path, *arguments: str) -> str:
    """What git answers in that folder, whichever repository GIT_DIR and the like name.

    Raises OSError where it has no answer, or is not there.
    """
    command, own = ["git", "-C", str(folder), *arguments], {k: v for k, v in os.environ.items() if k not in ELSEWHERE}
    try:
        done = subprocess.run(command, capture_output=True, env=own, check=True, timeout=10)
    except subprocess.SubprocessError as error:
        raise OSError(f"git {arguments[0]}: {error}") from error
    return os.fsdecode(done.stdout).strip()
