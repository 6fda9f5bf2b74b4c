"""A network's forward pass and training step: their share of the machine's rate, and beside diffusers' with equal weights.

The rate is that of a matrix product in the same precision, in the same turns. diffusers takes part twice: as it comes
(eager, float32, PyTorch's own flags), and at its best (our precision, channels_last, fused optimiser, compiled on CUDA).
"""

import copy
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from replication.acceleration import accelerated
from replication.bench.peers import diffusers_dit, diffusers_unet
from replication.bench.turns import in_turns, milliseconds, ratio
from replication.cost import FORWARDS_PER_STEP, measured
from replication.ddpm import published_weights as unet_weights
from replication.dit import published_weights as dit_weights
from replication.dit.model import DiT
from replication.layers.unet import UNet
from replication.numerics import Precision, numerics
from replication.registry import MODELS
from replication.report.tables import markdown
from replication.training.data import Pixels
from replication.training.recipe import Recipe
from replication.training.train import NetworkState

TURNS = 7


class Size(NamedTuple):
    """What is measured on a kind of device: images at a time by network, the side of the matrix product, the precision."""

    forward: Mapping[str, int]
    training: Mapping[str, int]
    product: int
    precision: Precision


SIZES = {
    "cuda": Size({"ddpm-cifar10": 512, "dit-s/2": 256, "dit-xl/2": 64}, {"ddpm-cifar10": 256}, 8192, "bf16"),
    "cpu": Size({"ddpm-digits": 300, "ddpm-cifar10": 8, "dit-s/2": 2}, {"ddpm-digits": 128}, 2048, "float32"),
}


def bench_forward(device: torch.device) -> str:
    """Milliseconds per image of forward passes; the largest difference is relative to the largest output, in our precision."""
    size = SIZES[device.type]
    lines = [_forward(name, batch, size, device) for name, batch in size.forward.items()]
    what = f"forward, {size.precision}"
    return markdown([what, "G multiply-adds", *_COLUMNS, "largest difference"], lines)


def bench_training(device: torch.device) -> str:
    """Milliseconds per image of whole training steps: batch, gradient, clipping, Adam and the moving average."""
    size = SIZES[device.type]
    lines = [_training(name, batch, size, device) for name, batch in size.training.items()]
    return markdown([f"training step, {size.precision}", "G multiply-adds", *_COLUMNS], lines)


_COLUMNS = (
    "T multiply-adds/s of a product",
    "ours, share of it",
    "ours, ms/image",
    "diffusers' as it comes",
    "times ours",
    "diffusers' at its best",
    "times ours",
)


def _line(
    runs: dict[str, Callable[[], object]], multiply_adds: int, batch: int, size: Size, device: torch.device
) -> list[str]:
    """The columns; `multiply_adds` of an image. Runs of diffusers are missing where it is not installed."""
    dtype = torch.bfloat16 if size.precision == "bf16" else torch.float32
    a, b = (torch.randn(size.product, size.product, device=device, dtype=dtype) for _ in range(2))
    seconds = in_turns({"product": lambda: a @ b, **runs}, device, TURNS, warmups=2)
    work = [multiply_adds * batch / size.product**3] * TURNS
    share = [w * product / ours for w, product, ours in zip(work, seconds["product"], seconds["ours"], strict=True)]
    rate = size.product**3 / (milliseconds(seconds["product"], 1) * 1e-3)
    cells = [f"{rate / 1e12:.3g}", f"{sorted(share)[TURNS // 2]:.0%}", f"{milliseconds(seconds['ours'], batch):.3g}"]
    for name in ("as it comes", "at its best"):
        taken = seconds.get(name)
        cells += (
            [f"{milliseconds(taken, batch):.3g}", f"{ratio(taken, seconds['ours']):.2f}"]
            if taken
            else ["not installed", ""]
        )
    return cells


@torch.no_grad()
def _forward(name: str, batch: int, size: Size, device: torch.device) -> list[str]:
    network, reference = _pair(name)
    x = torch.randn(batch, network.in_channels, network.resolution, network.resolution, device=device)
    timestep = torch.full((batch,), 500.0, device=device)
    cond = torch.arange(batch, device=device) % network.classes if isinstance(network, DiT) else None
    ours = accelerated(_ready(network, device).requires_grad_(False), device)

    def in_our_precision(run: Callable[..., Any]) -> Callable[[], Any]:
        def forward() -> Any:
            with numerics(size.precision, device):
                return run(x, timestep, cond)

        return forward

    runs: dict[str, Callable[[], Any]] = {"ours": in_our_precision(ours)}
    difference = ""
    if reference is not None:
        plain, best = copy.deepcopy(reference).to(device).eval(), _compiled(_ready(reference, device))
        runs |= {"as it comes": lambda: plain(x, timestep, cond), "at its best": in_our_precision(best)}
        theirs = runs["at its best"]().sample
        difference = f"{float((runs['ours']() - theirs).abs().max() / theirs.abs().max()):.0e}"
    multiply_adds = _multiply_adds(name)
    cells = _line(runs, multiply_adds, batch, size, device)
    return [f"{name}, batch {batch}", f"{multiply_adds / 1e9:.3g}", *cells, difference]


