"""Latent diffusion through the harness: first stages as rows, latents trained on and decoded, prompts, given weights."""

import re
from pathlib import Path

import pytest
import torch
from harness.tiny_latent import write_tiny_latent
from PIL import Image
from safetensors.torch import save_file

from oracles.diffusers_peers import peer_autoencoder, peer_ldm_unet
from replication.check.models import randomize
from replication.checkpoint import load_checkpoint, save_checkpoint
from replication.cli import main
from replication.harness.experiment import load_experiment
from replication.harness.job import Job
from replication.harness.jobs.cell import Cell, cells_of, find_cell
from replication.harness.jobs.first_stage import FirstStageCell, first_stage_cells
from replication.harness.store import Store
from replication.harness.sweep import journal_of, run
from replication.harness.workplace import Workplace, keeping, planned_trainings
from replication.ldm.autoencoder_networks import Levels
from replication.training.train import NetworkState
from replication.types import InputError


def place(project: Path) -> Workplace:
    return Workplace(project / "runs", torch.device("cpu"), batch_size=10, progress=False)


def parts(project: Path, *changes: tuple[str, str]) -> tuple[list[Cell], list[FirstStageCell]]:
    experiment = load_experiment(str(write_tiny_latent(project, *changes)))
    return cells_of(experiment, "cpu"), first_stage_cells(experiment, "cpu")


