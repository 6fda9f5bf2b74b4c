"""Training a first stage: the same weights however often it was interrupted, and a message for each way of failing."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import first_stages
import pytest
import torch
from first_stages import CPU, DIGITS, stage
from torch import Tensor, nn

import replication.training.loop
import replication.training.snapshots
import replication.training.train_first_stage
from replication.checkpoint import load_checkpoint, load_metadata, save_checkpoint
from replication.ldm.autoencoder import Reconstruction
from replication.ldm.first_stages import VQAutoencoder
from replication.noise import stream_seed
from replication.training.data import Pixels, encoder_sha256
from replication.training.first_stage import FirstStage, FirstStageLoss
from replication.training.health import COLLAPSED_WINDOWS, WON_WINDOWS, Health
from replication.training.loop import WATCH_STEPS, batch_indices
from replication.training.train_first_stage import (
    FirstStageState,
    load_autoencoder,
    stage_snapshots,
    train_first_stage,
)
from replication.types import InputError, RunError

WINDOW = 3  # steps, in tests of what happens at a window's end


class Interrupted(BaseException):
    """Like KeyboardInterrupt: nothing in the code under test catches it."""


def trained(
    chosen: FirstStage, folder: Path, seconds: float = 0.0, milestones: Collection[int] = ()
) -> dict[str, Tensor]:
    """Every tensor of the snapshot, but the curve, in which the machine's times are."""
    path = train_first_stage(
        chosen, DIGITS, folder, CPU, milestones=milestones, progress=False, checkpoint_seconds=seconds
    )
    tensors = load_checkpoint(path)[0]
    del tensors["curve"]
    return tensors


def result(chosen: FirstStage, folder: Path) -> Path:
    return stage_snapshots(chosen, DIGITS, folder).after(chosen.training.steps)


def unfinished(chosen: FirstStage, folder: Path) -> Path:
    return stage_snapshots(chosen, DIGITS, folder).unfinished(chosen.training.steps)


def assert_identical(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    assert not [name for name in a if not torch.equal(a[name], b[name])]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, Tensor]]:
    folder = tmp_path_factory.mktemp("whole")
    return lambda kind: trained(stage(kind), folder, seconds=1e9)


