"""Training: the same weights however often it was interrupted, and one clear message for whatever goes wrong."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import training_recipes
from torch import Tensor, nn
from training_recipes import CPU, recipe

import replication.training.train
from replication.checkpoint import load_checkpoint, save_checkpoint
from replication.diffusion.denoiser import Denoiser
from replication.diffusion.objective import Objective
from replication.training.data import Pixels
from replication.training.ema import EMA
from replication.training.loop import batch_indices, descend, warmup
from replication.training.recipe import Recipe
from replication.training.train import load_network, train
from replication.types import InputError, RunError


class Interrupted(BaseException):
    """Like KeyboardInterrupt: nothing in the code under test catches it."""


def trained(chosen: Recipe, path: Path, seconds: float = 0.0) -> dict[str, Tensor]:
    train(chosen, path, CPU, progress=False, checkpoint_seconds=seconds)
    return load_checkpoint(path)[0]


def assert_identical(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    assert not [name for name in a if not torch.equal(a[name], b[name])]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    return trained(recipe(), tmp_path_factory.mktemp("whole") / "c.safetensors", seconds=1e9)


@pytest.mark.parametrize("where", ["before saving", "after saving", "between Adam and EMA"])
@pytest.mark.parametrize("step", [1, 2, 5])
def test_an_interrupted_run_ends_in_the_same_weights(
    where: str, step: int, tmp_path: Path, uninterrupted: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit-identical. Catches Adam's moments or step count not kept, generators carried along, warm-up started anew."""
    path, steps = tmp_path / "c.safetensors", iter(range(1, 100))

    def saving(*args: object) -> None:
        if (k := next(steps)) == step and where == "before saving":
            raise Interrupted
        save_checkpoint(*args)  # type: ignore[arg-type]
        if k == step:
            raise Interrupted

    def updating(self: EMA, network: nn.Module, k: int) -> None:
        if k == step:
            raise Interrupted
        original(self, network, k)

    original = EMA.update
    with monkeypatch.context() as patched:
        if where == "between Adam and EMA":
            patched.setattr(EMA, "update", updating)
        else:
            patched.setattr(replication.training.train, "save_checkpoint", saving)
        with pytest.raises(Interrupted):
            trained(recipe(), path)
    assert path.exists() == (where == "after saving" or step > 1)
    assert_identical(trained(recipe(), path), uninterrupted)


def test_a_process_killed_outright_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    """Bit-identical after SIGKILL at no particular instant. Catches a checkpoint that is written in place."""
    path, steps = tmp_path / "killed.safetensors", 400
    command = [sys.executable, training_recipes.__file__, str(path), str(steps)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(command, env=environment) as process:
        deadline = time.monotonic() + 120
        while not path.exists() and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.01)
        time.sleep(0.3)
        process.send_signal(signal.SIGKILL)
    reached = load_checkpoint(path)[1]["step"]
    assert 0 < reached < steps
    rest = recipe(steps=steps)
    assert process.returncode == -signal.SIGKILL
    killed, whole = (_weights_at(rest, p, reached + 3, tmp_path) for p in (path, tmp_path / "whole.safetensors"))
    assert_identical(killed, whole)


def _weights_at(chosen: Recipe, path: Path, step: int, folder: Path) -> dict[str, Tensor]:
    """Train on from `path` to that step of a longer recipe."""
    run = replication.training.train._Run(chosen, CPU)
    if path.exists():
        run.restore(path)
    data = Pixels.of(chosen.build_dataset().load("train"), CPU)
    while run.step < step:
        run.advance(data)
    return {name: p.detach() for name, p in run.network.named_parameters()} | {
        f"ema.{k}": v for k, v in run.ema.weights.items()
    }


def test_a_finished_run_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a checkpoint that is rewritten, or a data set that is loaded, when there is nothing to do."""
    path = tmp_path / "c.safetensors"
    first = trained(recipe(steps=1), path)
    before = path.stat().st_mtime_ns
    monkeypatch.setattr(
        type(recipe().build_dataset()), "load", lambda self, split: pytest.fail("loaded the images again")
    )
    assert_identical(trained(recipe(steps=1), path), first)
    assert path.stat().st_mtime_ns == before
    assert not any(name.startswith("adam.") for name in first)


class Diverging(Objective):
    """An objective whose loss, or whose gradient alone, is NaN from the given step on."""

    def __init__(self, step: int, gradient_only: bool):
        self.step, self.gradient_only, self.calls = step, gradient_only, 0

    def __call__(self, denoiser: Denoiser, x0: Tensor, cond: Tensor | None, t: Tensor, noise: Tensor) -> Tensor:
        self.calls += 1
        weight = next(denoiser.network.parameters())  # type: ignore[attr-defined]
        loss = weight.square().sum().expand(len(x0))
        if self.calls < self.step:
            return loss
        return loss + (weight - weight.detach()).abs().sqrt().sum() if self.gradient_only else loss * torch.nan


@pytest.mark.parametrize("gradient_only", [False, True], ids=["loss", "gradient"])
def test_divergence_is_one_message_and_the_last_good_checkpoint_stays(
    gradient_only: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches spoilt weights being saved: by a NaN loss, and by a gradient of a loss that is still finite."""
    path, objective = tmp_path / "c.safetensors", Diverging(3, gradient_only)
    monkeypatch.setattr(Recipe, "build_objective", lambda self: objective)
    with pytest.raises(RunError, match=r"diverged: .* at step 3; the last good checkpoint is kept at .*c\.safetensors"):
        trained(recipe(), path)
    tensors, metadata = load_checkpoint(path)
    assert metadata["step"] == 2
    assert all(bool(t.isfinite().all()) for t in tensors.values())


