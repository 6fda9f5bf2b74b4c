"""Jobs on a Ray cluster: `replicate run --executor ray`, extra `cluster`.

Each worker is a process of the cluster with one GPU or some CPU cores. It computes what the driver, the process of the
command, asks it to, and the driver writes the rows. Workers share the state folder as any processes do, so that all machines
see it: one trains what several rows need, and who has nothing else to do draws images for another's row. A worker that dies
costs what it had not written yet; another one goes on from there.
"""

import logging
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import torch

from replication.deadline import Deadline
from replication.files import Held
from replication.harness.computing import Asked, Elsewhere, Lost
from replication.harness.job import Job
from replication.harness.journal import Computed, Record
from replication.harness.workplace import Workplace
from replication.registry import unknown
from replication.types import InputError, one_line

DEVICES = ["auto", "cpu", "cuda"]  # Ray chooses which GPU
ANSWER_SECONDS = 10.0
START_SECONDS = 120.0  # that a new worker is waited for before the job is left to others


@dataclass(frozen=True)
class Share:
    """What each worker has of the cluster."""

    gpus: int
    cpus: int

    def __str__(self) -> str:
        return "one GPU" if self.gpus else f"{self.cpus} CPU core{'s' * (self.cpus > 1)}"

    def fitting(self, resources: dict[str, float]) -> int:
        """How many workers a node with these has room for."""
        rooms = [int(resources.get(name, 0) // n) for name, n in (("GPU", self.gpus), ("CPU", self.cpus)) if n]
        return min(rooms)


@contextmanager
def workers_on_ray(
    jobs: Sequence[Job],
    place: Workplace,
    device: str,
    device_of: Callable[[str], torch.device],
    cpus: int,
    quiet: bool = False,
) -> Iterator[Sequence["RemoteWorker"]]:
    """As many as there is room for in the cluster of RAY_ADDRESS, or in one of this machine alone that ends with them, whatever
    the jobs are.

    `device` is what the command was given, for `device_of` there: with auto workers take GPUs where the cluster has any.
    `cpus`: the cores of a worker without one. Raises InputError without ray, for a cluster that can't be reached, and for
    one that has not what a single worker needs. Unless `quiet`, what workers print is shown here.
    """
    if (name := device.partition("+")[0]) not in DEVICES:
        raise unknown("device", device, DEVICES)
    ray = _connected(place, quiet)
    try:
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        gpus = int(name != "cpu" and any(node.get("GPU", 0) >= 1 for node in nodes))
        if name == "cuda" and not gpus:
            raise InputError(f"--device {device}: none of the {len(nodes)} nodes of the cluster has a GPU")
        share = Share(gpus, 1 if gpus else cpus)
        if not (room := sum(share.fitting(node) for node in nodes)):
            most = max(int(node.get("CPU", 0)) for node in nodes)
            raise InputError(f"--worker-cpus {cpus}: no node of the cluster has as many; the largest has {most}")
        print(f"{room} workers on {len(nodes)} nodes, {share} each", flush=True)
        yield [RemoteWorker(ray, place, share, device, device_of) for _ in range(room)]
    finally:
        ray.shutdown()


def _connected(place: Workplace, quiet: bool) -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody
    os.environ.setdefault("RAY_DEDUP_LOGS", "0")  # workers' progress is alike, and yet not the same
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # the coming default, or Ray warns of it
    try:
        import ray
    except ImportError as error:
        raise InputError(
            f"--executor ray: {error}; pip install ray, or diffusion-replication with its extra `cluster`"
        ) from error
    address = os.environ.get("RAY_ADDRESS", "")
    _check_answers(address)
    # folders and policies are those of the driver; whatever else its environment says is about its own machine
    of_suite = {name: value for name, value in os.environ.items() if name.startswith("REPLICATION_")}
    try:  # without an address Ray looks for a cluster that once was started here, and waits for ever for one that is gone
        ray.init(
            address or "local",
            include_dashboard=False,
            log_to_driver=not quiet,
            logging_level=logging.ERROR,
            runtime_env={"env_vars": of_suite | {"REPLICATION_HOME": str(place.state)}},
        )
    except (OSError, RuntimeError, ValueError) as error:
        hint = ""
        if address:
            hint = "; RAY_AUTH_MODE=token and the token of the cluster's machines must be here too, where it has one"
        where = address or "this machine"
        raise InputError(f"--executor ray: the cluster at {where} can't be used: {one_line(error)}{hint}") from error
    return ray


def _check_answers(address: str) -> None:
    """Raises InputError where nothing listens at host:port: Ray itself takes minutes to say so."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        try:
            socket.create_connection((host, int(port)), timeout=ANSWER_SECONDS).close()
        except (OSError, OverflowError) as error:
            raise InputError(f"RAY_ADDRESS={address}: no cluster answers there ({one_line(error)})") from error


class RemoteWorker(Elsewhere):
    """One worker of the cluster as the driver sees it."""

    def __init__(self, ray: Any, place: Workplace, share: Share, device: str, device_of: Callable[[str], torch.device]):
        super().__init__(place)
        self.ray, self.share, self.device, self.device_of = ray, share, device, device_of
        self.start()

    def start(self) -> None:
        # an actor, so that models stay loaded and compiled from job to job
        actor = self.ray.remote(num_gpus=self.share.gpus, num_cpus=self.share.cpus)(Worker)
        elsewhere = replace(self.place, deadline=Deadline())  # its clock is another machine's
        self.actor = actor.remote(elsewhere, self.share, self.device, self.device_of)
        self.greeting, self.name = self.actor.greeting.remote(), ""

    def compute(self, job: Job, earlier: Record | None) -> Computed:
        computed = super().compute(job, earlier)
        print(f"{job.title}: computed by {self.name}", flush=True)
        return computed

    def ask(self, title: str, method: str, *arguments: Any) -> Any:
        """Raises Held while there is no room for a worker."""
        try:
            if not self.name:
                if not self.ray.wait([self.greeting], timeout=START_SECONDS)[0]:
                    raise Held(f"the cluster has no room for the worker that {title} is for")
                self.name = self.ray.get(self.greeting)
                print(f"{self.name} has started", flush=True)
            return self.ray.get(self.actor.answer.remote(method, self.place.deadline.left(), *arguments))
        except self.ray.exceptions.RayActorError as error:
            raise Lost from error

    def stop(self) -> None:
        super().stop()
        with suppress(Exception):  # Ray itself may have ended
            self.ray.kill(self.actor)


class Worker(Asked):
    """What runs in a process of the cluster."""

    def __init__(self, place: Workplace, share: Share, device: str, device_of: Callable[[str], torch.device]):
        if not share.gpus:
            torch.set_num_threads(share.cpus)
        super().__init__(replace(place, device=device_of(device)))

    def greeting(self) -> str:
        """For people."""
        return f"worker {os.getpid()} on {os.uname().nodename}"
