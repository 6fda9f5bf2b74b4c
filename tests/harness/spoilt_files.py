"""Files as a bad copy, another tool or an attacker leaves them, and the readers that meet them.

Run as a script with a number, it tries so many inputs and counts what comes of them; any traceback ends it.
"""

import io
import json
import struct
import sys
import tarfile
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stderr
from dataclasses import replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from PIL import Image
from pyarrow import parquet
from safetensors.torch import save

from replication.checkpoint import save_checkpoint
from replication.datasets.archived import Archived, read_copy
from replication.datasets.photographs import Expected, find_photographs, read_photograph
from replication.datasets.survey import survey
from replication.download import Remote
from replication.harness.archive import MANIFEST, export_archive, import_archive
from replication.harness.forensics.base import Wishes, base_of
from replication.harness.given_weights import under_its_names
from replication.harness.images import open_images
from replication.harness.journal import Computed, Journal
from replication.harness.mlflow_runs import legal, run_of_curve, run_of_row, shortened
from replication.layers.weight_files import NAME, weight_files
from replication.layers.weights import unet_options
from replication.metrics.uncertainty import Replicates
from replication.registry import MODELS, OBJECTIVES, SCHEDULES
from replication.report.rows import csv_text, read_csv
from replication.settings import Part, content_key
from replication.training.diffusers_options import CONFIG, SCHEDULER, Meaning, check_options
from replication.types import InputError

SIDES = (0, 1, 3, 8, 12, 64, -1, 2**31, 2**63, 10**30)
DTYPES = ("|u1", "<f4", "<f2", "<i8", "|b1", "|O", "<U4", "<c8", "|V3", "[('a', '|u1')]", ">u2", "nonsense")
MODES = ("L", "RGB", "RGBA", "LA", "P", "1", "CMYK", "I;16", "YCbCr")
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
SUFFIXES = (".png", ".jpg", ".JPEG", ".webp", ".txt", ".bmp", "", ".png/")
PART = Part(
    name="ddpm-unet",
    options={
        "resolution": 8,
        "channels": 1,
        "width": 8,
        "multipliers": [1, 1],
        "blocks": 1,
        "attention": [4],
        "groups": 2,
    },
)
NETWORK = PART.build(MODELS)
MEANING = Meaning("eps", SCHEDULES.build("linear", T=20), "linear", OBJECTIVES.build("simple"))
WEIGHTS = {name: tensor.detach() for name, tensor in NETWORK.named_parameters()}
RIGHT = {name: option.ours[0] for name, option in unet_options(NETWORK)["UNet2DModel"].items()} | {
    "_class_name": "UNet2DModel"
}
TRAINED = {
    "_class_name": "DDPMScheduler",
    "beta_schedule": "linear",
    "num_train_timesteps": 20,
    "prediction_type": "epsilon",
}


def mutated(content: bytes, chance: Random) -> bytes:
    """With up to four runs of bytes changed, cut out, doubled or put in."""
    found = bytearray(content)
    for _ in range(chance.randint(0, 4)):
        at, length = chance.randint(0, len(found)), chance.choice((1, 1, 2, 4, 16, 200))
        run = found[at : at + length]
        kind = chance.choice(("random", "ff", "zero", "cut", "double", "end", "flip"))
        if kind == "random":
            found[at : at + length] = chance.randbytes(len(run))
        elif kind in ("ff", "zero"):
            found[at : at + length] = (b"\xff" if kind == "ff" else b"\0") * len(run)
        elif kind == "cut":
            del found[at : at + length]
        elif kind == "double":
            found[at:at] = run
        elif kind == "end":
            del found[at:]
        elif run:
            found[at] ^= 1 << chance.randint(0, 7)
    return bytes(found)


def array(chance: Random) -> bytes:
    """A member of an .npz, whose header may state anything, and be followed by anything."""
    if chance.random() < 0.7:
        shape = (12, 8, 8, 1) if chance.random() < 0.8 else chance.choice(((12, 3, 8, 8), (12, 8, 8), (9, 8, 8, 1)))
        buffer = io.BytesIO()
        np.save(buffer, np.zeros(shape, np.uint8 if chance.random() < 0.8 else chance.choice((np.float32, np.int64))))
        return mutated(buffer.getvalue(), chance) if chance.random() < 0.3 else buffer.getvalue()
    shape = ", ".join(str(chance.choice(SIDES)) for _ in range(chance.choice((0, 1, 3, 4, 4, 5))))
    descr = chance.choice(DTYPES)
    stated = f"{{'descr': {descr if descr[0] == '[' else repr(descr)}, 'fortran_order': {chance.choice(('False', 'True', '0'))}, 'shape': ({shape},), }}"
    version, form = chance.choice((((1, 0), "<H"), ((2, 0), "<I"), ((3, 0), "<I"), ((9, 9), "<I")))
    header = stated.encode().ljust(118) + b"\n"
    return (
        b"\x93NUMPY"
        + bytes(version)
        + struct.pack(form, len(header))
        + header
        + chance.randbytes(chance.choice((0, 64, 768)))
    )