def test_divergence_before_any_checkpoint_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Recipe, "build_objective", lambda self: Diverging(1, False))
    with pytest.raises(RunError, match="no checkpoint was written yet"):
        trained(recipe(), tmp_path / "c.safetensors", seconds=1e9)


@pytest.mark.parametrize("damage", ["truncated", "empty", "other file", "not one of ours", "flipped header"])
def test_a_damaged_checkpoint_is_refused_by_its_name(damage: str, tmp_path: Path) -> None:
    """Catches a traceback from safetensors, and a damaged file that is taken for none and silently trained over."""
    path = tmp_path / "c.safetensors"
    trained(recipe(steps=1), path)
    whole = path.read_bytes()
    if damage == "not one of ours":
        from safetensors.torch import save

        whole = save({"a": torch.zeros(1)})
    spoilt = {"truncated": whole[:-10], "empty": b"", "other file": b"PK" * 100, "flipped header": b"\xff" + whole[1:]}
    path.write_bytes(spoilt.get(damage, whole))
    for use in (lambda: trained(recipe(steps=1), path), lambda: load_network(recipe(steps=1), path, CPU)):
        with pytest.raises(InputError, match=r"c\.safetensors.*(corrupt|another recipe)"):
            use()


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path: Path) -> None:
    """Catches going on with other settings under the same file name."""
    path = tmp_path / "c.safetensors"
    trained(recipe(steps=1), path)
    for other in (recipe(steps=2), recipe(steps=1, seed=2), recipe(steps=1, learning_rate=2e-3)):
        with pytest.raises(InputError, match=r"c\.safetensors: this checkpoint was trained by another recipe"):
            trained(other, path)


