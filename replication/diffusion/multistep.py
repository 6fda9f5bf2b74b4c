"""What multistep samplers share: the values of past evaluations, and a lower order on the last steps."""

import math
from dataclasses import dataclass
from typing import Self

from torch import Tensor

from replication.diffusion.sampler import Sampler
from replication.registry import unknown

# With fewer steps than this the last one is of order 1, the one before at most of order 2, and so on. At infinite
# half_log_snr, where no polynomial has a limit, the order is 1 whatever the name.
LOWER_ORDER_FINAL = {"at-zero": 0, "below-10": 10, "below-15": 15, "always": math.inf}


@dataclass(frozen=True)
class History:
    """nodes: (half_log_snr, value) of evaluations, newest first. left: the highest order that the steps left allow."""

    nodes: tuple[tuple[Tensor, Tensor], ...] = ()
    left: float = math.inf

    def push(self, half_log_snr: Tensor, value: Tensor, keep: int) -> Self:
        """With a new first node, at most `keep` in all. A repeated time replaces its node; none from infinity stays."""
        old = [(lam, v) for lam, v in self.nodes if lam != half_log_snr and not math.isinf(lam)]
        return type(self)(((half_log_snr, value), *old)[: max(int(min(keep, self.left)), 1)], self.left - 1)


class Multistep(Sampler):
    """lower_order_final, where two projects disagree; raises InputError for another name:

    at-zero    only where the last sigma is 0 (k-diffusion)
    below-10   and on the last steps of fewer than 10 (the official DPM-Solver code)
    below-15   and on the last steps of fewer than 15 (diffusers' DPM-Solver)
    always     and on the last steps of any number (the official UniPC code, and diffusers')
    """

    stochastic, evals_per_step = False, 1

    def __init__(self, lower_order_final: str = "at-zero"):
        if lower_order_final not in LOWER_ORDER_FINAL:
            raise unknown("lower_order_final", lower_order_final, list(LOWER_ORDER_FINAL))
        self.lower_below = LOWER_ORDER_FINAL[lower_order_final]

    def init(self, times: Tensor | None = None) -> History:
        steps = math.inf if times is None else len(times) - 1
        return History(left=steps if steps < self.lower_below else math.inf)
