"""How the shipped extractors are trained: what fixes their weights, and one loop.

    python -m replication.metrics.training NAME     train one, write its weights, bring its card up to date

The training split of the extractor's dataset alone is seen; the test split is read once, for the accuracy on the card.
The new SHA-256 is printed and belongs in extractors/: a person pins it, so that no run changes the yardstick silently.

`digits-cnn` takes a minute on one core, `cifar10-resnet` half an hour with bfloat16 products. What lets few epochs
suffice for the latter is Jordan's ("94 % on CIFAR-10 in 3.29 seconds on a single GPU", 2024): a first layer that whitens
patches, widening convolutions that start as the identity, norms without scales whose biases learn 64 times faster, a
triangular learning rate, and mirroring in each other epoch. The skip connections and the widths are not.
"""

import argparse
import hashlib
import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LRScheduler

from replication.files import write_atomically
from replication.metrics.extractor import EmbeddedExtractor
from replication.metrics.extractors.embedded import PATCH, Block, CIFAR10ResNet, DigitsCNN
from replication.metrics.uncertainty import wilson
from replication.numerics import Precision, numerics
from replication.pixels import to_signed
from replication.progress import Bar
from replication.registry import DATASETS, EXTRACTORS
from replication.types import InputError

LEARNING_RATE, WEIGHT_DECAY, BIAS_FACTOR = 0.73, 1.3e-3, 64  # of cifar10-resnet; the biases are those of norms
START, PEAK, END = 0.2, 0.2, 0.02  # of the learning rate: its first share, when it is whole (share of steps), its last
FLOOR = 1e-3  # variance that whitening adds to every direction


@dataclass(frozen=True)
class ExtractorTraining:
    """Everything that decides the weights of one shipped extractor; a function of these and of the images alone."""

    extractor: str
    epochs: int
    batch: int
    classifier: Callable[[Tensor], nn.Module]  # training images uint8 [N,C,H,W] -> the network to train
    optimizer: Callable[[nn.Module, int], tuple[Optimizer, LRScheduler]]  # network, number of steps
    augment: Callable[[Tensor, Tensor, int, torch.Generator], Tensor]  # images [B,C,H,W], indices [B], epoch
    smoothing: float = 0.0  # share of a label's weight that is spread over all classes
    precision: Precision = "float32"
    stored: torch.dtype = torch.float32  # of the weights file; the accuracy is that of the file
    seed: int = 0


def train(training: ExtractorTraining, images: Tensor, labels: Tensor) -> nn.Module:
    """The classifier after all epochs over uint8 images [N,C,H,W] and labels [N], in evaluation mode."""
    torch.manual_seed(training.seed)
    generator = torch.Generator().manual_seed(training.seed)
    model = training.classifier(images).train()
    steps = training.epochs * math.ceil(len(images) / training.batch)
    optimizer, decay = training.optimizer(model, steps)
    with Bar(steps, training.extractor, "step") as shown:
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

    A coin would show some images unmirrored for many epochs (Jordan 2024).
    """
    odd = ((index + epoch) % 2 == 1)[:, None, None, None]
    return torch.where(odd, images.flip(3), images)


def adamw(model: nn.Module, steps: int) -> tuple[AdamW, CosineAnnealingLR]:
    optimizer = AdamW(model.parameters(), lr=2e-3, weight_decay=1e-2)
    return optimizer, CosineAnnealingLR(optimizer, steps)


def nesterov(model: nn.Module, steps: int) -> tuple[SGD, LambdaLR]:
    """The norms' biases learn faster, and decay as much per step as the other weights do."""
    learned = {name: p for name, p in model.named_parameters() if p.requires_grad}
    biases = [p for name, p in learned.items() if ".norms." in name]
    weights = [p for name, p in learned.items() if ".norms." not in name]
    groups = [
        {"params": weights, "lr": LEARNING_RATE, "weight_decay": WEIGHT_DECAY},
        {"params": biases, "lr": BIAS_FACTOR * LEARNING_RATE, "weight_decay": WEIGHT_DECAY / BIAS_FACTOR},
    ]
    sgd = SGD(groups, momentum=0.85, nesterov=True)

    def share(step: int) -> float:
        done = step / steps
        return START + (1 - START) * done / PEAK if done < PEAK else 1 + (END - 1) * (done - PEAK) / (1 - PEAK)

    return sgd, LambdaLR(sgd, share)


def whitening(images: Tensor) -> Tensor:
    """Filters [2K,C,P,P] that decorrelate the K = C P^2 values of a patch to variance 1, each beside its negative.

    The patches are those of uint8 images [N,C,H,W] at even places, scaled to [-1, 1]; a direction of variance below
    FLOOR stays small.
    """
    patches = to_signed(images).unfold(2, PATCH, 2).unfold(3, PATCH, 2)  # [N,C,h,w,P,P]
    vectors = patches.permute(0, 2, 3, 1, 4, 5).reshape(-1, images.shape[1] * PATCH**2).double()
    variances, directions = torch.linalg.eigh(vectors.T @ vectors / len(vectors))
    filters = (directions / (variances + FLOOR).sqrt()).T.reshape(-1, images.shape[1], PATCH, PATCH).float()
    return torch.cat([filters, -filters])


