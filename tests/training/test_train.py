"""Training: the same weights however often it was interrupted, and one clear message for whatever goes wrong."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection
from pathlib import Path

import pytest
import torch
import training_recipes
from torch import Tensor, nn
from training_recipes import CPU, recipe

import replication.training.snapshots
from replication.checkpoint import load_checkpoint, save_checkpoint
from replication.deadline import Deadline, OutOfTime
from replication.diffusion.denoiser import Denoiser
from replication.diffusion.objective import Objective
from replication.training.data import Pixels
from replication.training.loop import EMA, SAVING_SECONDS, batch_indices, descend, warmup
from replication.training.recipe import Recipe
from replication.training.snapshots import GIVEN, Snapshots, named
from replication.training.train import NetworkState, load_network, train
from replication.types import InputError, RunError


class Interrupted(BaseException):
    """Like KeyboardInterrupt: nothing in the code under test catches it."""


def trained(chosen: Recipe, folder: Path, seconds: float = 0.0, milestones: Collection[int] = ()) -> dict[str, Tensor]:
    """Every tensor of the snapshot, the moments included; of the curve, whose times are the machine's, the rest."""
    path = train(chosen, folder, CPU, milestones=milestones, progress=False, checkpoint_seconds=seconds)
    tensors = load_checkpoint(path)[0]
    return {**tensors, "curve": tensors["curve"][:, :4]}


def files(folder: Path) -> list[str]:
    """What follows the key in the names of the snapshots there."""
    return sorted(path.stem.partition("-")[2] for path in folder.glob("*.safetensors"))


def unfinished(chosen: Recipe, folder: Path) -> Path:
    return Snapshots(folder, chosen.training_identity()).unfinished(chosen.training.steps)