def training_state(name: str, batch: int, size: Size, device: torch.device) -> tuple[NetworkState, Pixels]:
    """A training of the network on noise, before its first step, and what it is trained on."""
    network, _ = _pair(name)
    assert isinstance(network, UNet)
    shape = network.in_channels, network.resolution, network.resolution
    images = torch.randint(0, 256, (4 * batch, *shape), dtype=torch.uint8)
    data = Pixels(images, torch.zeros(len(images), dtype=torch.int64), device)
    settings = {
        "steps": 10**6,
        "batch_size": batch,
        "learning_rate": 1e-4,
        "warmup": 0,
        "ema_decay": 0.999,
        "flip": False,
    }
    recipe = Recipe.model_validate(
        {
            "dataset": "digits" if shape[0] == 1 else "cifar10",
            "network": name,
            "schedule": {"name": "linear", "T": 1000},
            "parameterization": "eps",
            "objective": "simple",
            "training": {**settings, "precision": size.precision},
        }
    )
    return NetworkState(recipe, device), data


def _training(name: str, batch: int, size: Size, device: torch.device) -> list[str]:
    (_, reference), (state, data) = _pair(name), training_state(name, batch, size, device)
    state.prepare(data)
    runs: dict[str, Callable[[], object]] = {"ours": lambda: state.advance(data)}
    if reference is not None:
        plain = copy.deepcopy(reference).to(device).train()
        best = reference.to(device).to(memory_format=torch.channels_last).train()
        runs["as it comes"] = _loop_of_diffusers(plain, plain, data, batch, "float32", best=False)
        runs["at its best"] = _loop_of_diffusers(best, _compiled(best), data, batch, size.precision, best=True)
    multiply_adds = FORWARDS_PER_STEP * _multiply_adds(name)
    return [f"{name}, batch {batch}", f"{multiply_adds / 1e9:.3g}", *_line(runs, multiply_adds, batch, size, device)]


def _loop_of_diffusers(
    network: nn.Module, run: Callable[..., Any], data: Pixels, batch: int, precision: Precision, best: bool
) -> Callable[[], object]:
    """A step in the parts of its own example for unconditional images; `run` is the network, compiled or not."""
    from diffusers import DDPMScheduler
    from diffusers.training_utils import EMAModel

    scheduler, device = DDPMScheduler(), data.device
    average = EMAModel(network.parameters(), decay=0.999, foreach=best)
    fused = True if best and device.type == "cuda" else None
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=fused)

    def step() -> None:
        chosen = torch.randint(0, len(data), (batch,), device=device)
        x0 = data.batch(chosen, flip=False)
        noise, t = torch.randn_like(x0), torch.randint(0, 1000, (batch,), device=device)
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            loss = F.mse_loss(run(scheduler.add_noise(x0, noise, t), t).sample.float(), noise)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        average.step(network.parameters())

    return step


def _pair(name: str) -> tuple[DiT | UNet, nn.Module | None]:
    """Our network and diffusers' of the same configuration and weights; None where diffusers is not installed."""
    torch.manual_seed(0)
    network = MODELS.build(name)
    reference = diffusers_dit(network) if isinstance(network, DiT) else diffusers_unet(network)
    if reference is None:
        return network, None
    convert = dit_weights.from_diffusers if isinstance(network, DiT) else unet_weights.from_diffusers
    network.load_state_dict(convert(reference.state_dict(), network))
    return network, reference


def _multiply_adds(name: str) -> int:
    with torch.device("meta"):
        network = MODELS.build(name)
        x = torch.empty(1, network.in_channels, network.resolution, network.resolution)
        cond = torch.zeros(1, dtype=torch.int64) if isinstance(network, DiT) else None
        return measured(network, x, torch.zeros(1), cond).multiply_adds


def _compiled(network: nn.Module) -> Callable[..., Any]:
    on_cuda = next(network.parameters()).device.type == "cuda"
    return torch.compile(network) if on_cuda else network


def _ready(network: nn.Module, device: torch.device) -> nn.Module:
    return network.to(device).to(memory_format=torch.channels_last).eval()
