"""A job whose row is of images that are drawn: what fixes them, where they are kept, and how they are drawn.

Image i of a seed is the same in every job that agrees in `sample_identity`; such jobs share their sample sets.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from replication.conditions.condition import labels_of
from replication.deadline import NEVER
from replication.diffusion.denoiser import Denoise
from replication.harness.job import Job
from replication.harness.journal import Record
from replication.harness.versions import drawn_versions, raised
from replication.harness.workplace import Model, Workplace
from replication.metrics.timing import device_name
from replication.noise import ImageNoise
from replication.numerics import numerics
from replication.pixels import quantize
from replication.registry import SAMPLERS, SPACINGS
from replication.sampling.chunks import Chunks, SampleSet
from replication.sampling.generation import SamplePlace, SampleRequest, Sampling, Source, draw, generate, stored_samples
from replication.settings import Spelled, content_key
from replication.training.recipe import Recipe
from replication.types import InputError


class Drawn(Job):
    """What draws its images from the training of a recipe, under the protocol's seeds."""

    recipe: Recipe
    sampling: Sampling

    @property
    def title(self) -> str:
        return f"{self.label} x {self.sampling.steps}"

    @property
    def caption(self) -> str:
        return f"{self.label}\n{self.sampling.steps} steps"

    def drawn_versions(self) -> dict[str, int]:
        """Those that the images of a seed hang on."""
        return drawn_versions(guided=self.sampling.guidance is not None)

    def sample_identity(self) -> dict[str, Any]:
        """What fixes the images of a seed besides versions: cells that agree in it share their sample sets."""
        return {
            "recipe": self.recipe.spelled,
            "sampler": self.sampling.sampler.spelled(SAMPLERS),
            "spacing": self.sampling.spacing.spelled(SPACINGS),
            "steps": self.sampling.steps,
            "clip": self.sampling.clip,
            **({"guidance": self.sampling.guidance.identity()} if self.sampling.guidance else {}),
            **({"labels": self._labels()} if self.recipe.condition else {}),
            "ema": self.protocol.ema,
            "quantizer": self.protocol.quantizer,
            "precision": self.protocol.precision,
        }

    def _labels(self) -> str:
        """How labels are chosen; `balanced` draws those of `uniform` and insists on equal counts."""
        return "uniform" if self.protocol.labels == "balanced" else self.protocol.labels

    def labels(self, seed: int, start: int, stop: int) -> Tensor:
        """What images start..stop-1 of the seed shall show, Int[stop-start]."""
        classes = len(self.recipe.build_dataset().classes)
        return labels_of(self.protocol.labels, start, stop, self.protocol.n, classes, seed)

    @cached_property
    def sample_key(self) -> str:
        """Of the folder of its images: the identity, and the versions that are not 1."""
        versions = raised(self.drawn_versions())
        return content_key({**self.sample_identity(), **versions} if versions else self._samples)

    @cached_property
    def _samples(self) -> Spelled:
        return Spelled(self.sample_identity())

    def nfe(self) -> int:
        """Network evaluations for an image, of which guidance takes two."""
        return self.sampling.nfe(self.recipe.build_schedule())

    def sample_place(self, seed: int, place: Workplace, apart: str = "") -> SamplePlace:
        """Where the images of a seed are kept."""
        folder, drawn_by = self._folder(seed, place, apart), device_name(place.device)
        return SamplePlace(folder, place.batch_size, place.device, drawn_by, place.progress)

    def _folder(self, seed: int, place: Workplace, apart: str = "") -> Path:
        return place.state.joinpath("samples", f"{self.sample_key}{apart}", f"seed-{seed}")

    def stored(self, row: Record, place: Workplace) -> list[SampleSet] | None:
        """The sample set of each seed that was drawn with the weights of the job's row, with the times of its device.

        None where images would have to be drawn.
        """
        sha256 = (row.get("checkpoint.sha256", ""), row.get("checkpoint.first_stage_sha256", "none"))
        weights, device = "+".join(one for one in sha256 if one != "none"), row.get("env.device", "")
        places = [replace(self.sample_place(seed, place), drawn_by=device) for seed in self.protocol.seeds]
        found = [stored_samples(where, weights, self.protocol.n) for where in places]
        sets = [one for one in found if one is not None]
        return sets if len(sets) == len(found) else None

    def samples(self, model: Model, seed: int, place: Workplace, apart: str = "") -> SampleSet:
        """The images of one seed, from the chunks under the state folder or drawn now; `apart` gives them others."""
        request = self._request(model, seed, place)
        return generate(self.source(model, place.device), request, self.sample_place(seed, place, apart))

    def help(self, place: Workplace) -> bool:
        """Draw what of its images nobody draws yet."""
        model = place.model(self.recipe, self.protocol.ema)
        place.deadline.require(self._seconds(model, place), self.title)
        source = self.source(model, place.device)
        of_seeds = ((self._request(model, seed, place), self.sample_place(seed, place)) for seed in self.protocol.seeds)
        return sum(draw(source, request, where) for request, where in of_seeds) > 0

    def _request(self, model: Model, seed: int, place: Workplace) -> SampleRequest:
        protocol, condition, dataset = self.protocol, self.recipe.build_condition(), self.recipe.build_dataset()

        def cond(start: int, stop: int) -> Tensor:
            assert condition is not None
            images, labels = torch.arange(start, stop, device=place.device), self.labels(seed, start, stop)
            return self._encoded(model, condition.of(labels.to(place.device), images, dataset))

        encoded = cond if condition else None
        return SampleRequest(self.sampling, protocol.n, seed, encoded, protocol.quantizer, protocol.precision)

    def _seconds(self, model: Model, place: Workplace, besides: int = 0) -> float:
        """What this process takes for images to be drawn, and so many evaluations of one image; 0 where no deadline asks."""
        places = [self.sample_place(seed, place) for seed in self.protocol.seeds]
        missing = (Chunks(of.folder, model.weights).missing(self.protocol.n) for of in places)
        left = self.nfe() * sum(missing) + besides
        if not left or place.deadline == NEVER:
            return 0.0
        noise = ImageNoise(0, torch.arange(min(self.protocol.n, place.batch_size)), place.device)
        null = self.recipe.null(len(noise.indices), place.device)
        cond = None if null is None else self._encoded(model, null)
        with torch.no_grad(), numerics(self.protocol.precision, place.device):
            floor = self.source(model, place.device).floor(noise, cond, left // len(noise.indices))
            return left * (floor or 0.0)

    def source(self, model: Model, device: torch.device) -> Source:
        """What the images are drawn from: the model, guided as the cell is."""
        guidance, null = self.sampling.guidance, self.recipe.null(1, device)
        denoise: Denoise = model.denoiser
        if guidance is not None and null is not None:
            denoise = guidance.around(denoise, self._encoded(model, null)[0])
        decode, network = model.autoencoder.decode, model.denoiser.network
        return Source(denoise, self.recipe.latent_shape, decode, model.weights, network)

    def _encoded(self, model: Model, cond: Tensor) -> Tensor:
        """What the network makes of cond, once; as it is where a classifier reads it too."""
        return cond if self.sampling.guidance and self.sampling.guidance.classifier else model.encode(cond)

    def prompted(self, prompts: Sequence[str], n: int, seed: int, place: Workplace) -> Tensor:
        """Images 0..n-1 of the seed for each prompt, uint8 [prompts,n,C,H,W]; the noise is the same for every prompt.

        Of an unconditional row, [1,n,C,H,W] without a prompt. Raises InputError, before anything is computed, for prompts of
        such a row, none of another, and one that cannot be encoded.
        """
        condition, dataset = self.recipe.build_condition(), self.recipe.build_dataset()
        if condition is None and prompts:
            raise InputError(f"row {self.label!r} is unconditional: it takes no prompt")
        if condition is not None and not prompts:
            raise InputError(f"row {self.label!r} is conditional: say with --prompt what its images are to show")
        conds = condition.of_prompts(prompts, dataset).to(place.device) if condition else None
        model = place.model(self.recipe, self.protocol.ema)
        source, pictures = self.source(model, place.device), []
        with torch.no_grad(), numerics(self.protocol.precision, place.device):
            for cond in [None] if conds is None else self._encoded(model, conds):
                for indices in torch.arange(n).split(place.batch_size):
                    noise = ImageNoise(seed, indices, place.device)
                    given = None if cond is None else cond.expand(len(indices), *cond.shape)
                    x = source.decode(source.x0(self.sampling, noise, given))
                    pictures.append(quantize(x.float(), self.protocol.quantizer).cpu())
        return torch.cat(pictures).unflatten(0, (-1, n))
