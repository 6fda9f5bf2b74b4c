"""`replicate doctor`, `bench`, `sync` and `list`."""

import argparse
from collections.abc import Callable
from functools import partial

from replication import registry
from replication.commands.doctor import examine
from replication.commands.options import Commands, add_device, added, device_of
from replication.harness.forensics.choices import CHOICES
from replication.harness.home import state
from replication.harness.protocol import named_protocol, protocol_names
from replication.harness.store import Store
from replication.harness.sweep import all_journals, sync
from replication.report.tables import markdown
from replication.types import InputError


def register(commands: Commands) -> None:
    added(commands, "sync", _sync, "tell MLflow the rows that it lacks")
    for name, work, text in (
        ("doctor", _doctor, "look at this machine: versions, device, folders, data, weights, tracking store"),
        ("bench", _bench, "measure speed as ratios: the sampling loop, latents, DiT, the Fréchet distance"),
    ):
        add_device(added(commands, name, work, text))
    added(commands, "list", _list, "list the parts of one kind").add_argument("kind", help=", ".join(LISTS))


def _sync(options: argparse.Namespace) -> None:
    store = Store(state())
    store.check()
    for journal in all_journals(state()):
        count = sync(journal, store, trust_marks=False)
        print(f"{journal.folder.name}: {count} rows are in MLflow at {store.address}")


def _doctor(options: argparse.Namespace) -> None:
    lines, trouble = examine(device_of(options.device), Store(state()))
    print(markdown(["what", "found"], lines))
    if trouble:
        raise InputError("; ".join(trouble))


def _bench(options: argparse.Namespace) -> None:
    from replication.bench import bench  # diffusers, which it compares with, takes seconds to import

    print(bench(device_of(options.device)))


def _list(options: argparse.Namespace) -> None:
    if options.kind not in LISTS:
        raise registry.unknown("kind", options.kind, list(LISTS))
    for name, summary in LISTS[options.kind]().items():
        print(f"{name:24} {summary}")


def _parts(parts: registry.Registry) -> dict[str, str]:
    """First line of the docstring, by name."""
    return {name: ((parts.get(name).__doc__ or "").strip().splitlines() or [""])[0] for name in parts.names()}


REGISTRIES = {
    "schedules": registry.SCHEDULES, "spacings": registry.SPACINGS, "samplers": registry.SAMPLERS,
    "objectives": registry.OBJECTIVES, "models": registry.MODELS, "autoencoders": registry.AUTOENCODERS,
    "conditions": registry.CONDITIONS, "datasets": registry.DATASETS, "extractors": registry.EXTRACTORS,
    "quantities": registry.QUANTITIES, "perceptual": registry.PERCEPTUAL, "discriminators": registry.DISCRIMINATORS,
}  # fmt: skip
LISTS: dict[str, Callable[[], dict[str, str]]] = {
    **{kind: partial(_parts, parts) for kind, parts in REGISTRIES.items()},
    "protocols": lambda: {name: named_protocol(name).source for name in protocol_names()},
    "choices": lambda: {choice.name: choice.source for choice in CHOICES},
}
