"""What several commands take: settings, a device, an experiment.

Commands import what computes inside their work, so that help, lists and wrong arguments are answered at once.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from replication.types import InputError

if TYPE_CHECKING:
    import torch

    from replication.harness.experiment import Experiment
    from replication.harness.job import Job
    from replication.harness.jobs.cell import Cell
    from replication.harness.workplace import Workplace

Commands = Any  # argparse's own class for it is private
Work = Callable[[argparse.Namespace], None]


def added(commands: Commands, name: str, work: Work, text: str) -> argparse.ArgumentParser:
    """A parser for the command, which does this work."""
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(command=work)
    return parser


def add_experiment(parser: argparse.ArgumentParser, profile: str = "cpu") -> None:
    """The arguments that name a profile of an experiment and change keys of it."""
    parser.add_argument("experiment", help="a name in experiments/, or the path of a TOML file")
    add_profile(parser, profile)
    parser.add_argument("--set", action="append", default=[], metavar="a.b=c", help="change one key of the profile")


def add_profile(parser: argparse.ArgumentParser, profile: str = "cpu") -> None:
    parser.add_argument("--profile", default=profile, help=f"of the experiment; by default {profile}")


def add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")


def jobs_named(options: argparse.Namespace, name: str | None = None) -> tuple[Experiment, list[Job]]:
    """The experiment, changed by --set, and the checked jobs of its profile, claims checked too; raises InputError."""
    from replication.harness.experiment import load_experiment
    from replication.harness.job import jobs_of
    from replication.report.claims import claims_of

    settings = settings_of(getattr(options, "set", []))
    experiment = load_experiment(name or options.experiment, settings, options.profile)
    jobs = jobs_of(experiment, options.profile)
    claims_of(experiment)  # what is wrong in a claim is found before anything is run
    return experiment, jobs


def cells_named(options: argparse.Namespace, name: str | None = None) -> tuple[Experiment, list[Cell]]:
    """Likewise, its cells alone."""
    from replication.harness.jobs.cell import Cell

    experiment, jobs = jobs_named(options, name)
    return experiment, [job for job in jobs if isinstance(job, Cell)]


def workplace(device: str, batch_size: int) -> Workplace:
    """The state folder, and the device of that name; raises InputError where there is none."""
    from replication.harness.home import state
    from replication.harness.workplace import Workplace

    return Workplace(state(), device_of(device), batch_size)


def options_of_part(pairs: Sequence[str]) -> dict[str, Any]:
    """`--set option=value` of a part, each value read as TOML."""
    from replication.harness.experiment_file import toml_value

    return {option: toml_value(value) for option, value in settings_of(pairs).items()}


def settings_of(pairs: Sequence[str]) -> dict[str, str]:
    """`--set a.b=c` as key and value; raises InputError for what is no such pair."""
    settings = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator or not key:
            raise InputError(f"--set {pair}: write it as key=value, e.g. --set protocol.n=500")
        settings[key] = value
    return settings


def device_of(name: str) -> torch.device:
    """The device itself; auto is CUDA where there is one. Raises InputError for one that is not there."""
    import torch

    from replication.registry import unknown

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise unknown("device", name, ["auto", "cpu", "cuda"]) from error
    if device.type not in ("cpu", "cuda") or (device.type == "cuda" and not torch.cuda.is_available()):
        raise InputError(f"--device {name}: there is no such device here (valid: auto, cpu, cuda with a CUDA device)")
    return device
