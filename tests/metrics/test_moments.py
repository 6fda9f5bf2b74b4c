"""Moments in the place of a reference's images: the same distance, no interval for the reference, refusals by name."""

import io
import json
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import numpy as np
import pytest
import torch
from local_http import listening, send
from torch import Tensor

from replication.cli import main
from replication.files import Held, locked
from replication.harness.references import Handed, fetch
from replication.metrics.features import Features
from replication.metrics.frechet import fit
from replication.metrics.metric import Material, Measurement, evaluate
from replication.metrics.moments import Moments, arrays_in, read_moments, write_moments
from replication.types import InputError


def features(n: int, seed: int, width: int = 6) -> Features:
    generator = torch.Generator().manual_seed(seed)
    return Features(
        torch.randn(n, width, generator=generator) + 0.1 * seed, spatial=torch.randn(n, 4, generator=generator)
    )


def moments_of(real: Features) -> Moments:
    assert real.spatial is not None
    return Moments(fit(real.values), fit(real.spatial), len(real), "these")


def measured(generated: list[Features], real: Features | None, moments: Moments | None) -> Measurement:
    return evaluate(Material(generated, real, moments, resamples=60))


def test_the_distance_is_that_to_the_images() -> None:
    """Exact in the point; the interval is narrower, for the reference is not drawn again. Catches: moments with another
    divisor, a reference that is resampled nevertheless, metrics of images made of moments."""
    generated, real = [features(120, 1), features(120, 2)], features(90, 0)
    known, images = measured(generated, None, moments_of(real)).columns, measured(generated, real, None).columns
    for name in ("fd", "sfd"):
        assert known[name] == pytest.approx(images[name], rel=1e-9)
        assert 0.3 < known[f"{name}_se"] / images[f"{name}_se"] < 1
    assert {"kid", "precision", "recall", "fd_infinity"}.isdisjoint(known)
    assert {"kid", "precision", "recall", "fd_infinity"} <= images.keys()


def test_beside_images_moments_are_what_distances_are_taken_to() -> None:
    """As ADM's evaluator does it: FID of the whole set's moments, precision and recall of the 10,000 images beside them."""
    generated, real, whole = [features(120, 1)], features(90, 0), features(900, 3)
    both, apart = measured(generated, real, moments_of(whole)).columns, measured(generated, real, None).columns
    assert both["fd"] == pytest.approx(measured(generated, None, moments_of(whole)).columns["fd"], rel=1e-9)
    assert both["fd"] != pytest.approx(apart["fd"], rel=0.01)
    assert both["precision"] == apart["precision"]
    assert "fd_infinity" not in both


def test_the_interval_is_the_spread_of_fresh_samples() -> None:
    """Within 20 % of the standard deviation over 200 fresh sets. Catches: replicates that are doubled or halved where there
    is nothing of the reference to add."""
    known = moments_of(features(400, 0))
    generators = [torch.Generator().manual_seed(100 + seed) for seed in range(200)]
    fresh = [Features(torch.randn(200, 6, generator=generator) + 0.2) for generator in generators]
    found = [evaluate(Material([one], None, Moments(known.values), resamples=60)).columns for one in fresh]
    spread = torch.tensor([one["fd"] for one in found]).std()
    stated = torch.tensor([one["fd_se"] for one in found]).mean()
    assert 0.8 < stated / spread < 1.2


