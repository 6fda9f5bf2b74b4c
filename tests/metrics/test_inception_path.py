"""The whole path from images to a row with random Inception weights, against torch-fidelity on the same folders."""

from pathlib import Path

import pytest
import torch
import torch_fidelity
from PIL import Image

from replication.metrics import Material, evaluate
from replication.registry import EXTRACTORS

N = 12  # the inception score's ten splits need ten


def folder(path: Path, seed: int, brightness: int) -> torch.Tensor:
    """Writes N noisy PNGs, and returns them as uint8 [N,3,32,32]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(N, 3, 4, 4, generator=generator)
    images = (torch.nn.functional.interpolate(coarse, 32) * brightness).to(torch.uint8)
    path.mkdir()
    for index, image in enumerate(images):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(path / f"{index:02d}.png")
    return images


def test_equals_torch_fidelity_on_folders(tmp_path: Path, inception_weights: Path) -> None:
    """FID, KID, IS, precision and recall of two folders of PNGs are torch-fidelity's with the same weights file, 1e-5
    relative. Catches: another layer, resize or order of images anywhere on the way, weights that are not the file's."""
    # one is darker: between equal laws KID is a difference of float32 sums that cancel
    generated, real = folder(tmp_path / "generated", 0, 20), folder(tmp_path / "real", 1, 255)
    extractor = EXTRACTORS.build("inception-v3-compat", weights=str(inception_weights))
    material = Material([extractor(generated, batch_size=N)], extractor(real, batch_size=N), resamples=2)
    row = evaluate(material).columns
    theirs = torch_fidelity.calculate_metrics(
        **{"input1": str(tmp_path / "generated"), "input2": str(tmp_path / "real"), "batch_size": N},
        **{"feature_extractor": "inception-v3-compat", "feature_extractor_weights_path": str(inception_weights)},
        **{"fid": True, "kid": True, "isc": True, "prc": True, "kid_subset_size": N},
        **{"cuda": False, "cache": False, "verbose": False, "save_cpu_ram": True},
    )
    pairs = {
        "fd": torch_fidelity.KEY_METRIC_FID,
        "kid": torch_fidelity.KEY_METRIC_KID_MEAN,
        "is": torch_fidelity.KEY_METRIC_ISC_MEAN,
        "precision": torch_fidelity.KEY_METRIC_PRECISION,
        "recall": torch_fidelity.KEY_METRIC_RECALL,
    }
    assert {key: row[key] for key in pairs} == pytest.approx({k: theirs[v] for k, v in pairs.items()}, rel=1e-5)
    assert row["fd"] > 1
