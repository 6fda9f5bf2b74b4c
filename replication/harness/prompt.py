"""Images of a user's own prompts, from the checkpoint behind a row of an experiment."""

from collections.abc import Sequence

import torch
from torch import Tensor

from replication.harness.jobs.cell import Cell
from replication.harness.workplace import Workplace
from replication.noise import ImageNoise
from replication.numerics import numerics
from replication.pixels import quantize
from replication.types import InputError


def prompted(cell: Cell, prompts: Sequence[str], n: int, seed: int, place: Workplace) -> Tensor:
    """Images 0..n-1 of the seed for each prompt, uint8 [prompts,n,C,H,W]; the noise is the same for every prompt.

    Raises InputError for an unconditional row, and for a prompt that its condition cannot encode; nothing has been
    computed then.
    """
    condition, dataset = cell.recipe.build_condition(), cell.recipe.build_dataset()
    if condition is None:
        raise InputError(f"row {cell.label!r} is unconditional: it takes no prompt")
    conds = condition.of_prompts(prompts, dataset).to(place.device)
    model = place.model(cell.recipe, cell.protocol.ema)
    drawn_from = cell.source(model, place.device)
    pictures = []
    with torch.no_grad(), numerics(cell.protocol.precision, place.device):
        for cond in model.encode(conds):
            for indices in torch.arange(n).split(place.batch_size):
                noise = ImageNoise(seed, indices, place.device)
                x = drawn_from.decode(drawn_from.x0(cell.sampling, noise, cond.expand(len(indices), *cond.shape)))
                pictures.append(quantize(x.float(), cell.protocol.quantizer).cpu())
    return torch.cat(pictures).unflatten(0, (len(conds), n))
