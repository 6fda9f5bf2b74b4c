"""What only a CUDA device or a network can show; skipped with a reason elsewhere."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from first_stages import DIGITS, stage
from torch import nn
from training_recipes import recipe

from replication.acceleration import AcceleratedNetwork, Policy
from replication.check.models import randomize
from replication.checkpoint import load_checkpoint
from replication.diffusion import Denoiser, sample
from replication.noise import ImageNoise
from replication.numerics import Precision, float32_as, numerics
from replication.registry import DATASETS, EXTRACTORS, MODELS, SAMPLERS, SCHEDULES, SPACINGS
from replication.training.recipe import Recipe
from replication.training.train import load_network, train
from replication.training.train_first_stage import load_autoencoder, train_first_stage


@pytest.mark.gpu
def test_noise_is_the_same_on_every_device() -> None:
    """max-abs 1e-6, the last bit of log and cos. Catches: a generator of the device's own."""
    cpu, cuda = (ImageNoise(3, torch.arange(7), device)(5, (7, 3, 8, 8)) for device in ("cpu", "cuda"))
    assert (cpu - cuda.cpu()).abs().max() <= 1e-6


@pytest.mark.gpu
def test_sampling_agrees_with_the_cpu() -> None:
    """max-abs 1e-3 after 10 DDIM steps in float32. Catches: TF32 in the forward pass."""
    torch.manual_seed(0)
    network, schedule = MODELS.build("ddpm-digits").eval(), SCHEDULES.build("linear")
    for p in network.parameters():
        nn.init.normal_(p, std=0.05)
    images = []
    for device in ("cpu", "cuda"):
        noise = ImageNoise(0, torch.arange(4), device)
        denoiser = Denoiser(network.to(device), schedule)
        times = SPACINGS.build("uniform")(schedule, 10)
        with float32_as("float32"):
            images.append(sample(denoiser, SAMPLERS.build("ddim"), times, noise.prior((4, 1, 8, 8))).cpu())
    assert (images[0] - images[1]).abs().max() <= 1e-3


@pytest.mark.gpu
def test_float32_means_ieee_in_the_backward_pass_too() -> None:
    """Weight gradients of a convolution against float64, 1e-4 relative; TF32 is 1e-3 off. Catches: a forward-only switch."""
    torch.manual_seed(0)
    x = torch.randn(8, 64, 16, 16, device="cuda")
    convolution = nn.Conv2d(64, 64, 3, padding=1).cuda()
    with float32_as("float32"):
        convolution(x).square().mean().backward()
    assert convolution.weight.grad is not None
    ours, exact = convolution.weight.grad.double(), nn.Conv2d(64, 64, 3, padding=1).cuda().double()
    exact.load_state_dict({k: v.double() for k, v in convolution.state_dict().items()})
    exact(x.double()).square().mean().backward()
    assert exact.weight.grad is not None
    assert (ours - exact.weight.grad).norm() / exact.weight.grad.norm() <= 1e-4


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "tf32", "bf16"])
@pytest.mark.parametrize("name", ["ddpm-digits", "ldm-unet", "dit"])
def test_networks_run_compiled_on_the_device(name: str, precision: Precision) -> None:
    """max-abs 1 % of the largest, 10 % in bf16; gradients are finite. Catches a fall-back to eager, which is a warning elsewhere."""
    options = {
        "ldm-unet": {"resolution": 8, "channels": 1, "width": 32, "multipliers": [1, 2], "blocks": 1, "attention": [2], "heads": 1, "groups": 8, "context": 8},
        "dit": {"depth": 2, "width": 64, "heads": 2, "patch": 2, "channels": 1, "resolution": 8, "classes": 0},
    }  # fmt: skip
    network = MODELS.build(name, **options.get(name, {})).cuda().to(memory_format=torch.channels_last)
    randomize(network, seed=0)
    x, t, cond = torch.randn(8, 1, 8, 8).cuda(), torch.full((8,), 5.0).cuda(), torch.randn(8, 3, 8).cuda()
    cond = cond if name == "ldm-unet" else None
    with warnings.catch_warnings(), numerics(precision, torch.device("cuda")):
        warnings.simplefilter("error", RuntimeWarning)
        AcceleratedNetwork(network.train())(x, t, cond).float().square().mean().backward()
        assert all(bool(p.grad.isfinite().all()) for p in network.parameters() if p.grad is not None)
        compiled = AcceleratedNetwork(network.eval().requires_grad_(False))
        with torch.no_grad():
            expected, answer = network(x, t, cond), compiled(x, t, cond)
    assert (answer - expected).abs().max() <= (0.1 if precision == "bf16" else 0.01) * expected.abs().max()


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "tf32", "bf16"])
def test_training_runs_on_the_device(precision: str, tmp_path: Path) -> None:
    recipe = Recipe.model_validate(
        {
            "dataset": "digits", "network": "ddpm-digits", "schedule": "linear", "parameterization": "eps", "objective": "simple",
            "training": {"steps": 3, "batch_size": 8, "learning_rate": 1e-3, "warmup": 1, "ema_decay": 0.9, "flip": False, "precision": precision},
        }
    )  # fmt: skip
    path = train(recipe, tmp_path, torch.device("cuda"), progress=False)
    network = load_network(recipe, path, torch.device("cuda"))
    assert all(torch.isfinite(p).all() for p in network.parameters())


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "tf32", "bf16"])
@pytest.mark.parametrize("kind", ["kl-f2", "vq-f2"])
def test_a_first_stage_trains_on_the_device(kind: str, precision: str, tmp_path: Path) -> None:
    """Catches a tensor left on the CPU: the scale, the watch's sums, the perceptual distance's weights."""
    chosen, cuda = stage(kind, training={"precision": precision}), torch.device("cuda")
    path = train_first_stage(chosen, DIGITS, tmp_path, cuda, progress=False, checkpoint_seconds=0)
    autoencoder = load_autoencoder(chosen, DIGITS, path, cuda)
    assert bool(autoencoder.decode(autoencoder.encode(torch.zeros(2, 1, 8, 8, device="cuda"))).isfinite().all())


