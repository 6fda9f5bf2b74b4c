"""`replicate measure` on two sets of files against torch-fidelity, which reads them itself, with the same random weights."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch_fidelity
from PIL import Image

from replication.cli import main
from replication.metrics import frechet

N = 20  # images of each set, two for each split of the inception score
DARKER = 160  # than the others: between equal laws KID is a difference of float32 sums that cancel


def pictures(folder: Path, seed: int, brightest: int) -> np.ndarray:
    """N smooth colour images 32x32, which differ as photographs do, as PNG; uint8 [N,H,W,C]."""
    coarse = np.random.default_rng(seed).integers(0, brightest, (N, 4, 4, 3), dtype=np.uint8)
    images = [Image.fromarray(pixels).resize((32, 32), Image.Resampling.BICUBIC) for pixels in coarse]
    folder.mkdir()
    for i, image in enumerate(images):
        image.save(folder / f"{i:02}.png")
    return np.stack([np.asarray(image) for image in images])


@pytest.mark.long
def test_figures_are_those_of_torch_fidelity(
    isolated: Path, inception_weights: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """FID, precision and recall within 1e-5, relative, of `torch_fidelity.calculate_metrics` on the same files, KID, of 0.004,
    within 1e-6 and IS within 1e-8, absolute. Weights that are not the published ones are not called FID.

    Catches: images in another order or scale, another resize or layer, weights that are not the file's, the reference taken
    for the samples, another number of splits or size of subsets.
    """
    monkeypatch.setenv("REPLICATION_INCEPTION_WEIGHTS", str(inception_weights))
    none = torch.zeros(2, dtype=torch.float64)  # of intervals, which cost eight factors of 2,048 x 2,048
    monkeypatch.setattr(frechet, "resampled_fd", lambda *_: (none, none))
    monkeypatch.chdir(isolated)
    np.savez("samples.npz", arr_0=pictures(isolated / "samples", 1, DARKER))
    pictures(isolated / "real", 2, 256)
    assert main(["measure", "samples.npz", "--reference", "real", "--json", "--set", "protocol.resamples=2"]) == 0
    row = json.loads(capsys.readouterr().out)
    theirs = torch_fidelity.calculate_metrics(
        **{"input1": str(isolated / "samples"), "input2": str(isolated / "real"), "batch_size": 10},
        **{
            "fid": True,
            "kid": True,
            "isc": True,
            "prc": True,
            "kid_subset_size": N,
            "cuda": False,
            "cache": False,
            "verbose": False,
        },
        **{"feature_extractor": "inception-v3-compat", "feature_extractor_weights_path": str(inception_weights)},
        save_cpu_ram=True,
    )
    assert row["metric.fd"] == pytest.approx(theirs[torch_fidelity.KEY_METRIC_FID], rel=1e-5)
    assert row["metric.fd"] > 1
    # random weights tell images apart so little that the score is 1.0001: what it has above 1 is compared
    score, spread = (theirs[key] for key in (torch_fidelity.KEY_METRIC_ISC_MEAN, torch_fidelity.KEY_METRIC_ISC_STD))
    assert (row["metric.is"], row["metric.is_std"]) == pytest.approx((score, spread), abs=1e-8)
    assert min(score - 1, spread) > 1e-6
    others = {"kid": torch_fidelity.KEY_METRIC_KID_MEAN, "precision": torch_fidelity.KEY_METRIC_PRECISION}
    others |= {"recall": torch_fidelity.KEY_METRIC_RECALL}
    assert {name: row[f"metric.{name}"] for name in others} == pytest.approx(
        {name: theirs[key] for name, key in others.items()}, rel=1e-5, abs=1e-6
    )
    assert row["protocol.extractor"] == "inception-v3-compat"
    assert row["differs"][-1].startswith("extractor weights ")
