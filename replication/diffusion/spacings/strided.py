"""Spacings that take timesteps of the schedule by a rule: equal strides, denser near the data, IDDPM's respacing strings."""

import math
from typing import Any

import torch
from torch import Tensor

from replication.diffusion.schedule import NoiseSchedule
from replication.diffusion.spacing import ENDS, Spacing, times_of
from replication.registry import SPACINGS, one_of
from replication.types import InputError

CODE = 0.8  # the share of T at which DDIM's official code begins


@SPACINGS.register("uniform")
class Uniform(Spacing):
    """The DDIM code's uniform stride, indices 0, c, 2c, ... below T (Song et al. 2021, appendix D.2, "linear").

    c = T // n_steps, so T - 1 is visited only when c is 1: 20 of 1000 steps start at index 950.

    Where n_steps does not divide T the published rule takes more steps than asked (30 gives 31, 300 gives 334), and so
    does this one; the returned length tells, and NFE is counted from it.
    """

    def times(self, schedule: NoiseSchedule, n_steps: int) -> Tensor:
        return times_of(torch.arange(0, schedule.T, schedule.T // n_steps), schedule)


@SPACINGS.register("ldm")
class LDM(Spacing):
    """LDM's official DDIM times: the uniform stride moved up by one, ending at t = 1/T (Rombach et al. 2022).

    Indices 1, 1 + c, 1 + 2c, ... below T + 1, with c = T // n_steps, and t = 1/T at the end.

    So the last alpha is alphas_cumprod[0], 0.9985 for the published models, and the final latent keeps noise. As in
    `uniform`, more steps than asked are taken where n_steps does not divide T: 400 of 1000, which the official README has
    for LSUN-Churches, are 500 (the paper's Table 1 has 200). Raises InputError where the shift leads beyond the schedule,
    as at c = 1.
    """

    def times(self, schedule: NoiseSchedule, n_steps: int) -> Tensor:
        indices = 1 + torch.arange(0, schedule.T, schedule.T // n_steps)
        if indices[-1] >= schedule.T:
            raise InputError(f"spacing 'ldm': {n_steps} steps of {schedule.T} lead to index {schedule.T}, one too many")
        return times_of(indices, schedule, "first")


@SPACINGS.register("leading")
class Leading(Spacing):
    """Equal strides from index 0 up, as diffusers' default: the top is left out (Lin et al. 2023, Table 2).

    Indices offset + i (T // n_steps), i = 0 .. n_steps - 1: always n_steps of them, and the top is left out.

    Where n_steps does not divide T the top is left out by more (300 of 1000 begin at index 897), while `uniform`, which
    is otherwise the same, takes more steps. offset: 0 in DDIM, 1 in LDM and Stable Diffusion ("steps_offset").
    end: "zero", or "first" as in LDM; with offset 0 the last step is then from index 0 to itself, an identity for
    DDIM with eta 0. Raises InputError for another end, a negative offset, or one that leads beyond the schedule.
    """

    def __init__(self, offset: int = 0, end: str = "zero"):
        if isinstance(offset, bool) or not isinstance(offset, int) or offset < 0:
            raise InputError(f"offset must be a whole number from 0, not {offset!r}")
        self.offset, self.end = offset, one_of("end", end, ENDS)

    def times(self, schedule: NoiseSchedule, n_steps: int) -> Tensor:
        indices = self.offset + torch.arange(n_steps) * (schedule.T // n_steps)
        if indices[-1] >= schedule.T:
            raise InputError(f"offset {self.offset} leads {n_steps} steps to index {indices[-1]} of {schedule.T}")
        return times_of(indices, schedule, self.end)


@SPACINGS.register("trailing")
class Trailing(Spacing):
    """Equal strides from index T - 1 down, so that sampling starts at t = 1 (Lin et al. 2023, Table 2).

    Indices T - 1 - i T / n_steps, i = 0 .. n_steps - 1, rounded half to even, as diffusers and the paper do.

    Where n_steps does not divide T the stride is uneven by one index; no index repeats. (For 61, 103 and 60 other
    numbers of 1000 steps diffusers adds one at index -1 by a rounding error, which is not copied.) round = false keeps the
    fractions, which the network then gets. end: "zero", or "first", which appends t = 1/T (n_steps = T visits that
    already: its last step is an identity for DDIM with eta 0). Raises InputError for another end.
    """

    def __init__(self, round: bool = True, end: str = "zero"):
        self.round, self.end = round, one_of("end", end, ENDS)

    def times(self, schedule: NoiseSchedule, n_steps: int) -> Tensor:
        # numpy's arange, operation by operation: halves are rounded, so the last bit matters (48 steps, 96, 112, ...)
        stride = (schedule.T - schedule.T / n_steps) - schedule.T
        k = schedule.T + torch.arange(n_steps, dtype=torch.float64) * stride
        return times_of((k.round() if self.round else k).flip(0) - 1, schedule, self.end)


@SPACINGS.register("linspace")
class Linspace(Spacing):
    """Indices evenly spaced from T - 1 to 0, both included (Lin et al. 2023, Table 2).

    end "zero": n_steps indices and then t = 0, as diffusers' DDIM and DDPM do; a single one is T - 1 (theirs
    is 0, where nothing is left to denoise).
    end "first": n_steps + 1 indices, the last of which is the end, t = 1/T: the official DPM-Solver's time_uniform,
    with round = false. round = true rounds half to even, as diffusers does; false keeps the fractions, which the network
    then gets. No index repeats: n_steps = T with end "first" and rounding raises InputError, as does another end.
    """

    def __init__(self, round: bool = True, end: str = "zero"):
        self.round, self.end = round, one_of("end", end, ENDS)

    def times(self, schedule: NoiseSchedule, n_steps: int) -> Tensor:
        n = n_steps + (self.end == "first")
        if self.round and n > schedule.T:
            raise InputError(
                f"{n_steps} steps to t = 1/T need {n} timesteps, more than the schedule's T = {schedule.T}"
            )
        # numpy's linspace, operation by operation: halves are rounded, so the last bit matters
        indices = torch.arange(n, dtype=torch.float64) * ((schedule.T - 1) / max(n - 1, 1))
        indices[-1] = schedule.T - 1
        times = times_of(indices.round() if self.round else indices, schedule)
        return times if self.end == "zero" else times[:-1]


@SPACINGS.register("quadratic")
class Quadratic(Spacing):
    """The DDIM code's quadratic rule, denser near the data: published CIFAR-10 rows (Song et al. 2021).

    Indices int(linspace(0, sqrt(top T), n_steps)^2). The paper, appendix D.2, says of its constant only that the first time
    visited is close to T; top = 0.8 is the official code's, so that sampling starts where noise is not yet pure. Raises
    InputError for a top outside (0, 1], or one that leads to index T.

    Truncation repeats some indices (100 of 1000 steps have 96 distinct ones). They are kept, as published: a repeated
    time is an identity step for DDIM with eta 0, and costs one evaluation all the same.
    """

    def __init__(self, top: float = CODE):
        if not 0 < top <= 1:
            raise InputError(f"spacing 'quadratic': top = {top} is no share of T, which is above 0 and at most 1")
        self.top = top

    @staticmethod
    def identified(options: dict[str, Any]) -> dict[str, Any]:
        """The options in keys: the code's own is left out, so that rows from before it could be changed keep theirs."""
        return {name: value for name, value in options.items() if value != CODE}

    def times(self, schedule: NoiseSchedule, n_steps: int) -> Tensor:
        last = math.sqrt(schedule.T * self.top)
        # numpy's linspace, operation by operation: truncation makes the last bit matter (6, 11 and 21 steps)
        roots = torch.arange(n_steps, dtype=torch.float64) * (last / max(n_steps - 1, 1))
        if n_steps > 1:
            roots[-1] = last
        indices = (roots * roots).long()
        if indices[-1] >= schedule.T:
            raise InputError(f"spacing 'quadratic': top = {self.top} leads to index {schedule.T}, one too many")
        return times_of(indices, schedule)


@SPACINGS.register("iddpm")
class IDDPM(Spacing):
    """IDDPM's respacing strings (Nichol and Dhariwal 2021, section 4) as its code reads them, which ADM and DiT use too.

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
