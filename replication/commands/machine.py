"""`replicate doctor`, `bench`, `sync` and `list`."""

import argparse
import sys
from collections.abc import Mapping

from replication.commands.options import Commands, add_device, added, device_of


def register(commands: Commands) -> None:
    added(commands, "sync", _sync, "write the rows that MLflow lacks")
    for name, work, text in (
        ("doctor", _doctor, "look at this machine: versions, device, folders, data, weights, tracking store"),
        ("bench", _bench, "measure speed as ratios: the sampling loop, latents, DiT, the Fréchet distance"),
    ):
        add_device(added(commands, name, work, text))
    parser = added(
        commands, "list", _list, "list the parts of one kind, each with what it is; without a kind, the kinds"
    )
    parser.add_argument("kind", nargs="?", help="samplers, schedules, models, ...")


def _sync(options: argparse.Namespace) -> None:
    from replication.harness.home import state
    from replication.harness.store import Store
    from replication.harness.sweep import all_journals, sync

    store = Store(state())
    store.check()
    for journal in all_journals(state()):
        count = sync(journal, store, trust_marks=False)
        print(f"{journal.folder.name}: {count} rows are in MLflow at {store.address}")


def _doctor(options: argparse.Namespace) -> None:
    from replication.commands.doctor import examine
    from replication.harness.home import state
    from replication.harness.store import Store
    from replication.report.tables import markdown
    from replication.types import InputError

    lines, trouble = examine(device_of(options.device), Store(state()))
    print(markdown(["what", "found"], lines))
    if trouble:
        raise InputError("; ".join(trouble))


def _bench(options: argparse.Namespace) -> None:
    from replication.bench import bench

    print(bench(device_of(options.device)))


def _list(options: argparse.Namespace) -> None:
    from replication.registry import REGISTRIES, unknown

    kinds = [*REGISTRIES, "protocols", "choices"]
    if options.kind is None:
        print("\n".join(kinds))
    elif parts := REGISTRIES.get(options.kind):
        _print({name: parts.summary(name) for name in parts.names()})
        print("".join(f"replicate: {reason}\n" for reason in parts.unreadable), end="", file=sys.stderr)
    elif options.kind == "protocols":
        from replication.harness.protocol import named_protocol, protocol_names

        _print({name: named_protocol(name).source for name in protocol_names()})
    elif options.kind == "choices":
        from replication.harness.forensics.choices import CHOICES

        _print({choice.name: choice.source for choice in CHOICES})
    else:
        raise unknown("kind", options.kind, kinds)


def _print(explained: Mapping[str, str]) -> None:
    for name, sentence in explained.items():
        print(f"{name:24} {sentence}")
