"""`python -m replication.metrics.training NAME`: train one embedded extractor, write its weights and its card."""

import argparse
import hashlib
import time
from pathlib import Path

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from replication.files import write_atomically
from replication.metrics.embedded import FOLDER
from replication.metrics.training import cifar10_resnet, digits_cnn
from replication.metrics.training.card import card
from replication.metrics.training.recipe import Recipe, train
from replication.registry import DATASETS, EXTRACTORS
from replication.types import InputError

RECIPES = {recipe.extractor: recipe for recipe in (cifar10_resnet.RECIPE, digits_cnn.RECIPE)}


def packed(model: nn.Module, dtype: torch.dtype) -> bytes:
    """The network's state as a safetensors file, floating-point tensors as `dtype`."""
    state = {name: t.to(dtype) if t.is_floating_point() else t for name, t in model.state_dict().items()}
    return save({name: t.contiguous() for name, t in state.items()})


@torch.no_grad()
def correct(model: nn.Module, images: Tensor, labels: Tensor) -> int:
    """How many of uint8 images [N,C,H,W] the network in evaluation mode gives the label [N]."""
    pairs = zip(images.split(1000), labels.split(1000), strict=True)
    return sum(int((model(batch)[1].argmax(1) == truth).sum()) for batch, truth in pairs)


def main() -> None:
    """The command; wrong input, a dataset that is not here for one, ends in a message and exit code 2."""
    parser = argparse.ArgumentParser(prog="python -m replication.metrics.training", description=__doc__)
    parser.add_argument("name", choices=RECIPES)
    parser.add_argument("--state", type=Path, help="file that keeps the state after each epoch, and to continue from")
    arguments = parser.parse_args()
    try:
        run(RECIPES[arguments.name], arguments.state)
    except InputError as error:
        parser.error(str(error))


def run(recipe: Recipe, state: Path | None) -> None:
    """Train, measure what will be shipped, write weights and card, print the figures."""
    torch.set_num_threads(1)  # the order of floating-point sums, hence the weights, must not depend on the core count
    torch.use_deterministic_algorithms(True)
    dataset = DATASETS.build(recipe.dataset)
    training, test = dataset.load("train"), dataset.load("test")
    start = time.perf_counter()
    content = packed(train(recipe, training.images, training.labels, state), recipe.stored)
    shipped = EXTRACTORS.build(recipe.extractor).classifier()
    shipped.load_state_dict(load(content))
    found = correct(shipped.eval(), test.images, test.labels)
    parameters = sum(p.numel() for p in shipped.parameters())
    text = card(recipe, parameters, training, test, found, hashlib.sha256(content).hexdigest())
    write_atomically(FOLDER / f"{recipe.extractor}.safetensors", content)
    write_atomically(FOLDER / f"{recipe.extractor}.md", text.encode())
    print(f"{text}\nwritten to {FOLDER} after {time.perf_counter() - start:.0f} s; pin the SHA-256 in extractors/")


if __name__ == "__main__":
    main()
