"""`replicate samples export`: stored images of a row, or of a folder of chunks, as others' tools take them."""

import argparse
from pathlib import Path

import torch

from replication.commands.measure import BATCH, PROFILE
from replication.files import expanded
from replication.harness.exported import write_npz, write_pngs
from replication.harness.home import state
from replication.harness.images import open_images
from replication.harness.measuring import Images
from replication.harness.subjects import samples_of_row
from replication.harness.workplace import Workplace
from replication.registry import listed
from replication.types import InputError


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


def _images(options: argparse.Namespace) -> tuple[Images, torch.Tensor | None]:
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
