"""`replicate weights list`, `fetch`, `add`, `export`: where published weights are, how they become the checkpoint of a row, and
how a row's own leave."""

import argparse
from pathlib import Path

import torch

from replication.checkpoint import load_metadata
from replication.commands.options import cells_named, print_json, workplace
from replication.files import expanded
from replication.harness.exported_weights import CARD, export_diffusers
from replication.harness.fetched_weights import (
    fetch,
    in_place,
    is_here,
    named,
    path_or_name,
    published,
    rows_of,
    size_of,
)
from replication.harness.given_weights import Given, give_first_stage, give_network
from replication.harness.home import project, state
from replication.harness.job import of_row
from replication.harness.jobs.cell import find_cell
from replication.harness.jobs.first_stage import first_stage_cells
from replication.harness.model_card import title_in
from replication.harness.sweep import journal_of
from replication.harness.workplace import Workplace
from replication.layers.weights import Published
from replication.registry import one_of
from replication.report.rows import rows_of as measured_rows
from replication.report.tables import Table
from replication.terminal import show
from replication.training.first_stage import FirstStage
from replication.training.snapshots import SHIPPED
from replication.training.train import NetworkState
from replication.training.train_first_stage import FirstStageState
from replication.types import InputError

SHOWN = 4  # rows beside one file
COLUMNS = ("name", "part", "what", "size", "here", "rows", "licence", "SHA-256", "spelling", "address")


def list_weights(options: argparse.Namespace) -> None:
    files, here = published(), [_shipped(path) for path in sorted(SHIPPED.glob("*.safetensors"))]
    if options.json:
        lines = [{**dict(zip(COLUMNS, _line(file), strict=True)), "rows": rows_of(file)} for file in files]
        print_json([*(dict(zip(COLUMNS, line, strict=True)) for line in here), *lines])
    else:
        show(str(Table(list(COLUMNS), [*here, *(_line(file) for file in files)])), options.all)


def _shipped(path: Path) -> list[str]:
    """The line of a file that comes with the package; the title of its card says what it is."""
    header = load_metadata(path)
    of = header.get(NetworkState.kind) or header[FirstStageState.kind]
    part = of["network" if NetworkState.kind in header else "autoencoder"]
    title = title_in(path.with_suffix(".md").read_text(encoding="utf-8"))
    size, rows = f"{path.stat().st_size / 1e6:,.1f} MB", "where nothing was trained"
    return [path.stem[:12], part["name"], title, size, "yes", rows, "MIT", "", "ours", f"{SHIPPED.name}/{path.name}"]


def _line(file: Published) -> list[str]:
    address = f"{file.url}, {file.folder}" if file.folder else file.url
    stated = file.sha256[:16] or ("the Hub states it" if file.hub else "not stated")
    here = "yes" if is_here(file) else "no"
    every = rows_of(file)
    rows = "; ".join(every[:SHOWN]) + (f" and {len(every) - SHOWN} more" if len(every) > SHOWN else "")
    return [file.name, file.part, file.what, size_of(file), here, rows, file.licence, stated, file.spelling, address]


def fetch_weights(options: argparse.Namespace) -> None:
    for file in [named(text) for text in options.names]:
        where = fetch(file)
        print(f"{file.name}: {where}; licence: {file.licence}")
        for row in [] if in_place(file) else rows_of(file)[:SHOWN]:
            experiment, _, label = row.partition(": ")
            stage = label.removeprefix("first stage ")
            what = f"--stage {stage} --first-stage" if stage != label else f"--row {label!r} --network"
            print(f"  replicate weights add {experiment} {what} {file.name}")


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
        named = stages[one_of("first stage", options.stage, sorted(stages))]
        stage, dataset = named.first_stage, named.build_dataset()
    else:
        recipe = of_row(cells, options.row)[0].recipe
        stage, dataset = recipe.first_stage, recipe.build_dataset()
    if options.first_stage:
        if stage is None:
            raise InputError(f"row {options.row!r} is a model of pixels: it has no first stage")
        _said(give_first_stage(stage, dataset, _path(options.first_stage, "--first-stage"), place))
    if options.network:
        _said(give_network(recipe, _path(options.network, "--network"), place))


def export(options: argparse.Namespace) -> None:
    """The averaged weights, or the raw ones where the row was drawn with these, and its first stage."""
    experiment, cells = cells_named(options)
    cell = find_cell(cells, options.row, options.steps)
    place, folder = Workplace(state(), torch.device("cpu"), 1), expanded(options.diffusers, "--diffusers")
    committed = project() / "results" / f"{experiment.name}-{options.profile}.csv"
    row = measured_rows([cell], journal_of(cells, place.state), committed).get(cell.key)
    for note in export_diffusers(cell, row, experiment.papers, place, folder):
        print(f"{folder}: {note}")
    print(f"wrote {folder}; its {CARD} says how to load it")


def _path(text: str, option: str) -> Path:
    return path_or_name(text, expanded(text, option))


def _said(given: Given) -> None:
    print("\n".join([*given.remarks, f"wrote {given.path}"]))