def test_a_checkpoint_holds_its_whole_configuration(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    trained(recipe(steps=1), path)
    metadata = load_checkpoint(path)[1]
    assert Recipe.model_validate(metadata["recipe"]) == recipe(steps=1)
    assert metadata["recipe_key"] == recipe(steps=1).key
    assert json.dumps(metadata["identity"])


def test_load_network_gives_the_average_or_the_raw_weights_of_a_finished_run(tmp_path: Path) -> None:
    """Exact. Catches raw weights for the average, training mode left on, and an unfinished run taken for a finished one."""
    path = tmp_path / "c.safetensors"
    tensors = trained(recipe(steps=4), path)
    for ema, prefix in ((True, "ema."), (False, "weights.")):
        network = load_network(recipe(steps=4), path, CPU, ema=ema)
        assert not network.training
        assert all(torch.equal(p, tensors[prefix + k]) for k, p in network.named_parameters())
    assert not torch.equal(tensors["ema.conv_in.weight"], tensors["weights.conv_in.weight"])
    metadata = {**load_checkpoint(path)[1], "step": 3}
    save_checkpoint(path, tensors, metadata)
    with pytest.raises(InputError, match="training stopped at step 3 of 4"):
        load_network(recipe(steps=4), path, CPU)


def test_the_learning_rate_climbs_from_zero(tmp_path: Path) -> None:
    """Exact: step 0 changes nothing, step k has rate k/warmup. Catches (k + 1)/warmup."""
    settings = recipe(warmup=4).training
    assert [warmup(k, settings) for k in range(6)] == [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
    assert warmup(0, recipe(warmup=0).training) == 1.0
    a, b = trained(recipe(steps=1), tmp_path / "a"), trained(recipe(steps=2), tmp_path / "b")
    run = replication.training.train._Run(recipe(steps=1), CPU)
    assert all(torch.equal(a[f"weights.{k}"], p) for k, p in run.network.named_parameters())
    assert not torch.equal(b["weights.conv_in.weight"], a["weights.conv_in.weight"])


@pytest.mark.parametrize(("clip", "left"), [(1.0, 1.0), (0.0, 5.0), (10.0, 5.0)])
def test_the_gradient_is_clipped_to_its_norm_or_not_at_all(clip: float, left: float) -> None:
    """A gradient of norm 5, max-abs 1e-5. Catches: a clip of 0 that stops all learning, and a clip that is never used."""
    layer = nn.Linear(2, 1, bias=False)
    loss = (layer.weight * torch.tensor([[3.0, 4.0]])).sum()
    settings = recipe(grad_clip=clip).training
    norm = descend(loss, layer, torch.optim.SGD(layer.parameters(), lr=0.0), 5, settings)
    assert layer.weight.grad is not None
    assert abs(float(norm) - 5) <= 1e-5
    assert abs(float(layer.weight.grad.norm()) - left) <= 1e-5


def test_the_average_starts_from_the_weights_after_the_first_step() -> None:
    """max-abs 1e-7. Catches an average that starts from the initial weights or from zero, and a warmed-up decay."""
    network = nn.Linear(2, 2)
    ema = EMA(network, 0.75)
    expected: Tensor | None = None
    for step in range(1, 5):
        with torch.no_grad():
            network.weight.fill_(float(step**2))
        ema.update(network, step)
        expected = (
            network.weight.detach().clone() if expected is None else 0.75 * expected + 0.25 * network.weight.detach()
        )
        assert (ema.weights["weight"] - expected).abs().max() <= 1e-7 * 16


def test_the_decay_climbs_as_ldms_does() -> None:
    """max-abs 1e-6. Catches n / (10 + n), a first step that copies, and a climb that passes the decay."""
    network = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        network.weight.fill_(1.0)
    ema, expected = EMA(network, 0.3, warmup=True), 1.0
    for step, decay in ((1, 2 / 11), (2, 3 / 12), (3, 0.3), (4, 0.3)):
        with torch.no_grad():
            network.weight.fill_(float(step**2 + 1))
        ema.update(network, step)
        expected = decay * expected + (1 - decay) * (step**2 + 1)
        assert abs(float(ema.weights["weight"]) - expected) <= 1e-6 * 17


def test_weight_decay_shrinks_the_weights_and_changes_the_key(tmp_path: Path) -> None:
    """Catches a setting that is accepted and not passed on, and keys of older checkpoints that it changes."""
    plain, decayed = (recipe(steps=3, warmup=0, **more) for more in ({}, {"weight_decay": 10.0}))
    assert "weight_decay" not in plain.identity()["training"]
    assert plain.key != decayed.key
    norms = [trained(r, tmp_path / r.key)["weights.conv_in.weight"].norm() for r in (plain, decayed)]
    assert norms[1] < 0.98 * norms[0]


@pytest.mark.parametrize(("n", "batch"), [(10, 4), (10, 10), (3, 7), (7, 1)])
def test_every_epoch_shows_every_image_once(n: int, batch: int) -> None:
    """Exact, over six epochs. Catches a dropped remainder, drawing with replacement, and one order for all epochs."""
    steps = -(-6 * n // batch)
    stream = torch.cat([batch_indices(n, step, batch, seed=0) for step in range(steps)])
    epochs = stream[: 6 * n].reshape(6, n)
    assert torch.equal(epochs.sort(dim=1).values, torch.arange(n).expand(6, n))
    assert len({tuple(e.tolist()) for e in epochs}) > 1
    assert not torch.equal(stream, torch.cat([batch_indices(n, step, batch, seed=1) for step in range(steps)]))


def test_flips_are_refused_for_digits_and_networks_for_other_images() -> None:
    with pytest.raises(InputError, match=r"training\.flip = true: images of digits"):
        recipe(flip=True).check()
    with pytest.raises(InputError, match=r"ddpm-cifar10.*does not take images of digits"):
        recipe(network="ddpm-cifar10").check()
    recipe().check()


def test_flips_mirror_about_half_of_the_images_left_to_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within 5 standard errors of a half. Catches upside down, all or none, and one coin for a whole batch."""
    seen: list[Tensor] = []

    class Recording(Objective):
        def __call__(self, denoiser: Denoiser, x0: Tensor, cond: Tensor | None, t: Tensor, noise: Tensor) -> Tensor:
            seen.append(x0)
            return next(denoiser.network.parameters()).sum().expand(len(x0))  # type: ignore[attr-defined]

    monkeypatch.setattr(Recipe, "build_objective", lambda self: Recording())
    ramp = torch.arange(8, dtype=torch.uint8).expand(1, 1, 8, 8) * 30 + 10
    images = ramp.expand(400, 1, 8, 8)
    data = Pixels(images, torch.zeros(len(images), dtype=torch.int64), CPU)
    replication.training.train._Run(recipe(flip=True, batch_size=400), CPU).advance(data)
    once = images[0, 0].float() / 127.5 - 1
    flipped = [torch.equal(x[0], once.flip(-1)) for x in seen[0]]
    assert all(f or torch.equal(x[0], once) for f, x in zip(flipped, seen[0], strict=True))
    assert abs(sum(flipped) - 200) <= 50
