"""Rows on the move: one file carries them, with what belongs to them, from one machine's state folder to another's.

A ZIP whose members are stored as they are, none compressed, so that it can hold no more than its own size. `manifest.json`
has the SHA-256 and the size of each of the others, which bear the names that they have under the state folder:

    journal/<experiment>-<profile>/<key>.json         a row; <key>.png its strip, <key>.safetensors its replicates
    journal/<experiment>-<profile>/curves/<key>.json  the curve of a training
    samples/<key>/seed-<seed>/<chunk>.safetensors     images of a row
    checkpoints/<key>-<steps>.safetensors             averaged weights in float16, as weights that were given
    first-stages/<key>-<steps>.safetensors            likewise, in their own precision: models know encoders by their SHA-256

Nothing else is taken in, and nothing at all of an archive in which anything is wrong.
"""

import hashlib
import io
import json
import os
import re
import stat
import zipfile
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from PIL import Image

from replication.checkpoint import load_checkpoint, load_metadata, save_checkpoint
from replication.files import file_sha256, locked, replaced, require_space, unwritable
from replication.harness.journal import Journal, Record, curve_of_json, row_of_json, unsealed
from replication.harness.replicates import load_replicates, replicates_of_row
from replication.harness.versions import COLUMN, raised
from replication.settings import content_key
from replication.training.snapshots import GIVEN
from replication.types import InputError

MANIFEST, FORMAT = "manifest.json", 1
MOST_BYTES = 1 << 26  # of a manifest, a row or a curve
KEY = "[0-9a-f]{64}"
JOURNAL = r"journal/(?P<journal>[^/\\\x00]*[^/\\\x00.][^/\\\x00]*)"  # not "." or ".."
MEMBERS = {  # kind -> the names that its members have
    kind: re.compile(pattern)
    for kind, pattern in {
        "rows": rf"{JOURNAL}/(?P<key>{KEY})\.json",
        "strips": rf"{JOURNAL}/(?P<key>{KEY})\.png",
        "replicates": rf"{JOURNAL}/(?P<key>{KEY})\.safetensors",
        "curves": rf"{JOURNAL}/curves/(?P<key>{KEY})\.json",
        "chunks": rf"samples/{KEY}[\w-]*/seed-\d+/(?P<start>\d{{7,}})-(?P<stop>\d{{7,}})\.safetensors",
        "weights": rf"(checkpoints|first-stages)/(?P<key>{KEY})-(?P<steps>\d+)\.safetensors",
    }.items()
}
OF_ROWS = ("strips", "replicates")
DAMAGED = (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError)  # of zipfile while it reads
HALVED = "checkpoints"  # the folder of snapshots that travel as float16
Manifest = dict[str, tuple[str, int]]  # by its name, of each member the SHA-256 and the size


class Member(NamedTuple):
    """One file of an archive: its name there, its kind, and the parts of the name: of which journal, key, steps or images."""

    name: str
    kind: str
    fields: dict[str, str]


class Taken(NamedTuple):
    """By kind, how many members were taken in, and how many were here already and were left as they are."""

    new: Counter[str]
    here: Counter[str]


def export_archive(
    path: Path, state: Path, journals: Iterable[Journal], chunks: Iterable[Path], snapshots: Iterable[Path]
) -> Counter[str]:
    """Write these journals, chunks and the averaged weights of these snapshots; returns how many members of each kind.

    A damaged row or curve is set aside and left out. Raises InputError for a row that can't be read, RunError where the file
    can't be written.
    """
    files: dict[str, Path] = {}
    for journal in journals:
        for key in journal.done():
            if journal.read(key) is None:
                continue
            of_row = (journal.folder / f"{key}.json", journal.strip_path(key), journal.replicates_path(key))
            files |= {_name(file, state): file for file in of_row if file.exists()}
        files |= {_name(file, state): file for file in (journal.folder / f"{key}.json" for key in journal.curves())}
    files |= {_name(file, state): file for file in chunks}
    with TemporaryDirectory() as lean:
        for snapshot in snapshots:
            files[_name(snapshot, state)] = averaged(
                snapshot, Path(lean) / snapshot.name, None if snapshot.parent.name == HALVED else ()
            )
        members = {name: {"sha256": file_sha256(file), "bytes": file.stat().st_size} for name, file in files.items()}
        manifest = json.dumps({"format": FORMAT, "members": members}, sort_keys=True, indent=1)
        with replaced(path.absolute()) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr(zipfile.ZipInfo(MANIFEST), manifest)
            for name, file in sorted(files.items()):
                archive.writestr(zipfile.ZipInfo(name), file.read_bytes())
    return Counter(_member(name, path).kind for name in files)


