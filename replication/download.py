"""One file from the network: resumed where it stopped, checked before it counts, refused where it is another file.

Every download of the project is one of these: datasets, weights of extractors, of perceptual distances and of networks.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from replication.files import expanded, file_sha256, locked, unwritable
from replication.progress import Bar
from replication.types import InputError

CHUNK = 1 << 18  # bytes read at a time
SILENCE = 15.0  # seconds without a byte after which the connection counts as lost
RECORD = "fetched.json"  # in a folder of weights: written last, so that all of its files are there


@dataclass(frozen=True)
class Remote:
    """A published file. `sha256`: hexadecimal, or its first digits; empty where nobody publishes it, and none is checked."""

    url: str
    sha256: str
    size: int | None = None  # bytes, where known
    token: str = field(default="", repr=False)  # that the address asks for, and not those that it leads on to

    @property
    def filename(self) -> str:
        return self.url.partition("?")[0].rstrip("/").rsplit("/", 1)[-1]

    @property
    def megabytes(self) -> str:
        """As it is printed: "170 MB"."""
        return f"{self.size / 1e6:.0f} MB" if self.size else "of unknown size"


def data_home() -> Path:
    """`$REPLICATION_DATA`, or else `replication` in the user's cache folder. It is not created here."""
    if chosen := os.environ.get("REPLICATION_DATA"):
        return expanded(chosen, "REPLICATION_DATA")
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return expanded(cache, "REPLICATION_DATA, XDG_CACHE_HOME") / "replication"


def weights_path(remote: Remote) -> Path:
    """Where published weights are kept, or will be: the data folder, unless torch hub's has them already."""
    import torch  # slow, and every list of datasets imports this module

    in_hub = Path(torch.hub.get_dir()) / "checkpoints" / remote.filename
    return in_hub if in_hub.is_file() else data_home() / "weights" / remote.filename


def fetch(remote: Remote, target: Path, otherwise: str) -> None:
    """`download` unless the file is there, by one process at a time; raises as it does."""
    if not target.is_file():
        with locked(target.with_name(".lock"), remote.filename):
            download(remote, target, otherwise)


def download(remote: Remote, target: Path, otherwise: str) -> None:
    """Download `remote` to `target`, which is there only once its size and SHA-256 are right.

    What an interrupted transfer received stays beside it as `.part`, from which the next call goes on. InputError states
    why the file cannot be had, and `otherwise`: how to do without the network. A file with wrong bytes is removed.
    """
    if target.exists():
        return _check(remote, target)
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        received = part.stat().st_size if part.exists() else 0
        if remote.size is None or received < remote.size:
            _receive(remote, part, received, otherwise)
        _check(remote, part)
        os.replace(part, target)
    except OSError as error:  # those of the network never come this far
        raise unwritable(part, error) from error


def _receive(remote: Remote, part: Path, received: int, otherwise: str) -> None:
    """Append what is missing to `part`; InputError where the network fails or the server has another file."""
    with _connect(remote, part, received, otherwise) as response, open(part, "ab") as file:
        start, total = _offer(response)
        size = remote.size or total
        if total not in (None, size):
            _refuse(remote, part, f"the server has {total:,} bytes, expected {size:,}")
        file.truncate(start)
        done = start
        with Bar(size, remote.filename, "B", start) as shown:
            for chunk in _chunks(remote, response):
                file.write(chunk)
                shown.update(len(chunk))
                done += len(chunk)
                if size and done > size:  # a server that states no size may never end
                    break
    if size and done < size:
        raise _lost(remote, f"it ended after {done:,} of {size:,} bytes")


def _connect(remote: Remote, part: Path, received: int, otherwise: str) -> HTTPResponse:
    request = Request(remote.url, headers={"Range": f"bytes={received}-"} if received else {})
    if remote.token:
        request.add_unredirected_header("Authorization", f"Bearer {remote.token}")
    try:
        return urlopen(request, timeout=SILENCE)
    except HTTPError as error:
        if error.code == 416:  # the server's file ends before ours does
            _refuse(
                remote, part, f"the server has no more than {received:,} bytes, expected {remote.size or received:,}"
            )
        raise InputError(f"{remote.url}: the server answers {error.code} {error.reason}; {otherwise}") from error
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise InputError(f"{remote.url} cannot be reached ({reason}); {otherwise}") from error


def _offer(response: HTTPResponse) -> tuple[int, int | None]:
    """The first byte that the server is about to send, and the size of its whole file where it states one."""
    if span := re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", "")):
        return int(span[1]), int(span[2])
    length = response.headers.get("Content-Length")
    return 0, int(length) if length else None


def _chunks(remote: Remote, response: HTTPResponse) -> Iterator[bytes]:
    while True:
        try:
            chunk = response.read(CHUNK)
        except (OSError, HTTPException) as error:
            raise _lost(remote, str(error) or type(error).__name__) from error
        if not chunk:
            return
        yield chunk


def _lost(remote: Remote, reason: str) -> InputError:
    return InputError(f"{remote.url}: the transfer was cut ({reason}); the same command goes on from there")


def _check(remote: Remote, path: Path) -> None:
    """Refuse a file whose size or SHA-256 is wrong."""
    if remote.size is not None and (size := path.stat().st_size) != remote.size:
        _refuse(remote, path, f"got {size:,} bytes, expected {remote.size:,}")
    if not (sha256 := file_sha256(path)).startswith(remote.sha256):
        _refuse(remote, path, f"got SHA-256 {sha256}, expected {remote.sha256}")


def _refuse(remote: Remote, path: Path, reason: str) -> None:
    path.unlink(missing_ok=True)
    raise InputError(f"{remote.url} is refused: {reason}; what had been received was removed")