@pytest.mark.gpu
@pytest.mark.parametrize("settings", [{}, {"accumulate": 2}, {"precision": "bf16"}], ids=str)
def test_replayed_steps_are_those_of_a_plain_training(settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """Steps 4 to 12 are replayed, with dropout, dropped labels and a warm-up. Weights max-abs 1e-5, in bf16 5e-3.

    Catches draws that a recording repeats, a learning rate or a batch that stays that of the recording, a step done twice.
    """
    monkeypatch.setattr(Policy, "compiles", False)
    network = {"name": "ddpm-digits-label", "dropout": 0.1}
    chosen = recipe(steps=12, network=network, condition="label", warmup=8, **settings)
    trained = []
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        for replays in (True, False):
            monkeypatch.setattr(Policy, "replays", replays)
            path = train(chosen, tmp_path / str(replays), torch.device("cuda"), progress=False)
            trained.append(load_checkpoint(path)[0])
    for name, tensor in trained[0].items():
        if name.startswith(("weights.", "ema.")):
            other = trained[1][name]
            assert (tensor - other).abs().max() <= (5e-3 if "precision" in settings else 1e-5), name


@pytest.mark.gpu
def test_a_replayed_network_answers_as_it_does_plainly() -> None:
    """max-abs 1e-4 of the largest, at each of several inputs. Catches an answer that the next replay overwrites, another precision's."""
    network = MODELS.build("ddpm-digits").cuda().to(memory_format=torch.channels_last).eval().requires_grad_(False)
    randomize(network, seed=0)
    replayed = AcceleratedNetwork(network, compiles=False)
    inputs = [(torch.randn(n, 1, 8, 8).cuda(), torch.full((n,), float(n)).cuda()) for n in (16, 15, 16, 4)]
    for precision, apart in (("float32", 1e-4), ("bf16", 3e-2), ("float32", 1e-4)):
        with torch.no_grad(), numerics(precision, torch.device("cuda")):
            answers, expected = [replayed(*one) for one in inputs], [network(*one) for one in inputs]
        for one, other in zip(answers, expected, strict=True):
            assert (one - other).abs().max() <= apart * other.abs().max()


@pytest.mark.network
def test_cifar10_is_downloaded_and_known_by_its_content(isolated: Path) -> None:
    dataset = DATASETS.build("cifar10")
    assert dataset.load("test").fingerprint == dataset.fingerprints["test"]


@pytest.mark.network
def test_inception_weights_are_the_published_ones(isolated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(isolated))
    extractor = EXTRACTORS.build("inception-v3-compat")
    extractor.ensure()
    assert extractor.labels["fd"] == "FID"
