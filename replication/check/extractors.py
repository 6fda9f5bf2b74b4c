"""What a feature extractor must do: finite float32 features that do not depend on the batch, from weights by SHA-256."""

import re
from collections.abc import Iterator

import torch

from replication.check.finding import Finding, at_most, holds
from replication.metrics.extractor import Extractor
from replication.types import InputError

SHAPES = ((3, 32, 32), (1, 8, 8), (3, 299, 299))  # tried in turn until one is taken


def findings(extractor: Extractor) -> Iterator[Finding]:
    """Names always; features where the weights are on this machine."""
    named = bool(extractor.name) and bool(extractor.version) and bool(extractor.labels)
    yield holds(
        "name, version, labels", f"{extractor.name}, {extractor.version}, {len(extractor.labels)}", named, "stated"
    )
    if not extractor.present:
        yield holds("weights", "not on this machine: not checked", True, "any")
        return
    known = bool(re.fullmatch("[0-9a-f]{64}", extractor.sha256))
    yield holds("weights", extractor.sha256[:12], known, "a SHA-256")
    generator = torch.Generator().manual_seed(0)
    for shape in SHAPES:
        images = torch.randint(0, 256, (6, *shape), generator=generator, dtype=torch.uint8)
        try:
            together = extractor(images).values
        except InputError:
            continue
        fits = together.dtype == torch.float32 and together.ndim == 2 and len(together) == 6
        yield holds(f"features of {list(images.shape)}", list(together.shape), fits and bool(together.isfinite().all()),
                    "float32[6,D], finite")  # fmt: skip
        largest = float((extractor(images, batch_size=1).values - together).abs().max() / together.abs().max())
        yield at_most("relative difference that the batch makes", largest, 1e-4)
        return
    yield holds("features", f"none: images of {SHAPES} were refused", False, "of images of some shape")
