"""Put the averaged weights behind a row into the package, each file with its card: `python -m replication.harness.shipping`.

    python -m replication.harness.shipping ldm "text, guidance 3" 50 --profile evening

The row must have been measured here, or imported with its weights. Networks are kept as float16, and so is the decoder of
a first stage; its encoder stays as it was, since its SHA-256 stands for the latents that networks were trained on. What is
kept are given weights (harness/archive.py), found where a run finds its own; training/snapshots.py says how to do without.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from replication.checkpoint import load_metadata
from replication.files import write_atomically
from replication.harness.archive import averaged
from replication.harness.experiment import load_experiment
from replication.harness.home import state
from replication.harness.job import Job, rows_among
from replication.harness.jobs.cell import cells_of, find_cell
from replication.harness.jobs.first_stage import first_stage_cells
from replication.harness.journal import Record
from replication.harness.model_card import model_card
from replication.harness.sweep import journal_of
from replication.training.settings import Training
from replication.training.snapshots import SHIPPED, VARIABLE, Snapshots
from replication.types import InputError

LICENCE = "MIT, as the code; trained on {}"
DATA = {
    "cifar10": "CIFAR-10, which is published for research",
    "digits": "the UCI repository's handwritten digits (Alpaydin and Kaynak 1998, CC BY 4.0)",
}


def ship(experiment: str, label: str, steps: int | None, profile: str, folder: Path = SHIPPED) -> list[Path]:
    """Write the weights of a row's network and of its first stage; returns the files. InputError where they are not here."""
    loaded = load_experiment(experiment)
    cells, stages = cells_of(loaded, profile), first_stage_cells(loaded, profile)
    cell = find_cell(cells, label, steps)
    rows = rows_among([*cells, *stages], journal_of(cells, state()).rows())
    if cell.key not in rows:
        raise InputError(f"{cell.title} of {experiment}, profile {profile}: there is no row of it here")
    recipe, made = cell.recipe, []
    snapshots = Snapshots(state() / "checkpoints", recipe.training_identity())
    made.append(_kept(snapshots, cell, rows[cell.key], recipe.training, loaded.papers, folder))
    for stage in stages:
        if stage.key in cell.needs and stage.key in rows:
            kept = Snapshots(state() / "first-stages", stage.first_stage.training_identity(stage.build_dataset()))
            parts = stage.first_stage.build_autoencoder().decoder_parts
            made.append(_kept(kept, stage, rows[stage.key], stage.first_stage.training, loaded.papers, folder, parts))
    return made


def _kept(
    snapshots: Snapshots,
    job: Job,
    row: Record,
    training: Training,
    papers: Sequence[str],
    folder: Path,
    halved: tuple[str, ...] | None = None,
) -> Path:
    """The file of one training, and its card beside it. `halved`: of which modules float16 is enough; None: of all."""
    source = snapshots.after(training.steps)
    if not source.is_file():
        raise InputError(f"{job.title}: its weights are not here ({source.name})")
    out = averaged(source, folder / source.name, halved)
    header = load_metadata(source)
    notes = {"training": f"{header['seconds'] / 3600:.2f} hours on {row['env.device']}"}
    data = next(str(row[name]) for name in ("recipe.dataset", "first_stage.dataset") if name in row)
    licence = LICENCE.format(DATA.get(data, data))
    card = model_card(job, row, papers, {out.name: out}, licence, how_to_load(job), notes)
    write_atomically(out.with_suffix(".md"), card.encode())
    return out


def how_to_load(job: Job) -> str:
    """Of weights that come with the package."""
    command = f"{job.experiment} --profile {job.profile}"
    return (
        f"It comes with the package and is found where nothing was trained: `replicate run {command}`, and `replicate sample "
        f"{command}` for a picture. `{VARIABLE}=none replicate run {command}` trains it anew."
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m replication.harness.shipping", description=__doc__)
    parser.add_argument("experiment")
    parser.add_argument("row")
    parser.add_argument("steps", type=int, nargs="?")
    parser.add_argument("--profile", default="evening")
    options = parser.parse_args()
    try:
        for file in ship(options.experiment, options.row, options.steps, options.profile):
            print(f"wrote {file}, {file.stat().st_size:,} bytes, and its card")
    except InputError as error:
        parser.error(str(error))
