"""The choices that people make differently: the values each may take in place of the base's, and where it was seen.

Those of the first part make other images: they need a checkpoint, and draw a sample set each. `--only` takes the names.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from replication.diffusion.schedule import DiscreteSchedule
from replication.harness.forensics.measurement import Measurement
from replication.harness.forensics.treatment import FILTERS
from replication.harness.jobs.cell import Cell
from replication.metrics.metric import LEAST_IMAGES
from replication.pixels import QUANTIZERS
from replication.registry import DATASETS, SAMPLERS
from replication.settings import Part
from replication.types import InputError


class Inapplicable(Exception):
    """This choice does not exist here; the message is what it needs."""


@dataclass(frozen=True)
class Alternative:
    """One choice taken differently, as it is printed, and the measurement that it makes of the base.

    noise: nothing but the draw of the images differs, so that any move is one of chance.
    """

    choice: str
    before: str
    after: str
    to: Measurement
    noise: bool = False


Changes = Iterator[tuple[str, str, Measurement]]  # before, after and the changed measurement


@dataclass(frozen=True)
class Choice:
    """`changes` yields what may stand in place of the base's, or raises Inapplicable. `source`: paper, code or thread."""

    name: str
    source: str
    changes: Callable[[Measurement], Changes]
    noise: bool = False

    def alternatives(self, base: Measurement) -> Iterator[Alternative]:
        return (Alternative(self.name, *change, noise=self.noise) for change in self.changes(base))


CHOICES: list[Choice] = []


def choice(name: str, source: str, noise: bool = False) -> Callable[[Callable[[Measurement], Changes]], None]:
    """Decorator: the generator below becomes the choice of this name."""
    return lambda changes: CHOICES.append(Choice(name, source, changes, noise))


def _cell(base: Measurement) -> Cell:
    if base.cell is None:
        raise Inapplicable("needs a checkpoint")
    return base.cell


def _times(cell: Cell) -> Tensor:
    return cell.sampling.times(cell.recipe.build_schedule())


def _sampling(base: Measurement, **changes: Any) -> Measurement:
    cell = _cell(base)
    return replace(base, cell=cell.with_fields(sampling=cell.sampling.with_fields(**changes)))


def _of_protocol(base: Measurement, key: str, *values: Any) -> Changes:
    """Other values of a key of the protocol that fixes images."""
    cell = _cell(base)
    before = getattr(cell.protocol, key)
    for after in values:
        if after != before:
            changed = cell.with_fields(protocol=cell.protocol.with_changes({key: after}))
            yield before, after, replace(base, cell=changed)


def _of_field(base: Measurement, key: str, values: Iterable[Any]) -> Changes:
    """Other values of a field of the measurement."""
    for after in values:
        yield str(getattr(base, key)), str(after), replace(base, **{key: after})


@choice("weights", "pytorch-ddpm #22: 8.06 raw, 3.21 EMA; tpu_utils.py:168-171 of DDPM")
def _(base: Measurement) -> Changes:
    names = {True: "EMA", False: "raw"}
    for before, after, to in _of_protocol(base, "ema", True, False):
        yield names[bool(before)], names[bool(after)], to


@choice(
    "seed", "EDM's README: three seed blocks, the minimum reported. Here it is the yardstick of pure noise", noise=True
)
def _(base: Measurement) -> Changes:
    """Two more blocks: those of the protocol where it has three, else the numbers that follow."""
    others = dict.fromkeys([*_cell(base).protocol.seeds, base.seed + 1, base.seed + 2])
    yield from _of_field(base, "seed", [number for number in others if number != base.seed][:2])


@choice("quantizer", "IDDPM, ADM and LDM truncate, EDM, DiT and torchvision round")
def _(base: Measurement) -> Changes:
    yield from _of_protocol(base, "quantizer", *sorted(QUANTIZERS))


# How a clip is printed. After the mean it has no effect on anything, which makes it the same as none.
CLIPS = {"x0": "x0, before the mean", "x0+eps": "x0, eps derived anew", "none": "none, or after the mean"}


