"""`replicate sample`: images of one's own prompts."""

import argparse
from pathlib import Path

from replication.commands.options import Commands, add_device, add_experiment, added, cells_named, workplace


def register(commands: Commands) -> None:
    parser = added(commands, "sample", _sample, "draw images of your own prompts, and write them to a PNG")
    add_experiment(parser)
    parser.add_argument("--row", required=True, help="the label of a conditional row in the experiment's table")
    parser.add_argument("--steps", type=int, help="of the sampler; by default the row's first step count")
    parser.add_argument("--prompt", action="append", required=True, help="what the images are to show; may be repeated")
    parser.add_argument("-n", type=int, default=10, help="images for each prompt")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="samples.png", help="the picture: one line of images for each prompt")
    add_device(parser)


def _sample(options: argparse.Namespace) -> None:
    from replication.files import write_atomically
    from replication.harness.jobs.cell import find_cell
    from replication.harness.measuring import strip
    from replication.harness.prompt import prompted
    from replication.report.plots import picture_grid
    from replication.types import InputError

    experiment, cells = cells_named(options)
    cell = find_cell(cells, options.row, options.steps)
    if options.n < 1:
        raise InputError(f"-n {options.n}: at least one image for each prompt")
    out = Path(options.out).absolute()
    if out.suffix != ".png":
        raise InputError(f"--out {options.out}: the picture is a PNG, and its name ends in .png")
    place = workplace(options.device, experiment.profile(options.profile).batch_size)
    pictures = prompted(cell, options.prompt, options.n, options.seed, place)
    lines = [(prompt, strip(images)) for prompt, images in zip(options.prompt, pictures, strict=True)]
    write_atomically(out, picture_grid(lines))
    print(f"wrote {out}: {options.n} images for each prompt, {cell.label} x {cell.sampling.steps}, seed {options.seed}")