def import_archive(path: Path, state: Path) -> Taken:
    """Take in an archive: everything in it is checked before anything is. What is here already stays as it is.

    Raises InputError naming the member that is not what it is said to be, RunError where the state can't be written.
    """
    with locked(state / "locks" / "import", "an import"), _opened(path) as archive:
        members, manifest = _checked(archive, path)
        require_space(state, sum(info.file_size for info in archive.infolist()))
        with TemporaryDirectory(dir=state, prefix=".import-") as folder:
            unpacked = {m.name: Path(folder) / f"{i:07d}.safetensors" for i, m in enumerate(members)}
            for member in members:
                _unpack(archive, member, manifest[member.name], unpacked[member.name], path)
            rows = {m.name.removesuffix(".json"): _row(m, unpacked[m.name], path) for m in members if m.kind == "rows"}
            for member in members:
                _check_content(member, unpacked[member.name], rows, path)
            return _moved(members, unpacked, state)


def _name(file: Path, state: Path) -> str:
    return file.relative_to(state).as_posix()


def averaged(snapshot: Path, out: Path, halved: Collection[str] | None = None) -> Path:
    """A file with the averaged weights of a snapshot alone, in the form of weights that were given.

    halved: the modules whose weights become float16; None: all.
    """
    tensors, header = load_checkpoint(snapshot, ("ema.", "buffers."))
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and (halved is None or name.split(".")[1] in halved):
            tensors[name] = tensor.half()
    save_checkpoint(out, tensors, {**header, GIVEN: header.get(GIVEN) or file_sha256(snapshot)})
    return out


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (ValueError, *DAMAGED) as error:  # the first: names that are no UTF-8
        raise InputError(f"{path}: no archive of `replicate export` ({error})") from error


def _member(name: str, path: Path) -> Member:
    for kind, pattern in MEMBERS.items():
        if match := pattern.fullmatch(name):
            return Member(name, kind, match.groupdict())
    raise InputError(f"{path}: {name!r} is the name of nothing that an archive carries")


def _checked(archive: zipfile.ZipFile, path: Path) -> tuple[list[Member], Manifest]:
    """The members by the archive's own directory, each a plain file, once, under a name that it may have; and its manifest."""
    infos = archive.infolist()
    names = Counter(info.filename for info in infos)
    for info in infos:
        where, mode = f"{path}: {info.filename!r}", info.external_attr >> 16
        if names[info.filename] > 1:
            raise InputError(f"{where} is in it {names[info.filename]} times")
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG) or info.filename.endswith("/"):
            raise InputError(f"{where} is no plain file but a link, a folder or a device")
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 or info.compress_size != info.file_size:
            raise InputError(f"{where} is compressed or encrypted; `replicate export` stores files as they are")
    of_archive, manifest = names.keys() - {MANIFEST}, _manifest(archive, path)
    for name in sorted(of_archive ^ manifest.keys()):
        raise InputError(f"{path}: {name!r} is " + ("not in its manifest" if name in of_archive else "missing"))
    return [_member(name, path) for name in sorted(of_archive)], manifest


def _manifest(archive: zipfile.ZipFile, path: Path) -> Manifest:
    try:
        if (info := archive.getinfo(MANIFEST)).file_size > MOST_BYTES:
            raise ValueError(f"{info.file_size:,} bytes")
        manifest = json.loads(archive.read(MANIFEST))
        if manifest["format"] != FORMAT:
            raise InputError(f"{path}: its format is {manifest['format']!r}, and this version reads {FORMAT}")
        return {name: (str(of["sha256"]), int(of["bytes"])) for name, of in manifest["members"].items()}
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, *DAMAGED) as error:
        raise InputError(f"{path}: no archive of `replicate export`: {MANIFEST} cannot be read ({error!r})") from error


def _unpack(archive: zipfile.ZipFile, member: Member, stated: tuple[str, int], out: Path, path: Path) -> None:
    """The member as a file, of the size and the SHA-256 that the manifest states."""
    digest, size = hashlib.sha256(), 0
    try:
        with open(out, "wb") as file:
            for piece in _pieces(archive, member, path):
                digest.update(piece)
                size += file.write(piece)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise unwritable(out, error) from error
    if (digest.hexdigest(), size) != stated:
        raise InputError(f"{path}: {member.name} is damaged: its content is not what the manifest states")


