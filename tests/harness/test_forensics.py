"""Forensics: one choice at a time, on a tiny experiment, and its statistics where the answer is known."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from harness.tiny import write_tiny
from PIL import Image
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from replication.harness import workplace
from replication.harness.forensics.base import Measurement, Wishes, base_of
from replication.harness.forensics.choices import CHOICES, choices_named
from replication.harness.forensics.examination import NOT_CHANGED, Laboratory, in_float64, investigate, treated
from replication.harness.forensics.move import Pool, moves
from replication.harness.journal import Record
from replication.harness.workplace import Workplace
from replication.metrics import uncertainty
from replication.metrics.frechet import FD
from replication.registry import DATASETS, EXTRACTORS
from replication.report.forensics import printed
from replication.types import InputError

DIGITS = DATASETS.build("digits")


def place_of(base: Measurement) -> Workplace:
    return Workplace(Path.cwd() / "runs", torch.device("cpu"), base.batch_size, progress=False)


def investigated(base: Measurement, *names: str) -> tuple[list[Record], dict[str, str]]:
    """The rows of what was changed, and the reasons of what was not."""
    rows = investigate(base, choices_named(names), place_of(base))
    missing = {row["choice"]: row["because"] for row in rows if row["verdict"] == NOT_CHANGED}
    return [row for row in rows if row["verdict"] != NOT_CHANGED], missing


@pytest.fixture
def digits() -> torch.Tensor:
    """uint8 [40,1,8,8]: real images that stand for samples from elsewhere."""
    return DIGITS.load("test").images[:: len(DIGITS.load("test").images) // 40][:40]


# ---------------------------------------------------------------- the whole command


def test_every_choice_gives_a_row_or_says_what_it_needs(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them on a tiny checkpoint; run again, no image is drawn anew. Catches: a choice lost on the way, a change
    that leaks into the base, sample sets that overwrite each other."""
    write_tiny(project)
    rows, needs = investigated(base_of("tiny", Wishes()))
    assert {row["choice"] for row in rows} | set(needs) == set(CHOICES)
    assert {name: needs[name] for name in ("labels", "extractor's resize")} == {
        "labels": "unconditional model", "extractor's resize": "needs an Inception extractor",
    }  # fmt: skip
    assert set(needs) - {"labels", "extractor's resize"} <= ({"TF32"} if not torch.cuda.is_available() else set())
    sizes = [abs(row["metric.move"]) for row in rows]
    assert sizes == sorted(sizes, reverse=True)
    found = {(row["choice"], row["to"]): row for row in rows}
    assert found["clip", "after the mean"]["verdict"] == "identical"
    for changed in (
        ("weights", "raw"),
        ("spacing", "uniform"),
        ("reference", "train (1,438)"),
        ("n", "10"),
        ("quantizer", "truncate"),
    ):
        assert found[changed]["metric.move"] != 0, changed
    assert found["seed", "1"]["paired"] == "no"
    assert {row["verdict"] for row in rows if row["choice"] == "seed"} == {"noise"}
    assert found["weights", "raw"]["paired"] == "yes"
    assert found["n", "10"]["paired"] == "yes"

    monkeypatch.setattr(workplace, "train", lambda *_, **__: None)
    monkeypatch.setattr(
        "replication.sampling.generation.sample", lambda *_, **__: pytest.fail("an image was drawn again")
    )
    assert investigated(base_of("tiny", Wishes())) == (rows, needs)


