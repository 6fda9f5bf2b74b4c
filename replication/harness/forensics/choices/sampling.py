"""Choices that make other images: they need a checkpoint, and draw a sample set each."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from replication.diffusion.schedule import DiscreteSchedule
from replication.harness.forensics.choice import Alternative, Choice, Inapplicable, made_by_cell
from replication.harness.forensics.measurement import Measurement
from replication.harness.jobs.cell import Cell
from replication.pixels import QUANTIZERS
from replication.registry import SAMPLERS
from replication.sampling.generation import Sampling
from replication.settings import Part
from replication.types import InputError

# How a clip is printed. After the mean it has no effect on anything, which makes it the same as none.
CLIPS = {
    "x0": "x0, before the mean",
    "x0+eps": "x0, eps derived anew",
    "none": "none, or after the mean",
}
# leading is diffusers' default and, where the steps divide T, the same as uniform; with offset 1 it is LDM's.
SPACINGS = (
    Part(name="uniform"), Part(name="quadratic"), Part(name="trailing"), Part(name="linspace"), Part(name="leading"),
    Part(name="leading", options={"offset": 1}),
)  # fmt: skip
VARIANCES = {
    "0 (DDIM)": Part(name="ddim", options={"eta": 0.0}),
    "fixed-small (eta 1)": Part(name="ddim", options={"eta": 1.0}),
    "fixed-small": Part(name="ancestral", options={"variance": "fixed-small"}),
    "fixed-large (sigma-hat)": Part(name="ancestral", options={"variance": "fixed-large"}),
}


def ema(base: Measurement) -> Iterator[Alternative]:
    averaged = made_by_cell(base).protocol.ema
    names = {True: "EMA", False: "raw"}
    yield Alternative("weights", names[averaged], names[not averaged], _protocol(base, ema=not averaged))


def seed(base: Measurement) -> Iterator[Alternative]:
    """Two more blocks: those of the protocol where it has three, else the numbers that follow."""
    cell, first = made_by_cell(base), base.samples.seed
    others = dict.fromkeys([*cell.protocol.seeds, first + 1, first + 2])
    for after in [number for number in others if number != first][:2]:
        yield Alternative("seed", str(first), str(after), _samples(base, seed=after), noise=True)


def quantizer(base: Measurement) -> Iterator[Alternative]:
    before = made_by_cell(base).protocol.quantizer
    for after in sorted(set(QUANTIZERS) - {before}):
        yield Alternative("quantizer", before, after, _protocol(base, quantizer=after))


def clip(base: Measurement) -> Iterator[Alternative]:
    before = made_by_cell(base).sampling.clip
    for after in CLIPS:
        if after != before:
            yield Alternative("clip", CLIPS.get(before, before), CLIPS[after], _sampling(base, clip=after))
    if before == "none":
        yield Alternative("clip", "none", "after the mean", base)


def spacing(base: Measurement) -> Iterator[Alternative]:
    """A spacing that visits the base's very times makes the same images, and is not sampled again."""
    cell = made_by_cell(base)
    times = _times(cell)
    for after in SPACINGS:
        if after == cell.sampling.spacing:
            continue
        to = _sampling(base, spacing=after)
        try:
            same = torch.equal(_times(made_by_cell(to)), times)
        except InputError:  # this rule has no such number of steps
            continue
        yield Alternative("spacing", str(cell.sampling.spacing), str(after), base if same else to)


def last_alpha(base: Measurement) -> Iterator[Alternative]:
    """The same times with another end. Steps that lead nowhere, as the last then does, are left out with their cost."""
    cell = made_by_cell(base)
    schedule, times = cell.recipe.build_schedule(), _times(cell)
    if not isinstance(schedule, DiscreteSchedule):
        raise Inapplicable("needs a discrete schedule")
    names = ("1", "alphas_cumprod[0]")
    before = int(bool(times[-1] > 0))
    times[-1] = 0.0 if before else 1 / schedule.T
    distinct = [float(t) for t in times.unique().flip(0)]
    if len(distinct) < 2:
        raise Inapplicable("needs more than one step")
    spacing = Part(name="list", options={"times": distinct})
    to = _sampling(base, spacing=spacing, steps=len(distinct) - 1)
    yield Alternative("last alpha", names[before], names[1 - before], to)


