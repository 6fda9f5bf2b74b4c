"""`replicate weights add`: published weights as the checkpoint of a row."""

import argparse
from pathlib import Path

from replication.commands.options import (
    Commands,
    add_device,
    add_experiment,
    added,
    cells_named,
    device_of,
    settings_of,
)
from replication.harness.cell import find_cell
from replication.harness.given_weights import give_first_stage, give_network
from replication.harness.home import state
from replication.harness.workplace import Workplace
from replication.types import InputError


def register(commands: Commands) -> None:
    parser = added(commands, "weights", lambda _: None, "make published weights the checkpoint of a row")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    parser = added(actions, "add", _add, "from safetensors, under diffusers' names or the official code's")
    add_experiment(parser, profile="paper")
    parser.add_argument("--row", required=True, help="the label of a row in the experiment's table")
    parser.add_argument("--network", metavar="PATH", help="of the row's network: a file, or a folder of diffusers")
    parser.add_argument("--first-stage", metavar="PATH", help="of the autoencoder behind its latents, likewise")
    add_device(parser)


def _add(options: argparse.Namespace) -> None:
    experiment, cells = cells_named(options.experiment, options.profile, settings_of(options.set))
    cell = find_cell(cells, options.row, None)
    if not options.network and not options.first_stage:
        raise InputError("nothing to add: say --network PATH, --first-stage PATH or both")
    place = Workplace(state(), device_of(options.device), experiment.profile(options.profile).batch_size)
    for given, add in ((options.first_stage, give_first_stage), (options.network, give_network)):
        if given:
            print(f"wrote {add(cell.recipe, Path(given).expanduser(), place)}")