def test_a_run_measures_first_stages_and_cells_once(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches latents that are measured without decoding, a first stage trained twice, rows that don't say which it was."""
    cells, stages = parts(project)
    jobs = [*cells, *stages]
    run(jobs, place(project), Store(project / "runs"))
    journal = journal_of(cells, project / "runs")
    records = {cell.label: journal.read(cell.key) for cell in cells}
    first = journal.read(stages[0].key)
    assert first is not None
    assert first["metric.fd"] > 0
    assert first["metric.fd_low"] <= first["metric.fd"] <= first["metric.fd_high"]
    assert 0 < first["metric.psnr"] < 40
    assert (first["first_stage.f"], first["first_stage.latent"]) == (2, "4x4x2")
    assert first["first_stage.scale"] > 0
    assert first["timing.disturbed"] in (0, 1)
    assert len(list((project / "runs" / "first-stages").glob("*.safetensors"))) == 1
    for label, record in records.items():
        assert record is not None
        latent = label != "pixels"
        assert (record["checkpoint.first_stage_sha256"] == first["checkpoint.sha256"]) == latent
        assert record["recipe.first_stage"].startswith("small: kl-f2(") == latent
        whole = record["timing.image_seconds"]
        assert whole > record["timing.seconds_per_image"] or not latent
        assert record["sampling.nfe"] == (4 if label == "text" else 2)
    assert records["text"] is not None
    assert 0 <= records["text"]["metric.class_accuracy"] <= 1
    chunk = next((project / "runs" / "samples").rglob("*.safetensors"))
    assert load_checkpoint(chunk)[0]["images"].shape[1:] == (1, 8, 8)

    for kind in (Cell, FirstStageCell):
        monkeypatch.setattr(kind, "compute", lambda *_: pytest.fail("a finished row was computed again"))
    run(jobs, place(project), Store(project / "runs"))


def test_the_report_shows_first_stages_beside_the_papers(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Catches a table without the paper's value, reconstructions that are not shown, and rows lost with runs/."""
    write_tiny_latent(project)
    assert main(["run", "latent"]) == 0
    assert "rFD-digits" in capsys.readouterr().out
    assert main(["report", "latent"]) == 0
    results = project / "results"
    text = (results / "latent-cpu.md").read_text()
    assert "## First stages" in text
    line = next(line for line in text.splitlines() if line.startswith("| small"))
    assert "4x4x2" in line
    assert "0.58" in line
    assert Image.open(results / "latent-cpu-reconstructions.png").size[0] > 100
    page = (results / "index.html").read_text()
    assert len(re.findall('alt="[^"]*test images, and below them', page)) == 1
    before = (results / "latent-cpu.md").read_text(), (results / "latent-cpu.csv").read_text()
    for file in (project / "runs" / "journal").rglob("*.json"):
        file.unlink()
    assert main(["report", "latent"]) == 0
    assert ((results / "latent-cpu.md").read_text(), (results / "latent-cpu.csv").read_text()) == before


def test_sampling_is_the_same_at_any_batch_size(project: Path) -> None:
    """Within one grey level. Catches a decoder or a text encoder that mixes the images of a batch."""
    cells, _ = parts(project)
    cell = find_cell(cells, "text", None)
    drawn = []
    for batch in (20, 7):
        where = Workplace(project / "runs", torch.device("cpu"), batch, progress=False)
        model = where.model(cell.recipe, True)
        drawn.append(cell.samples(model, 0, where, f"-{batch}").images.int())
    assert (drawn[0] - drawn[1]).abs().max() <= 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([('first_stage = "small"', 'first_stage = "smal"')], r"rows\[1\]\.recipe\.first_stage: unknown first stage 'smal'; did you mean 'small'"),
        ([('name = "kl-f2"', 'name = "kl-f16"'), ("multipliers = [1, 1]", "multipliers = [1, 1, 1, 1, 1]")], "f = 16 does not divide the height of 8 pixels"),
        ([("resolution = 4, channels = 2", "resolution = 4, channels = 3")], r"does not take latents \[2, 4, 4\] of digits"),
        ([("resolution = 4, channels = 2", "resolution = 8, channels = 2")], "it has resolution = 8, they have 4"),
        ([('label = "latents"', 'label = "latents"\nnll = "fixed-large"')], "the bound is that of pixels"),
        ([("vocabulary = 35", "vocabulary = 34")], "with condition text: it has vocabulary = 34, they have 35"),
        ([('perceptual = "none"', 'perceptual = "non"')], "did you mean 'none'"),
        ([("regularizer_weight = 1e-6", "regulariser_weight = 1e-6")], "did you mean 'regularizer_weight'"),
        ([('condition = "text"\n', "")], "with condition none: it has vocabulary = 35, they have 0"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_by_name(project: Path, changes: list[tuple[str, str]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        parts(project, *changes)


DECODER = """[profiles.cpu.first_stages.finer]
decoder_of = "small"
autoencoder = { name = "kl-f2", image_channels = 1, width = 4, multipliers = [1, 1], blocks = 1, groups = 2, latent_channels = 2, scaling = "std" }
loss = { regularizer_weight = 1e-6, perceptual = "none", pixel = "l2" }
training = { steps = 4, batch_size = 8, learning_rate = 1e-3, warmup = 1, ema_decay = 0.5, flip = false }
[profiles.cpu.recipe]
"""  # fmt: skip
WITH_DECODER = ("[profiles.cpu.recipe]\n", DECODER)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('decoder_of = "small"', 'decoder_of = "smal"'), r"finer\.decoder_of: unknown first stage 'smal'; did you mean"),
        (('decoder_of = "small"', 'decoder_of = "finer"'), r"finer\.decoder_of: a circle"),
        (('latent_channels = 2, scaling = "std" }', 'latent_channels = 3, scaling = "std" }'), "for the same autoencoder"),
    ],
)  # fmt: skip
def test_a_decoder_of_what_is_not_there_is_refused(project: Path, change: tuple[str, str], message: str) -> None:
    """Catches endless recursion, and a decoder that starts from weights of another shape in the middle of a run."""
    with pytest.raises(InputError, match=message):
        parts(project, WITH_DECODER, change)


ROW = """[[profiles.cpu.rows]]
label = "{label}"
sampler = "ddim"
spacing = "uniform"
steps = [2]
clip = "none"
[profiles.cpu.rows.recipe]
first_stage = "{stage}"
training = {{ steps = {steps} }}
network = {{ name = "ldm-unet", resolution = 4, channels = 2, width = 8, multipliers = [1, 1], blocks = 1, attention = [2], heads = 1, groups = 2 }}
"""  # fmt: skip


def test_one_training_serves_every_number_of_steps_and_every_decoder(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a network trained anew for another decoder or for fewer steps, latents encoded anew, a model loaded anew for
    each cell, and images that another decoder did not decode."""
    rows = "".join(
        ROW.format(label=f"{stage}, {steps}", stage=stage, steps=steps)
        for stage, steps in (("small", 2), ("finer", 4), ("small", 4), ("finer", 2))
    )
    change = ('[[profiles.cpu.rows]]\nlabel = "text"', f'{rows}[[profiles.cpu.rows]]\nlabel = "text"')
    cells, stages = parts(project, WITH_DECODER, change)
    cells = cells[2:6]
    jobs: list[Job] = [*stages, *cells]
    planned = planned_trainings(wanted for job in jobs for wanted in job.trainings(place(project)))
    assert [(one.title, one.steps, one.to_do()) for one in planned] == [
        ("first stage small, 8 px", [6], 6),
        ("first stage finer, 8 px", [4], 4),
        ("small, 2", [2, 4], 4),
    ]
    steps: list[int] = []
    original = NetworkState.advance
    monkeypatch.setattr(NetworkState, "advance", lambda self, data: [steps.append(self.step), original(self, data)][1])
    where = keeping(place(project), planned)
    records = [cell.compute(where).record for cell in reversed(cells)]  # the longest is asked for second
    assert steps == [0, 1, 2, 3]
    assert [one.to_do() for one in planned] == [0, 0, 0]
    assert len(list((project / "runs" / "latents").glob("*.safetensors"))) == 1
    assert len({record["checkpoint.sha256"] for record in records}) == 2
    assert len({(r["checkpoint.sha256"], r["checkpoint.first_stage_sha256"]) for r in records}) == 4
    assert len({record["metric.fd"] for record in records}) == 4
    assert where.model(cells[0].recipe, True) is where.model(cells[0].recipe, True)
    assert where.model(cells[0].recipe, True) is not where.model(cells[0].recipe, False)


def test_a_checkpoint_of_another_first_stages_latents_is_refused(project: Path) -> None:
    """Catches a network that decodes with an autoencoder which it was not trained with."""
    cells, _ = parts(project)
    cell = find_cell(cells, "latents", None)
    cell.compute(place(project))
    (stage,) = (project / "runs" / "first-stages").glob("*.safetensors")
    tensors, metadata = load_checkpoint(stage)
    save_checkpoint(stage, {**tensors, "buffers.scale": tensors["buffers.scale"] * 2}, metadata)
    with pytest.raises(InputError, match="trained on latents of the encoder"):
        cell.compute(place(project))


PROMPTS = {
    "empty": ("", "prompt ''.*(no words|blank)"),
    "blank": ("  \t", "prompt.*(no words|blank)"),
    "long": ("three " * 5000, "5,000 words, and 11 fit"),
    "another word": ("the digit sevenn", "unknown word 'sevenn'; did you mean 'seven'"),
    "not UTF-8": (b"\xff\xfe three".decode("utf-8", "surrogateescape"), "UTF-8"),
}


@pytest.mark.parametrize("what", PROMPTS)
def test_prompts_that_say_nothing_are_refused_before_anything_is_trained(
    what: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2 and one message. Catches a traceback, a prompt cut short, and minutes of training before the refusal."""
    write_tiny_latent(project)
    prompt, message = PROMPTS[what]
    assert main(["sample", "latent", "--row", "text", "--prompt", prompt, "--out", str(project / "s.png")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("replicate: prompt")
    assert re.search(message, error), error
    assert not (project / "runs" / "checkpoints").exists()


def test_sample_writes_a_line_for_each_prompt(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Catches prompts that change nothing, noise that differs from prompt to prompt, and unconditional rows taken."""
    cells, _ = parts(project)
    cell, where = find_cell(cells, "text", None), place(project)
    pictures = cell.prompted(["the digit three", "the digit seven", "the digit three"], 4, 0, where)
    assert pictures.shape == (3, 4, 1, 8, 8)
    assert torch.equal(pictures[0], pictures[2])
    arguments = ["sample", "latent", "--prompt", "the digit three", "-n", "2", "--out", str(project / "s.png")]
    assert main([*arguments, "--row", "text"]) == 0
    assert Image.open(project / "s.png").size[1] > 50
    for wrong, message in (
        (["--row", "latents"], "row 'latents' is unconditional: it takes no prompt"),
        (["--row", "txt"], "did you mean 'text'"),
        (["--row", "text", "--steps", "3"], "has 2 steps, not 3"),
        (["--row", "text", "-n", "0"], "at least one image"),
    ):
        assert main([*arguments, *wrong]) == 2
        assert message in capsys.readouterr().err


def test_sample_draws_an_unconditional_row_without_a_prompt(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Catches: a conditional row taken for it, other images than the row's own, and a prompt that is missing unnoticed."""
    cells, _ = parts(project)
    cell, where = find_cell(cells, "latents", None), place(project)
    (images,) = cell.prompted([], 4, 0, where)
    own = next(cell.samples(where.model(cell.recipe, cell.protocol.ema), 0, where).batches())
    assert torch.equal(images, own[:4])
    out = str(project / "s.png")
    assert main(["sample", "latent", "-n", "2", "--out", out]) == 0
    assert f"wrote {out}: 2 images, latents x 2, seed 0" in capsys.readouterr().out
    assert main(["sample", "latent", "--row", "text", "--out", out]) == 2
    assert "row 'text' is conditional: say with --prompt" in capsys.readouterr().err


def test_published_weights_become_the_checkpoints_of_a_row(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Random weights saved as diffusers saves them. Catches a network trained over what was given, and a scale not measured."""
    cells, _ = parts(project)
    cell = find_cell(cells, "latents", None)
    unet = peer_ldm_unet(4, 2, 8, (1, 1), 1, (2,), 2, head_channels=8)
    autoencoder = peer_autoencoder(Levels(4, (1, 1), 1, 2, ()), 1, 2)
    for seed, (name, peer) in enumerate((("unet", unet), ("vae", autoencoder))):
        randomize(peer, seed=seed)
        (project / name).mkdir()
        save_file(peer.state_dict(), project / name / "diffusion_pytorch_model.safetensors")
    command = ["weights", "add", "latent", "--profile", "cpu", "--row", "latents"]
    assert main([*command, "--network", str(project / "unet")]) == 2
    assert "is not there yet: give it too" in capsys.readouterr().err
    assert main([*command, "--network", str(project / "unet"), "--first-stage", str(project / "vae")]) == 0
    record = cell.compute(place(project)).record
    assert len(record["checkpoint.given"]) == len(record["checkpoint.first_stage_given"]) == 64
    tensors, metadata = load_checkpoint(place(project).trained(cell.recipe))
    assert torch.equal(tensors["ema.conv_in.weight"], unet.state_dict()["conv_in.weight"])
    assert metadata["step"] == cell.recipe.training.steps
    stage = load_checkpoint(next((project / "runs" / "first-stages").glob("*.safetensors")))[0]
    assert stage["buffers.scale"].isfinite()
    capsys.readouterr()
    for wrong, message in (
        (["--network", str(project / "vae")], "no published spelling of model ldm-unet"),
        (["--network", str(project / "none.safetensors")], "there is no such file"),
        (["--first-stage", str(project / "unet")], "no published spelling of autoencoder"),
        (["--first-stage", str(project / "vae")], "there is a checkpoint already; move it away"),
        ([], "nothing to add"),
    ):
        assert main([*command, *wrong]) == 2
        assert message in capsys.readouterr().err


def test_a_first_stage_of_the_table_is_given_by_its_name(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Catches a first stage that no row uses and that could only be trained, and one whose row says it was trained here."""
    cells, (stage,) = parts(project)
    autoencoder = peer_autoencoder(Levels(4, (1, 1), 1, 2, ()), 1, 2)
    randomize(autoencoder, seed=0)
    save_file(autoencoder.state_dict(), project / "vae.safetensors")
    command = ["weights", "add", "latent", "--profile", "cpu", "--first-stage", str(project / "vae.safetensors")]
    for wrong, message in (
        (["--stage", "smal"], "did you mean 'small'"),
        (["--row", "pixels"], "it has no first stage"),
        ([], "say --row LABEL"),
    ):
        assert main([*command, *wrong]) == 2
        assert message in capsys.readouterr().err
    assert main([*command, "--stage", "small"]) == 0
    run([cells[0], stage], place(project), Store(project / "runs"))
    record = journal_of(cells, project / "runs").read(stage.key)
    assert record is not None
    assert len(record["checkpoint.given"]) == 64


def test_one_row_is_run_alone(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Catches a first stage that is trained for rows which nobody asked for, and other rows that are run."""
    cells, _ = parts(project)
    assert main(["run", "latent", "--row", "pixels"]) == 0
    journal = journal_of(cells, project / "runs")
    assert [journal.read(cell.key) is not None for cell in cells] == [True, False, False]
    assert not (project / "runs" / "first-stages").exists()
    assert main(["run", "latent", "--row", "pixel"]) == 2
    assert "did you mean 'pixels'" in capsys.readouterr().err
