"""The choices that people make differently: what each may be in place of the base's (sources.py: where that was seen)."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Any

import torch

from replication.diffusion.schedule import DiscreteSchedule
from replication.harness.forensics.base import Measurement
from replication.metrics.metric import LEAST_IMAGES
from replication.pixels import QUANTIZERS
from replication.registry import DATASETS, SAMPLERS, one_of
from replication.settings import Part
from replication.types import InputError

ROUND = (10, 50, 100, 500, 1000, 5000, 10_000, 50_000)  # numbers of images that people measure with
WHOLE_BATCH = 64  # of the DDIM code's sampling: n // 64 batches are drawn
QUALITIES = ("jpeg-95", "jpeg-75")
RESIZES = {"png": "never"} | {f"resize-{name}": f"x2 and back, {name}" for name in ("bilinear", "bicubic", "box")}

# How a clip is printed. After the mean it has no effect on anything, which makes it the same as none.
CLIPS = {"x0": "x0, before the mean", "x0+eps": "x0, eps derived anew", "none": "none, or after the mean"}

# leading is diffusers' default and, where the steps divide T, the same as uniform; with offset 1 it is LDM's.
SPACINGS = (
    *(Part(name=name) for name in ("uniform", "quadratic", "trailing", "linspace", "leading")),
    Part(name="leading", options={"offset": 1}),
)

VARIANCES = {
    "0 (DDIM)": Part(name="ddim", options={"eta": 0.0}),
    "fixed-small (eta 1)": Part(name="ddim", options={"eta": 1.0}),
    "fixed-small": Part(name="ancestral", options={"variance": "fixed-small"}),
    "fixed-large (sigma-hat)": Part(name="ancestral", options={"variance": "fixed-large"}),
}

Changes = Iterable[tuple[object, object, Measurement]]  # before and after as they are printed, the changed measurement
Choice = Callable[[Measurement], Changes]  # what may stand in place of a base; InputError where nothing can
Values = Iterable[Any] | Callable[[Measurement], Iterable[Any]]  # of a key, for any base or for this one


def choices_named(names: Sequence[str]) -> dict[str, Choice]:
    """The choices of these names, by default all; raises InputError with the nearest valid name."""
    for name in names:
        one_of("choice", name, CHOICES)
    return {name: choice for name, choice in CHOICES.items() if not names or name in names}


def _other(key: str, values: Values, shown: Callable[[Any], object] = str) -> Choice:
    """Other values of one key of the measurement, each printed as `shown`."""

    def changes(base: Measurement) -> Changes:
        before = attrgetter(key)(base)
        for after in values(base) if callable(values) else values:
            if after != before:
                outer, _, field = key.rpartition(".")
                to = base.under(**{field: after}) if outer else replace(base, **{field: after})
                yield shown(before), shown(after), to

    return changes


def _seeds(base: Measurement) -> list[int]:
    """Two more blocks: those of the protocol where it has three, else the numbers that follow."""
    blocks = dict.fromkeys([*base.protocol.seeds, base.seed + 1, base.seed + 2])
    return [seed for seed in blocks if seed != base.seed][:2]


def _clips(base: Measurement) -> Changes:
    before = base.cell.sampling.clip
    for after in CLIPS:
        if after != before:
            yield CLIPS.get(before, before), CLIPS[after], base.sampled(clip=after)
    if before == "none":
        yield "none", "after the mean", base


def _spacings(base: Measurement) -> Changes:
    """A spacing that visits the base's very times makes the same images, and is not sampled again."""
    schedule, before = base.cell.recipe.build_schedule(), base.cell.sampling
    for after in SPACINGS:
        to = base.sampled(spacing=after)
        try:
            same = torch.equal(to.cell.sampling.times(schedule), before.times(schedule))
        except InputError:  # this rule has no such number of steps
            continue
        if after != before.spacing:
            yield before.spacing, after, base if same else to


