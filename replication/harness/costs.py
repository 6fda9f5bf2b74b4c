"""The cost columns of a row: what its network takes for a forward pass, for its training and for one image.

By the counter of replication/cost.py, in its conventions, on the meta device: no weights, no time. What reads the
condition is part of the network; decoding a latent is not.
"""

import torch

from replication.cost import measured
from replication.harness.journal import Record
from replication.training.recipe import Recipe


def costs(recipe: Recipe, nfe: int) -> Record:
    """Columns `cost.*`; nfe: network evaluations per image, guidance's second ones included."""
    with torch.device("meta"):
        network = recipe.build_network().eval()
        x, timestep = torch.empty(1, *recipe.latent_shape()), torch.empty(1)
    cost, training = measured(network, x, timestep, recipe.null(1, "meta")), recipe.training
    return {
        "cost.parameters": cost.parameters,
        "cost.multiply_adds": cost.multiply_adds,
        "cost.activation_bytes": cost.activation_bytes,
        "cost.training_multiply_adds": cost.training(training.steps, training.batch_size),
        "cost.image_multiply_adds": cost.image(nfe),
    }
