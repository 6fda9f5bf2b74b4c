"""`replicate weights list`, `add`: where published weights are, and how they become the checkpoint of a row."""

import argparse
from pathlib import Path

from replication.checkpoint import load_metadata
from replication.commands.options import cells_named, workplace
from replication.files import expanded
from replication.harness.given_weights import Given, give_first_stage, give_network, published
from replication.harness.job import of_row
from replication.harness.jobs.first_stage import first_stage_cells
from replication.registry import unknown
from replication.report.tables import markdown
from replication.terminal import show
from replication.training.first_stage import FirstStage
from replication.training.snapshots import SHIPPED
from replication.training.train import NetworkState
from replication.training.train_first_stage import FirstStageState
from replication.types import InputError


def list_weights(options: argparse.Namespace) -> None:
    columns = ["part", "what", "spelling", "address", "licence"]
    lines = [[f.part, f.what, f.spelling, f.url, f.licence] for f in published()]
    show(markdown(columns, [*map(_shipped, sorted(SHIPPED.glob("*.safetensors"))), *lines]), options.all)


def _shipped(path: Path) -> list[str]:
    """The line of a file that comes with the package; the title of its card says what it is."""
    header = load_metadata(path)
    of = header.get(NetworkState.kind) or header[FirstStageState.kind]
    part = of["network" if NetworkState.kind in header else "autoencoder"]
    title = path.with_suffix(".md").read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
    return [part["name"], title, "found where nothing was trained", f"{SHIPPED.name}/{path.name}", "MIT"]


def add(options: argparse.Namespace) -> None:
    if not options.network and not options.first_stage:
        raise InputError("nothing to add: give --network PATH, --first-stage PATH or both")
    if (options.row is None) == (options.stage is None) or (options.stage and options.network):
        raise InputError("say --row LABEL for its network and first stage, or --stage NAME for a first stage alone")
    experiment, cells = cells_named(options)
    place = workplace(options, experiment)
    stage: FirstStage | None
    if options.stage:
        stages = {stage.label: stage for stage in first_stage_cells(experiment, options.profile)}
        if options.stage not in stages:
            raise unknown("first stage", options.stage, sorted(stages))
        stage, dataset = stages[options.stage].first_stage, stages[options.stage].build_dataset()
    else:
        recipe = of_row(cells, options.row)[0].recipe
        stage, dataset = recipe.first_stage, recipe.build_dataset()
    if options.first_stage:
        if stage is None:
            raise InputError(f"row {options.row!r} is a model of pixels: it has no first stage")
        _said(give_first_stage(stage, dataset, expanded(options.first_stage, "--first-stage"), place))
    if options.network:
        _said(give_network(recipe, expanded(options.network, "--network"), place))


def _said(given: Given) -> None:
    print("\n".join([*given.remarks, f"wrote {given.path}"]))
