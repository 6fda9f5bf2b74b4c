"""Put the averaged weights behind a row into the package, each file with its card: `python -m replication.harness.shipping`.

    python -m replication.harness.shipping ldm "text, guidance 3" 50 --profile evening

The row must have been measured here, or imported with its weights. Networks are kept as float16, and so is the decoder of
a first stage; its encoder stays as it was, since its SHA-256 stands for the latents that networks were trained on. What is
kept are given weights (harness/archive.py), found where a run finds its own; training/snapshots.py says how to do without.
"""

import argparse
from pathlib import Path

from replication.checkpoint import load_metadata
from replication.files import file_sha256, write_atomically
from replication.harness.archive import averaged
from replication.harness.experiment import load_experiment
from replication.harness.home import state
from replication.harness.job import rows_among
from replication.harness.jobs.cell import Cell, cells_of, find_cell
from replication.harness.jobs.first_stage import FirstStageCell, first_stage_cells
from replication.harness.journal import Record
from replication.harness.sweep import journal_of
from replication.training.settings import Training
from replication.training.snapshots import SHIPPED, Snapshots
from replication.types import InputError

LICENCE = "MIT, as the code; trained on CIFAR-10, which is published for research"


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
    facts = {"network": str(recipe.network), "condition": str(recipe.condition or "none")}
    made.append(_kept(snapshots, cell, rows[cell.key], recipe.training, facts, folder))
    for stage in stages:
        if stage.key in cell.needs and stage.key in rows:
            kept = Snapshots(state() / "first-stages", stage.first_stage.training_identity(stage.build_dataset()))
            parts = stage.first_stage.build_autoencoder().decoder_parts
            facts = {"autoencoder": str(stage.first_stage.autoencoder), "loss": str(stage.first_stage.loss)}
            made.append(_kept(kept, stage, rows[stage.key], stage.first_stage.training, facts, folder, parts))
    return made


def _kept(
    snapshots: Snapshots,
    job: Cell | FirstStageCell,
    row: Record,
    training: Training,
    facts: dict[str, str],
    folder: Path,
    halved: tuple[str, ...] | None = None,
) -> Path:
    """The file of one training, and its card beside it. `halved`: of which modules float16 is enough; None: of all."""
    source = snapshots.after(training.steps)
    if not source.is_file():
        raise InputError(f"{job.title}: its weights are not here ({source.name})")
    out = averaged(source, folder / source.name, halved)
    header, figures = load_metadata(source), {k: v for k, v in row.items() if k.startswith("metric.")}
    labels = job.protocol.metric_labels
    measured = {
        labels[m]: figures[f"metric.{m}"] for m in ("fd", "fd_infinity", "class_accuracy") if f"metric.{m}" in figures
    }
    lines = {
        "file": f"`{out.name}`, {out.stat().st_size:,} bytes",
        "SHA-256": f"`{file_sha256(out)}`",
        **{name: f"`{value}`" for name, value in facts.items()},
        "training": f"{training.steps:,} steps of {training.batch_size} images",
        "hours": f"{header['seconds'] / 3600:.2f} on {row['env.device']}",
        "recipe": f"`{training}`",
        "row": f"{job.title} of `{job.experiment}`, profile `{job.profile}`, n = {row['protocol.n']}",
        **{name: f"{value:.3g}" for name, value in measured.items()},
        "licence": LICENCE,
        "train it anew": f"`REPLICATION_SHIPPED=none replicate run {job.experiment} --profile {job.profile}`",
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in lines.items())
    title = f"# {job.experiment}, {job.profile}: {job.label}"
    write_atomically(out.with_suffix(".md"), f"{title}\n\n| | |\n|---|---|\n{table}\n".encode())
    return out


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
