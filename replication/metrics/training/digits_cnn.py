"""The training of `digits-cnn`: a minute on one core."""

import torch
from torch import Tensor, nn

from replication.metrics.extractors.digits_cnn import DigitsCNN
from replication.metrics.training.loop import ExtractorTraining, shifted

LEARNING_RATE, WEIGHT_DECAY = 2e-3, 1e-2


def classifier(images: Tensor) -> DigitsCNN:
    return DigitsCNN()


def optimizer(model: nn.Module, steps: int) -> tuple[torch.optim.AdamW, torch.optim.lr_scheduler.CosineAnnealingLR]:
    adamw = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    return adamw, torch.optim.lr_scheduler.CosineAnnealingLR(adamw, steps)


def augment(images: Tensor, index: Tensor, epoch: int, generator: torch.Generator) -> Tensor:
    return shifted(images, 1, generator)


TRAINING = ExtractorTraining(
    extractor="digits-cnn",
    dataset="digits",
    epochs=60,
    batch=64,
    classifier=classifier,
    optimizer=optimizer,
    augment=augment,
    network="""\
The feature extractor behind FD-digits, KID-digits and IS-digits: a classifier of 8x8 grey digits with {parameters:,}
parameters. Three 3x3 convolutions (32, 32, 64 channels) with batch normalisation and SiLU, one 2x2 max-pooling,
a hidden layer of 64 with SiLU, standardised by a last batch normalisation (the features), and 10 linear outputs
(the logits). The spatial features are the first seven channels of the last map of 4x4.""",
    details={
        "augmentation": "shifts by -1, 0 or +1 pixel in each direction, black filled in",
        "optimiser": f"AdamW, learning rate {LEARNING_RATE:g} with a cosine decay to 0, weight decay {WEIGHT_DECAY:g}",
    },
)