def archive(members: list[tuple[str, bytes]], chance: Random) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in members:
            file.writestr(name, content, chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA)))
    return mutated(buffer.getvalue(), chance) if chance.random() < 0.5 else buffer.getvalue()


def picture(chance: Random) -> bytes:
    mode, format = chance.choice(MODES), chance.choice(FORMATS)
    size = chance.choice(((8, 8), (8, 8), (9, 8), (1, 1), (300, 2)))
    image = (
        Image.frombytes("L", size, chance.randbytes(size[0] * size[1]))
        .convert("RGB")
        .convert("L" if mode == "I;16" else mode)
    )
    more = {"save_all": True, "append_images": [image, image]} if chance.random() < 0.1 else {}
    buffer = io.BytesIO()
    try:
        (Image.new("I;16", size) if mode == "I;16" else image).save(buffer, format=format, **more)
    except (OSError, ValueError, KeyError):  # a mode that the format has not
        image.convert("L").save(buffer, format="PNG")
    return mutated(buffer.getvalue(), chance)


def good(shade: int = 0) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (8, 8), shade).save(buffer, format="PNG")
    return buffer.getvalue()


def tensors(chance: Random, of: dict[str, torch.Tensor]) -> bytes:
    """A safetensors file with its header or its content changed."""
    content = save(
        of,
        {
            "metadata": chance.choice(
                ("{}", "[]", "{", '{"recipe": {}}', '{"recipe": {"dataset": "digits"}}', "[" * 5000)
            )
        },
    )
    if chance.random() < 0.5:
        return mutated(content, chance)
    size = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + size])
    for _ in range(chance.randint(1, 3)):
        name = chance.choice([key for key in header if key != "__metadata__"] or ["x"])
        entry = header[name] = dict(header[name]) if isinstance(header.get(name), dict) else {}
        kind = chance.choice(("dtype", "shape", "data_offsets", "name", "gone", "odd", "metadata"))
        if kind == "dtype":
            entry["dtype"] = chance.choice(("F32", "F16", "BF16", "U8", "I8", "I64", "BOOL", "F8_E4M3", "F64", "X", 3))
        elif kind == "shape":
            entry["shape"] = chance.choice(([], [1], [12, 1, 8, 8], [2**62, 2], [-1], "x", [0, 1, 8, 8], [12, 2, 8, 4]))
        elif kind == "data_offsets":
            entry["data_offsets"] = chance.choice(([0, 1], [1, 0], [0, 2**63], [0, 768], "x", [5, 700]))
        elif kind == "name":
            header[
                chance.choice(("module.", "ema.", "down_blocks.", "model.diffusion_model.", ""))
                + name
                + chance.choice(("", ".x", "\0", "é"))
            ] = header.pop(name)
        elif kind == "gone":
            header.pop(name, None)
        elif kind == "odd":
            header[name] = chance.choice((None, [], 3, {}))
        else:
            header["__metadata__"] = chance.choice(
                ({}, None, {"metadata": "[1]"}, {"metadata": "null"}, {"format": "pt"}, [])
            )
    written = json.dumps(header).encode()
    return struct.pack("<Q", len(written)) + written + content[8 + size :]


def configuration(chance: Random, right: dict[str, object]) -> bytes:
    """A configuration that fits the network, or with one option of another value."""
    values = (True, 8, 1e-5, "silu", [], [8, 8], {}, "epsilon", -1, 10**30, 1e400, [[1]], "x" * 300, 3, None)
    keys = (*right, "trained_betas", "rescale_betas_zero_snr", "new")
    changed = {chance.choice(keys): chance.choice(values)} if chance.random() < 0.7 else {}
    content = json.dumps({**right, **changed}).encode()
    return mutated(content, chance) if chance.random() < 0.5 else content


# ---------------------------------------------------------------- one input, and its reader


def read_npz(folder: Path, chance: Random) -> None:
    names = [
        chance.choice(("arr_0.npy", "arr_0.npy", "images.npy", "x.txt", "arr_0"))
        for _ in range(chance.choice((0, 1, 1, 1, 2)))
    ]
    content = array(chance) if chance.random() < 0.1 else archive([(name, array(chance)) for name in names], chance)
    (folder / "a.npz").write_bytes(content)
    consumed(folder / "a.npz")


