"""What a noise schedule must do: float64, clean at t = 0, noisier with every step, and invertible."""

from collections.abc import Iterator

import torch

from replication.check.finding import Finding, at_most, holds
from replication.diffusion.schedule import NoiseSchedule


def findings(schedule: NoiseSchedule) -> Iterator[Finding]:
    """On the grid k/T and on 999 times between."""
    grid = torch.arange(schedule.T + 1, dtype=torch.float64) / schedule.T
    t = torch.cat([grid, torch.linspace(1e-6, 1 - 1e-6, 999, dtype=torch.float64)]).sort().values.unique()
    alpha, sigma, lam = schedule.alpha(t), schedule.sigma(t), schedule.half_log_snr(t)
    shapes = [answer(t.reshape(1, -1)) for answer in (schedule.alpha, schedule.sigma, schedule.timestep)]
    same = all(answer.shape == (1, len(t)) and answer.dtype == torch.float64 for answer in shapes)
    yield holds("alpha, sigma, timestep: shape of t, float64", "yes" if same else "no", same)
    ends = (float(alpha[0]), float(sigma[0]))
    yield holds("alpha, sigma at t = 0", ends, ends == (1, 0), "1, 0")
    ranges = f"alpha {float(alpha.min()):.4g} to {float(alpha.max()):.4g}, sigma from {float(sigma.min()):.4g}"
    within = bool(((alpha >= 0) & (alpha <= 1) & (sigma >= 0)).all())
    yield holds("ranges", ranges, within, "alpha in [0, 1], sigma >= 0")
    rise = float(lam.diff()[1:].max()) if len(lam) > 2 else float(lam.diff().max())  # the first is -inf: sigma is 0
    yield holds("largest rise of half_log_snr", f"{rise:.3g}", rise < 0, "below 0")
    inside = lam.isfinite()
    ratio = (alpha / sigma).log()[inside]
    yield at_most("half_log_snr against log(alpha/sigma)", float((lam[inside] - ratio).abs().max()), 1e-9)
    yield at_most("time_at(half_log_snr(t)) against t", float((schedule.time_at(lam) - t).abs().max()), 1e-9)
    steps = schedule.timestep(grid[1:]).diff()
    yield holds("timesteps on the grid", "rising" if bool((steps > 0).all()) else "not rising", bool((steps > 0).all()))
