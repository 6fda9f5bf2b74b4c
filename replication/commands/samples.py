"""`replicate samples export`: stored images of a row, or of a folder of chunks, as others' tools take them, batch by batch.

FOLDER/000000.png, 000001.png, ...     as torch-fidelity, clean-fid and pytorch-fid read a set
FILE.npz: arr_0 uint8 [N,H,W,C]        and arr_1 int64 [N], the labels: as ADM's evaluator does, without compression
"""

import argparse
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from replication.commands.measure import BATCH, PROFILE
from replication.files import expanded, replaced, unwritable
from replication.harness.home import state
from replication.harness.images import open_images
from replication.harness.measuring import Images
from replication.harness.subjects import samples_of_row
from replication.harness.workplace import Workplace
from replication.progress import Bar
from replication.registry import listed
from replication.types import InputError

DIGITS = 6  # of a picture's name


def export(options: argparse.Namespace) -> None:
    """Of one seed: a set of several would have other numbers than any of its seeds."""
    if (options.png is None) == (options.npz is None):
        raise InputError("say --png FOLDER or --npz FILE, one of them")
    images, labels = _images(options)
    if options.png is not None:
        out = expanded(options.png, "--png")
        write_pngs(images, out)
    else:
        out = expanded(options.npz, "--npz")
        if out.suffix != ".npz":
            raise InputError(f"--npz {options.npz}: the name of such a file ends in .npz")
        write_npz(images, labels, out)
    print(f"wrote {out}: {images.n:,} images")


def _images(options: argparse.Namespace) -> tuple[Images, Tensor | None]:
    path = expanded(options.subject, "HOME")
    if path.exists() or ":" not in options.subject:
        if options.seed is not None:
            raise InputError(f"--seed {options.seed}: a row has seeds, and {options.subject} is a file or folder")
        return open_images(Path(path)), None
    place = Workplace(state(), torch.device("cpu"), BATCH, progress=False)
    cell, sets = samples_of_row(options.subject, options.profile or PROFILE, dict(options.set), place)
    seeds = cell.protocol.seeds
    seed = seeds[0] if options.seed is None else options.seed
    if seed not in seeds:
        raise InputError(f"--seed {seed}: {options.subject} has {listed(list(map(str, seeds)))}")
    labelled = cell.recipe.condition is not None and cell.recipe.condition.name == "label"
    return sets[seeds.index(seed)], cell.labels(seed, 0, cell.protocol.n) if labelled else None


def write_pngs(images: Images, folder: Path) -> None:
    """Into a new or empty folder; raises InputError for one that holds something, RunError where it can't be written."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: there is something already; the pictures take a new or an empty folder")
    number = 0
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for batch in _batches(images, f"PNGs in {folder.name}"):
            for pixels in batch.permute(0, 2, 3, 1).numpy():
                Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels).save(
                    folder / f"{number:0{DIGITS}}.png"
                )
                number += 1
    except OSError as error:
        raise unwritable(folder, error) from error


def write_npz(images: Images, labels: Tensor | None, file: Path) -> None:
    """As a whole or not at all; raises RunError where it can't be written."""
    with replaced(file) as partial, zipfile.ZipFile(partial, "w") as archive:
        with archive.open("arr_0.npy", "w", force_zip64=True) as member:
            first = True
            for batch in _batches(images, file.name):
                pixels = np.ascontiguousarray(batch.permute(0, 2, 3, 1).numpy())
                if first:
                    header = {"descr": "|u1", "fortran_order": False, "shape": (images.n, *pixels.shape[1:])}
                    np.lib.format.write_array_header_1_0(member, header)
                    first = False
                member.write(pixels.tobytes())
        if labels is not None:
            with archive.open("arr_1.npy", "w") as member:
                np.lib.format.write_array(member, labels.numpy(), allow_pickle=False)


def _batches(images: Images, what: str) -> Iterator[Tensor]:
    with Bar(images.n, what, "image") as shown:
        for batch in images.batches():
            yield batch
            shown.update(len(batch))