def read_zip(folder: Path, chance: Random) -> None:
    members = [(f"{i:02}.png", good(i)) for i in range(11)]
    members += [
        (chance.choice(("11.png", "00.png", "a/1.png", "._x.png", "../x.png", "x.zip", "é.png", "d/")), picture(chance))
    ]
    (folder / "a.zip").write_bytes(archive(members, chance))
    consumed(folder / "a.zip")


def consumed(path: Path) -> None:
    for _ in open_images(path).batches():
        pass


def filled(folder: Path, chance: Random) -> Path:
    """Good pictures and a spoilt one, perhaps in folders that have a meaning."""
    below = folder / chance.choice(("", "Train", "0", "part", "_split/train", ".hidden"))
    below.mkdir(parents=True, exist_ok=True)
    for i in range(chance.choice((9, 11, 12))):
        (below / f"{i:02}.png").write_bytes(good(i))
    where = folder / chance.choice(("", "Train", "test", "1", "part", "masks"))
    where.mkdir(parents=True, exist_ok=True)
    for i in range(chance.choice((1, 1, 12))):
        name = f"{chance.choice(('x', '._x', 'é'))}{i}{chance.choice(SUFFIXES)}"
        if name.endswith("/"):
            (where / name).mkdir(exist_ok=True)
        else:
            (where / name).write_bytes(picture(chance))
    if chance.random() < 0.1:
        (where / "link").symlink_to(chance.choice((folder, where, folder / "gone")))
    return folder


def read_folder(folder: Path, chance: Random) -> None:
    consumed(filled(folder, chance))


def read_photographs(folder: Path, chance: Random) -> None:
    expected = Expected("faces", chance.choice((1, 1, 2)), chance.random() < 0.2, chance.choice((0, 12)))
    copy = find_photographs(filled(folder, chance), expected)
    survey(copy, folder, expected, 8)
    for photographs in copy.splits.values():
        for one in photographs:
            read_photograph(one.file, 8)


def read_chunk(folder: Path, chance: Random) -> None:
    (folder / "a.safetensors").write_bytes(tensors(chance, {"images": torch.zeros(12, 1, 8, 8, dtype=torch.uint8)}))
    base_of(str(folder / "a.safetensors"), Wishes())
    consumed(folder / "a.safetensors")


def read_given_weights(folder: Path, chance: Random) -> None:
    (folder / NAME).write_bytes(tensors(chance, WEIGHTS))
    if chance.random() < 0.3:
        table = chance.choice(
            ({"weight_map": dict.fromkeys(WEIGHTS, NAME)}, {"weight_map": {"a": 3}}, {"weight_map": None}, [], 3)
        )
        (folder / NAME).rename(folder / "x-00001-of-00001.safetensors")
        (folder / f"{NAME}.index.json").write_bytes(
            mutated(json.dumps(table).replace(NAME, "x-00001-of-00001.safetensors").encode(), chance)
        )
    under_its_names(MODELS, PART, NETWORK, weight_files(folder))


def read_configurations(folder: Path, chance: Random) -> None:
    (folder / CONFIG).write_bytes(configuration(chance, RIGHT))
    (folder / SCHEDULER).write_bytes(configuration(chance, TRAINED))
    check_options(folder, unet_options(NETWORK), MEANING)


SET = Archived(
    name="spoilt", channels=1, resolution=8, classes=("cat", "dog"), captions=(), flip=False,
    sizes={"train": 4, "test": 2}, fingerprints={"train": "0" * 64, "test": "1" * 64}, remote=Remote("http://127.0.0.1:9/x", "0" * 64, 1),
)  # fmt: skip
RECORDS = replace(SET, records={"train": ("train.bin",), "test": ("test.bin",)})


def read_parquet(folder: Path, chance: Random) -> None:
    """Shards whose columns are of any kind, or whose bytes are changed."""
    for split in ("train", "test"):
        content = chance.choice((b"", b"x", None, good())) if chance.random() < 0.3 else good(chance.randrange(256))
        image = pa.array(
            chance.choice(([{"bytes": content, "path": ""}],) * 8 + ([{"bytes": content}], [content], [None], [3]))
        )
        label = pa.array(
            chance.choice(([0], [1], [2], [-1], [None], ["0"], [0.5], [True], [[0]])) if chance.random() < 0.3 else [0]
        )
        columns = {"img": image, "label": label} if chance.random() < 0.9 else {"image": image, "label": label}
        buffer = io.BytesIO()
        parquet.write_table(pa.table(columns), buffer, compression=chance.choice(("none", "snappy", "zstd")))
        spoilt = mutated(buffer.getvalue(), chance) if chance.random() < 0.3 else buffer.getvalue()
        (folder / f"{split}-0.parquet").write_bytes(spoilt)
    read_copy(folder, SET)


