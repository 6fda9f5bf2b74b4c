"""IDDPM's respacing strings: Nichol and Dhariwal 2021, section 4, as the official code reads them (ADM and DiT too)."""

import torch
from torch import Tensor

from replication.diffusion.schedule import NoiseSchedule
from replication.diffusion.spacing import Spacing, times_of
from replication.registry import SPACINGS
from replication.types import InputError


@SPACINGS.register("iddpm")
class IDDPM(Spacing):
    """IDDPM's respacing strings (Nichol and Dhariwal 2021, section 4), which ADM and DiT use too.

    sections: "10,10" takes 10 indices from each half of 0..T-1, "50" takes 50 from all of it, "ddim20" strides.

    Within a section the indices are spread evenly from its first to its last, rounded half to even (a count of 1 takes
    the first); where T does not divide, the first sections are one index longer. "ddimN" takes 0, c, 2c, ... with the
    smallest c that gives exactly N. The default is one section of n_steps, DiT's "250". No index repeats.

    Raises InputError unless the counts add up to n_steps, where a section is shorter than its count, and where no
    stride gives N ("ddim300" of 1000).
    """

    def __init__(self, sections: str | None = None):
        self.sections = sections

    def times(self, schedule: NoiseSchedule, n_steps: int) -> Tensor:
        sections = str(n_steps) if self.sections is None else self.sections
        strided = sections.startswith("ddim")
        counts = _counts(sections, sections.removeprefix("ddim") if strided else sections)
        if strided and len(counts) > 1:
            raise InputError(f"sections {sections!r}: a stride has no sections")
        if sum(counts) != n_steps:
            raise InputError(f"sections {sections!r} are {sum(counts)} steps, not {n_steps}")
        indices = _strided(schedule.T, n_steps) if strided else _spread(schedule.T, counts)
        return times_of(torch.tensor(indices), schedule)


def _counts(sections: str, numbers: str) -> list[int]:
    counts = [int(count) if count.strip().isdecimal() else 0 for count in numbers.split(",")]
    if min(counts) < 1:
        raise InputError(f'sections {sections!r} must be positive counts ("50", "10,10") or a stride ("ddim20")')
    return counts


def _strided(T: int, n: int) -> list[int]:
    for stride in range(1, T + 1):
        if len(range(0, T, stride)) == n:
            return list(range(0, T, stride))
    raise InputError(f"sections 'ddim{n}': no whole stride visits exactly {n} of {T} indices")


def _spread(T: int, counts: list[int]) -> list[int]:
    indices, start = [], 0
    for i, count in enumerate(counts):
        size = T // len(counts) + (i < T % len(counts))
        if count > size:
            raise InputError(f"section {i + 1} of {len(counts)} has {size} indices, fewer than the {count} asked for")
        stride, place = (size - 1) / max(count - 1, 1), 0.0
        for _ in range(count):
            indices.append(start + round(place))
            place += stride  # summed as the official code does: halves are rounded, so the last bit matters
        start += size
    return indices