@pytest.mark.parametrize(
    ("kind", "where", "step"),
    [
        ("kl-f2", "before saving", 1),
        ("kl-f2", "after saving", 2),
        ("kl-f2", "after saving", 4),
        ("kl-f2", "between the networks", 3),
        ("vq-f2", "before saving", 3),
        ("vq-f2", "after saving", 4),
        ("vq-f2", "between the networks", 4),
    ],
)
def test_an_interrupted_run_ends_in_the_same_weights(
    kind: str,
    where: str,
    step: int,
    tmp_path: Path,
    uninterrupted: Callable[[str], dict[str, Tensor]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Bit-identical. Catches moments or a discriminator not kept, and generators carried along."""
    steps = iter(range(1, 100))

    def saving(*args: Any) -> None:
        if (k := next(steps)) == step and where == "before saving":
            raise Interrupted
        save_checkpoint(*args)
        if k == step:
            raise Interrupted

    def training(self: FirstStageState, x: Tensor, reconstructed: Tensor) -> Tensor:
        if self.step == step:
            raise Interrupted
        return original(self, x, reconstructed)

    original = FirstStageState._train_discriminator
    with monkeypatch.context() as patched:
        if where == "between the networks":
            patched.setattr(FirstStageState, "_train_discriminator", training)
        else:
            patched.setattr(replication.training.snapshots, "save_checkpoint", saving)
        with pytest.raises(Interrupted):
            trained(stage(kind), tmp_path)
    assert_identical(trained(stage(kind), tmp_path), uninterrupted(kind))


@pytest.mark.parametrize("kind", ["kl-f2", "vq-f2"])
@pytest.mark.parametrize("short", [2, 4], ids=["before the discriminator", "after it began"])
def test_a_training_that_is_continued_is_one_never_stopped(
    kind: str,
    short: int,
    tmp_path: Path,
    uninterrupted: Callable[[str], dict[str, Tensor]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Bit-identical: the discriminator, all moments and the watch over its windows of three steps.

    Catches what ends with a training, a scale that is measured at the last snapshot alone, and one that is kept from a
    shorter one.
    """
    monkeypatch.setattr(replication.training.loop, "WATCH_STEPS", WINDOW)
    whole = trained(stage(kind), tmp_path / "never stopped", seconds=1e9)
    chosen = stage(kind, steps=short, loss={"discriminator_start": 2})
    first = trained(chosen, tmp_path / "a", seconds=1e9)
    assert_identical(trained(stage(kind), tmp_path / "a", seconds=1e9), whole)
    assert_identical(trained(stage(kind), tmp_path / "b", seconds=1e9, milestones=(short,)), whole)
    assert_identical(trained(chosen, tmp_path / "b"), first)
    if kind == "kl-f2":
        assert first["buffers.scale"].isfinite()
        assert first["buffers.scale"] != whole["buffers.scale"]
    assert_identical({k: t for k, t in whole.items() if "health" not in k}, _without_health(uninterrupted(kind)))


def _without_health(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Windows of another length are other sums, and the same weights."""
    return {k: t for k, t in tensors.items() if "health" not in k}


def test_a_decoder_of_another_keeps_its_encoder_and_scale(tmp_path: Path) -> None:
    """Exact. Catches an encoder that is trained or averaged on, raw weights to begin with, a scale measured anew, a decoder
    that is not trained, and latents keyed by the whole first stage."""
    base = stage(steps=5, training={"ema_decay": 0.5})
    trained(base, tmp_path)
    first = load_autoencoder(base, DIGITS, result(base, tmp_path), CPU)
    loss = {"pixel": "l2", "discriminator": None}
    finer = stage(steps=4, loss=loss, training={"batch_size": 4, "weight_decay": 0.1})
    finer = finer.with_fields(decoder_of=base)
    path = train_first_stage(finer, DIGITS, tmp_path, CPU, progress=False, base=lambda: first)
    second = load_autoencoder(finer, DIGITS, path, CPU)
    for name, tensor in first.state_dict().items():
        same = torch.equal(tensor, second.state_dict()[name])
        assert same == (not name.startswith(("decoder.", "post_quant_conv."))), name
    assert encoder_sha256(first) == encoder_sha256(second)
    assert finer.encoder_identity(DIGITS) == base.encoder_identity(DIGITS) == base.identity(DIGITS)
    assert finer.identity(DIGITS) != base.identity(DIGITS)
    with torch.no_grad():
        second.scale.mul_(2)
    assert encoder_sha256(first) != encoder_sha256(second)


@pytest.mark.parametrize("kind", ["kl-f2", "vq-f2"])
def test_accumulated_parts_of_a_first_stage_are_one_larger_batch(kind: str) -> None:
    """max-abs 1e-6 of gradients of norm 1, without a discriminator: its batch normalisation and its adaptive weight are of
    each part. With one, both learn from all parts. Catches losses and codes of one part alone."""
    data, gradients = Pixels.of(DIGITS.load("train"), CPU), []
    for more in ({}, {"accumulate": 4}):
        run = FirstStageState(stage(kind, loss={"discriminator": None}, training=more), CPU)
        run.advance(data)
        gradients.append(torch.cat([p.grad.flatten() for p in run.autoencoder.parameters()]))
    assert (gradients[0] - gradients[1]).abs().max() <= 1e-6
    run = FirstStageState(stage(kind, training={"accumulate": 4}), CPU)
    assert run.discriminator is not None
    seen: list[int] = []
    run.discriminator.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    for _ in range(3):
        run.advance(data)
    assert seen == [2] * 12  # in the third step: the generator's question, real and made images of four parts
    if kind == "vq-f2":
        assert int(run.health.counts.sum()) == 3 * 8 * 4 * 4


def test_a_process_killed_outright_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    """Bit-identical after SIGKILL at no particular instant. Catches a checkpoint that is written in place."""
    steps = 2000
    path = unfinished(stage(steps=steps), tmp_path)
    command = [sys.executable, first_stages.__file__, str(tmp_path), str(steps)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(command, env=environment) as process:
        deadline = time.monotonic() + 120
        while not path.exists() and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.01)
        time.sleep(0.1)
        process.send_signal(signal.SIGKILL)
    reached = load_checkpoint(path)[1]["step"]
    assert 0 < reached < steps
    assert process.returncode == -signal.SIGKILL
    killed, whole = (weights_at(stage(steps=steps), p, reached + 3) for p in (path, tmp_path / "whole"))
    assert_identical(killed, whole)


def weights_at(chosen: FirstStage, path: Path, step: int) -> dict[str, Tensor]:
    """Train on from `path` to that step of a longer training; all that both networks and the watch hold."""
    run, data = FirstStageState(chosen, CPU), Pixels.of(DIGITS.load("train"), CPU)
    if path.exists():
        run.restore(*load_checkpoint(path))
    while run.step < step:
        run.advance(data)
        if run.step % WATCH_STEPS == 0:
            run.health.judge()
    held = run.tensors()
    del held["buffers.scale"], held["curve"]  # not measured yet, and NaN equals nothing; times
    return held


def test_a_finished_run_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a snapshot that is rewritten, and images or networks loaded for nothing."""
    chosen = stage(steps=3)
    first, path = trained(chosen, tmp_path), result(chosen, tmp_path)
    before = path.stat().st_mtime_ns
    monkeypatch.setattr(type(DIGITS), "load", lambda self, split: pytest.fail("loaded the images again"))
    monkeypatch.setattr(FirstStage, "build_autoencoder", lambda self: pytest.fail("built the networks"))
    assert_identical(trained(chosen, tmp_path), first)
    assert path.stat().st_mtime_ns == before


def test_load_autoencoder_gives_the_average_with_its_scale(tmp_path: Path) -> None:
    """Exact weights; latents of the first batch have standard deviation 1 within 1e-5.

    Catches raw weights for the average, a scale of the raw weights' latents, of the mode, or of another batch.
    """
    chosen = stage(steps=5, training={"ema_decay": 0.5})
    tensors = {name: tensor.clone() for name, tensor in trained(chosen, tmp_path).items()}  # no map of the file
    path = result(chosen, tmp_path)
    autoencoder = load_autoencoder(chosen, DIGITS, path, CPU)
    assert not autoencoder.training
    assert all(torch.equal(p, tensors[f"ema.{k}"]) for k, p in autoencoder.named_parameters())
    assert not torch.equal(tensors["ema.encoder.conv_in.weight"], tensors["weights.encoder.conv_in.weight"])
    assert torch.equal(autoencoder.scale, tensors["buffers.scale"])
    x = DIGITS.load("train").images[batch_indices(1438, 0, 8, seed=1)].float() / 127.5 - 1
    torch.manual_seed(stream_seed("scale", 1))
    z = autoencoder.encode(x, torch.randn(8, 2, 4, 4))
    assert (z.std() - 1).abs() <= 1e-5
    assert autoencoder.decode(z).shape == x.shape


@pytest.mark.parametrize("kind", ["kl-f2", "vq-f2"])
def test_bfloat16_trains_with_float32_penalties(kind: str, tmp_path: Path) -> None:
    """Catches codes, divergences or adaptive weights computed in bfloat16, and dtypes that do not meet."""
    chosen = stage(kind, training={"precision": "bf16"})
    tensors = trained(chosen, tmp_path)
    assert all(bool(t.isfinite().all()) for name, t in tensors.items() if name != "health.past")
    autoencoder, x = load_autoencoder(chosen, DIGITS, result(chosen, tmp_path), CPU), torch.rand(2, 1, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        answer = autoencoder.reconstruct(x, torch.zeros(2, 2, 4, 4))
    assert autoencoder.decoder.conv_out.weight.dtype == answer.penalty.dtype == torch.float32


def test_another_scaling_is_not_measured(tmp_path: Path) -> None:
    chosen = stage("vq-f2", steps=1, loss={"discriminator": None})
    assert "buffers.scale" not in trained(chosen, tmp_path)
    assert load_autoencoder(chosen, DIGITS, result(chosen, tmp_path), CPU).scale == 1


def test_snapshots_that_are_not_of_this_first_stage_are_refused(tmp_path: Path) -> None:
    """Catches weights of another f under this name, of another number of steps, and a file that is no snapshot."""
    chosen = stage(steps=2, loss={"discriminator": None})
    tensors, path = trained(chosen, tmp_path), result(chosen, tmp_path)
    deeper = stage("kl-f4", steps=2, loss={"discriminator": None}, multipliers=[1, 1, 1])
    for other, what in ((deeper, "autoencoder"), (stage(steps=2, loss={"pixel": "l2"}), "loss")):
        with pytest.raises(InputError, match=f"another training, which differs in {what};"):
            load_autoencoder(other, DIGITS, path, CPU)
        path = path.rename(result(other, tmp_path))
        with pytest.raises(InputError, match=f"another training, which differs in {what};"):
            trained(other, tmp_path)
    path = path.rename(result(chosen, tmp_path))
    save_checkpoint(path, tensors, {**load_metadata(path), "step": 1})
    with pytest.raises(InputError, match="after 1 steps, not 2"):
        load_autoencoder(chosen, DIGITS, path, CPU)
    path.write_bytes(path.read_bytes()[:-10])
    assert_identical(trained(chosen, tmp_path), tensors)
    assert path.with_name(f"{path.name}.damaged").exists()


def test_the_discriminator_waits_for_its_start(tmp_path: Path) -> None:
    """Exact. Catches a discriminator that learns or teaches early, and one that never does."""
    data, without = Pixels.of(DIGITS.load("train"), CPU), stage(loss={"discriminator": None})
    runs = [FirstStageState(s, CPU) for s in (stage(), without)]
    runs[1].autoencoder.load_state_dict(runs[0].autoencoder.state_dict())
    assert runs[0].discriminator is not None
    initial = {k: t.clone() for k, t in runs[0].discriminator.state_dict().items()}
    for step in range(4):
        for run in runs:
            run.advance(data)
        same = torch.equal(*(r.autoencoder.decoder.conv_in.weight for r in runs))
        assert same == (step < 2), f"step {step}"
        current = runs[0].discriminator.state_dict()
        learned = any(not torch.equal(current[k], initial[k]) for k in initial)
        assert learned == (step >= 2)


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_numbers_that_are_not_finite_end_training(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches spoilt weights being saved: by a NaN loss, and by a gradient of a loss that is still finite."""
    calls, chosen = iter(range(1, 100)), stage(loss={"discriminator": None})

    def spoilt(self: FirstStageLoss, perceptual: nn.Module, x: Tensor, reconstructed: Tensor) -> Tensor:
        loss = (reconstructed - x).abs().mean()
        if next(calls) < 3:
            return loss
        flat = (reconstructed - reconstructed.detach()).abs().sqrt().sum()  # 0, with an infinite gradient
        return loss + flat if what == "gradient" else loss * torch.nan

    monkeypatch.setattr(FirstStageLoss, "reconstruction", spoilt)
    with pytest.raises(
        RunError, match=r"diverged at step 3: the loss is nan; the last good checkpoint is kept at .*-to-6\."
    ):
        trained(chosen, tmp_path)
    tensors, metadata = load_checkpoint(unfinished(chosen, tmp_path))
    assert metadata["step"] == 2
    assert all(bool(t.isfinite().all()) for name, t in tensors.items() if name not in ("buffers.scale", "health.past"))


def test_a_discriminators_gradient_that_is_not_finite_ends_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoilt(real: Tensor, fake: Tensor) -> Tensor:
        return (real - real.detach()).abs().sqrt().sum()

    monkeypatch.setattr(replication.training.train_first_stage, "discriminator_loss", spoilt)
    with pytest.raises(RunError, match=r"diverged at step 3: the loss is nan"):
        trained(stage(), tmp_path)


@pytest.fixture
def short_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replication.training.loop, "WATCH_STEPS", WINDOW)


@pytest.mark.usefixtures("short_windows")
def test_a_collapsed_codebook_ends_training_with_the_last_good_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a collapse that goes unnoticed, one that is called early, and a checkpoint written while it lasts."""
    calls = iter(range(10**6))

    def fake(self: VQAutoencoder, x: Tensor, noise: Tensor) -> Reconstruction:
        healthy = next(calls) < WINDOW
        codes = torch.arange(8).repeat(len(x), 2).reshape(len(x), 4, 4) if healthy else torch.zeros(len(x), 4, 4).long()
        return Reconstruction(x + self.codebook.weight.mean(), x.flatten(1).sum(1) * 0, codes)

    monkeypatch.setattr(VQAutoencoder, "reconstruct", fake)
    chosen = stage("vq-f2", 10**4, loss={"discriminator": None, "perceptual": "none"})
    path, step = unfinished(chosen, tmp_path), WINDOW + COLLAPSED_WINDOWS * WINDOW
    message = (
        f"diverged at step {step}: the codebook has collapsed: 12.50% of its codes are used; .*kept at .*{path.name}"
    )
    with pytest.raises(RunError, match=message):
        trained(chosen, tmp_path)
    assert load_checkpoint(path)[1]["step"] == 2 * WINDOW - 1  # the last step before the first bad window's end


def judged(health: Health, windows: int, reconstruction: float, discriminator: float | None) -> list[str | None]:
    """What `judge` says at the end of each window of two steps."""
    said = []
    for _ in range(windows):
        for _ in range(2):
            loss = None if discriminator is None else torch.tensor(discriminator)
            health.add(None, torch.tensor(reconstruction), loss)
        said.append(health.judge())
    return said


def test_a_discriminator_wins_only_if_the_reconstruction_pays() -> None:
    """Catches either half of the criterion alone, a best that follows the worse, and windows that need not be in a row."""
    health = Health(0, CPU, 1000)
    assert judged(health, 5, 0.2, None) == [None] * 5
    assert judged(health, 3 * WON_WINDOWS, 0.2, 0.01) == [None] * 3 * WON_WINDOWS  # told apart, but as good as ever
    assert judged(health, 3 * WON_WINDOWS, 0.3, 0.5) == [None] * 3 * WON_WINDOWS  # worse, but in play
    assert judged(health, WON_WINDOWS - 1, 0.3, 0.01) == [None] * (WON_WINDOWS - 1)
    assert health.suspicious
    assert judged(health, 1, 0.3, 0.5) == [None]
    assert not health.suspicious
    *before, last = judged(health, WON_WINDOWS, 0.3, 0.01)
    assert before == [None] * (WON_WINDOWS - 1)
    assert last is not None
    assert re.search(
        r"discriminator has won: its loss is 0\.010 and the reconstruction loss 0\.3000, which was 0\.2000", last
    )


@pytest.mark.usefixtures("short_windows")
def test_a_winning_discriminator_ends_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a judgement that nobody passes on."""
    monkeypatch.setattr(Health, "judge", lambda self: "the discriminator has won")
    with pytest.raises(RunError, match=f"diverged at step {WINDOW}: the discriminator has won; no checkpoint was"):
        trained(stage(steps=WINDOW + 1), tmp_path, seconds=1e9)


def test_health_counts_codes_over_a_window() -> None:
    """Exact. Catches usage per batch, and a bound that large codebooks could not reach with few positions."""
    health = Health(100, CPU, 1000)
    for code in range(10):
        health.add(torch.full((1, 2, 2), code), torch.tensor(1.0), None)
    assert health.judge() is None
    assert not health.suspicious
    health.add(torch.zeros(1, 2, 2, dtype=torch.int64), torch.tensor(1.0), None)
    assert health.judge() is None
    assert health.suspicious