def read_tar(folder: Path, chance: Random) -> None:
    """Archives of images in class folders or of records, with links, devices and names that lead elsewhere."""
    dataset, buffer = chance.choice((SET, RECORDS)), io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=chance.choice(("w", "w:gz", "w:xz", "w:bz2"))) as tar:
        members = {"train.bin": bytes(65 * 4), "test.bin": bytes(65 * chance.choice((2, 2, 2, 0)))}
        if not dataset.records:
            members = {
                f"{split}/{chance.choice(('cat', '1', 'dog', 'cat', '0', 'dog', 'x') if i else ('cat',))}/{i}.png": good(
                    i
                )
                for i, split in enumerate(["train"] * 4 + ["test"] * 2)
            }
        for name, content in members.items():
            if chance.random() < 0.95:
                add_member(tar, name, content)
            if chance.random() < 0.05:
                odd = tarfile.TarInfo(chance.choice((name, f"../../{name}", f"/{name}", f"x/{name}")))
                odd.type = chance.choice(
                    (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE)
                )
                odd.linkname = chance.choice((name, "/etc/passwd", "../x", odd.name))
                tar.addfile(odd)
    (folder / "a.tar").write_bytes(mutated(buffer.getvalue(), chance) if chance.random() < 0.4 else buffer.getvalue())
    read_copy(folder / "a.tar", dataset)


