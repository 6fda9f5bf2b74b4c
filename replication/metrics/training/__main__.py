"""`python -m replication.metrics.training NAME`: train one shipped extractor, write its weights, bring its card up to date.

The training split of the extractor's dataset alone is seen; the test split is read once, for the accuracy on the card.
The new SHA-256 is printed and belongs in extractors/: a person pins it, so that no run changes the yardstick silently.
"""

import argparse
import hashlib
import re
import time
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from replication.files import write_atomically
from replication.metrics.extractor import EmbeddedExtractor
from replication.metrics.training.recipes import TRAININGS, ExtractorTraining, train
from replication.metrics.uncertainty import wilson
from replication.registry import DATASETS, EXTRACTORS
from replication.types import InputError


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