def test_a_move_states_the_versions_of_what_made_it(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the distance, the intervals and the drawing, and of no metric that is not there; a report of others is marked.

    Catches: a committed table whose interval is made by another rule than today's, and that nobody can tell."""
    write_tiny(project)
    rows, _ = investigated(base_of("tiny", Wishes()), "clip", "TF32")
    assert {column for column in rows[0] if column.startswith("version.")} == {
        "version.fd", "version.interval", "version.sampling", "version.quantizer",
    }  # fmt: skip
    assert "earlier versions" not in printed(rows)
    monkeypatch.setattr(FD, "version", 9)
    assert "‡ The whole table is of earlier versions (fd 1 -> 9)" in printed(rows)
    before = [{column: value for column, value in row.items() if not column.startswith("version.")} for row in rows]
    assert f"(fd 1 -> 9, interval 1 -> {uncertainty.VERSION})" in printed(before)


def test_the_base_is_the_experiments_cell(project: Path) -> None:
    """The distance before is the one of the experiment's own row. Catches: another reference, seed or n in forensics."""
    write_tiny(project)
    base = base_of("tiny", Wishes(row="DDIM", steps=2))
    rows, _ = investigated(base, "extractor batch")
    record = base.cell.compute(place_of(base)).record
    assert rows[0]["metric.fd_before"] == pytest.approx(record["metric.fd"], rel=1e-6)


def test_checkpoint_file_is_examined_like_its_experiment(project: Path) -> None:
    """A checkpoint brings its recipe; copied elsewhere it leaves the experiment's sample sets alone."""
    write_tiny(project)
    own_base = base_of("tiny", Wishes(row="DDIM", steps=2))
    own, _ = investigated(own_base, "weights")
    copied = project / "mine.safetensors"
    copied.write_bytes(next((project / "runs" / "checkpoints").iterdir()).read_bytes())
    sets = sorted((project / "runs" / "samples").iterdir())
    settings = {"protocol.n": "16", "protocol.reference": "test", "protocol.resamples": "5"}
    base = base_of(str(copied), Wishes(steps=2, settings=settings))
    assert (base.protocol.name, base.n) == ("suite-digits", 16)
    found, _ = investigated(replace(base, drawn_as=own_base.cell), "weights")
    assert [row["metric.fd_after"] for row in found] == pytest.approx([row["metric.fd_after"] for row in own], abs=1e-6)
    assert set(sets) < set((project / "runs" / "samples").iterdir())


def test_labels_of_a_conditional_model_are_changed(project: Path) -> None:
    """Balanced to random: other digits are asked for, from the same noise. Catches: a choice that is never offered."""
    conditional = ('network = "ddpm-digits"', 'network = "ddpm-digits-label"\ncondition = "label"')
    write_tiny(project, conditional, ('nll = "fixed-large"\n', ""), ("n = 16", "n = 20"))
    (row,), _ = investigated(base_of("tiny", Wishes()), "labels")
    assert (row["from"], row["to"], row["paired"]) == ("balanced", "random", "yes")
    assert row["metric.move"] != 0


def test_of_given_images_only_what_comes_after_sampling_is_changed(project: Path, digits: torch.Tensor) -> None:
    np.savez(project / "given.npz", arr_0=digits.permute(0, 2, 3, 1).numpy())
    rows, missing = investigated(base_of(str(project / "given.npz"), Wishes(settings={"protocol.resamples": "5"})))
    assert {name for name, reason in missing.items() if reason == "needs a checkpoint"} == {
        "weights", "seed", "quantizer", "clip", "spacing", "last alpha", "variance", "precision", "TF32", "labels", "sampling batch",
    }  # fmt: skip
    assert {row["choice"] for row in rows} >= {"n", "samples stored", "reference stored", "reference"}


def test_files_that_are_not_read_are_named_in_the_report(project: Path, digits: torch.Tensor) -> None:
    """Catches: a set that seems whole because nobody says what else lies in its folder."""
    (project / "given").mkdir()
    for i, image in enumerate(digits):
        Image.fromarray(image[0].numpy()).save(project / "given" / f"{i:03d}.png")
    assert base_of("given", Wishes()).title == "images of given"
    (project / "given" / "notes.txt").touch()
    assert base_of("given", Wishes()).title == "images of given (1 file was not read: notes.txt)"


def test_images_that_were_given_as_jpeg_are_not_called_png(project: Path, digits: torch.Tensor) -> None:
    """Catches: "png" in the table for files that JPEG had changed before they came here."""
    folder = project / "given"
    folder.mkdir()
    for i, image in enumerate(digits):
        Image.fromarray(image[0].numpy()).save(folder / f"{i:03d}.jpg")
    found = investigated(base_of(str(folder), Wishes(settings={"protocol.resamples": "5"})), "samples stored")
    assert found == ([], {"samples stored": "the images came as JPEG, and what that took from them is gone"})


def test_a_choice_without_another_value_is_named(project: Path) -> None:
    """Catches: a choice that vanishes from the report, as the sampling batch of a base that samples one by one."""
    write_tiny(project, ("batch_size = 8", "batch_size = 1"))
    found = investigated(base_of("tiny", Wishes()), "sampling batch")
    assert found == ([], {"sampling batch": "there is no other value"})


# ---------------------------------------------------------------- the statistics of a move


def pool(shift: float = 0.0, seed: int = 0, population: str = "a", n: int = 400, noise: float = 0.0) -> Pool:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(n, 4, generator=generator)
    values = values + noise * torch.randn(n, 4, generator=generator)
    return Pool(values + torch.tensor([shift, 0, 0, 0]), population, n)


def test_identical_features_move_the_distance_by_exactly_nothing() -> None:
    reference = pool(seed=1, population="real")
    move = moves((pool(), reference), [(pool(), pool(seed=1, population="real"))], 20)[0]
    assert move == {
        "metric.fd_before": move["metric.fd_after"], "metric.fd_after": move["metric.fd_after"], "metric.move": 0.0,
        "metric.move_low": 0.0, "metric.move_high": 0.0, "metric.move_se": 0.0, "paired": "yes", "verdict": "identical",
    }  # fmt: skip


def test_a_known_shift_is_found() -> None:
    """Means apart by 0.5 along one axis: 0.25, apart from what the finite reference adds. Catches: unshifted counts."""
    reference = pool(seed=1, population="real", n=4000)
    move = moves((pool(n=4000), reference), [(pool(0.5, n=4000), reference)], 100)[0]
    assert move["verdict"] == "moves it"
    assert move["metric.move_low"] < 0.25 < move["metric.move_high"]
    assert move["metric.move_high"] - move["metric.move_low"] < 0.15


def test_a_tiny_but_certain_move_is_called_negligible() -> None:
    reference = pool(2.0, seed=1, population="real")
    assert moves((pool(), reference), [(pool(1e-4), reference)], 50)[0]["verdict"] == "negligible"


def test_paired_interval_is_narrower() -> None:
    """The same change, once with images that correspond by their population. Catches: counts drawn anew for every pool."""
    reference = pool(seed=1, population="real")
    changed = pool(noise=0.05)
    apart = replace(changed, population="b")
    paired, unpaired = moves((pool(), reference), [(changed, reference), (apart, reference)], 100)
    assert (paired["paired"], unpaired["paired"]) == ("yes", "no")
    assert paired["metric.move"] == unpaired["metric.move"]
    width = [move["metric.move_high"] - move["metric.move_low"] for move in (paired, unpaired)]
    assert width[0] < width[1] / 3


def test_a_part_of_a_pool_gets_the_counts_of_its_images() -> None:
    """All rows given by name are the pool itself. Catches: counts of other rows, which would make the pairing blind."""
    reference, whole = pool(seed=1, population="real"), pool()
    part = Pool(whole.values.flip(0), whole.population, whole.size, torch.arange(whole.size).flip(0))
    move = moves((whole, reference), [(part, reference)], 20)[0]
    assert abs(move["metric.move"]) < 1e-9
    assert move["metric.move_high"] - move["metric.move_low"] < 1e-9


# ---------------------------------------------------------------- the changes


@pytest.mark.parametrize("channels", [1, 3])
def test_treatments(channels: int) -> None:
    """PNG and the box filter there and back give the very image; the others another one of the same size."""
    images = torch.randint(0, 256, (5, channels, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for name in ("png", "jpeg-75", "jpeg-95", "resize-bilinear", "resize-bicubic", "resize-box", "pil-bicubic"):
        found = torch.cat(list(treated(images, (name,), chunk=2)))
        assert found.dtype == torch.uint8
        assert found.shape == ((5, channels, 299, 299) if name == "pil-bicubic" else images.shape)
        assert torch.equal(found, images) == (name in ("png", "resize-box")), name


def test_worse_jpeg_is_further_off(digits: torch.Tensor) -> None:
    off = {
        name: float((torch.cat(list(treated(digits, (name,), 8))).float() - digits.float()).abs().mean())
        for name in ("jpeg-95", "jpeg-75")
    }
    assert 0 < off["jpeg-95"] < off["jpeg-75"]


def test_a_dropped_batch_takes_no_class_away(project: Path, digits: torch.Tensor) -> None:
    """158 of 1,438 digits go, about 16 of each class. Catches: the end of the sorted split, which would be all nines."""
    np.savez(project / "given.npz", arr_0=digits.permute(0, 2, 3, 1).numpy())
    base = base_of(str(project / "given.npz"), Wishes(settings={"protocol.drop_last": "256"}))
    whole, reference = (
        Laboratory(base, place_of(base)).measure(measured)[1] for measured in (base.under(drop_last=0), base)
    )
    assert whole.rows is None
    assert reference.rows is not None
    assert len(reference.rows) == len(reference.rows.unique()) == len(reference.values) == 1280
    labels = DIGITS.load("train").labels
    lost = torch.bincount(labels, minlength=10) - torch.bincount(labels[reference.rows], minlength=10)
    assert 12 <= lost.min() <= lost.max() <= 20


def test_float64_is_another_computation_of_the_same_features(digits: torch.Tensor) -> None:
    """Max-abs 1e-4, and not the same bits. Catches: a layer left in float32, a network changed for everyone."""
    extractor = EXTRACTORS.build("digits-cnn")
    before = extractor(digits).values
    double = in_float64(extractor)(digits).values
    assert 0 < float((double - before).abs().max()) < 1e-4
    assert torch.equal(extractor(digits).values, before)


class Unloaded(FeatureExtractorInceptionV3):
    """The bare architecture: the empty file that it is handed is not applied."""

    def load_state_dict(self, *_: Any, **__: Any) -> Any:
        return None


def inception(dtype: str) -> Unloaded:
    empty = io.BytesIO()
    torch.save({}, empty)
    empty.seek(0)
    return Unloaded("i", ["2048", "logits_unbiased"], empty, dtype)


def test_float64_of_inception_is_float64_from_the_resize_on() -> None:
    """Random weights, max-abs 1e-6 of values of order one against the network converted by hand. torch-fidelity 0.4.0
    can't be asked for it: its feature_extractor_internal_dtype "float64" stands for float32, which is pinned here.
    Catches: a resize or a layer left in float32, which differs by more."""
    torch.manual_seed(0)
    single, theirs = inception("float32"), inception("float64")
    assert theirs.feature_extractor_internal_dtype is torch.float32
    for module in single.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight)  # keeps activations of order one through all layers
    torch.nn.Module.load_state_dict(theirs.double(), single.state_dict())
    theirs.feature_extractor_internal_dtype = torch.float64
    extractor = EXTRACTORS.build("inception-v3-compat", weights="unused")
    extractor.network, extractor.layers = single, ("2048", "logits_unbiased")
    images = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    ours = in_float64(extractor)(images).values
    with torch.no_grad():
        wanted = theirs(images)[0].float()
    assert wanted.std() > 0.1
    assert float((ours - wanted).abs().max()) < 1e-6
    assert float((ours - extractor(images).values).abs().max()) > 1e-6


def test_last_alpha_keeps_the_noise_of_the_first_step(project: Path) -> None:
    """The other end is t = 1/T, and nothing else of the times changes."""
    write_tiny(project)
    base = base_of("tiny", Wishes(row="DDIM", steps=4))
    ((_, _, changed),) = CHOICES["last alpha"](base)
    before, after = base.cell.sampling, changed.cell.sampling
    schedule = base.cell.recipe.build_schedule()
    assert before.times(schedule)[-1] == 0
    assert after.times(schedule)[-1] == 1 / schedule.T
    assert set(after.times(schedule).tolist()) == (set(before.times(schedule).tolist()) - {0.0}) | {1 / schedule.T}


# ---------------------------------------------------------------- what is asked of the base


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        (Wishes(row="DDPN"), "unknown row 'DDPN'; did you mean 'DDPM'"),
        (Wishes(steps=0), "--steps 0: .* at least 1"),
        (Wishes(steps=21), "21 steps are more than the schedule's T = 20"),
        (Wishes(dataset="digits"), "--dataset digits: an experiment states that itself"),
        (Wishes(settings={"protocl.n": "5"}), "unknown key 'protocl'; did you mean 'protocol'"),
    ],
)
def test_wishes_that_an_experiment_cannot_fulfil(project: Path, wishes: Wishes, message: str) -> None:
    write_tiny(project)
    with pytest.raises(InputError, match=message):
        base_of("tiny", wishes)


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        (Wishes(row="DDIM"), "--row DDIM: the images are there already"),
        (Wishes(dataset="cifar10"), r"images are \[1, 8, 8\], those of cifar10 are \[3, 32, 32\]"),
        (Wishes(protocol="suit"), "unknown protocol 'suit'; did you mean 'suite'"),
        (Wishes(settings={"batch_size": "5"}), "--set batch_size: only an experiment has that"),
        (Wishes(settings={"protocol.resample": "5"}), "unknown key 'resample'; did you mean 'resamples'"),
        (
            Wishes(settings={"protocol.n": "12"}),
            "--set protocol.n: the images are there already: protocol.n would change",
        ),
        (Wishes(settings={"protocol.seeds": "[7]"}), "protocol.seeds would change nothing"),
        (Wishes(settings={"protocol.ema": "false"}), "protocol.ema would change nothing"),
        (Wishes(settings={"protocol.quantizer": "truncate"}), "protocol.quantizer would change nothing"),
        (Wishes(settings={"protocol.precision": "bf16"}), "protocol.precision would change nothing"),
        (Wishes(settings={"protocol.labels": "random"}), "protocol.labels would change nothing"),
        (Wishes(settings={"protocol.nll_images": "4"}), "protocol.nll_images would change nothing"),
        (Wishes(settings={"protocol.name": "suite"}), "--set protocol.name: this names a protocol .* --protocol NAME"),
        (Wishes(profile="gpu"), "--profile gpu: the images are there already"),
        (
            Wishes(settings={"protocol.drop_last": "2000"}),
            "drop_last = 2000 leaves 0 of the .* images of the reference",
        ),
        (Wishes(settings={"protocol.seeds": "[-1]"}), "would change nothing"),
        (Wishes(settings={"protocol.resamples": "10000000000000000000000"}), r"is from -2\^63 to 2\^63 - 1"),
    ],
)
def test_wishes_that_images_cannot_fulfil(project: Path, digits: torch.Tensor, wishes: Wishes, message: str) -> None:
    np.savez(project / "given.npz", arr_0=digits.permute(0, 2, 3, 1).numpy())
    with pytest.raises(InputError, match=message):
        base_of(str(project / "given.npz"), wishes)


