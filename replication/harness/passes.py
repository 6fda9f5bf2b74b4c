"""What passes of a recipe's networks do: counted on the meta device (cost.py), each of its kind once in a process.

What cannot be run there counts nothing: an estimate is no reason to refuse a part.
"""

from collections.abc import Callable
from contextlib import nullcontext, suppress
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from replication.cost import Work, counted
from replication.datasets.dataset import Dataset
from replication.diffusion.denoiser import Denoiser
from replication.diffusion.sampling import sample
from replication.layers.on_cpu import kept_bytes
from replication.metrics.extractor import EmbeddedExtractor
from replication.noise import ImageNoise
from replication.numerics import Precision
from replication.registry import EXTRACTORS, SAMPLERS
from replication.sampling.generation import Sampling
from replication.settings import Part
from replication.training.first_stage import FirstStage, without_memory
from replication.training.recipe import Recipe
from replication.types import InputError

FLOAT = 4  # bytes
LOOPED = 4  # steps of a sampler that are counted
TRAFFIC_PER_STEP = 2  # a training step's bytes and calls, beside those of its forward pass
OPTIMIZING = 16  # how often a step's end reads or writes a weight: Adam, the average, the norm of the gradient
JUDGED = 10  # passes of the discriminator in a step: 4 behind the autoencoder's gradient and its adaptive weight, 6 of its own


class Pass(NamedTuple):
    """Of a batch: what it does, the most bytes that it makes, the parameters that it goes through, and the bytes that are kept
    of them where float32 is computed with on the CPU."""

    work: Work
    memory: int = 0
    parameters: int = 0
    kept: int = 0

    def weights(self, precision: Precision, device: torch.device) -> int:
        """Bytes of the parameters, and of what is kept of them there."""
        return FLOAT * self.parameters + (self.kept if device.type == "cpu" and precision != "bf16" else 0)


_known: dict[tuple[Any, ...], Pass] = {}


def _once(key: tuple[Any, ...], count: Callable[[], Pass], meta: bool = True) -> Pass:
    if key not in _known:
        with without_memory() if meta else nullcontext():
            try:
                _known[key] = count()
            except (RuntimeError, TypeError, InputError):  # a part of somebody's that reads a number
                _known[key] = Pass(Work())
    return _known[key]


def of_network(recipe: Recipe, batch: int, trained: bool = False) -> Pass:
    """One evaluation; `trained`: with all that is kept for its gradient."""
    shape = recipe.latent_shape

    def count() -> Pass:
        network, x = recipe.build_network().train(trained), torch.empty(batch, *shape)
        with torch.set_grad_enabled(trained):
            counter = counted(lambda: network(x, torch.empty(batch), recipe.null(batch, "meta")))
        return Pass(counter.work, counter.peak, sum(p.numel() for p in network.parameters()), kept_bytes(network))

    return _once((recipe.network, recipe.condition, shape, batch, trained), count)


def of_step(recipe: Recipe, sampling: Sampling, batch: int) -> Pass:
    """One step of a sampler without its evaluations: its arithmetic, and the noise that it draws.

    Counted of one image, which takes less time than the meta device does. Schedules that answer by the same code do the same.
    """
    shape, schedule = recipe.latent_shape, recipe.build_schedule()

    def count() -> Pass:
        sampler = sampling.sampler.build(SAMPLERS)
        learned = recipe.build_objective().learns_variance
        denoiser: Denoiser = recipe.build_denoiser(lambda x, *_: torch.cat([x, x], dim=1) if learned else x)
        times, x_T = sampling.times(schedule)[: LOOPED + 1], torch.zeros(1, *shape)
        noise = ImageNoise(0, torch.arange(1), "cpu")
        work = counted(lambda: sample(denoiser, sampler, times, x_T, noise, sampling.clip)).work
        return Pass(Work(work.multiply_adds * batch, work.bytes * batch, work.calls) * (1 / (len(times) - 1)))

    answers = (getattr(type(schedule), name, None) for name in ("half_log_snr", "log_alpha", "_time_at"))
    model = *answers, recipe.parameterization, recipe.objective
    parts = _alike(sampling.sampler), _alike(sampling.spacing)
    return _once((*model, *parts, sampling.clip, shape, batch), count, meta=False)


def _alike(part: Part) -> str:
    """What parts have in common whose steps do the same work: an amount changes none, unless it is zero."""
    return f"{part.name} {[(k, bool(v) if isinstance(v, float) else v) for k, v in sorted(part.options.items())]}"


def of_extractor(part: Part, batch: int) -> Pass:
    """Features of images; its memory is that of the features alone. Published networks state what they do."""

    def count() -> Pass:
        extractor = part.build(EXTRACTORS)
        if not isinstance(extractor, EmbeddedExtractor):
            return Pass(Work(extractor.multiply_adds * batch), FLOAT * extractor.width * batch)
        network, images = extractor.classifier().eval(), torch.empty(batch, *extractor.shape, dtype=torch.uint8)
        answers: list[Tensor] = []
        with torch.no_grad():
            work = counted(lambda: answers.extend(network(images))).work
        return Pass(work, FLOAT * sum(x.numel() for x in answers))

    return _once((part.name, batch), count)


def of_stage(
    what: Literal["decode", "moments", "reconstruct"],
    stage: FirstStage,
    dataset: Dataset,
    batch: int,
    trained: bool = False,
) -> Pass:
    """Latents to images, images to what is kept of them for latents, or images to images; `trained`: and the loss, without a
    discriminator's."""
    shape = stage.latent_shape(dataset.shape)

    def count() -> Pass:
        autoencoder = stage.build_autoencoder().train(trained)
        x, z = torch.empty(batch, *dataset.shape), torch.empty(batch, *shape)
        perceptual = stage.build_perceptual().to("meta") if trained else None

        def run() -> None:
            if what != "reconstruct":
                getattr(autoencoder, what)(z if what == "decode" else x)
                return
            made = autoencoder.reconstruct(x, z)
            if perceptual is not None:
                with suppress(InputError):  # weights that are not here yet: less is counted
                    stage.loss.reconstruction(perceptual, x, made.x)

        with torch.set_grad_enabled(trained):
            counter = counted(run)
        parameters = sum(p.numel() for p in autoencoder.parameters())
        return Pass(counter.work, counter.peak, parameters, kept_bytes(autoencoder))

    return _once((what, str(stage.autoencoder), str(stage.loss), dataset.shape, batch, trained), count)


def of_discriminator(stage: FirstStage, dataset: Dataset, batch: int) -> Pass:
    """Its judgement of images; nothing without one."""

    def count() -> Pass:
        network = stage.build_discriminator()
        if network is None:
            return Pass(Work())
        counter = counted(lambda: network(torch.empty(batch, *dataset.shape)))
        return Pass(counter.work, counter.peak, sum(p.numel() for p in network.parameters()))

    return _once((str(stage.loss.discriminator), dataset.shape, batch), count)