@choice("clip", "DDPM clips x0 before the mean, pytorch-ddpm after it, DDIM's eta path never, ADM derives eps anew")
def _(base: Measurement) -> Changes:
    before = _cell(base).sampling.clip
    for after in CLIPS:
        if after != before:
            yield CLIPS.get(before, before), CLIPS[after], _sampling(base, clip=after)
    if before == "none":
        yield "none", "after the mean", base


# leading is diffusers' default and, where the steps divide T, the same as uniform; with offset 1 it is LDM's.
SPACINGS = (
    Part(name="uniform"), Part(name="quadratic"), Part(name="trailing"), Part(name="linspace"), Part(name="leading"),
    Part(name="leading", options={"offset": 1}),
)  # fmt: skip


@choice("spacing", "ddim #3, #32, diffusers #7401: five rules are in use under the name of DDIM")
def _(base: Measurement) -> Changes:
    """A spacing that visits the base's very times makes the same images, and is not sampled again."""
    cell = _cell(base)
    before, times = cell.sampling.spacing, _times(cell)
    for after in SPACINGS:
        to = _sampling(base, spacing=after)
        try:
            same = torch.equal(_times(_cell(to)), times)
        except InputError:  # this rule has no such number of steps
            continue
        if after != before:
            yield str(before), str(after), base if same else to


@choice("last alpha", "DDIM ends at 1, LDM's DDIM (util.py:66) at alphas_cumprod[0]; diffusers' set_alpha_to_one")
def _(base: Measurement) -> Changes:
    """The same times with another end. Steps that lead nowhere, as the last then does, are left out with their cost."""
    cell = _cell(base)
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
    yield names[before], names[1 - before], _sampling(base, spacing=spacing, steps=len(distinct) - 1)


VARIANCES = {
    "0 (DDIM)": Part(name="ddim", options={"eta": 0.0}),
    "fixed-small (eta 1)": Part(name="ddim", options={"eta": 1.0}),
    "fixed-small": Part(name="ancestral", options={"variance": "fixed-small"}),
    "fixed-large (sigma-hat)": Part(name="ancestral", options={"variance": "fixed-large"}),
}


@choice("variance", "ddim #5: 280 in place of 18.36 at S = 20; DDPM's default is fixedlarge")
def _(base: Measurement) -> Changes:
    """What noise a step adds. sigma-hat is published with clipping, as DDPM is; here the clip stays the base's."""
    sampler = _cell(base).sampling.sampler
    if sampler.name not in ("ddim", "ancestral"):
        raise Inapplicable("needs DDIM or ancestral sampling")
    identities = {name: part.identity(SAMPLERS) for name, part in VARIANCES.items()}
    own = sampler.identity(SAMPLERS)
    before = next((name for name, identity in identities.items() if identity == own), str(sampler))
    for after, part in VARIANCES.items():
        twin = after.startswith("fixed-small") and part.name != sampler.name  # DDIM(1) and fixed-small are one rule
        if identities[after] != own and not twin:
            yield before, after, _sampling(base, sampler=part)


@choice("precision", "autocast for speed, as the suite's own gpu profile does; the published tables are float32")
def _(base: Measurement) -> Changes:
    yield from _of_protocol(base, "precision", "float32" if _cell(base).protocol.precision == "bf16" else "bf16")


@choice("TF32", "DiT's README and #25: its table was made with TF32 off")
def _(base: Measurement) -> Changes:
    before = _cell(base).protocol.precision
    if not torch.cuda.is_available():
        raise Inapplicable("needs CUDA")
    if before == "tf32":
        raise Inapplicable("is the base's precision")
    yield from _of_protocol(base, "precision", "tf32")