def _last_alphas(base: Measurement) -> Changes:
    """The same times with another end. Steps that lead nowhere, as the last then does, are left out with their cost."""
    schedule = base.cell.recipe.build_schedule()
    if not isinstance(schedule, DiscreteSchedule):
        raise InputError("needs a discrete schedule")
    times = base.cell.sampling.times(schedule)
    before, after = ("alphas_cumprod[0]", "1") if times[-1] > 0 else ("1", "alphas_cumprod[0]")
    times[-1] = 0.0 if after == "1" else 1 / schedule.T
    distinct = times.unique().flip(0).tolist()
    if len(distinct) < 2:
        raise InputError("needs more than one step")
    spacing = Part(name="list", options={"times": distinct})
    yield before, after, base.sampled(spacing=spacing, steps=len(distinct) - 1)


def _variances(base: Measurement) -> Changes:
    """What noise a step adds. sigma-hat is published with clipping, as DDPM is; here the clip stays the base's."""
    sampler = base.cell.sampling.sampler
    if sampler.name not in ("ddim", "ancestral"):
        raise InputError("needs DDIM or ancestral sampling")
    own = [name for name, part in VARIANCES.items() if part.identity(SAMPLERS) == sampler.identity(SAMPLERS)]
    for after, part in VARIANCES.items():
        twin = after.startswith("fixed-small") and part.name != sampler.name  # DDIM(1) and fixed-small are one rule
        if after not in own and not twin:
            yield own[0] if own else sampler, after, base.sampled(sampler=part)


def _tf32(_: Measurement) -> list[str]:
    if not torch.cuda.is_available():
        raise InputError("needs CUDA")
    return ["tf32"]


def _labels(base: Measurement) -> list[str]:
    if base.cell.recipe.condition is None:
        raise InputError("unconditional model")
    return ["balanced" if base.protocol.labels == "random" else "random"]


def _numbers(base: Measurement) -> list[int]:
    """The first images of the same set: whole batches alone, and the two largest round numbers below n."""
    rounds = [number for number in ROUND if number < base.n][-2:]
    whole = base.n - base.n % WHOLE_BATCH
    return [number for number in (whole, *reversed(rounds)) if number >= LEAST_IMAGES]


def _qualities(base: Measurement) -> tuple[str, ...]:
    if base.given_as_jpeg:
        raise InputError("the images came as JPEG, and what that took from them is gone")
    return QUALITIES


def _references(base: Measurement) -> Changes:
    sizes, before = base.dataset.build(DATASETS).sizes, base.protocol.reference
    for after in sorted(set(sizes) - {before}):
        yield f"{before} ({sizes[before]:,})", f"{after} ({sizes[after]:,})", base.under(reference=after)


def _inception_resizes(base: Measurement) -> list[str]:
    if not base.protocol.extractor.name.startswith("inception"):
        raise InputError("needs an Inception extractor")
    return ["pil-bicubic"]


# Those that make other images: they need a checkpoint, and draw a sample set each.
OF_SAMPLING: dict[str, Choice] = {
    "weights": _other("protocol.ema", (True, False), {True: "EMA", False: "raw"}.get),
    "seed": _other("seed", _seeds),
    "quantizer": _other("protocol.quantizer", sorted(QUANTIZERS)),
    "clip": _clips,
    "spacing": _spacings,
    "last alpha": _last_alphas,
    "variance": _variances,
    "precision": _other(
        "protocol.precision", lambda base: ["float32" if base.protocol.precision == "bf16" else "bf16"]
    ),
    "TF32": _other("protocol.precision", _tf32),
    "labels": _other("protocol.labels", _labels),
    "sampling batch": _other("batch_size", lambda base: [max(base.batch_size // 8, 1)]),
}

CHOICES = OF_SAMPLING | {
    "n": _other("n", _numbers, "{:,}".format),
    "samples stored": _other("samples_stored", _qualities),
    "reference stored": _other("reference_stored", QUALITIES),
    "reference": _references,
    # left out evenly: published code reads files in which the classes are mixed, not a sorted split
    "last partial batch": _other("protocol.drop_last", (0, 128, 256), lambda b: f"dropped ({b})" if b else "kept"),
    "reference resized": _other("reference_stored", RESIZES, RESIZES.get),
    "extractor's resize": _other(
        "resized", _inception_resizes, {"png": "TF1 bilinear", "pil-bicubic": "PIL bicubic"}.get
    ),
    "extractor precision": _other("precision", ("float64",)),
    "extractor batch": _other("extractor_batch", (1, 32)),
}