def variance(base: Measurement) -> Iterator[Alternative]:
    """What noise a step adds. sigma-hat is published with clipping, as DDPM is; here the clip stays the base's."""
    sampler = made_by_cell(base).sampling.sampler
    if sampler.name not in ("ddim", "ancestral"):
        raise Inapplicable("needs DDIM or ancestral sampling")
    identities = {name: part.identity(SAMPLERS) for name, part in VARIANCES.items()}
    own = sampler.identity(SAMPLERS)
    before = next((name for name, identity in identities.items() if identity == own), str(sampler))
    for after, part in VARIANCES.items():
        twin = after.startswith("fixed-small") and part.name != sampler.name  # DDIM(1) and fixed-small are one rule
        if identities[after] != own and not twin:
            yield Alternative("variance", before, after, _sampling(base, sampler=part))


def precision(base: Measurement) -> Iterator[Alternative]:
    before = made_by_cell(base).protocol.precision
    after = "float32" if before == "bf16" else "bf16"
    yield Alternative("precision", before, after, _protocol(base, precision=after))


def tf32(base: Measurement) -> Iterator[Alternative]:
    before = made_by_cell(base).protocol.precision
    if not torch.cuda.is_available():
        raise Inapplicable("needs CUDA")
    if before == "tf32":
        raise Inapplicable("is the base's precision")
    yield Alternative("TF32", before, "tf32", _protocol(base, precision="tf32"))


def labels(base: Measurement) -> Iterator[Alternative]:
    cell = made_by_cell(base)
    if cell.recipe.condition is None:
        raise Inapplicable("unconditional model")
    before = cell.protocol.labels
    after = "balanced" if before == "random" else "random"
    yield Alternative("labels", before, after, _protocol(base, labels=after))


def batch(base: Measurement) -> Iterator[Alternative]:
    made_by_cell(base)
    before = base.samples.batch_size
    after = max(before // 8, 1)
    if after == before:
        raise Inapplicable("needs a sampling batch above 1")
    yield Alternative("sampling batch", str(before), str(after), _samples(base, batch_size=after))


def _times(cell: Cell) -> Tensor:
    return cell.sampling.times(cell.recipe.build_schedule())


def _samples(base: Measurement, **changes: Any) -> Measurement:
    return replace(base, samples=replace(base.samples, **changes))


def _sampling(base: Measurement, **changes: Any) -> Measurement:
    cell = made_by_cell(base)
    sampling: Sampling = cell.sampling.with_fields(**changes)
    return _samples(base, cell=cell.with_fields(sampling=sampling))


def _protocol(base: Measurement, **changes: Any) -> Measurement:
    cell = made_by_cell(base)
    return _samples(base, cell=cell.with_fields(protocol=cell.protocol.with_changes(changes)))


SAMPLING = (
    Choice("weights", "pytorch-ddpm #22: 8.06 raw, 3.21 EMA; tpu_utils.py:168-171 of DDPM", ema),
    Choice(
        "seed", "EDM's README: three seed blocks, the minimum reported. Here it is the yardstick of pure noise", seed
    ),
    Choice("quantizer", "IDDPM, ADM and LDM truncate, EDM, DiT and torchvision round", quantizer),
    Choice(
        "clip",
        "DDPM clips x0 before the mean, pytorch-ddpm after it, DDIM's eta path never, ADM derives eps anew",
        clip,
    ),
    Choice("spacing", "ddim #3, #32, diffusers #7401: five rules are in use under the name of DDIM", spacing),
    Choice(
        "last alpha",
        "DDIM ends at 1, LDM's DDIM (util.py:66) at alphas_cumprod[0]; diffusers' set_alpha_to_one",
        last_alpha,
    ),
    Choice("variance", "ddim #5: 280 in place of 18.36 at S = 20; DDPM's default is fixedlarge", variance),
    Choice(
        "precision",
        "autocast for speed, as the suite's own gpu profile does; the published tables are float32",
        precision,
    ),
    Choice("TF32", "DiT's README and #25: its table was made with TF32 off", tf32),
    Choice("labels", "latent-diffusion #262, LD3 #3: random labels 4.65, exactly balanced ones 3.54", labels),
    Choice("sampling batch", "lucidrains #224, torch-fidelity #43: does the batch size enter the figure?", batch),
)
