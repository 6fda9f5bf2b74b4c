"""Files and locks: whole or as before, on file systems that lack something, in homes that nobody knows."""

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest

from replication.download import data_home
from replication.files import all_or_nothing, expanded, locked, printable, write_atomically
from replication.types import InputError, RunError


def write_half(folder: Path) -> None:
    with all_or_nothing(folder) as copy:
        write_atomically(copy / "a", b"second")
        raise RunError("it fails here")


def test_a_folder_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    """Catches: half a report beside half of the one before, a file that was deleted and stays, one that was not touched and
    is written over what another process put there, and a copy that is left behind."""
    folder = tmp_path / "results"
    with all_or_nothing(folder) as copy:
        for name in ("a", "b", "c"):
            write_atomically(copy / name, b"first")
    with pytest.raises(RunError):
        write_half(folder)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == dict.fromkeys("abc", b"first")
    with all_or_nothing(folder) as copy:
        assert (copy / "a").read_bytes() == b"first"
        write_atomically(copy / "a", b"second")
        (copy / "b").unlink()
        write_atomically(folder / "c", b"another's")
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == {"a": b"second", "c": b"another's"}


def test_the_copy_of_a_killed_process_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".99999999.partial").mkdir()
    with all_or_nothing(tmp_path) as copy:
        assert [entry for entry in tmp_path.iterdir() if entry != copy] == []
    assert list(tmp_path.iterdir()) == []


def test_what_else_is_in_a_folder_is_left_alone(tmp_path: Path) -> None:
    """A user's own folder, whatever its name, is no leftover, and large files are not copied: same inode before and within."""
    (tmp_path / ".mine.partial").mkdir()
    write_atomically(tmp_path / "film", b"large")
    with all_or_nothing(tmp_path) as copy:
        assert (copy / "film").samefile(tmp_path / "film")
        write_atomically(copy / "film", b"another")
        assert (tmp_path / "film").read_bytes() == b"large"
    assert (tmp_path / ".mine.partial").is_dir()
    assert (tmp_path / "film").read_bytes() == b"another"


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"cannot write .*file"), all_or_nothing(tmp_path / "file"):
        pass


@pytest.mark.parametrize("reason", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_has_files_that_stand_in(
    tmp_path: Path, reason: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """NFS and Lustre without locks. Catches: "No locks available", a lock that holds nobody off, and one that stays."""
    monkeypatch.setattr(fcntl, "flock", Mock(side_effect=OSError(reason, os.strerror(reason))))
    with locked(tmp_path / "locks" / "row", "the row"):
        assert (tmp_path / "locks" / "row.held").exists()
        other = "import sys; from filelock import SoftFileLock; SoftFileLock(sys.argv[1]).acquire(timeout=0)"
        held = [sys.executable, "-c", other, str(tmp_path / "locks" / "row.held")]
        assert b"Timeout" in subprocess.run(held, stderr=subprocess.PIPE).stderr
    assert not (tmp_path / "locks" / "row.held").exists()
    error = capsys.readouterr().err
    assert str(tmp_path / "locks") in error
    assert "REPLICATION_HOME" in error
    assert error.count("\n") == 1


def test_a_lock_that_fails_otherwise_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", Mock(side_effect=OSError(errno.EIO, "Input/output error")))
    with (
        pytest.raises(RunError, match=r"cannot write .*row \(Input/output error\)"),
        locked(tmp_path / "row", "the row"),
    ):
        pass


@pytest.mark.parametrize(
    ("data", "cache"), [(None, None), ("~/data", None), (None, "~/cache"), ("~nobody-of-that-name/x", None)]
)
def test_a_home_that_nobody_knows(data: str | None, cache: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's user without an entry and without HOME. Catches: RuntimeError, and a message without a way on."""
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", Mock(side_effect=KeyError("uid")))
    for name, value in {"REPLICATION_DATA": data, "XDG_CACHE_HOME": cache}.items():
        monkeypatch.delenv(name, raising=False)
        if value:
            monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=r"set REPLICATION_DATA.* or HOME"):
        data_home()


def test_expanded_and_printable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/of")
    assert expanded("~/runs", "REPLICATION_HOME") == Path("/home/of/runs")
    assert printable(Path("b\udce9ta")) == r"b\xe9ta"
    assert printable("bêta") == "bêta"
