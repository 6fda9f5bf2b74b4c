"""Samplers that hold x0 by past values of it, and what multistep samplers share: the history, a lower order on the last steps.

DPM-Solver++ (Lu et al. 2022b, algorithm 2 and, of its SDE, section 5):

    x0 held = x0 + (h / (2 h_0)) (x0 - past x0),   h_0 the step before

The first step is of order 1, DDIM's, and of 3M the second one is 2M's. Under the SDE, as k-diffusion (solver_type
"midpoint") and diffusers have it, 2M's x0 is held while noise of variance sigma_s^2 (1 - e^(-2 eta h)) is added.

Everyone's third-order multistep update (the official code's multistep_dpm_solver_third_update, diffusers', and
k-diffusion's sample_dpmpp_3m_sde) multiplies the coefficient of h^2 x0'' by a divided difference, which is half of it.
So what goes by the name 3M is of local order 2. With weights "exact" the coefficient is right and the local order is 3;
whole trajectories are then of order 2 all the same, because the first step is of order 1.

UniPC (Zhao et al. 2023, algorithms 1 and 2, B(h) version, in the multistep form) is a predictor of order p, and a corrector
that uses the next evaluation, made at the predicted x, before it goes on: one evaluation per step. Where only one other value
enters, its weight is simplified to 1/2 B(h), as published: bh1 has B(h) = h and bh2 has B(h) = e^h - 1 in the paper's signs.
With more values both are the same.
"""

import math
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from replication.diffusion.exponential import Node, average, hold_x0, log_snr_step, moments
from replication.diffusion.sampler import DenoiseAt, Sampler
from replication.diffusion.schedule import NoiseSchedule
from replication.registry import SAMPLERS, one_of
from replication.types import InputError

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
        self.lower_below = LOWER_ORDER_FINAL[one_of("lower_order_final", lower_order_final, LOWER_ORDER_FINAL)]

    def init(self, times: Tensor | None = None) -> History:
        steps = math.inf if times is None else len(times) - 1
        return History(left=steps if steps < self.lower_below else math.inf)


@SAMPLERS.register("dpmpp_2m")
class DPMpp2M(Multistep):
    """DPM-Solver++(2M): order 2, x0 predicted, one past value (Lu et al. 2022b, algorithm 2).

    lower_order_final: see Multistep.
    """

    order, values, eta = 2, 2, 0.0

    def step(
        self,
        denoise: DenoiseAt,
        schedule: NoiseSchedule,
        x_t: Tensor,
        t: Tensor,
        s: Tensor,
        noise: Tensor | None,
        state: History,
    ) -> tuple[Tensor, History]:
        history = state.push(schedule.half_log_snr(t), denoise(x_t, t).x0, keep=self.values)
        h, past = log_snr_step(schedule, t, s), len(history.nodes) - 1
        x0 = average(history.nodes, h, self.moments(h, past))
        x_s = hold_x0(schedule, x_t, x0, t, s, self.eta)
        if noise is None:
            return x_s, history
        return x_s + schedule.sigma(s) * (-torch.expm1(-2 * self.eta * h)).sqrt() * noise, history

    def moments(self, h: Tensor, past: int) -> list[float]:
        """The weight is simplified to be uniform, as published."""
        return moments(0, past)


@SAMPLERS.register("dpmpp_2m_sde")
class DPMpp2MSDE(DPMpp2M):
    """SDE-DPM-Solver++(2M): 2M's x0 with fresh noise at every step (Lu et al. 2022b, section 5).

    eta: 1 in the paper, 0 is 2M itself; raises InputError if it is negative. lower_order_final: see Multistep.
    """

    def __init__(self, eta: float = 1.0, lower_order_final: str = "at-zero"):
        super().__init__(lower_order_final)
        if not eta >= 0:
            raise InputError(f"eta must not be negative, not {eta!r}")
        self.eta = eta
        self.stochastic = eta > 0


@SAMPLERS.register("dpmpp_3m")
class DPMpp3M(DPMpp2M):
    """DPM-Solver++(3M): x0 predicted, two past values, as the official code has it (Lu et al. 2022b).

    weights: published or exact; lower_order_final: see Multistep. Raises InputError for other names.
    """

    values = 3

    def __init__(self, weights: str = "published", lower_order_final: str = "at-zero"):
        super().__init__(lower_order_final)
        self.weights = one_of("weights", weights, ("published", "exact"))
        self.local_order = 3 if weights == "exact" else 2

    def moments(self, h: Tensor, past: int) -> list[float]:
        if past < 2:
            return super().moments(h, past)
        first, second = moments(-h, 2)
        return [first, second if self.weights == "exact" else second / 2]


@dataclass(frozen=True)
class Predicted(History):
    """What the corrector needs besides the history: where the last predictor step began."""

    x_t: Tensor | None = None
    t: Tensor | None = None


@SAMPLERS.register("unipc")
class UniPC(Multistep):
    """UniPC, predictor and corrector of order p, x0 predicted (Zhao et al. 2023, algorithms 1 and 2).

    order p: 1 to 3; variant: bh1 or bh2; the defaults are diffusers'. Raises InputError for others.

    Whole trajectories are of order min(p + 1, 3), or 2 where the last predictor is lowered "always".
    """

    def __init__(self, order: int = 2, variant: str = "bh2", lower_order_final: str = "always"):
        super().__init__(lower_order_final)
        if order not in (1, 2, 3):
            raise InputError(f"order must be 1, 2 or 3, not {order!r}")
        self.variant, self.values, self.local_order = one_of("variant", variant, ("bh1", "bh2")), order, order
        self.order = 2 if math.isinf(self.lower_below) else min(order + 1, 3)

    def init(self, times: Tensor | None = None) -> Predicted:
        return Predicted(left=super().init(times).left)

    def step(
        self,
        denoise: DenoiseAt,
        schedule: NoiseSchedule,
        x_t: Tensor,
        t: Tensor,
        s: Tensor,
        noise: Tensor | None,
        state: Predicted,
    ) -> tuple[Tensor, Predicted]:
        x0, lam = denoise(x_t, t).x0, schedule.half_log_snr(t)
        if state.x_t is not None and state.t is not None:
            x_t = self._advance(schedule, state.x_t, state.t, t, (*state.nodes, (lam, x0)))
        history = state.push(lam, x0, keep=self.values)
        x_s = self._advance(schedule, x_t, t, s, history.nodes)
        return x_s, Predicted(history.nodes, history.left, x_t, t)

    def _advance(self, schedule: NoiseSchedule, x_t: Tensor, t: Tensor, s: Tensor, nodes: tuple[Node, ...]) -> Tensor:
        h, others = log_snr_step(schedule, t, s), len(nodes) - 1
        if others > 1 or self.variant == "bh2":
            weights = moments(-h if others > 1 else 0, others)
        else:
            weights = [0.5 * float(h / -torch.expm1(-h))]
        return hold_x0(schedule, x_t, average(nodes, h, weights), t, s)
