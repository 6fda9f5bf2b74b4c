"""Train the `digits-cnn` extractor and write its weights and card: `python -m replication.metrics.train_digits_cnn`.

The training split of `digits` alone is seen; the test split is read once, for the accuracy on the card. The new SHA-256
is printed and belongs in extractors/digits_cnn.py: a person pins it, so that no run changes the yardstick silently.
"""

import hashlib
import math
import time

import torch
from safetensors.torch import save
from torch import Tensor, nn

from replication.metrics.extractors.digits_cnn import WEIGHTS, DigitsCNN
from replication.metrics.proportion import wilson
from replication.registry import DATASETS

SEED, EPOCHS, BATCH, LEARNING_RATE, WEIGHT_DECAY = 0, 60, 64, 2e-3, 1e-2

CARD = """# digits-cnn

The feature extractor behind FD-digits, KID-digits and IS-digits: a classifier of 8x8 grey digits with {parameters:,}
parameters. Three 3x3 convolutions (32, 32, 64 channels) with batch normalisation and SiLU, one 2x2 max-pooling,
a hidden layer of 64 with SiLU, standardised by a last batch normalisation (the features), and 10 linear outputs
(the logits).

| | |
|---|---|
| training data | `digits`, training split, n = {n_train:,}, fingerprint `{train_fingerprint}` |
| augmentation | shifts by -1, 0 or +1 pixel in each direction, black filled in |
| optimiser | AdamW, learning rate {lr:g} with a cosine decay to 0, weight decay {wd:g} |
| length | {epochs} epochs of batch {batch}, seed {seed}, last weights kept (nothing was chosen on the test split) |
| test accuracy | {accuracy:.2f} % ({correct} of n = {n_test}), 95 % interval {low:.2f} to {high:.2f} % (Wilson) |
| test data | `digits`, test split, fingerprint `{test_fingerprint}` |
| SHA-256 | `{sha256}` |

Regenerate with `python -m replication.metrics.train_digits_cnn`. Training is deterministic on one machine; another
processor or another torch may round differently and give another SHA-256, hence another extractor.
"""


def shifted(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image of [B,1,H,W] moved by -1, 0 or +1 pixel in each direction, with black (0) filled in."""
    height, width = images.shape[2:]
    padded = nn.functional.pad(images, (1, 1, 1, 1))
    offsets = torch.randint(3, (2, len(images), 1), generator=generator)
    rows, columns = offsets[0] + torch.arange(height), offsets[1] + torch.arange(width)  # [B,H], [B,W]
    return padded[torch.arange(len(images))[:, None, None], 0, rows[:, :, None], columns[:, None, :]][:, None]


def train(images: Tensor, labels: Tensor) -> DigitsCNN:
    """The classifier after EPOCHS passes over uint8 images [N,1,8,8] and labels [N]; a function of SEED alone."""
    torch.manual_seed(SEED)
    generator = torch.Generator().manual_seed(SEED)
    model = DigitsCNN().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    steps = EPOCHS * math.ceil(len(images) / BATCH)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(EPOCHS):
        for index in torch.randperm(len(images), generator=generator).split(BATCH):
            loss = nn.functional.cross_entropy(model(shifted(images[index], generator))[1], labels[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            decay.step()
    return model.eval()


def main() -> None:
    """Train, measure, write weights and card, print the figures."""
    torch.set_num_threads(1)  # the order of floating-point sums, hence the weights, must not depend on the core count
    torch.use_deterministic_algorithms(True)
    digits = DATASETS.build("digits")
    training, test = digits.load("train"), digits.load("test")
    start = time.perf_counter()
    model = train(training.images, training.labels)
    with torch.no_grad():
        correct = int((model(test.images)[1].argmax(1) == test.labels).sum())
    low, high = wilson(correct, len(test.labels))
    content = save(model.state_dict())
    card = CARD.format(
        parameters=sum(p.numel() for p in model.parameters()),
        **{"n_train": len(training.labels), "train_fingerprint": training.fingerprint},
        **{"lr": LEARNING_RATE, "wd": WEIGHT_DECAY, "epochs": EPOCHS, "batch": BATCH, "seed": SEED},
        **{"correct": correct, "n_test": len(test.labels), "test_fingerprint": test.fingerprint},
        **{"accuracy": 100 * correct / len(test.labels), "low": 100 * low, "high": 100 * high},
        sha256=hashlib.sha256(content).hexdigest(),
    )
    WEIGHTS.parent.mkdir(exist_ok=True)
    WEIGHTS.write_bytes(content)
    WEIGHTS.with_suffix(".md").write_text(card)
    print(f"{card}\nwritten {WEIGHTS} after {time.perf_counter() - start:.0f} s; pin the SHA-256 in digits_cnn.py")


if __name__ == "__main__":
    main()
