"""UniPC: Zhao et al. 2023, algorithms 1 and 2 (B(h) version), data prediction, in the multistep form.

A predictor of order p, and a corrector that uses the next evaluation, made at the predicted x, before it goes on: one
evaluation per step. Where only one other value enters, its weight is simplified to 1/2 B(h), as published:
bh1 has B(h) = h and bh2 has B(h) = e^h - 1 in the paper's signs. With more values both are the same.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from replication.diffusion.exponential import Node, average, hold_x0, log_snr_step, moments
from replication.diffusion.multistep import History, Multistep
from replication.diffusion.sampler import DenoiseAt
from replication.diffusion.schedule import NoiseSchedule
from replication.registry import SAMPLERS, unknown
from replication.types import InputError


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
        if variant not in ("bh1", "bh2"):
            raise unknown("variant", variant, ["bh1", "bh2"])
        self.variant, self.values, self.local_order = variant, order, order
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