def assert_identical(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    assert not [name for name in a if not torch.equal(a[name], b[name])]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    return trained(recipe(), tmp_path_factory.mktemp("whole"), seconds=1e9)


@pytest.mark.parametrize("where", ["before saving", "after saving", "between Adam and EMA"])
@pytest.mark.parametrize("step", [1, 2, 5])
def test_an_interrupted_run_ends_in_the_same_weights(
    where: str, step: int, tmp_path: Path, uninterrupted: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit-identical. Catches Adam's moments or step count not kept, generators carried along, warm-up started anew."""
    path, steps = unfinished(recipe(), tmp_path), iter(range(1, 100))

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
            patched.setattr(replication.training.snapshots, "save_checkpoint", saving)
        with pytest.raises(Interrupted):
            trained(recipe(), tmp_path, milestones=(2,))
    assert path.exists() == (where == "after saving" or step > 1)
    assert_identical(trained(recipe(), tmp_path, milestones=(2,)), uninterrupted)
    assert files(tmp_path) == ["2", "6"]


def test_a_training_that_is_continued_is_one_never_stopped(tmp_path: Path, uninterrupted: dict[str, Tensor]) -> None:
    """Bit-identical, moments included: shorter first, or with a milestone on the way, which is the shorter one's snapshot.

    Catches moments that end with a training, a milestone that is not one, steps in the key, and a warm-up begun again.
    """
    short = trained(recipe(steps=2), tmp_path / "a")
    assert_identical(trained(recipe(), tmp_path / "a"), uninterrupted)
    assert_identical(trained(recipe(), tmp_path / "b", milestones=(2, 4, 9)), uninterrupted)
    assert files(tmp_path / "a") == ["2", "6"]
    assert files(tmp_path / "b") == ["2", "4", "6"]
    assert_identical(trained(recipe(steps=2), tmp_path / "b"), short)


def test_what_is_continued_is_the_last_snapshot_before_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps that are done, counted. Catches a training repeated from its start, and one begun from longer training."""
    steps = []
    original = NetworkState.advance
    monkeypatch.setattr(NetworkState, "advance", lambda self, data: [steps.append(self.step), original(self, data)][1])
    for length, done in ((4, [0, 1, 2, 3]), (6, [4, 5]), (5, [4]), (2, [0, 1]), (4, [])):
        steps.clear()
        trained(recipe(steps=length), tmp_path)
        assert steps == done, length


def test_weights_that_were_given_are_not_trained_on(tmp_path: Path, uninterrupted: dict[str, Tensor]) -> None:
    """Bit-identical. Catches published weights, which have no moments, continued as if they were a shorter training."""
    snapshots = Snapshots(tmp_path, recipe().training_identity())
    network = recipe().build_network()
    snapshots.give(network.state_dict(), network, 3, "0" * 64, {"recipe": recipe().model_dump()})
    assert load_checkpoint(snapshots.after(3))[1][GIVEN] == "0" * 64
    assert_identical(trained(recipe(), tmp_path), uninterrupted)


def test_the_curve_is_kept_through_kills_and_continuations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exact besides times. Catches a curve begun anew, a step twice in it, another step's learning rate."""
    monkeypatch.setattr(replication.training.loop, "WATCH_STEPS", 2)
    trained(recipe(steps=4), tmp_path, seconds=1e9)
    trained(recipe(steps=8), tmp_path, seconds=1e9)
    curve = load_checkpoint(next(tmp_path.glob("*-8.safetensors")), ("curve",))[0]["curve"]
    assert curve[:, 0].tolist() == [2, 4, 6, 8]
    assert curve[:, 2].tolist() == pytest.approx([1e-3 / 3, 1e-3, 1e-3, 1e-3])  # warm-up over three steps
    assert bool((curve[:, 3:5] > 0).all())
    assert bool((curve[1:, 5] > curve[:-1, 5]).all())


def test_a_process_killed_outright_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    """Bit-identical after SIGKILL at no particular instant. Catches a checkpoint that is written in place."""
    steps, killed_in = 400, tmp_path / "killed"
    rest = recipe(steps=steps)
    path = unfinished(rest, killed_in)
    command = [sys.executable, training_recipes.__file__, str(killed_in), str(steps)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(command, env=environment) as process:
        deadline = time.monotonic() + 120
        while not path.exists() and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.01)
        time.sleep(0.3)
        process.send_signal(signal.SIGKILL)
    reached = load_checkpoint(path)[1]["step"]
    assert 0 < reached < steps
    assert process.returncode == -signal.SIGKILL
    killed, whole = (_weights_at(rest, p, reached + 3) for p in (path, tmp_path / "none"))
    assert_identical(killed, whole)


def _weights_at(chosen: Recipe, path: Path, step: int) -> dict[str, Tensor]:
    """Train on from `path` to that step of a longer recipe."""
    run = NetworkState(chosen, CPU)
    if path.exists():
        run.restore(*load_checkpoint(path))
    data = Pixels.of(chosen.build_dataset().load("train"), CPU)
    while run.step < step:
        run.advance(data)
    return {name: p.detach() for name, p in run.network.named_parameters()} | {
        f"ema.{k}": v for k, v in run.ema.weights.items()
    }


def test_a_finished_run_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a snapshot that is rewritten, a dataset that is loaded and a network that is built with nothing to do."""
    first = trained(recipe(steps=1), tmp_path)
    path = next(tmp_path.glob("*.safetensors"))
    before = path.stat().st_mtime_ns
    monkeypatch.setattr(
        type(recipe().build_dataset()), "load", lambda self, split: pytest.fail("loaded the images again")
    )
    monkeypatch.setattr(Recipe, "build_network", lambda self: pytest.fail("built the network"))
    assert_identical(trained(recipe(steps=1), tmp_path), first)
    assert path.stat().st_mtime_ns == before


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
    objective = Diverging(3, gradient_only)
    monkeypatch.setattr(Recipe, "build_objective", lambda self: objective)
    with pytest.raises(
        RunError, match=r"diverged at step 3: .*; the last good checkpoint is kept at .*-to-6\.safetensors"
    ):
        trained(recipe(), tmp_path)
    tensors, metadata = load_checkpoint(unfinished(recipe(), tmp_path))
    assert metadata["step"] == 2
    assert all(bool(t.isfinite().all()) for t in tensors.values())


def test_divergence_before_any_checkpoint_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Recipe, "build_objective", lambda self: Diverging(1, False))
    with pytest.raises(RunError, match="no checkpoint was written yet"):
        trained(recipe(), tmp_path, seconds=1e9)


@pytest.mark.parametrize("damage", ["truncated", "empty", "other file", "not one of ours", "flipped header"])
def test_a_damaged_checkpoint_is_set_aside_and_trained_again(
    damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Catches a traceback from safetensors, a dead end, and a damaged file that is lost or silently trained over."""
    before = {name: tensor.clone() for name, tensor in trained(recipe(steps=1), tmp_path).items()}  # no map of the file
    path = next(tmp_path.glob("*.safetensors"))
    whole = path.read_bytes()
    if damage == "not one of ours":
        from safetensors.torch import save

        whole = save({"a": torch.zeros(1)})
    spoilt = {"truncated": whole[:-10], "empty": b"", "other file": b"PK" * 100, "flipped header": b"\xff" + whole[1:]}
    aside = path.with_name(f"{path.name}.damaged")
    for again in (lambda: trained(recipe(steps=2), tmp_path), lambda: trained(recipe(steps=1), tmp_path)):
        path.write_bytes(spoilt.get(damage, whole))
        with pytest.raises(InputError, match=rf"{path.name}.*corrupt"):
            load_network(recipe(steps=1), path, CPU)
        again()
        assert f"{path.name}: damaged (" in capsys.readouterr().err
        assert aside.read_bytes() == spoilt.get(damage, whole)
    assert_identical(trained(recipe(steps=1), tmp_path), before)


def test_of_snapshots_the_last_whole_one_is_gone_on_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A bit of the last one's moments is flipped, which its header does not show. Catches going on from it, and from none."""
    trained(recipe(steps=4), tmp_path, milestones=(2,))
    after = Snapshots(tmp_path, recipe().training_identity()).after
    content = after(4).read_bytes()
    after(4).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    after(2).touch()
    trained(recipe(), tmp_path)
    assert capsys.readouterr().err.count("is not the one that was written") == 1
    assert files(tmp_path) == ["2", "6"]
    assert after(4).with_name(f"{after(4).name}.damaged").exists()


@pytest.mark.parametrize("used", ["found", "continued"])
def test_a_snapshot_of_another_training_is_refused(used: str, tmp_path: Path) -> None:
    """Catches other weights under this name, found at the end or gone on with. The message names what differs."""
    trained(recipe(steps=1), tmp_path)
    (path,) = tmp_path.glob("*.safetensors")
    for other, what in (
        (recipe(steps=1, seed=2), "training"),
        (recipe(steps=1, learning_rate=2e-3), "training"),
        (recipe(steps=1, network={"name": "ddpm-digits", "dropout": 0.2}), "network"),
    ):
        wanted = Snapshots(tmp_path, other.training_identity()).after(1)
        path.rename(wanted)
        path = wanted
        asked = other.with_fields(training=other.training.with_fields(steps=1 if used == "found" else 2))
        with pytest.raises(InputError, match=rf"{path.name}: .* another training, which differs in {what};"):
            trained(asked, tmp_path)


def test_a_snapshot_holds_its_whole_configuration(tmp_path: Path) -> None:
    """Catches a milestone whose recipe is that of the longer training, which `replicate forensics FILE` would examine."""
    trained(recipe(steps=2), tmp_path, milestones=(1,))
    for steps in (1, 2):
        header = load_checkpoint(next(tmp_path.glob(f"*-{steps}.safetensors")))[1]
        assert Recipe.model_validate(header["recipe"]) == recipe(steps=steps)
        assert header["key"] == recipe(steps=9).training_key
        assert json.dumps(header["identity"])


def test_load_network_gives_the_average_or_the_raw_weights(tmp_path: Path) -> None:
    """Exact. Catches raw weights for the average, training mode left on, and another number of steps under this name."""
    tensors = trained(recipe(steps=4), tmp_path)
    (path,) = tmp_path.glob("*.safetensors")
    for ema, prefix in ((True, "ema."), (False, "weights.")):
        network = load_network(recipe(steps=4), path, CPU, ema=ema)
        assert not network.training
        assert all(torch.equal(p, tensors[prefix + k]) for k, p in network.named_parameters())
    assert not torch.equal(tensors["ema.conv_in.weight"], tensors["weights.conv_in.weight"])
    assert named(tensors, "adam.")
    with pytest.raises(InputError, match="after 4 steps, not 5"):
        load_network(recipe(steps=5), path, CPU)


def test_the_learning_rate_climbs_from_zero(tmp_path: Path) -> None:
    """Exact: step 0 changes nothing, step k has rate k/warmup. Catches (k + 1)/warmup."""
    settings = recipe(warmup=4).training
    assert [warmup(k, settings) for k in range(6)] == [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
    assert warmup(0, recipe(warmup=0).training) == 1.0
    a, b = trained(recipe(steps=1), tmp_path / "a"), trained(recipe(steps=2), tmp_path / "b")
    run = NetworkState(recipe(steps=1), CPU)
    assert all(torch.equal(a[f"weights.{k}"], p) for k, p in run.network.named_parameters())
    assert not torch.equal(b["weights.conv_in.weight"], a["weights.conv_in.weight"])


def test_the_learning_rate_climbs_from_where_it_is_said_to_start() -> None:
    """1e-15. LDM's churches: factor f(n) = f_start + (1 - f_start) n / N. Catches a start that has no effect, a floor in its
    place, and a key of older checkpoints that it changes."""
    settings = recipe(warmup=4, warmup_start=0.2).training
    assert [warmup(k, settings) for k in range(6)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0], abs=1e-15)
    assert settings.identity()["warmup_start"] == 0.2
    assert "warmup_start" not in recipe(warmup=4).training.identity()


def test_accumulated_parts_are_one_larger_batch() -> None:
    """max-abs 1e-6 of gradients of norm 1, the loss likewise. Catches gradients that are summed, parts that are dropped,
    noise that is drawn for each part, and a setting that has no effect."""
    chosen = [recipe(network={"name": "ddpm-digits"}, **more) for more in ({}, {"accumulate": 4})]
    states, sizes = [NetworkState(one, CPU) for one in chosen], []
    states[1].network.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    losses = [state.advance(Pixels.of(chosen[0].build_dataset().load("train"), CPU)).loss for state in states]
    gradients = [torch.cat([p.grad.flatten() for p in state.network.parameters()]) for state in states]  # type: ignore[union-attr]
    assert (gradients[0] - gradients[1]).abs().max() <= 1e-6
    assert abs(float(losses[0] - losses[1])) <= 1e-6
    assert sizes == [2, 2, 2, 2]
    assert chosen[0].key != chosen[1].key
    assert "accumulate" not in chosen[0].training.identity()


def test_parts_of_a_batch_are_equal() -> None:
    with pytest.raises(ValueError, match="accumulate = 3 equal parts of batch_size = 8: there are none"):
        recipe(accumulate=3)


@pytest.mark.parametrize(("clip", "left"), [(1.0, 1.0), (0.0, 5.0), (10.0, 5.0)])
def test_the_gradient_is_clipped_to_its_norm_or_not_at_all(clip: float, left: float) -> None:
    """A gradient of norm 5, max-abs 1e-5. Catches: a clip of 0 that stops all learning, and a clip that is never used."""
    layer = nn.Linear(2, 1, bias=False)
    loss = (layer.weight * torch.tensor([[3.0, 4.0]])).sum()
    settings = recipe(grad_clip=clip).training
    norm = descend([loss], layer, torch.optim.SGD(layer.parameters(), lr=0.0), settings).gradient_norm
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
    assert "weight_decay" not in plain.identity["training"]
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
    NetworkState(recipe(flip=True, batch_size=400), CPU).advance(data)
    once = images[0, 0].float() / 127.5 - 1
    flipped = [torch.equal(x[0], once.flip(-1)) for x in seen[0]]
    assert all(f or torch.equal(x[0], once) for f, x in zip(flipped, seen[0], strict=True))
    assert abs(sum(flipped) - 200) <= 50


class Ticking:
    """A clock for time.monotonic: every look at it takes a second."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


def test_a_training_stops_at_a_deadline_and_goes_on_to_the_same_weights(
    tmp_path: Path, uninterrupted: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a deadline that loses the steps behind it, one that is not looked at, and steps after it."""
    monkeypatch.setattr("replication.deadline.time.monotonic", Ticking())
    chosen = recipe()
    for _ in range(2):
        soon = Deadline.within(SAVING_SECONDS + 1)
        with pytest.raises(OutOfTime, match="out of time after"):
            train(chosen, tmp_path, CPU, progress=False, checkpoint_seconds=1e9, deadline=soon)
        assert files(tmp_path) == [f"to-{chosen.training.steps}"]
    assert_identical(trained(recipe(), tmp_path), uninterrupted)


def test_a_training_that_has_no_time_at_all_is_not_begun(tmp_path: Path) -> None:
    with pytest.raises(OutOfTime, match="and 0 s are left"):
        train(recipe(), tmp_path, CPU, progress=False, deadline=Deadline.within(0))
    assert not files(tmp_path)


def test_a_resumed_training_has_its_moments_in_the_layout_of_the_weights(tmp_path: Path) -> None:
    """Catches moments as a file has them, which the fused optimiser of a CUDA device refuses beside channels_last weights."""
    chosen = recipe(steps=6)
    train(chosen, tmp_path, CPU, milestones=(3,), progress=False)
    tensors, header = load_checkpoint(Snapshots(tmp_path, chosen.training_identity()).after(3))
    run = NetworkState(chosen, CPU)
    run.restore(tensors, header)
    state = run.optimizers["network"].state
    moments = [(p, moment) for p, of in state.items() for moment in of.values() if moment.ndim]
    assert len(moments) == 2 * len(list(run.network.parameters()))
    assert all(moment.stride() == p.stride() for p, moment in moments)
