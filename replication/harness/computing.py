"""Who computes jobs: this process, or another that is asked to."""

from dataclasses import replace
from typing import Protocol

from replication.files import Held, Unwritable
from replication.harness.job import Job
from replication.harness.journal import Computed, Record
from replication.harness.workplace import Workplace
from replication.memory import free_memory, out_of_memory
from replication.sampling.chunks import Damaged
from replication.types import RunError

MOST_DAMAGED = 10  # files set aside on the way to one row; a disk that damages more needs a person


class Computes(Protocol):
    """One who takes a job at a time."""

    def compute(self, job: Job, earlier: Record | None) -> Computed:
        """The job's row; `earlier`: the one that there is, of other versions. Raises as Job.compute does."""

    def help(self, job: Job) -> bool:
        """Do a share of what another one computes just now; whether there was any. Raises Unwritable."""

    def stop(self) -> None:
        """Begin nothing more: called from another thread, when the run ends early."""


class Computing:
    """This process; what has been found to fit into the memory is kept in mind."""

    def __init__(self, place: Workplace):
        self.place = place
        self.beyond: set[str] = set()  # keys of jobs that this process can't help with

    def compute(self, job: Job, earlier: Record | None) -> Computed:
        """Again where a file was set aside, and in smaller batches where the memory does not suffice."""
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
        """It ends by itself."""


def one_line(error: Exception) -> str:
    """The first line of what it says."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