def test_files_are_read_as_they_are_written(tmp_path: Path) -> None:
    """With what evaluators put in them, and with ours. Catches: a count or a source that is lost."""
    moments = moments_of(features(50, 1))
    write_moments(tmp_path / "ours.npz", moments)
    read = read_moments(tmp_path / "ours.npz")
    assert torch.equal(read.values.covariance, moments.values.covariance)
    assert read.spatial is not None
    assert (read.n, read.source) == (50, "these")
    assert read.title == "moments of 50 images, these: no interval for the reference"
    np.savez(tmp_path / "edm.npz", mu=np.zeros(3), sigma=np.eye(3))
    read = read_moments(tmp_path / "edm.npz")
    assert (read.n, read.spatial) == (None, None)
    assert read.title == "moments of images whose number is not stated, edm.npz: no interval for the reference"
    assert arrays_in(tmp_path / "edm.npz") == {"mu", "sigma"}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"mu": np.zeros(3)}, r"no moments, for it has no sigma; it holds mu"),
        ({"mu": np.zeros(3), "sigma": np.eye(4)}, r"mu is \[3\] and sigma \[4, 4\], not \[D\] and \[D,D\]"),
        ({"mu": np.zeros(3), "sigma": np.triu(np.ones((3, 3)))}, "sigma is not symmetric"),
        ({"mu": np.full(3, np.nan), "sigma": np.eye(3)}, "mu is float64, and has to be finite floats"),
        ({"mu": np.zeros(3, int), "sigma": np.eye(3)}, "mu is int64, and has to be finite floats"),
        ({"mu": np.array([{}]), "sigma": np.eye(3)}, "not readable as an .npz of moments"),
    ],
)
def test_what_is_no_moments_is_refused(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    np.savez(tmp_path / "m.npz", **arrays)
    with pytest.raises(InputError, match=message):
        read_moments(tmp_path / "m.npz")


def test_a_damaged_file_in_a_protocol_is_refused_by_name(
    isolated: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Catches: a traceback, for a row's key asks which arrays are in it before the file is read."""
    monkeypatch.chdir(isolated)
    Path("half.npz").write_bytes(b"half of a download")
    assert main(["plan", "ddpm", "--set", "protocol.moments=half.npz"]) == 2
    assert "half.npz: not readable as an .npz of moments" in capsys.readouterr().err


def test_moments_of_another_extractor_are_refused() -> None:
    with pytest.raises(InputError, match="these: moments of 5 features, and the extractor has 6: another extractor's"):
        measured([features(20, 1)], None, moments_of(features(20, 0, width=5)))


def images(path: Path, seed: int, n: int = 40) -> Tensor:
    pixels = np.random.default_rng(seed).integers(0, 256, (n, 8, 8, 1), dtype=np.uint8)
    np.savez(path, arr_0=pixels)
    return torch.from_numpy(pixels)


def test_measured_on_the_command_line(
    isolated: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A reference is made of images, by name and as a file, and gives the distance that the images give. Catches: a mark that
    is missing, and a file of moments and images that is taken for images alone."""
    monkeypatch.chdir(isolated)
    images(isolated / "samples.npz", 1)
    images(isolated / "real.npz", 2)
    quick = ["--set", "protocol.resamples=5"]
    assert main(["reference", "make", "real-digits", "real.npz"]) == 0
    assert main(["reference", "make", "own.npz", "digits", "--split", "test"]) == 0
    assert "images, digits test, none: no interval for the reference; SHA-256" in capsys.readouterr().out
    rows = {}
    for name in ("real.npz", "real-digits", "own.npz"):
        assert main(["measure", "samples.npz", "--reference", name, "--json", *quick]) == 0
        rows[name] = json.loads(capsys.readouterr().out)
    assert rows["real-digits"]["metric.fd"] == pytest.approx(rows["real.npz"]["metric.fd"], rel=1e-6)
    assert rows["real-digits"]["protocol.reference"] == "moments of 40 images, real.npz: no interval for the reference"
    assert "no interval for the reference: real-digits has its moments" in rows["real-digits"]["differs"]
    assert "metric.kid" not in rows["real-digits"]
    assert main(["measure", "samples.npz", "--reference", "real-digits", *quick]) == 0
    assert "moments of 40 images, real.npz: no interval for the reference, fingerprint" in capsys.readouterr().out
    with np.load(isolated / "data" / "references" / "real-digits.npz") as known, np.load("real.npz") as real:
        np.savez("both.npz", **known, **real)
    assert main(["measure", "samples.npz", "--reference", "both.npz", "--json", *quick]) == 0
    both = json.loads(capsys.readouterr().out)
    assert both["metric.kid"] == pytest.approx(rows["real.npz"]["metric.kid"])
    assert both["metric.fd"] == pytest.approx(rows["real.npz"]["metric.fd"], rel=1e-6)
    assert main(["measure", "samples.npz", "--reference", "adm-imagenet256"]) == 2
    assert "`replicate reference fetch adm-imagenet256`" in capsys.readouterr().err


def test_one_process_at_a_time_fetches_a_reference(isolated: Path) -> None:
    """Catches: two that append to one file."""
    buffer, held = io.BytesIO(), []
    np.savez(buffer, mu=np.zeros(4), sigma=np.eye(4))

    def answer(handler: BaseHTTPRequestHandler) -> None:
        with pytest.raises(Held), locked(one.file.with_name(".lock"), "", wait=False):
            pass
        held.append(True)
        send(handler, buffer.getvalue())

    with listening(answer) as address:
        one = Handed("tiny", "four numbers", f"{address}/tiny.npz", "none")
        assert fetch(one) == fetch(one)
    assert held == [True]


def test_what_a_paper_prints_stands_beside(
    isolated: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the name of ADM's file, and by table and row. Catches: a value of another set, and one beside another metric."""
    monkeypatch.chdir(isolated)
    images(Path("admnet_guided_upsampled_imagenet256.npz"), 1)
    images(Path("real.npz"), 2)
    line = ["--reference", "real.npz", "--set", "protocol.resamples=5"]
    assert main(["measure", "admnet_guided_upsampled_imagenet256.npz", *line, "--json"]) == 0
    found = {(one["source"], one["metric"]): one["value"] for one in json.loads(capsys.readouterr().out)["published"]}
    assert found["github.com/openai/guided-diffusion, evaluations/README", "fd"] == 3.9425574129223264
    assert found["github.com/openai/guided-diffusion, README, results", "fd"] == 3.94
    assert main(["measure", "real.npz", *line, "--published", "dit-readme-256:DiT-XL/2, cfg 1.5"]) == 0
    printed = [text for text in capsys.readouterr().out.splitlines() if "2.27 (" in text]
    assert len(printed) == 1
    assert "FD-digits" in printed[0]
    assert main(["measure", "real.npz", *line, "--published", "dit-readme-256:DiT"]) == 2
    assert "README 'DiT' (valid: 'DiT-XL/2, cfg 1.5'" in capsys.readouterr().err
