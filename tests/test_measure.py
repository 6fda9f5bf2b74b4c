"""`replicate measure`: on images of one's own, on the stored samples of a row, and on the rows of an experiment."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from harness.tiny import write_tiny
from PIL import Image

from replication.cli import main
from replication.harness.journal import unsealed
from replication.metrics.extractor import Extractor
from replication.registry import DATASETS

QUICK = ("--set", "protocol.resamples=5")
FEWER = ("--set", "protocol.resamples=4")
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project that is the current folder, with noisy digits: 30 as a.npz, 30 worse ones as b.npz."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REPLICATION_HOME", str(tmp_path / "runs"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("REPLICATION_DATA", str(tmp_path / "data"))
    for name, noise in (("a", 10.0), ("b", 40.0)):
        save(f"{name}.npz", noisy(30, noise))
    return tmp_path


def noisy(n: int, noise: float, shape: tuple[int, ...] = (1, 8, 8)) -> torch.Tensor:
    clean = DATASETS.build("digits").load("train").images[:: 1438 // n][:n].expand(-1, shape[0], -1, -1)
    added = noise * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    return (clean + added).clamp(0, 255).round().to(torch.uint8)


def save(name: str, images: torch.Tensor) -> None:
    np.savez(name, arr_0=images.permute(0, 2, 3, 1).numpy())


def measured(capsys: Capture, *arguments: str) -> Any:
    """The JSON object, all that stands on standard output."""
    assert main(["measure", *arguments, "--json"]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


# ---------------------------------------------------------------- images of one's own


def test_the_dataset_of_their_shape_and_the_suites_protocol(here: Path, capsys: Capture) -> None:
    """What was measured and what is not known. Catches: a figure without an interval, a key of the protocol that is stated
    though no image tells it, a difference that is left out."""
    row = measured(capsys, "a.npz", *QUICK)
    for figure in ("fd", "kid", "is", "precision", "recall", "density", "coverage"):
        assert row[f"metric.{figure}_low"] <= row[f"metric.{figure}"] <= row[f"metric.{figure}_high"], figure
        assert row[f"version.{figure}"] == 1
    assert row["version.interval"] >= 2
    stated = {key.removeprefix("protocol."): value for key, value in row.items() if key.startswith("protocol.")}
    assert (stated["n"], stated["reference"], stated["reference_n"]) == (30, "digits train", 1438)
    assert (stated["name"], stated["extractor"], stated["resamples"]) == ("suite-digits", "digits-cnn", 5)
    assert {key for key, value in stated.items() if value == "not known"} == set(row["not_known"])
    assert set(row["not_known"]) == {"seeds", "ema", "quantizer", "labels", "precision"}
    assert row["differs"] == ["n 30 for 1797", "sets of images 1 for 3"]
    assert "metric.fd_infinity" not in row


def test_a_named_papers_protocol_is_followed_and_what_differs_is_named(here: Path, capsys: Capture) -> None:
    """DDPM's drops the last partial batch of 256. Catches: the name alone taken over."""
    row = measured(capsys, "a.npz", "--protocol", "ddpm-2020", "--set", "protocol.extractor=digits-cnn", *QUICK)
    assert (row["protocol.name"], row["protocol.reference_n"]) == ("ddpm-2020", 1280)
    assert row["differs"] == ["n 30 for 50000", "extractor digits-cnn for inception-v3-compat"]


def test_what_a_reader_is_shown(here: Path, capsys: Capture) -> None:
    (here / "notes.txt").write_text("")
    (here / "mine").mkdir()
    (here / "mine" / "notes.txt").write_text("")
    for i, image in enumerate(noisy(30, 10.0)):
        Image.fromarray(image[0].numpy()).save(here / "mine" / f"{i}.png")
    assert main(["measure", "mine", *QUICK]) == 0
    text = capsys.readouterr().out
    for part in (
        "| FD-digits ", "| KID-digits x 1000 ", "| Coverage-digits", "n 30 for 1797; sets of images 1 for 3",
        "30 of mine", "1,438 images of digits train", "seeds, ema, quantizer, labels, precision: the images do not tell",
        "mine: 1 file was not read: notes.txt", "FD-digits-infinity is given from",
    ):  # fmt: skip
        assert part in text, part


