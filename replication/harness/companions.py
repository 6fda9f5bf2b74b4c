"""Companions: processes of this machine that compute beside that of the command, where networks run on the CPU.

The threads of one process wait for each other after every operation of a network. Processes of one thread wait for nobody:
together they do more in a second, and beside other work on the machine each keeps its share of it. Trainings come first, in
which each works on its rows of every batch (training/processes.py). Then they take rows, and who finds none draws images for
another's, chunk by chunk (sampling/chunks.py).
"""

import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any

import torch

from replication.files import Unwritable
from replication.harness.computing import Asked, Computes, Computing, Elsewhere, Lost
from replication.harness.expected import Expected, Forecast
from replication.harness.job import Job, trainings_of
from replication.harness.workplace import PlannedTraining, Workplace
from replication.memory import GIBIBYTE, available_memory, keep_freed_memory, out_of_memory
from replication.metrics.timing import Together
from replication.progress import be_quiet
from replication.training.processes import met
from replication.types import InputError, RunError

PAYS = 20.0  # seconds of work for which one more process pays: until it has imported everything it takes five
BASE = GIBIBYTE  # bytes that one takes before it computes anything
LEAST = 64  # images at a time: one thread takes a third longer for each of 16
# seconds of a training's step from which on processes, which meet after each, do no worse than threads on a quiet machine;
# beside one busy process they make twice as many
STEP = 0.03
MOST_SECONDS = 5.0  # that one is waited for which has nothing left to do
SERVE = "from replication.harness.companions import serve; serve({})"


