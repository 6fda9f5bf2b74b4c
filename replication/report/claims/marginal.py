"""x_t can be drawn directly: the moments of T steps of q(x_t|x_s), multiplied out, against the closed form."""

import torch

from replication.diffusion.forward import transition
from replication.harness.claim import MarginalClaim
from replication.registry import SCHEDULES
from replication.report.claims.verdict import Evidence, Verdict, at_most


def judge_marginal(claim: MarginalClaim, evidence: Evidence) -> list[Verdict]:
    """One exact verdict per schedule: the largest deviation over all t of the scale and of the variance of x_t."""
    verdicts = []
    for part in claim.schedules:
        schedule = part.build(SCHEDULES)
        scale, variance, worst = torch.ones(()).double(), torch.zeros(()).double(), 0.0
        for k in range(1, schedule.T + 1):
            s, t = torch.tensor((k - 1) / schedule.T).double(), torch.tensor(k / schedule.T).double()
            step_scale, step_variance = transition(schedule, s, t)
            scale, variance = step_scale * scale, step_scale**2 * variance + step_variance
            worst = max(
                worst, float((scale - schedule.alpha(t)).abs()), float((variance - schedule.sigma(t) ** 2).abs())
            )
        word = at_most(claim.tolerance, worst, worst) if evidence.suffices(claim) else "not tested"
        formula = f"largest deviation of scale and variance, {schedule.T} steps"
        verdicts.append(Verdict(str(part), formula, worst, None, None, f"at most {claim.tolerance:g}", None, word))
    return verdicts
