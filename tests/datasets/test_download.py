"""Downloads from a local server: whole, resumed, cut, truncated, wrong; and what each leaves behind."""

import hashlib
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from dataset_copies import Examples, write_archive
from range_server import Server

from replication.datasets.archived import Archived
from replication.download import Remote, download, fetch
from replication.types import InputError


@pytest.fixture
def remote(server: Server) -> Remote:
    return Remote(server.url, hashlib.sha256(server.body).hexdigest(), len(server.body))


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "got").mkdir()
    return tmp_path / "got" / "file"


def left(target: Path) -> dict[str, int]:
    """What is beside the target: name -> bytes."""
    return {file.name: file.stat().st_size for file in target.parent.iterdir()}


def test_whole_file(server: Server, remote: Remote, target: Path) -> None:
    download(remote, target, "")
    assert target.read_bytes() == server.body
    assert left(target) == {"file": 1_000_000}
    download(remote, target, "")
    assert server.requests == [None]  # what is there and right is not fetched again


def test_cut_transfer_resumes(server: Server, remote: Remote, target: Path) -> None:
    """Catches: starting again from zero, appending at the wrong byte, dropping what was received."""
    server.cut_after = 400_000
    with pytest.raises(InputError, match=r"the transfer was cut .*the same command goes on from there"):
        download(remote, target, "")
    assert left(target) == {"file.part": 400_000}
    with pytest.raises(InputError, match="the transfer was cut"):
        download(remote, target, "")
    assert left(target) == {"file.part": 800_000}
    download(remote, target, "")
    assert server.requests == [None, "bytes=400000-", "bytes=800000-"]
    assert target.read_bytes() == server.body
    assert left(target) == {"file": 1_000_000}


@pytest.mark.parametrize("says_length", [True, False])
def test_server_without_ranges_starts_again(server: Server, remote: Remote, target: Path, says_length: bool) -> None:
    """Catches: appending an answer 200, which is the whole file, to the part that was there."""
    target.with_name("file.part").write_bytes(server.body[:1234])
    server.ranges, server.says_length = False, says_length
    download(remote, target, "")
    assert target.read_bytes() == server.body


def test_whole_part_needs_no_request(server: Server, remote: Remote, target: Path) -> None:
    """A kill between the last byte and the check."""
    target.with_name("file.part").write_bytes(server.body)
    download(remote, target, "")
    assert not server.requests
    assert left(target) == {"file": 1_000_000}


def test_wrong_content_is_removed(server: Server, remote: Remote, target: Path) -> None:
    right = server.body
    server.body = bytes(len(right))
    with pytest.raises(InputError, match=rf"is refused: got SHA-256 \w{{64}}, expected {remote.sha256}"):
        download(remote, target, "")
    assert left(target) == {}
    server.body = right
    download(remote, target, "")
    assert target.read_bytes() == right


def test_resuming_a_wrong_part_is_refused_and_removed(server: Server, remote: Remote, target: Path) -> None:
    target.with_name("file.part").write_bytes(b"?" * 1000)
    with pytest.raises(InputError, match="is refused: got SHA-256"):
        download(remote, target, "")
    assert left(target) == {}


@pytest.mark.parametrize(("size", "already"), [(999_999, 0), (1_000_001, 0), (999_999, 500), (500, 600)])
def test_file_of_another_size_is_refused(server: Server, remote: Remote, target: Path, size: int, already: int) -> None:
    """Truncated at the source, or too long; with and without a part. 500 < 600 makes the server answer 416."""
    if already:
        target.with_name("file.part").write_bytes(server.body[:already])
    server.body = (server.body * 2)[:size]
    with pytest.raises(InputError, match=r"is refused: the server has .* bytes, expected 1,000,000"):
        download(remote, target, "")
    assert left(target) == {}


def test_endless_answer_is_stopped(server: Server, remote: Remote, target: Path) -> None:
    """A server that states no size is not followed for ever. Catches: no bound on what is read."""
    server.body, server.says_length = server.body * 50, False
    with pytest.raises(InputError, match=r"is refused: got 1,\d\d\d,\d\d\d bytes, expected 1,000,000"):
        download(remote, target, "")
    assert left(target) == {}


def test_error_answer_keeps_the_part(server: Server, remote: Remote, target: Path) -> None:
    target.with_name("file.part").write_bytes(server.body[:1234])
    server.status = 503
    with pytest.raises(InputError, match=r"tiny\.tar\.gz: the server answers 503 .*; do this instead"):
        download(remote, target, "do this instead")
    assert left(target) == {"file.part": 1234}


def test_a_file_of_unknown_size_and_hash_is_whole_or_not_there(server: Server, target: Path) -> None:
    """Published weights have a hash's first digits, or nothing. Catches a cut transfer that counts as a file."""
    remote = Remote(server.url, hashlib.sha256(server.body).hexdigest()[:8])
    server.cut_after = 400_000
    for _ in range(2):
        with pytest.raises(InputError, match=r"the transfer was cut"):
            fetch(remote, target, "")
    fetch(remote, target, "")
    assert target.read_bytes() == server.body
    fetch(remote, target, "")
    assert server.requests == [None, "bytes=400000-", "bytes=800000-"]
    server.cut_after, other = None, target.with_name("other")
    fetch(replace(remote, sha256=""), other, "")
    assert other.read_bytes() == server.body
    with pytest.raises(InputError, match="is refused: got SHA-256"):
        download(replace(remote, sha256="0"), target, "")
    assert not target.exists()


def test_first_load_downloads(server: Server, tiny: Archived, examples: Examples, home: Path) -> None:
    """From nothing to a split, twice at once: one request, and no archive left. Catches: no lock, or no second look."""
    server.body = write_archive(home.parent / "copy.tar.gz", examples).read_bytes()
    remote = Remote(server.url, hashlib.sha256(server.body).hexdigest(), len(server.body))
    tiny = replace(tiny, remote=remote)
    assert "not here: downloaded on first use" in tiny.status()
    found: list[str] = []
    loads = [threading.Thread(target=lambda: found.append(tiny.load("test").fingerprint)) for _ in range(2)]
    for thread in loads:
        thread.start()
    for thread in loads:
        thread.join()
    assert found == [tiny.fingerprints["test"]] * 2
    assert server.requests == [None]
    assert sorted(file.name for file in (home / "tiny").iterdir()) == [".lock", "test.safetensors", "train.safetensors"]
    assert tiny.verify() == tiny.fingerprints
    assert f"stored in {home / 'tiny'}" in tiny.status()


def test_unreachable_network_says_what_to_do(tiny: Archived, home: Path) -> None:
    with pytest.raises(InputError, match=r"cannot be reached .*`replicate data add tiny PATH`"):
        tiny.load("train")
    assert [file.name for file in (home / "tiny").iterdir()] == [".lock"]
