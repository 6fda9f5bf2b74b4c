"""What an objective must do: a finite loss per image that trains the network, at times within (0, 1]."""

from collections.abc import Iterator

import torch

from replication.check.finding import Finding, at_most, holds
from replication.check.oracles.networks import SmallNetwork
from replication.diffusion import Denoiser
from replication.diffusion.objective import Objective
from replication.registry import SCHEDULES
from replication.types import InputError


def findings(objective: Objective) -> Iterator[Finding]:
    """On a VP schedule, with a network of two convolutions in float64, at t = 1/T, in the middle and at t = 1."""
    schedule = SCHEDULES.build("linear")
    network = SmallNetwork(out=4 if objective.learns_variance else 2)
    denoiser = Denoiser(network, schedule, variance=objective.variance_reading)
    generator = torch.Generator().manual_seed(0)
    x0, noise = torch.randn(2, 3, 2, 4, 4, generator=generator, dtype=torch.float64).clamp(-1, 1)
    t = torch.tensor([1 / schedule.T, 0.5, 1.0], dtype=torch.float64)
    loss = objective(denoiser, x0, None, t, noise)
    fits = loss.shape == t.shape and bool(loss.isfinite().all())
    yield holds("loss of three images", [round(x, 4) for x in loss.flatten().tolist()], fits, "three finite numbers")
    if not fits:
        return
    alone = torch.cat([objective(denoiser, x0[i : i + 1], None, t[i : i + 1], noise[i : i + 1]) for i in range(3)])
    yield at_most("difference that the batch makes", float((loss - alone).detach().abs().max()), 1e-9)
    loss.sum().backward()
    untrained = [name for name, p in network.named_parameters() if p.grad is None or not bool(p.grad.abs().sum() > 0)]
    yield holds("parameters without a gradient", untrained or "none", not untrained, "none")
    times = objective.draw_times(1000, schedule, torch.device("cpu"))
    drawn = f"{times.dtype}{list(times.shape)}, {float(times.min()):.4g} to {float(times.max()):.4g}"
    right = times.dtype == torch.float64 and times.shape == (1000,) and bool(((times > 0) & (times <= 1)).all())
    yield holds("1000 drawn times", drawn.removeprefix("torch."), right, "float64[1000] in (0, 1]")
    if objective.learns_variance:
        try:
            objective(Denoiser(SmallNetwork(), schedule), x0, None, t, noise)
            refused = False
        except InputError:
            refused = True
        yield holds("a network without a variance", "refused" if refused else "taken", refused, "refused")
