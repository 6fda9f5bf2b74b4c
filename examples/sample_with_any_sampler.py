"""Images from the checkpoint of an experiment's row, by any sampler on any spacing.

python examples/sample_with_any_sampler.py dpmpp_2m karras 20       (after: make replicate-ddpm)
"""

import sys
from pathlib import Path

import torch

from replication.diffusion import sample
from replication.harness.experiment import load_experiment
from replication.harness.home import state
from replication.harness.job import jobs_of
from replication.harness.measuring import strip
from replication.harness.workplace import Workplace
from replication.noise import ImageNoise
from replication.pixels import quantize
from replication.registry import SAMPLERS, SPACINGS

name, spacing, steps = sys.argv[1:] or ("ddim", "uniform", "20")
row = jobs_of(load_experiment("ddpm"), "cpu")[0]  # the rows of this table share one checkpoint
model = Workplace(state(), torch.device("cpu"), batch_size=10).model(row.recipe, ema=True)  # trained now if need be

denoiser, sampler = model.denoiser, SAMPLERS.build(name)
times = SPACINGS.build(spacing)(denoiser.schedule, int(steps))
noise = ImageNoise(seed=0, indices=torch.arange(10))  # image i depends on (seed, i) alone
x_T = noise.prior((10, *row.recipe.latent_shape)) * float(denoiser.schedule.prior_std(times[0]))
with torch.no_grad():
    x_0 = sample(denoiser, sampler, times, x_T, noise if sampler.stochastic else None)

out = Path(f"{name}-{spacing}-{steps}.png")
strip(quantize(x_0.float(), "round")).resize((800, 80), 0).save(out)
print(f"wrote {out}")
