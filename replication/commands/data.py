"""`replicate data`: datasets."""

import argparse
from pathlib import Path

from replication.commands.options import Commands, added, options_of_part


def register(commands: Commands) -> None:
    _add_arguments(added(commands, "data", lambda _: None, "datasets: list, add a local copy, verify"))


def _data_list(_: argparse.Namespace) -> None:
    from replication.registry import DATASETS

    print("\n".join(dataset.status() for _, dataset in DATASETS.built()))


def _data_add(options: argparse.Namespace) -> None:
    from replication.registry import DATASETS
    from replication.settings import Part

    dataset = Part(name=options.dataset, options=options_of_part(options.set))
    dataset.build(DATASETS).add(Path(options.path))
    print(dataset.build(DATASETS).status())


def _data_verify(options: argparse.Namespace) -> None:
    from replication.registry import DATASETS

    asked = options_of_part(options.set)
    for name in options.datasets or DATASETS.names():
        dataset = DATASETS.build(name, **asked)
        if not options.datasets and not dataset.present():
            print(dataset.status())
            continue
        for split, fingerprint in dataset.verify().items():
            print(f"{name} {split}: {fingerprint}")


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    actions.add_parser("list", help="what is there").set_defaults(command=_data_list)
    add = actions.add_parser(
        "add", help="take in a local copy: a folder of images, parquet shards or the binary archive"
    )
    add.add_argument("dataset")
    add.add_argument("path")
    add.set_defaults(command=_data_add)
    verify = actions.add_parser("verify", help="read everything and compare fingerprints")
    verify.add_argument("datasets", nargs="*")
    for action in (add, verify):
        action.add_argument("--set", action="append", default=[], metavar="a=b", help="one option of the dataset")
    verify.set_defaults(command=_data_verify)