def whitened_resnet(images: Tensor) -> CIFAR10ResNet:
    """The network before its first step; 5,000 random images give the whitening."""
    model = CIFAR10ResNet().to(memory_format=torch.channels_last)
    some = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:5000]
    with torch.no_grad():
        model.whiten.weight.copy_(whitening(images[some]))
    for module in model.modules():
        if isinstance(module, Block):
            nn.init.dirac_(module.widen.weight[: module.widen.in_channels])
        if isinstance(module, nn.BatchNorm2d):
            module.weight.requires_grad_(False)
    return model


DIGITS = ExtractorTraining(
    extractor="digits-cnn",
    epochs=60,
    batch=64,
    classifier=lambda images: DigitsCNN(),
    optimizer=adamw,
    augment=lambda images, index, epoch, generator: shifted(images, 1, generator),
)
CIFAR10 = ExtractorTraining(
    extractor="cifar10-resnet",
    epochs=20,
    batch=500,
    classifier=whitened_resnet,
    optimizer=nesterov,
    augment=lambda images, index, epoch, generator: shifted(
        alternately_flipped(images, index, epoch), 2, generator, "reflect"
    ),
    smoothing=0.1,
    precision="bf16",
    stored=torch.float16,
)
TRAININGS = {training.extractor: training for training in (CIFAR10, DIGITS)}


def packed(model: nn.Module, dtype: torch.dtype) -> bytes:
    """The network's state as a safetensors file, floating-point tensors as `dtype`."""
    state = {name: t.to(dtype) if t.is_floating_point() else t for name, t in model.state_dict().items()}
    return save({name: t.contiguous() for name, t in state.items()})


@torch.no_grad()
def correct(model: nn.Module, images: Tensor, labels: Tensor) -> int:
    """How many of uint8 images [N,C,H,W] the network in evaluation mode gives the label [N]."""
    pairs = zip(images.split(1000), labels.split(1000), strict=True)
    return sum(int((model(batch)[1].argmax(1) == truth).sum()) for batch, truth in pairs)


def card(text: str, training: ExtractorTraining, seen: Any, test: Any, correct: int, sha256: str) -> str:
    """The card's Markdown with the rows that this training decides; `correct` images of the split `test` were right."""
    extractor: EmbeddedExtractor = EXTRACTORS.build(training.extractor)
    parameters = sum(p.numel() for p in extractor.classifier().parameters())
    data, n = extractor.classifies, len(test.labels)
    low, high = (100 * end for end in wilson(correct, n))
    rows = {
        "parameters": f"{parameters:,}",
        "training data": f"`{data}`, training split, n = {len(seen.labels):,}, fingerprint `{seen.fingerprint}`",
        "length": f"{training.epochs} epochs of batch {training.batch}, seed {training.seed}, last weights kept (nothing "
        "was chosen on the test split)",
        "test accuracy": f"{100 * correct / n:.2f} % ({correct:,} of n = {n:,}), 95 % interval {low:.2f} to {high:.2f} % "
        "(Wilson)",
        "test data": f"`{data}`, test split, fingerprint `{test.fingerprint}`",
        "SHA-256": f"`{sha256}`",
    }
    for name, value in rows.items():
        text = re.sub(rf"^\| {name} \|.*$", f"| {name} | {value} |", text, flags=re.MULTILINE)
    return text


def write_weights(training: ExtractorTraining) -> None:
    """Train, measure what will be shipped, write weights and card, print the card."""
    torch.set_num_threads(1)  # the order of floating-point sums, hence the weights, must not depend on the core count
    torch.use_deterministic_algorithms(True)
    extractor: EmbeddedExtractor = EXTRACTORS.build(training.extractor)
    dataset = DATASETS.build(str(extractor.classifies))
    seen, test = dataset.load("train"), dataset.load("test")
    start = time.perf_counter()
    content = packed(train(training, seen.images, seen.labels), training.stored)
    shipped = extractor.classifier()
    shipped.load_state_dict(load(content))
    found = correct(shipped.eval(), test.images, test.labels)
    path = extractor.path.with_suffix(".md")
    text = card(path.read_text(), training, seen, test, found, hashlib.sha256(content).hexdigest())
    write_atomically(extractor.path, content)
    write_atomically(path, text.encode())
    print(f"{text}\nwritten after {time.perf_counter() - start:.0f} s; pin the SHA-256 in extractors/")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m replication.metrics.training", description=__doc__)
    parser.add_argument("name", choices=TRAININGS)
    try:
        write_weights(TRAININGS[parser.parse_args().name])
    except InputError as error:
        parser.error(str(error))