def _pieces(archive: zipfile.ZipFile, member: Member, path: Path) -> Iterator[bytes]:
    """Its content, no more of it than the archive's directory says; raises InputError where it can't be read."""
    try:
        with archive.open(member.name) as source:
            while piece := source.read(1 << 20):
                yield piece
    except DAMAGED as error:
        raise InputError(f"{path}: {member.name}: {error}") from error


def _json(member: Member, file: Path, path: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > MOST_BYTES:
            raise ValueError("it is too large")
        content = unsealed(file.read_bytes())
        if not isinstance(content, dict):
            raise ValueError("no table")
        return content
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: {member.name} is no row and no curve ({error})") from error


def _row(member: Member, file: Path, path: Path) -> Record:
    """The row, whose key has to be what its setting and versions make it."""
    key = member.fields["key"]
    try:
        record = row_of_json(_json(member, file, path), key)
    except ValueError as error:
        raise InputError(f"{path}: {member.name} is not the row of its key ({error})") from error
    versions = {c.removeprefix(COLUMN): v for c, v in record.items() if c.startswith(COLUMN)}
    setting = record.get("setting", record.get("cell"))
    if not (isinstance(setting, str) and all(isinstance(v, int) for v in versions.values())):
        raise InputError(f"{path}: {member.name} is not the row of its key")
    made = content_key({"setting": setting, **of}) if (of := raised(versions)) else setting
    folder = f"{record.get('experiment')}-{record.get('profile')}"
    if made != key or folder != member.fields["journal"] or not isinstance(record.get("label"), str):
        raise InputError(f"{path}: {member.name}: this row's content does not make its key, or is of another table")
    return record


def _check_content(member: Member, file: Path, rows: Mapping[str, Record], path: Path) -> None:
    """Raises InputError for what is damaged, belongs to no row, or is of another key than its name says."""
    where, fields = f"{path}: {member.name}", member.fields
    if member.kind in OF_ROWS and member.name.rpartition(".")[0] not in rows:
        raise InputError(f"{where} belongs to no row of the archive")
    try:
        if member.kind == "strips":
            with Image.open(io.BytesIO(file.read_bytes()), formats=("PNG",)) as picture:
                picture.verify()
        elif member.kind == "replicates":
            found = load_replicates(file)
            if list(found) != [fields["key"]]:
                raise InputError("not the replicates of its row")
            replicates_of_row(rows[member.name.removesuffix(".safetensors")], file, found)
        elif member.kind == "curves":
            curve = curve_of_json(_json(member, file, path))
            table = f"{curve.get('experiment')}-{curve.get('profile')}"
            if curve["training"] != fields["key"] or table != fields["journal"]:
                raise InputError("the curve of another training")
        elif member.kind == "chunks":
            tensors, header = load_checkpoint(file)
            images = tensors.get("images")
            if list(tensors) != ["images"] or images is None or images.dtype != torch.uint8 or images.ndim != 4:
                raise InputError("no images uint8 [N,C,H,W]")
            made = {"nfe": int, "seconds": int | float, "weights": str, "drawn_by": str}
            stated = all(isinstance(header.get(key), kind) for key, kind in made.items())
            if len(images) != int(fields["stop"]) - int(fields["start"]) or not stated:
                raise InputError(f"{len(images)} images, or a header that does not say how they were drawn")
        elif member.kind == "weights":
            header = load_metadata(file)
            named = (content_key(header.get("identity")), str(header.get("step")), bool(header.get(GIVEN)))
            if named != (fields["key"], fields["steps"], True) or header.get("key") != fields["key"]:
                raise InputError("weights of another training, or of another number of steps")
    except (InputError, ValueError, TypeError, KeyError, SyntaxError, Image.DecompressionBombError, OSError) as error:
        reason = str(error).replace(str(file), member.name)
        raise InputError(f"{where} is not what its name says ({reason})") from error


def _moved(members: Collection[Member], unpacked: Mapping[str, Path], state: Path) -> Taken:
    """Each to its place, a row after what belongs to it: one that is there is complete."""
    taken = Taken(Counter(), Counter())
    known = {m.name.removesuffix(".json") for m in members if m.kind == "rows" and (state / m.name).exists()}
    for member in sorted(members, key=lambda member: (member.kind == "rows", member.name)):
        target = state / member.name
        if member.kind == "curves":
            of, before = Journal(target.parents[1]), target.exists()
            of.write_curve(unsealed(unpacked[member.name].read_bytes()))
        elif before := member.name.rpartition(".")[0] in known or target.exists():
            pass
        else:
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(unpacked[member.name], target)
            except OSError as error:
                raise unwritable(target, error) from error
        (taken.here if before else taken.new)[member.kind] += 1
    return taken