@contextmanager
def companions(jobs: Sequence[Job], place: Workplace) -> Iterator[Sequence[Computes]]:
    """This process, and as many others as threads, work and memory suffice for; trainings that the jobs need are done before.

    The place's batch is shared out, and what PyTorch has of threads, until the body is over.
    """
    threads = torch.get_num_threads()
    trainings = trainings_of(jobs, place)
    count = _worthwhile(jobs, trainings, place, threads)
    shared = replace(place, batch_size=max(place.batch_size // count, min(place.batch_size, LEAST)))
    team = [Companion(shared, threads // count, count - 1) for _ in range(count - 1)]
    try:
        _compute_beside(threads // count, count - 1, os.getpid())
        _train(trainings, place, team, threads)
        yield [Computing(shared), *team]
    finally:
        _compute_beside(threads, 0, os.getpid())
        for one in team:
            one.end()


def _train(trainings: Sequence[PlannedTraining], place: Workplace, team: Sequence["Companion"], threads: int) -> None:
    """What others train just now, or what fails, is left to the jobs that need it."""
    forecast = Forecast(place)
    for one in trainings:
        try:
            if not (steps := one.to_do()):
                continue
            parted = one.of.training.part_size > len(team) and forecast.of_training(one).seconds >= STEP * steps
            if not (team and parted and _trained_together(one, place, team)):
                _compute_beside(threads, 0, os.getpid())
                one.done_in(place)
        except Unwritable:
            raise
        except Exception:  # kept in place.failed_trainings, or met again
            continue
        finally:
            _compute_beside(threads // (1 + len(team)), len(team), os.getpid())


def _trained_together(one: PlannedTraining, place: Workplace, team: Sequence["Companion"]) -> bool:
    """Whether all processes have trained it, none of which was lost. Raises what ends a training of one process too."""
    count = 1 + len(team)
    try:
        with tempfile.TemporaryDirectory() as folder:
            for other in team:
                other.ask(one.title, "ready")
            for index, other in enumerate(team, 1):
                other.begin("train", one, index, count, folder)
            with met(0, count, folder) as processes:
                one.done_in(replace(place, processes=processes))
            for other in team:
                other.answer()
    except Exception as error:
        for other in team:
            other.begin_anew()
        if isinstance(error, InputError | RunError) and not out_of_memory(error.__cause__ or error):
            raise
        place.failed_trainings.pop(one.snapshots.key, None)
        print(f"{one.title}: lost a process; this one goes on alone from what is written", flush=True)
        return False
    return True


def _worthwhile(jobs: Sequence[Job], trainings: Sequence[PlannedTraining], place: Workplace, threads: int) -> int:
    """How many processes, this one among them."""
    if place.device.type != "cpu" or threads == 1:
        return 1
    forecast = Forecast(place)
    expected = Expected.of_all(map(forecast.of_training, trainings))
    for job in jobs:
        expected = Expected.of_all([expected, forecast.of_job(job.ahead(place))])
        if expected.seconds > threads * PAYS:
            break
    room = available_memory() / (BASE + expected.memory)
    return int(min(threads, 1 + expected.seconds // PAYS, 1 + max(room, 0)))


def _compute_beside(threads: int, companions: int, first: int) -> None:
    torch.set_num_threads(threads)
    Together.companions, Together.first = companions, first


class Companion(Elsewhere):
    """One of them, as the process of the command sees it."""

    def __init__(self, place: Workplace, threads: int, companions: int):
        # models and features stay with who has loaded them
        super().__init__(replace(place, progress=False, _held={}, _references={}))
        self.conditions = threads, companions, os.getpid()
        self.start()

    def start(self) -> None:
        self.connection, theirs = Pipe()
        command = [sys.executable, "-c", SERVE.format(theirs.fileno())]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}
        # without a terminal's keys; its standard error is ours
        nothing = subprocess.DEVNULL
        self.process = subprocess.Popen(
            command, pass_fds=[theirs.fileno()], env=environment, stdin=nothing, stdout=nothing
        )
        theirs.close()
        self.name = f"process {self.process.pid}"
        with suppress(OSError):
            _send(self.connection, (self.place, *self.conditions))

    def ask(self, title: str, method: str, *arguments: Any) -> Any:
        self.begin(method, *arguments)
        return self.answer()

    def begin(self, method: str, *arguments: Any) -> None:
        """Ask, and do not wait for the answer; one that is gone is found when that is waited for."""
        with suppress(OSError):
            _send(self.connection, (method, self.place.deadline.left(), *arguments))

    def answer(self) -> Any:
        """To what was asked last; raises Lost."""
        try:
            return _received(self.connection)
        except (EOFError, OSError) as error:
            self.process.wait()
            raise Lost from error

    def begin_anew(self) -> None:
        """A new process in the place of this one, whatever it is doing."""
        self.process.kill()
        self.process.wait()
        self.connection.close()
        self.start()

    def stop(self) -> None:
        super().stop()
        self.process.kill()

    def end(self) -> None:
        """It has nothing left to do."""
        self.connection.close()
        try:
            self.process.wait(MOST_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Trains(Asked):
    """What a companion answers: it takes part in trainings too."""

    def ready(self) -> None:
        """It has imported everything, and listens."""

    def train(self, one: PlannedTraining, index: int, count: int, folder: str) -> None:
        """As number `index`. What goes wrong is said by the process of the command."""
        with suppress(Exception), met(index, count, folder) as processes:
            one.done_in(replace(self.place, processes=processes, failed_trainings={}))


def serve(descriptor: int) -> None:
    """What a companion does: answer, until the process of the command is gone, whatever it is doing then."""
    # a terminal's Ctrl-C goes to all; the process of the command ends the others
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection, asked = Connection(descriptor), SimpleQueue[Any]()
    threading.Thread(target=_listen, args=(connection, asked), daemon=True).start()
    be_quiet(True)
    place, threads, *beside = asked.get()
    keep_freed_memory()
    _compute_beside(threads, *beside)
    worker = Trains(place)
    while True:
        _send(connection, worker.answer(*asked.get()))


def _listen(connection: Connection, asked: "SimpleQueue[Any]") -> None:
    while True:
        try:
            asked.put(_received(connection))
        except (EOFError, OSError):
            os._exit(0)


def _send(connection: Connection, content: Any) -> None:
    """As it is: a Connection's own `send` would share the memory of tensors, which ends with the sender."""
    connection.send_bytes(pickle.dumps(content))


def _received(connection: Connection) -> Any:
    return pickle.loads(connection.recv_bytes())  # noqa: S301  # nobody else has an end of the pipe
