"""Who computes jobs: this process, or another that is asked to."""

import traceback
from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any

from replication.deadline import Deadline
from replication.files import Damaged, Held, Unwritable
from replication.harness.job import Job
from replication.harness.journal import Computed, Record
from replication.harness.workplace import Workplace
from replication.memory import free_memory, out_of_memory
from replication.types import InputError, RunError, one_line

MOST_LOST = 3  # processes that one job may lose on the way to its row: it is likely the job that kills them
MOST_DAMAGED = 10  # files set aside on the way to one row; a disk that damages more needs a person


class Computing:
    """This process, one job at a time; what has been found to fit into the memory is kept in mind."""

    def __init__(self, place: Workplace):
        self.place = place
        self.beyond: set[str] = set()  # keys of jobs that this process can't help with

    def compute(self, job: Job, earlier: Record | None) -> Computed:
        """The job's row; `earlier`: the one that there is, of other versions. Raises as Job.compute does.

        Again where a file was set aside, and in smaller batches where the memory does not suffice.
        """
        damaged = 0
        while True:
            try:
                again = job.measured_again(earlier, self.place) if earlier else None
                return again or job.compute(self.place)
            except Damaged:
                damaged += 1
                if damaged > MOST_DAMAGED:
                    raise
            except Exception as error:
                if not out_of_memory(error):
                    raise
                if (before := self.place.batch_size) == 1:
                    raise RunError(f"out of memory, even in batches of one image ({one_line(error)})") from error
                self.place = replace(self.place, batch_size=before // 2)
                print(
                    f"{job.title}: out of memory in batches of {before}; going on in batches of {before // 2}",
                    flush=True,
                )
            free_memory(self.place.device)

    def help(self, job: Job) -> bool:
        """Do a share of what another one computes just now; whether there was any. Raises Unwritable."""
        try:
            return job.key not in self.beyond and job.help(self.place)
        except Held:
            return False
        except Unwritable:
            raise
        except Exception:  # its holder meets the same, and tells, or has more memory or time
            self.beyond.add(job.key)
            return False

    def stop(self) -> None:
        """Begin nothing more: called from another thread, when the run ends early. This process ends by itself."""


class Lost(Exception):
    """The process that was asked is gone."""


class Elsewhere(ABC):
    """Another process, seen from the command's; replaced when it is lost. name: for people.

    place: where the command computes, the clock of which counts.
    """

    def __init__(self, place: Workplace):
        self.place, self.name, self.stopped = place, "", False

    @abstractmethod
    def start(self) -> None:
        """Begin a new process, which need not be there yet."""

    @abstractmethod
    def ask(self, title: str, method: str, *arguments: Any) -> Any:
        """What that method of Asked answers about the job of this title; raises Lost, or Held where none is to be had."""

    def compute(self, job: Job, earlier: Record | None) -> Computed:
        """Raises RunError when as many processes were lost as a job may lose; Held as `ask` does."""
        return self._answer(job.title, "compute", job, earlier)

    def help(self, job: Job) -> bool:
        try:
            return bool(self._answer(job.title, "help", job))
        except Held:
            return False

    def stop(self) -> None:
        self.stopped = True

    def _answer(self, title: str, method: str, *arguments: Any) -> Any:
        for _ in range(MOST_LOST):
            try:
                answer = self.ask(title, method, *arguments)
            except Lost as error:
                if self.stopped:
                    raise KeyboardInterrupt from error
                print(f"{title}: lost {self.name or 'a worker'}; another one goes on from what is written", flush=True)
                self.start()
            else:
                if isinstance(answer, Exception):
                    raise answer
                return answer
        raise RunError(f"{title}: lost {MOST_LOST} workers on the way; the memory may not suffice")


Computes = Computing | Elsewhere  # one who takes a job at a time


class Asked(Computing):
    """What runs in the other process."""

    def answer(self, method: str, seconds: float, *arguments: Any) -> Any:
        """What the method returns, or the error that it raises, as one of ours; `seconds`: that are left."""
        self.place = replace(self.place, deadline=Deadline.within(seconds))
        try:
            return getattr(self, method)(*arguments)
        except (InputError, RunError) as error:
            return error
        except Exception as error:  # who asked need not have its class
            traceback.print_exception(error)
            return RunError(f"{type(error).__name__}: {one_line(error)}")
