"""Files as a bad copy, another tool or an attacker leaves them, and the readers that meet them.

Run as a script with a number, it tries so many inputs and counts what comes of them; any traceback ends it.
"""

import io
import json
import struct
import sys
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save

from replication.datasets.photographs import Expected, find_photographs, read_photograph
from replication.datasets.survey import survey
from replication.harness.forensics.base import Wishes, base_of
from replication.harness.given_weights import under_its_names
from replication.harness.images import open_images
from replication.layers.weight_files import NAME, weight_files
from replication.layers.weights import unet_options
from replication.registry import MODELS, OBJECTIVES, SCHEDULES
from replication.settings import Part
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


READERS: dict[str, Callable[[Path, Random], None]] = {
    "npz": read_npz, "zip": read_zip, "folder": read_folder, "photographs": read_photographs, "chunk": read_chunk,
    "weights": read_given_weights, "configurations": read_configurations,
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
