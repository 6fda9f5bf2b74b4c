"""Files of other programs, and repositories around: none of them is taken for this project's own."""

import json
import subprocess
from pathlib import Path

import pytest
import torch

from replication.harness import provenance
from replication.harness.journal import Journal
from replication.settings import content_key
from replication.training.snapshots import Snapshots

COPIES = (
    "{} (conflicted copy).{}",
    "{} (1).{}",
    "{} 2.{}",
    "{}.sync-conflict-20240105-0912.{}",
    "{}-LAPTOP.{}",
    "._{}.{}",
    "{}~.{}",
    "Copy of {}.{}",
)


@pytest.mark.parametrize("copy", COPIES)
def test_copies_among_rows_and_curves_are_passed_over(tmp_path: Path, copy: str) -> None:
    """What sync tools and file managers leave. Catches: "not the row of this key", at every run from then on."""
    journal, key = Journal(tmp_path), content_key("row")
    (tmp_path / "curves").mkdir()
    curve = {"training": key, "title": "a training", "step": [1], "loss": [0.5]}
    for folder, content in ((tmp_path, {"cell": key}), (tmp_path / "curves", curve)):
        (folder / f"{key}.json").write_text(json.dumps(content))
        (folder / copy.format(key, "json")).write_text("{}")
    assert journal.done() == [key]
    assert journal.rows() == [{"cell": key}]
    assert list(journal.curves()) == [f"curves/{key}"]


@pytest.mark.parametrize("copy", COPIES)
def test_copies_among_snapshots_are_passed_over(tmp_path: Path, copy: str) -> None:
    snapshots = Snapshots(tmp_path, {"of": "a training"})
    snapshots.save(snapshots.after(10), {"x": torch.zeros(1)}, 10, {})
    name = snapshots.after(10).stem
    (tmp_path / copy.format(name, "safetensors")).write_bytes(b"not whole")
    assert snapshots.before(20) == (10, snapshots.after(10))


def test_another_repositorys_commit_is_not_taken_for_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """GIT_DIR of a hook, or of a shell. Catches: rows that carry the commit of whatever repository it names."""
    commit = ["-c", "user.name=x", "-c", "user.email=x@x", "commit", "-q", "--allow-empty", "-m", "theirs"]
    for arguments in (["init", "-q"], commit):
        subprocess.run(["git", "-C", tmp_path, *arguments], check=True)
    provenance._commit.cache_clear()
    ours = provenance._commit()
    monkeypatch.setenv("GIT_DIR", str(tmp_path / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path))
    provenance._commit.cache_clear()
    assert provenance._commit() == ours
    provenance._commit.cache_clear()