def add_member(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


KEY, OTHER = content_key("row"), content_key("another row")
ROW: dict[str, object] = {
    "experiment": "t", "profile": "cpu", "cell": KEY, "setting": KEY, "label": "DDIM", "sampling.steps": 2, "version.fd": 1,
    "protocol.n": 4, "protocol.seeds": "0", "protocol.resamples": 3, "metric.fd": 1.0, "env.device": "cpu",
}  # fmt: skip
CURVE_OF = {"experiment": "t", "profile": "cpu", "training": KEY, "title": "DDPM", "step": [1, 2], "loss": [1.0, 0.5]}
ODD: tuple[object, ...] = (
    None, True, "", "x", "nan", "-inf", [], {}, [1], {"x": [1]}, -1, 10**400, 1e308, "\x00", "\ud800", "../x", "<script>", "x" * 9000,
)  # fmt: skip


def table(of: dict[str, Any], chance: Random) -> bytes:
    """A row or a curve with one entry of another kind, gone or new, or with changed bytes."""
    changed = dict(of)
    for _ in range(chance.choice((0, 0, 1, 2))):
        name = chance.choice((*of, "metric.own", "timing.x", "é", ""))
        changed[name] = chance.choice(ODD)
        if chance.random() < 0.2:
            del changed[name]
    content = json.dumps(chance.choice((changed,) * 20 + ([changed], 3, None))).encode()
    return mutated(content, chance) if chance.random() < 0.3 else chance.choice((content,) * 9 + (b"[" * 5000,))


def journal_in(folder: Path, chance: Random | None = None) -> Journal:
    """One with a row, its strip and its replicates, and with a curve; spoilt by chance."""
    journal = Journal(folder / "journal" / "t-cpu")
    journal.write(Computed(ROW, good(), Replicates("3 resamples of 4 against 0", {"metric.fd": torch.ones(3)})))  # type: ignore[arg-type]
    journal.write_curve(CURVE_OF)
    journal.mark_synced(KEY, "sqlite:///x", "run")
    if chance:
        (journal.folder / f"{KEY}.json").write_bytes(table(ROW, chance))
        (journal.folder / "curves" / f"{KEY}.json").write_bytes(table(CURVE_OF, chance))
        for end in ("safetensors", "mlflow"):
            path = journal.folder / f"{KEY}.{end}"
            path.write_bytes(mutated(path.read_bytes(), chance) if chance.random() < 0.3 else path.read_bytes())
    return journal


def read_journal(folder: Path, chance: Random) -> None:
    """As a sweep, a report and a sync read it. What is damaged may be set aside as well."""
    journal = journal_in(folder, chance)
    rows, curves = journal.rows(), journal.curves()
    journal.run_of(KEY, "sqlite:///x")
    for record in rows:
        journal.replicates(record)
        legal(shortened(run_of_row({**ROW, **record}, (), {}).params)[0])
    for curve in curves.values():
        run_of_curve({**CURVE_OF, **curve})
    if not rows or not curves:
        raise InputError(f"{folder}: damaged, and set aside")


@cache
def exported() -> bytes:
    """An archive with a member of each kind but weights."""
    with TemporaryDirectory() as folder:
        state = Path(folder)
        journal = journal_in(state)
        chunk = state / "samples" / KEY / "seed-0" / "0000000-0000004.safetensors"
        drawn = {"nfe": 2, "seconds": 1.0, "weights": "w", "drawn_by": "cpu"}
        save_checkpoint(chunk, {"images": torch.zeros(4, 1, 8, 8, dtype=torch.uint8)}, drawn)
        export_archive(state / "all.zip", state, [journal], [chunk], [])
        return (state / "all.zip").read_bytes()


def read_export(folder: Path, chance: Random) -> None:
    """Members and names of any kind under a manifest that agrees; nothing may lie outside the state folder afterwards, and
    nothing in it unless all was taken in."""
    with zipfile.ZipFile(io.BytesIO(exported())) as archive:
        members = {name: archive.read(name) for name in archive.namelist() if name != MANIFEST}
    for name in list(members):
        kind = chance.choice(("same",) * 20 + ("content", "table", "name", "gone"))
        if kind == "content":
            members[name] = mutated(members[name], chance)
        elif kind == "table" and name.endswith(".json"):
            members[name] = table(CURVE_OF if "curves" in name else ROW, chance)
        elif kind == "name":
            odd = (
                f"../{name}",
                f"/{name}",
                name.replace("t-cpu", ".."),
                name.replace(KEY, OTHER),
                f"{name}/",
                name.upper(),
                "\x00",
                name[9:],
            )
            members[chance.choice(odd)] = members.pop(name)
        elif kind == "gone":
            del members[name]
    stated = {n: {"sha256": sha256(c).hexdigest(), "bytes": len(c)} for n, c in members.items()}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in {MANIFEST: json.dumps({"format": 1, "members": stated}).encode(), **members}.items():
            info = zipfile.ZipInfo(name)
            info.filename = name  # also with what ZipInfo cuts off
            info.external_attr = chance.choice((0,) * 30 + (0o120777 << 16, 0o20666 << 16))
            info.compress_type = chance.choice((zipfile.ZIP_STORED,) * 30 + (zipfile.ZIP_DEFLATED,))
            archive.writestr(info, content)
    (folder / "a.zip").write_bytes(mutated(buffer.getvalue(), chance) if chance.random() < 0.3 else buffer.getvalue())
    state = folder / "state"
    state.mkdir()
    try:
        import_archive(folder / "a.zip", state)
    except InputError:
        left = [file for file in state.rglob("*") if file.is_file() and file.parent.name != "locks"]
        assert not left, left
        raise
    finally:
        assert {path.name for path in folder.iterdir()} == {"a.zip", "state"}
    for record in Journal(state / "journal" / "t-cpu").rows():
        run_of_row(record, (), {})
    csv_text([ROW])


def read_rows(folder: Path, chance: Random) -> None:
    """A committed table, and the replicates beside it."""
    (folder / "t.csv").write_bytes(mutated(csv_text([ROW, ROW | {"cell": OTHER}]).encode(), chance))  # type: ignore[list-item]
    for record in read_csv(folder / "t.csv"):
        float(record.get("metric.fd", 0))


READERS: dict[str, Callable[[Path, Random], None]] = {
    "npz": read_npz, "zip": read_zip, "folder": read_folder, "photographs": read_photographs, "chunk": read_chunk,
    "weights": read_given_weights, "configurations": read_configurations, "parquet": read_parquet, "tar": read_tar,
    "journal": read_journal, "export": read_export, "rows": read_rows,
}  # fmt: skip


def outcome(kind: str, folder: Path, chance: Random) -> str:
    """ "read", or the message of the only error that is allowed; a message names the file or the folder."""
    try:
        READERS[kind](folder, chance)
    except InputError as error:
        return str(error)
    return "read"


def main(total: int) -> None:
    counts: Counter[tuple[str, bool]] = Counter()
    for i in range(total):
        kind = [*READERS][i % len(READERS)]
        with TemporaryDirectory() as folder, redirect_stderr(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            counts[kind, outcome(kind, Path(folder), Random(i)) == "read"] += 1
    for kind in READERS:
        print(f"{kind}: {counts[kind, True]:,} read, {counts[kind, False]:,} refused in one message")


if __name__ == "__main__":
    main(int(sys.argv[1]))