@choice("labels", "latent-diffusion #262, LD3 #3: random labels 4.65, exactly balanced ones 3.54")
def _(base: Measurement) -> Changes:
    cell = _cell(base)
    if cell.recipe.condition is None:
        raise Inapplicable("unconditional model")
    yield from _of_protocol(base, "labels", "balanced" if cell.protocol.labels == "random" else "random")


@choice("sampling batch", "lucidrains #224, torch-fidelity #43: does the batch size enter the figure?")
def _(base: Measurement) -> Changes:
    _cell(base)
    if base.batch_size == 1:
        raise Inapplicable("needs a sampling batch above 1")
    yield from _of_field(base, "batch_size", [max(base.batch_size // 8, 1)])


# ---------------------------------------------------------------- after sampling

ROUND = (10, 50, 100, 500, 1000, 5000, 10_000, 50_000)
WHOLE_BATCH = 64  # of the DDIM code's sampling: n // 64 batches are drawn
QUALITIES = ("jpeg-95", "jpeg-75")


@choice("n", "k-diffusion #51, DiT #94: 2,000 to 10,000, not 50,000; DDIM's code: whole batches of 64")
def _(base: Measurement) -> Changes:
    """The first images of the same set: the two largest round numbers below n, and whole batches alone."""
    rounds = [number for number in ROUND if LEAST_IMAGES <= number < base.n][-2:]
    whole = base.n - base.n % WHOLE_BATCH
    for after in (*([whole] if LEAST_IMAGES <= whole < base.n else []), *reversed(rounds)):
        yield f"{base.n:,}", f"{after:,}", replace(base, n=after)


@choice("samples stored", "DDPM-IP #31: 2.50 with PNG, 5.80 with JPEG")
def _(base: Measurement) -> Changes:
    if base.came_as_jpeg:
        raise Inapplicable("the images came as JPEG, and what that took from them is gone")
    yield from _of_field(base, "samples_stored", QUALITIES)


@choice("reference stored", "improved-diffusion #106, DDPM-IP #31, LFM #11: a reference set kept as JPEG")
def _(base: Measurement) -> Changes:
    yield from _of_field(base, "reference_stored", QUALITIES)


@choice("reference", "DDPM prints both: 3.17 against training images, 5.24 against test images")
def _(base: Measurement) -> Changes:
    sizes = base.dataset.build(DATASETS).sizes
    names = {name: f"{name} ({sizes[name]:,})" for name in sizes}
    for before, after, to in _of_field(base, "split", sorted(set(sizes) - {base.split})):
        yield names[before], names[after], to


@choice("last partial batch", "DDPM's datasets.py:52: drop_remainder leaves 49,920 of 50,000 reference images")
def _(base: Measurement) -> Changes:
    """Left out evenly: published code reads files in which the classes are mixed, not a sorted split."""
    names = {size: f"dropped ({size})" if size else "kept" for size in (0, 128, 256, base.drop_last)}
    for after in (0, 128, 256):
        if after != base.drop_last:
            yield names[base.drop_last], names[after], replace(base, drop_last=after)


@choice("reference resized", "latent-diffusion #253, clean-fid: a reference prepared with another filter")
def _(base: Measurement) -> Changes:
    for filter in FILTERS:
        yield "never", f"x2 and back, {filter}", replace(base, reference_stored=f"resize-{filter}")


@choice("extractor's resize", "clean-fid: PIL bicubic, antialiased, in place of TensorFlow 1's bilinear")
def _(base: Measurement) -> Changes:
    if not base.extractor.name.startswith("inception"):
        raise Inapplicable("needs an Inception extractor")
    yield "TF1 bilinear", "PIL bicubic", replace(base, resized="pil-bicubic")


@choice("extractor precision", "torch-fidelity #43; its own option for it computes in float32 in 0.4.0")
def _(base: Measurement) -> Changes:
    yield from _of_field(base, "precision", ["float64"])


@choice("extractor batch", "torch-fidelity #43: a float32 Inception depends on the batch size")
def _(base: Measurement) -> Changes:
    yield from _of_field(base, "extractor_batch", [1, 32])