def test_a_dot_in_a_folders_name_is_no_suffix(project: Path, digits: torch.Tensor) -> None:
    """Catches: eta0.5 whose table is written over that of eta0.0, and a name that is not UTF-8 in a CSV."""
    for name in ("eta0.0", "eta0.5", "b\udce9ta"):
        (project / name).mkdir()
        for i, image in enumerate(digits[:12]):
            Image.fromarray(image[0].numpy()).save(project / name / f"{i}.png")
    found = [base_of(name, Wishes()).name for name in ("eta0.0", "./eta0.5/", "b\udce9ta")]
    assert found == ["eta0.0", "eta0.5", r"b\xe9ta"]
    np.savez(project / "eta0.5.npz", arr_0=digits.permute(0, 2, 3, 1).numpy())
    assert base_of("eta0.5.npz", Wishes()).name == "eta0.5"


def test_a_name_that_is_two_things_is_not_guessed(project: Path, digits: torch.Tensor) -> None:
    """A folder that is called as an experiment. Catches: one of the two taken without a word."""
    write_tiny(project)
    (project / "tiny").mkdir()
    with pytest.raises(
        InputError, match=r"tiny is an experiment, and it lies in this folder too: say \./tiny or .*tiny\.toml"
    ):
        base_of("tiny", Wishes())
    with pytest.raises(InputError, match="there are no images in this folder"):
        base_of("./tiny", Wishes())
    assert base_of("experiments/tiny.toml", Wishes()).name == "tiny-cpu"


def test_choices_are_known_by_name() -> None:
    assert list(choices_named(["clip"])) == ["clip"]
    with pytest.raises(InputError, match="unknown choice 'spacings'; did you mean 'spacing'"):
        choices_named(["spacings"])
