"""What the arguments of several commands stand for: the jobs of an experiment, and where they are computed."""

import argparse
import json
from collections.abc import Sequence
from typing import Any

import torch

from replication.acceleration import Policy
from replication.harness.experiment import Experiment, load_experiment
from replication.harness.home import state
from replication.harness.job import Job, jobs_of, of_row
from replication.harness.jobs.cell import Cell
from replication.harness.journal import plain
from replication.harness.workplace import Workplace
from replication.memory import keep_freed_memory
from replication.registry import unknown
from replication.report.claims import claims_of
from replication.types import InputError


def jobs_named(options: argparse.Namespace) -> tuple[Experiment, list[Job]]:
    """The experiment, changed by --set, and the checked jobs of its profile, claims checked too; raises InputError."""
    experiment = load_experiment(options.experiment, dict(options.set), options.profile)
    jobs = jobs_of(experiment, options.profile)
    claims_of(experiment)  # what is wrong in a claim is found before anything is run
    return experiment, jobs


def each_named(options: argparse.Namespace) -> list[argparse.Namespace]:
    """The options of each of `options.experiments`."""
    return [argparse.Namespace(**vars(options), experiment=name) for name in dict.fromkeys(options.experiments)]


def chosen(jobs: Sequence[Job], options: argparse.Namespace) -> list[Job]:
    """The jobs of --row and --only, and behind them those that train what they build on; all where neither is given.

    Several values of one key of --only are alternatives, several keys hold at once. Raises InputError for what no job has.
    """
    named = [job for label in dict.fromkeys(options.row or ()) for job in of_row(jobs, label)] or [*jobs]
    wanted: dict[str, list[str]] = {}
    for key, value in options.only:
        wanted.setdefault(key, []).append(value)
    for key, values in wanted.items():
        known = [job for job in named if key in job.columns]
        if not known:
            columns = dict.fromkeys(column for job in named for column in job.columns)
            raise unknown("column", key, list(columns))
        found = [job for job in known if str(job.columns[key]) in values]
        if not found:
            raise unknown(f"value of {key}", values[0], [*dict.fromkeys(str(job.columns[key]) for job in known)])
        named = found
    needed = {key for job in named for key in job.needs}
    there = {job.key for job in named}
    return named + [job for job in jobs if job.key in needed and job.key not in there]


def print_json(content: Any) -> None:
    """For `--json`: strict JSON, where a figure that is not finite is a text. On one line, which takes a tenth of the time."""
    print(json.dumps(plain(content), allow_nan=False))


def cells_named(options: argparse.Namespace) -> tuple[Experiment, list[Cell]]:
    """Likewise, its cells alone."""
    experiment, jobs = jobs_named(options)
    return experiment, [job for job in jobs if isinstance(job, Cell)]


def workplace(options: argparse.Namespace, experiment: Experiment) -> Workplace:
    """The state folder and the device of --device; raises InputError where there is none."""
    return Workplace(state(), device_of(options.device), experiment.profile(options.profile).batch_size)


EAGER, REPLAY = "+eager", "+replay"


def device_of(name: str) -> torch.device:
    """The device itself; auto is CUDA where there is one, and behind a name "+replay" leaves networks
    uncompiled, "+eager" their kernels launched one by one too.

    cuDNN looks for the fastest convolutions there, since shapes stay the same from step to step; on the CPU this process keeps
    memory for its next operations. Raises InputError for one that is not there.
    """
    Policy.replays = not name.endswith(EAGER)
    Policy.compiles = Policy.replays and not name.endswith(REPLAY)
    name = name.removesuffix(EAGER).removesuffix(REPLAY)
    torch.backends.cudnn.benchmark = True
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise unknown("device", name, ["auto", "cpu", "cuda"]) from error
    if device.type not in ("cpu", "cuda") or (device.type == "cuda" and not torch.cuda.is_available()):
        raise InputError(f"--device {name}: there is no such device here (valid: auto, cpu, cuda with a CUDA device)")
    if device.type == "cpu":
        keep_freed_memory()
    return device
