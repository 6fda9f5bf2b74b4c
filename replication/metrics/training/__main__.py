"""`python -m replication.metrics.training NAME`: train one embedded extractor, write its weights and its card."""

import argparse
import hashlib
import time
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from replication.files import write_atomically
from replication.metrics.embedded import FOLDER
from replication.metrics.proportion import wilson
from replication.metrics.training import cifar10_resnet, digits_cnn
from replication.metrics.training.loop import ExtractorTraining, train
from replication.registry import DATASETS, EXTRACTORS
from replication.types import InputError

TRAININGS = {training.extractor: training for training in (cifar10_resnet.TRAINING, digits_cnn.TRAINING)}
CARD = """# {training.extractor}

{network}

| | |
|---|---|
| training data | `{training.dataset}`, training split, n = {n_train:,}, fingerprint `{seen.fingerprint}` |
{details}
| length | {training.epochs} epochs of batch {training.batch}, seed {training.seed}, last weights kept (nothing was chosen on \
the test split) |
| test accuracy | {accuracy:.2f} % ({correct:,} of n = {n_test:,}), 95 % interval {low:.2f} to {high:.2f} % (Wilson) |
| test data | `{training.dataset}`, test split, fingerprint `{test.fingerprint}` |
| SHA-256 | `{sha256}` |

Regenerate with `python -m replication.metrics.training {training.extractor}`. Training is deterministic on one machine;
another processor or another torch may round differently and give another SHA-256, hence another extractor.
"""


def packed(model: nn.Module, dtype: torch.dtype) -> bytes:
    """The network's state as a safetensors file, floating-point tensors as `dtype`."""
    state = {name: t.to(dtype) if t.is_floating_point() else t for name, t in model.state_dict().items()}
    return save({name: t.contiguous() for name, t in state.items()})


@torch.no_grad()
def correct(model: nn.Module, images: Tensor, labels: Tensor) -> int:
    """How many of uint8 images [N,C,H,W] the network in evaluation mode gives the label [N]."""
    pairs = zip(images.split(1000), labels.split(1000), strict=True)
    return sum(int((model(batch)[1].argmax(1) == truth).sum()) for batch, truth in pairs)


def card(training: ExtractorTraining, parameters: int, seen: Any, test: Any, correct: int, sha256: str) -> str:
    """Markdown: `seen` and `test` are the splits of its dataset, `correct` of the latter were right."""
    n_test = len(test.labels)
    low, high = wilson(correct, n_test)
    return CARD.format(
        **{"training": training, "seen": seen, "test": test, "correct": correct, "sha256": sha256},
        network=training.network.format(parameters=parameters),
        n_train=len(seen.labels),
        details="\n".join(f"| {name} | {text} |" for name, text in training.details.items()),
        **{"n_test": n_test, "accuracy": 100 * correct / n_test, "low": 100 * low, "high": 100 * high},
    )


def main() -> None:
    """The command; wrong input, a dataset that is not here for one, ends in a message and exit code 2."""
    parser = argparse.ArgumentParser(prog="python -m replication.metrics.training", description=__doc__)
    parser.add_argument("name", choices=TRAININGS)
    try:
        write_weights(TRAININGS[parser.parse_args().name])
    except InputError as error:
        parser.error(str(error))


def write_weights(training: ExtractorTraining) -> None:
    """Train, measure what will be shipped, write weights and card, print the figures."""
    torch.set_num_threads(1)  # the order of floating-point sums, hence the weights, must not depend on the core count
    torch.use_deterministic_algorithms(True)
    dataset = DATASETS.build(training.dataset)
    seen, test = dataset.load("train"), dataset.load("test")
    start = time.perf_counter()
    content = packed(train(training, seen.images, seen.labels), training.stored)
    shipped = EXTRACTORS.build(training.extractor).classifier()
    shipped.load_state_dict(load(content))
    found = correct(shipped.eval(), test.images, test.labels)
    parameters = sum(p.numel() for p in shipped.parameters())
    text = card(training, parameters, seen, test, found, hashlib.sha256(content).hexdigest())
    write_atomically(FOLDER / f"{training.extractor}.safetensors", content)
    write_atomically(FOLDER / f"{training.extractor}.md", text.encode())
    print(f"{text}\nwritten to {FOLDER} after {time.perf_counter() - start:.0f} s; pin the SHA-256 in extractors/")


if __name__ == "__main__":
    main()
