"""One file from the network: resumed where it stopped, checked before it counts, refused where it is another file."""

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tqdm import tqdm

from replication.files import unwritable
from replication.types import InputError

CHUNK = 1 << 18  # bytes read at a time
SILENCE = 30.0  # seconds without a byte after which the connection counts as lost


@dataclass(frozen=True)
class Remote:
    """A published file, whose bytes are known before it is fetched."""

    url: str
    size: int  # bytes
    sha256: str  # 64 hexadecimal digits

    @property
    def filename(self) -> str:
        return self.url.rsplit("/", 1)[-1]


def download(remote: Remote, target: Path, otherwise: str) -> None:
    """Fetch `remote` to `target`, which is there only once its size and SHA-256 are right.

    What an interrupted transfer received stays beside it as `.part`, from which the next call goes on. InputError says
    why the file cannot be had, and `otherwise`: how to do without the network. A file with wrong bytes is removed.
    """
    if target.exists():
        return _check(remote, target)
    part = target.with_name(target.name + ".part")
    try:
        received = part.stat().st_size if part.exists() else 0
        if received < remote.size:
            _receive(remote, part, received, otherwise)
        _check(remote, part)
        os.replace(part, target)
    except OSError as error:  # those of the network never come this far
        raise unwritable(part, error) from error


def _receive(remote: Remote, part: Path, received: int, otherwise: str) -> None:
    """Append what is missing to `part`; InputError where the network fails or the server has another file."""
    with _connect(remote, part, received, otherwise) as response, open(part, "ab") as file:
        start, total = _offer(response)
        if total not in (None, remote.size):
            _refuse(remote, part, f"the server has {total:,} bytes, expected {remote.size:,}")
        file.truncate(start)
        with tqdm(total=remote.size, initial=start, unit="B", unit_scale=True, desc=remote.filename) as bar:
            for chunk in _chunks(remote, response):
                file.write(chunk)
                bar.update(len(chunk))
                if bar.n > remote.size:  # a server that states no size may never end
                    break
    if bar.n < remote.size:
        raise _lost(remote, f"it ended after {bar.n:,} of {remote.size:,} bytes")


def _connect(remote: Remote, part: Path, received: int, otherwise: str) -> HTTPResponse:
    headers = {"Range": f"bytes={received}-"} if received else {}
    try:
        return urlopen(Request(remote.url, headers=headers), timeout=SILENCE)
    except HTTPError as error:
        if error.code == 416:  # the server's file ends before ours does
            _refuse(remote, part, f"the server has no more than {received:,} bytes, expected {remote.size:,}")
        raise InputError(f"{remote.url}: the server answers {error.code} {error.reason}; {otherwise}") from error
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise InputError(f"{remote.url} cannot be reached ({reason}); {otherwise}") from error


def _offer(response: HTTPResponse) -> tuple[int, int | None]:
    """The first byte that the server is about to send, and the size of its whole file if it says."""
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
    if (size := path.stat().st_size) != remote.size:
        _refuse(remote, path, f"got {size:,} bytes, expected {remote.size:,}")
    with open(path, "rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if sha256 != remote.sha256:
        _refuse(remote, path, f"got SHA-256 {sha256}, expected {remote.sha256}")


def _refuse(remote: Remote, path: Path, reason: str) -> None:
    path.unlink(missing_ok=True)
    raise InputError(f"{remote.url} is refused: {reason}; what had been received was removed")
