"""What a recipe fixes, and the loop that follows it."""

import io
import math
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from replication.files import write_atomically
from replication.numerics import Precision, numerics
from replication.progress import bar
from replication.types import InputError


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights of one embedded extractor, and the words for it on the card."""

    extractor: str
    dataset: str
    epochs: int
    batch: int
    classifier: Callable[[Tensor], nn.Module]  # training images uint8 [N,C,H,W] -> the network to train
    optimizer: Callable[[nn.Module, int], tuple[Optimizer, LRScheduler]]  # network, number of steps
    augment: Callable[[Tensor, Tensor, int, torch.Generator], Tensor]  # images [B,C,H,W], indices [B], epoch
    network: str  # the card's first paragraph
    details: dict[str, str]  # further lines of the card's table
    smoothing: float = 0.0  # share of a label's weight that is spread over all classes
    precision: Precision = "float32"
    stored: torch.dtype = torch.float32  # of the weights file; the accuracy is that of the file
    seed: int = 0


def train(recipe: Recipe, images: Tensor, labels: Tensor, state: Path | None = None) -> nn.Module:
    """The classifier after all epochs over uint8 images [N,C,H,W] and labels [N]; a function of the recipe alone.

    `state`: file that is written after each epoch, and from which an interrupted training continues to the same bits.
    Raises InputError where that file is of another network or not whole.
    """
    torch.manual_seed(recipe.seed)
    generator = torch.Generator().manual_seed(recipe.seed)
    model = recipe.classifier(images).train()
    steps = math.ceil(len(images) / recipe.batch)
    optimizer, decay = recipe.optimizer(model, recipe.epochs * steps)
    run = Run(model, optimizer, decay, generator)
    done = run.restore(state) if state and state.is_file() else 0
    with bar(recipe.epochs * steps, recipe.extractor, "step", initial=done * steps) as shown:
        for epoch in range(done, recipe.epochs):
            for index in torch.randperm(len(images), generator=generator).split(recipe.batch):
                with numerics(recipe.precision, torch.device("cpu")):
                    logits = model(recipe.augment(images[index], index, epoch, generator))[1]
                loss = nn.functional.cross_entropy(logits.float(), labels[index], label_smoothing=recipe.smoothing)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                decay.step()
                shown.update()
                shown.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
            if state:
                run.save(state, epoch + 1)
    return model.eval()


@dataclass(frozen=True)
class Run:
    """All that a training carries from one epoch to the next."""

    model: nn.Module
    optimizer: Optimizer
    decay: LRScheduler
    generator: torch.Generator

    def save(self, path: Path, epochs: int) -> None:
        """Atomically; `epochs` have been done."""
        file = io.BytesIO()
        parts = {name: getattr(self, name).state_dict() for name in ("model", "optimizer", "decay")}
        torch.save({**parts, "generator": self.generator.get_state(), "epochs": epochs}, file)
        write_atomically(path, file.getvalue())

    def restore(self, path: Path) -> int:
        """Take the saved state; returns the number of epochs done. InputError if it is none of this network's."""
        try:
            saved = torch.load(path, weights_only=True)
            for name in ("model", "optimizer", "decay"):
                getattr(self, name).load_state_dict(saved[name])
            self.generator.set_state(saved["generator"])
            return saved["epochs"]
        except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"{path}: no state of this training ({reason}); delete it to begin anew") from error
