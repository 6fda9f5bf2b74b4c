"""`replicate data list`, `add` and `verify`."""

import argparse

from replication.harness.experiment_file import toml_value
from replication.registry import DATASETS


def list_datasets(_: argparse.Namespace) -> None:
    print("\n".join(dataset.status() for _, dataset in DATASETS.built()))


def add(options: argparse.Namespace) -> None:
    asked = {option: toml_value(option, value) for option, value in options.set}
    DATASETS.build(options.dataset, **asked).add(options.path)
    print(DATASETS.build(options.dataset, **asked).status())


def verify(options: argparse.Namespace) -> None:
    """Of the datasets named; of all that are here where none is."""
    asked = {option: toml_value(option, value) for option, value in options.set}
    for name in options.datasets or DATASETS.names():
        dataset = DATASETS.build(name, **asked)
        if not options.datasets and not dataset.present():
            print(dataset.status())
            continue
        for split, fingerprint in dataset.verify().items():
            print(f"{name} {split}: {fingerprint}")
