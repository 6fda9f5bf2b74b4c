"""Distances between two folders of images of one size, each with its 95 % interval.

python examples/judge_two_folders.py SAMPLES REFERENCE [EXTRACTOR]      inception-v3-compat gives FID
"""

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from replication.metrics.metric import Material, evaluate
from replication.registry import EXTRACTORS


def images(folder: str) -> torch.Tensor:
    """uint8 [N,3,H,W], in the order of the files' names."""
    files = sorted(file for file in Path(folder).rglob("*") if file.suffix.lower() in (".png", ".jpg", ".jpeg"))
    return torch.from_numpy(np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files])).permute(
        0, 3, 1, 2
    )


samples, reference, name = (*sys.argv[1:], "cifar10-resnet")[:3]
extractor = EXTRACTORS.build(name)
row = evaluate(Material(generated=[extractor(images(samples))], reference=extractor(images(reference)))).columns
for key, label in extractor.labels.items():
    if f"{key}_low" in row:
        print(f"{label:24} {row[key]:10.4g}  [{row[f'{key}_low']:.4g}, {row[f'{key}_high']:.4g}]")
