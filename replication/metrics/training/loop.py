"""What fixes an embedded extractor, the loop that trains it, and changes of images that leave their class as it is."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from replication.numerics import Precision, numerics
from replication.progress import bar


@dataclass(frozen=True)
class ExtractorTraining:
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


def train(training: ExtractorTraining, images: Tensor, labels: Tensor) -> nn.Module:
    """The classifier after all epochs over uint8 images [N,C,H,W] and labels [N]; a function of its arguments alone."""
    torch.manual_seed(training.seed)
    generator = torch.Generator().manual_seed(training.seed)
    model = training.classifier(images).train()
    steps = math.ceil(len(images) / training.batch)
    optimizer, decay = training.optimizer(model, training.epochs * steps)
    with bar(training.epochs * steps, training.extractor, "step") as shown:
        for epoch in range(training.epochs):
            for index in torch.randperm(len(images), generator=generator).split(training.batch):
                with numerics(training.precision, torch.device("cpu")):
                    logits = model(training.augment(images[index], index, epoch, generator))[1]
                loss = F.cross_entropy(logits.float(), labels[index], label_smoothing=training.smoothing)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                decay.step()
                shown.update()
                shown.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
    return model.eval()


def shifted(images: Tensor, reach: int, generator: torch.Generator, mode: str = "constant") -> Tensor:
    """Each image of [B,C,H,W] moved by -reach..reach pixels in each direction, as float32.

    `mode`: what comes in from outside, black (`constant`) or the image mirrored at its rim (`reflect`).
    """
    count, channels, height, width = images.shape
    padded = F.pad(images.float(), (reach,) * 4, mode)
    offsets = torch.randint(2 * reach + 1, (2, count, 1), generator=generator)
    rows, columns = offsets[0] + torch.arange(height), offsets[1] + torch.arange(width)  # [B,H], [B,W]
    each, channel = torch.arange(count)[:, None, None, None], torch.arange(channels)[:, None, None]
    return padded[each, channel, rows[:, None, :, None], columns[:, None, None, :]]


def alternately_flipped(images: Tensor, index: Tensor, epoch: int) -> Tensor:
    """Every image [B,C,H,W] is mirrored in each other epoch, half of them (the odd ones of `index` [B]) in epoch 0.

    A coin would show some images unmirrored for many epochs (Jordan 2024, "94 % on CIFAR-10 in 3.29 seconds").
    """
    odd = ((index + epoch) % 2 == 1)[:, None, None, None]
    return torch.where(odd, images.flip(3), images)
