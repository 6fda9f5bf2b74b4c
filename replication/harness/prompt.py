"""Images of one's own prompts, from the checkpoint behind a row of an experiment."""

from collections.abc import Sequence

import torch
from torch import Tensor

from replication.harness.jobs.cell import Cell
from replication.harness.workplace import Workplace
from replication.noise import ImageNoise
from replication.numerics import numerics
from replication.pixels import quantize
from replication.sampling.generation import draw
from replication.types import InputError


def prompted(cell: Cell, prompts: Sequence[str], n: int, seed: int, place: Workplace) -> Tensor:
    """Images 0..n-1 of the seed for each prompt, uint8 [prompts,n,C,H,W]; the noise is the same for every prompt.

    Raises InputError for an unconditional row, and for a prompt that its condition does not understand; nothing has been
    computed then.
    """
    condition, dataset = cell.recipe.build_condition(), cell.recipe.build_dataset()
    if condition is None:
        raise InputError(f"row {cell.label!r} is unconditional: it takes no prompt")
    told = condition.of_prompts(prompts, dataset).to(place.device)
    model = place.model(cell.recipe, cell.protocol.ema)
    null = cell.recipe.null(1, place.device)
    assert null is not None
    denoise, shape = cell.guided(model.denoiser, model.encode(null)[0]), cell.recipe.latent_shape()
    pictures = []
    with torch.no_grad(), numerics(cell.protocol.precision, place.device):
        for cond in model.encode(told):
            for indices in torch.arange(n).split(place.batch_size):
                noise = ImageNoise(seed, indices, place.device)
                x = draw(denoise, cell.sampling, noise, (len(indices), *shape), cond.expand(len(indices), *cond.shape))
                pictures.append(quantize(model.autoencoder.decode(x).float(), cell.protocol.quantizer).cpu())
    return torch.cat(pictures).unflatten(0, (len(told), n))
