"""`replicate sample`: images of one's own prompts."""

import argparse
from pathlib import Path

from replication.commands.options import cells_named, workplace
from replication.files import write_atomically
from replication.harness.jobs.cell import find_cell
from replication.harness.measuring import strip
from replication.report.plots import picture_grid
from replication.types import InputError


def sample(options: argparse.Namespace) -> None:
    experiment, cells = cells_named(options)
    cell = find_cell(cells, options.row, options.steps)
    if options.n < 1:
        raise InputError(f"-n {options.n}: at least one image for each prompt")
    out = Path(options.out).absolute()
    if out.suffix != ".png":
        raise InputError(f"--out {options.out}: the picture is a PNG, and its name ends in .png")
    pictures = cell.prompted(options.prompt, options.n, options.seed, workplace(options, experiment))
    lines = [(prompt, strip(images)) for prompt, images in zip(options.prompt, pictures, strict=True)]
    write_atomically(out, picture_grid(lines))
    print(f"wrote {out}: {options.n} images for each prompt, {cell.label} x {cell.sampling.steps}, seed {options.seed}")