def test_a_reference_of_ones_own_is_kept_by_its_content(
    here: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches: its features computed for every set again, or those of another set taken for them."""
    extracted = []
    plain = Extractor.__call__
    monkeypatch.setattr(Extractor, "__call__", lambda *a, **k: (extracted.append(k["total"]), plain(*a, **k))[1])
    save("real.npz", noisy(40, 0.0))
    first = measured(capsys, "a.npz", "--reference", "real.npz", *QUICK)
    assert extracted == [40, 30]
    (here / "real.npz").rename(here / "moved.npz")
    again = measured(capsys, "a.npz", "--reference", "moved.npz", *QUICK)
    assert extracted == [40, 30, 30]
    save("moved.npz", noisy(40, 60.0))
    other = measured(capsys, "a.npz", "--reference", "moved.npz", *QUICK)
    assert extracted == [40, 30, 30, 40, 30]
    assert first["metric.fd"] == again["metric.fd"] < other["metric.fd"]
    assert "reference real.npz for a dataset's train split" in first["differs"]
    assert first["protocol.reference_fingerprint"] != other["protocol.reference_fingerprint"]


def test_two_sets_are_compared_under_the_same_resamples(here: Path, capsys: Capture) -> None:
    """Worse images are farther off by more than nothing, a set is no farther off than itself; each set has its own row.

    Catches: first and second exchanged, a reference that is drawn anew for the second set.
    """
    for name, noise in (("a", 20.0), ("b", 60.0)):
        save(f"{name}.npz", noisy(200, noise))
    both = measured(capsys, "a.npz", "--compare", "b.npz", "--set", "protocol.resamples=40")
    alone = measured(capsys, "b.npz", "--set", "protocol.resamples=40")
    assert {k: v for k, v in both["other"].items() if k != "notes"} == {k: v for k, v in alone.items() if k != "notes"}
    pair = both["paired"]
    assert pair["difference.fd"] == pytest.approx(both["other"]["metric.fd"] - both["metric.fd"])
    assert "ratio.fd" not in pair  # of 200 images and 64 features, whose bias pulls it to 1
    assert pair["ratio.is"] == pytest.approx(both["other"]["metric.is"] / both["metric.is"])
    assert 0 < pair["difference.fd_low"] < pair["difference.fd"] < pair["difference.fd_high"]
    assert pair["ratio.is_low"] < pair["ratio.is"] < pair["ratio.is_high"]
    same = measured(capsys, "a.npz", "--compare", "a.npz", *QUICK)["paired"]
    assert [same[f"difference.fd{end}"] for end in ("", "_low", "_high")] == [0, 0, 0]
    assert same["correlation.fd"] == pytest.approx(1)
    assert main(["measure", "a.npz", "--compare", "b.npz", *QUICK]) == 0
    assert "| 2 less 1 [95 %]" in capsys.readouterr().out


WRONG = {
    "none": (["nowhere"], "nowhere: there is no such file or folder"),
    "reference": (["a.npz", "--reference", "digit"], "unknown reference 'digit'; did you mean 'digits'"),
    "reference-file": (["a.npz", "--reference", "real.zip"], "--reference real.zip: there is no such file"),
    "protocol": (["a.npz", "--protocol", "ddpm-2021"], "unknown protocol 'ddpm-2021'; did you mean 'dd"),
    "key": (["a.npz", "--set", "protocol.resample=3"], "unknown key 'resample'; did you mean 'resamples'"),
    "seeds": (["a.npz", "--set", "protocol.seeds=[7]"], "--set protocol.seeds: the images are there already"),
    "preparation": (["a.npz", "--set", "protocol.preprocessing=none"], "that is stated by the reference, digits"),
    "two-things": (["a.npz", "--reference", "digits"], "--reference digits: a dataset is called so, and it lies in this folder too"),
    "split": (["a.npz", "--reference", "b.npz", "--set", "protocol.reference=test"], "stated by the reference, b.npz"),
    "drop-last": (["a.npz", "--set", "protocol.drop_last=2000"], "protocol.drop_last = 2000 leaves 0 of the 1,438 images"),
    "drop-last-of-file": (["a.npz", "--reference", "b.npz", "--set", "protocol.drop_last=31"], "leaves 0 of the 30 images"),
    "shape": (["a.npz", "--reference", "cifar10"], "images are [1, 8, 8], those of cifar10 are [3, 32, 32]"),
    "its-shape": (["a.npz", "--reference", "colour.npz"], "colour.npz: images are [3, 8, 8], those of a.npz are [1, 8, 8]"),
    "grey": (["colour.npz"], "the three channels of these images are equal"),
    "n": (["a.npz", "--compare", "few.npz"], "a.npz and few.npz can't be compared: n 30 against 20"),
    "extractor": (["a.npz", "--set", "protocol.extractor=cifar10-resnet"], "takes images [N,3,32,32]"),
    "row": (["tiny:DDIM"], "a row is written as EXPERIMENT:LABEL:STEPS"),
    "row-name": (["tiny:DDIX:2"], "unknown row 'DDIX'; did you mean 'DDIM'"),
    "row-not-run": (["tiny:DDIM:2"], "`replicate run tiny` draws them"),
    "profile": (["a.npz", "--profile", "gpu"], "--profile gpu: only an experiment has that"),
    "experiment": (["tiny", "--reference", "digits"], "--reference digits: an experiment's rows state that themselves"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input_exits_with_2(here: Path, name: str, capsys: Capture) -> None:
    arguments, message = WRONG[name]
    write_tiny(here)
    save("few.npz", noisy(20, 10.0))
    save("colour.npz", noisy(30, 10.0).expand(-1, 3, -1, -1))
    if name == "two-things":
        (here / "digits").mkdir()
    assert main(["measure", *arguments]) == 2
    error = capsys.readouterr()
    assert message in error.err
    assert (error.out, error.err.count("\n")) == ("", 1)


def test_missing_weights_name_the_extractor_that_needs_none(
    here: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Colour images where Inception is not. Catches: a refusal that does not say how to go on."""
    monkeypatch.setenv("REPLICATION_INCEPTION_WEIGHTS", str(here / "absent.pth"))
    save("colour.npz", torch.randint(0, 256, (12, 3, 32, 32), dtype=torch.uint8))
    assert main(["measure", "colour.npz", "--reference", "colour.npz"]) == 2
    assert "--set protocol.extractor=NAME" in capsys.readouterr().err
    row = measured(
        capsys, "colour.npz", "--reference", "colour.npz", "--set", "protocol.extractor=cifar10-resnet", *QUICK
    )
    assert row["metric.fd"] == pytest.approx(0, abs=1e-6)


# ---------------------------------------------------------------- rows of an experiment


def test_stored_samples_of_a_row_give_its_figures(here: Path, capsys: Capture) -> None:
    """And what is known of a row is stated. Catches: another seed, n or reference than the row's; samples drawn anew."""
    write_tiny(here)
    assert main(["run", "tiny", "--row", "DDIM"]) == 0
    (path,) = (here / "runs" / "journal" / "tiny-cpu").glob("*.json")
    row = json.loads(path.read_text())
    capsys.readouterr()
    found = measured(capsys, "tiny:DDIM:2")
    figures = {key for key in row if key.startswith("metric.")}
    assert len(figures) > 20
    assert {key: found[key] for key in figures} == {key: row[key] for key in figures}
    assert (found["protocol.quantizer"], found["not_known"]) == ("round", [])
    named = measured(capsys, "tiny:DDIM:2", "--protocol", "suite-digits", "--compare", "tiny:DDIM:2", *FEWER)
    assert named["differs"] == ["n 16 for 1797", "sets of images 1 for 3"]
    assert (named["protocol.reference"], named["protocol.resamples"]) == ("digits train", 4)
    (here / "tiny").mkdir()
    assert main(["measure", "tiny"]) == 2
    assert "tiny is an experiment, and it lies in this folder too: say ./tiny or" in capsys.readouterr().err


def test_a_row_is_measured_on_the_images_of_its_own_weights(here: Path, capsys: Capture) -> None:
    """Catches images of another checkpoint, the first that lie in the folder, under the row's name."""
    write_tiny(here)
    assert main(["run", "tiny", "--row", "DDIM"]) == 0
    (path,) = (here / "runs" / "journal" / "tiny-cpu").glob("*.json")
    path.write_text(json.dumps(unsealed(path.read_bytes()) | {"checkpoint.sha256": "0" * 64}))
    assert main(["measure", "tiny:DDIM:2"]) == 2
    assert "16 images of the row's weights for each of 1 seeds are not stored" in capsys.readouterr().err


def test_rows_of_an_experiment_get_the_metrics_that_they_lack(here: Path, capsys: Capture) -> None:
    """A row from before there was KID has it afterwards, from the same samples; a second time nothing is to be done."""
    write_tiny(here)
    assert main(["run", "tiny", "--row", "DDIM"]) == 0
    (path,) = (here / "runs" / "journal" / "tiny-cpu").glob("*.json")
    whole = unsealed(path.read_bytes())
    path.write_text(json.dumps({key: value for key, value in whole.items() if ".kid" not in key}))
    capsys.readouterr()
    first = measured(capsys, "tiny")
    assert [row["metric.kid"] for row in first["rows"]] == [whole["metric.kid"]]
    assert first["without_samples"] == []
    written = path.stat().st_mtime_ns
    assert main(["measure", "tiny"]) == 0
    assert path.stat().st_mtime_ns == written
    assert "DDIM" in capsys.readouterr().out
