"""Files and locks: whole or as before, on file systems that lack something, in homes that nobody knows."""

import errno
import fcntl
import os
import platform
import threading
import time
from pathlib import Path
from unittest.mock import Mock

import pytest

from replication.download import data_home
from replication.files import (
    Held,
    Unwritable,
    all_or_nothing,
    expanded,
    locked,
    printable,
    replaced,
    require_space,
    write_atomically,
)
from replication.lease import EXPIRES, leased
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


@pytest.mark.parametrize("machine", ["this.lab", "another"])
def test_what_a_killed_process_left_is_removed(machine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of this machine alone: on another one that shares the folder the process lives. Catches: its work deleted."""
    with monkeypatch.context() as there:
        there.setattr("platform.node", lambda: machine)
        there.setattr("os.getpid", lambda: 99999999)
        with all_or_nothing(tmp_path) as copy, replaced(tmp_path / "file") as partial:
            partial.write_bytes(b"first")
    copy.mkdir()
    (copy / "a").write_bytes(b"half")
    partial.write_bytes(b"half")
    monkeypatch.setattr("platform.node", lambda: "this.lab")
    with all_or_nothing(tmp_path), replaced(tmp_path / "file") as own:
        own.write_bytes(b"second")
    assert [copy.exists(), partial.exists()] == [machine == "another"] * 2
    assert (tmp_path / "file").read_bytes() == b"second"


def test_room_is_asked_for_where_the_folder_will_be(tmp_path: Path) -> None:
    require_space(tmp_path / "not" / "yet", 1)
    with pytest.raises(Unwritable, match=r"cannot write .*yet .*1,000,000,000,000 MB are needed, [\d,]+ MB are free"):
        require_space(tmp_path / "not" / "yet", 10**18)


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


@pytest.fixture(params=[errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def lockless(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """As NFS and Lustre are without locks."""
    monkeypatch.setattr(fcntl, "flock", Mock(side_effect=OSError(request.param, os.strerror(request.param))))


@pytest.mark.usefixtures("lockless")
def test_a_file_system_without_locks_has_leases_that_stand_in(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Catches: "No locks available", a lease that holds nobody off, one that stays, and a warning for every chunk."""
    path = tmp_path / "locks" / "row"
    for _ in range(3):
        with (
            locked(path, "the row"),
            pytest.raises(Held, match="another process works on the row"),
            locked(path, "the row", wait=False),
        ):
            pass
    assert len(list(path.parent.glob("row.held.*"))) == 1
    error = capsys.readouterr().err
    assert str(path.parent) in error
    assert "REPLICATION_HOME" in error
    assert error.count("\n") == 1


@pytest.mark.usefixtures("lockless")
def test_a_lease_whose_holder_is_gone_is_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once on this machine; another machine's when it has not been touched for long enough while this process watched,
    whatever the clocks say. Catches a cell that stays held for ever, and one that is taken from the living."""
    clock = Mock(return_value=1000.0)
    monkeypatch.setattr("replication.lease.time.monotonic", clock)
    dead, far = tmp_path / "dead.held.4", tmp_path / "far.held.7"
    dead.write_text(f"{platform.node()} 99999999")
    with locked(tmp_path / "dead", "x", wait=False):
        assert [file.name for file in tmp_path.glob("dead.held.*")] == ["dead.held.5"]
    far.write_text("another-machine 1")
    os.utime(far, (0, 0))

    def free() -> bool:
        try:
            with locked(tmp_path / "far", "x", wait=False):
                return True
        except Held:
            return False

    assert not free()
    clock.return_value += EXPIRES - 1
    assert not free()
    os.utime(far, (1, 1))  # its holder lives, with a clock that stands at 1970
    clock.return_value += EXPIRES - 1
    assert not free()
    clock.return_value += EXPIRES + 1
    assert free()
    assert [file.read_text() for file in tmp_path.glob("far.held.*")] == ["free"]


def test_a_lease_is_touched_while_it_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("replication.lease.BEAT", 0.01)
    with leased(tmp_path / "row") as held:
        assert held
        (file,) = tmp_path.iterdir()
        os.utime(file, (0, 0))
        while file.stat().st_mtime == 0:
            time.sleep(0.01)


def test_of_many_that_find_a_lease_free_one_has_it(tmp_path: Path) -> None:
    """Threads, each of which adds 1 to a number that it reads, waits, and writes. Catches two that hold it at once."""
    number = tmp_path / "number"
    number.write_text("0")

    def add() -> None:
        done = 0
        while done < 20:
            with leased(tmp_path / "row") as held:
                if held:
                    before = int(number.read_text())
                    time.sleep(0.001)
                    number.write_text(str(before + 1))
                    done += 1

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert int(number.read_text()) == 80
    assert len(list(tmp_path.glob("row.*"))) == 1


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
