"""`replicate bench`: sampling over its bare forward passes, DiT and the Fréchet distance each beside its peer.

All runs of a line use the same weights, batch and times, or the same features, and take turns, so that a machine that
slows down slows them all; figures are medians over the turns.
"""

import statistics
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric

from replication.ddpm.diffusers_weights import from_diffusers
from replication.ddpm.unet import UNet
from replication.diffusion import Denoiser, sample
from replication.dit.diffusers_weights import from_diffusers as dit_from_diffusers
from replication.dit.model import DiT
from replication.metrics.frechet import frechet_distance, resampled_fd
from replication.metrics.timing import Stopwatch, repeated
from replication.metrics.uncertainty import draw
from replication.noise import ImageNoise
from replication.registry import MODELS, SAMPLERS, SCHEDULES, SPACINGS
from replication.report.tables import markdown

TURNS = 7
STEPS = 20
IMAGES, WIDTH = 5000, 2048  # of the Fréchet distance
DISTANCE_TURNS = 3
DITS = ("dit-s/2", "dit-b/4")
DIT_TURNS = 15
RESAMPLES = 200


def bench(device: torch.device) -> str:
    """Three Markdown tables: the sampling loop, DiT's forward pass, and the Fréchet distance from given features."""
    return f"{bench_sampling(device)}\n\n{bench_dit(device)}\n\n{bench_distance(device)}"


def bench_sampling(device: torch.device) -> str:
    """Milliseconds per image of the floor, of our loop, and of diffusers' pipeline, with ratios."""
    name, batch = ("ddpm-cifar10", 256) if device.type == "cuda" else ("ddpm-digits", 300)
    torch.manual_seed(0)
    network = MODELS.build(name)
    reference = _diffusers_unet(network)
    if reference is not None:
        network.load_state_dict(from_diffusers(reference.state_dict()))
        reference = reference.to(device).to(memory_format=torch.channels_last).eval()
    shape = (batch, network.in_channels, network.resolution, network.resolution)
    network = network.to(device).to(memory_format=torch.channels_last).eval()
    lines = []
    for sampler in ("ddim", "ancestral"):
        runs: dict[str, Callable[[], object]] = {
            "floor": lambda: _floor(network, shape, device),
            "loop": lambda sampler=sampler: _loop(network, sampler, shape, device),  # type: ignore[misc]
        }
        if reference is not None:
            runs["diffusers"] = _pipeline(reference, sampler, batch, device)
        lines.append([f"{name}, {sampler} x {STEPS}, batch {batch}", *_line(runs, batch, device)])
    columns = ["what", "floor, ms/image", "our loop", "over the floor", "diffusers' pipeline", "over the floor"]
    return markdown(columns, lines)


def bench_dit(device: torch.device) -> str:
    """Milliseconds per image of our DiT's forward pass and of diffusers' with the same weights; a ratio above 1 is ours.

    The largest difference is between the two answers, once theirs has the official sinusoids (dit/diffusers_weights.py).
    """
    batch = 64 if device.type == "cuda" else 2
    lines = []
    for name in DITS:
        torch.manual_seed(0)
        network = MODELS.build(name)
        reference = _diffusers_dit(network)
        what = f"{name}, batch {batch}, {torch.get_num_threads()} threads"
        if reference is None:
            lines.append([what, "", "not installed", "", ""])
            continue
        network.load_state_dict(dit_from_diffusers(reference.state_dict(), network))
        lines.append([what, *_dit_line(network.to(device).eval(), reference.to(device).eval(), batch, device)])
    return markdown(["DiT's forward", "ours, ms/image", "diffusers', ms/image", "ratio", "largest difference"], lines)


@torch.no_grad()
def _dit_line(network: DiT, reference: nn.Module, batch: int, device: torch.device) -> list[str]:
    x = torch.randn(batch, network.in_channels, network.resolution, network.resolution, device=device)
    timestep, label = torch.full((batch,), 500.0, device=device), torch.arange(batch, device=device)
    runs: dict[str, Callable[[], Tensor]] = {
        "ours": lambda: network(x, timestep, label),
        "diffusers": lambda: reference(x, timestep, label).sample,
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(DIT_TURNS):
        for name, work in runs.items():
            seconds[name] += repeated(work, device, repeats=1, warmups=2 if turn == 0 else 0)
    times = [f"{statistics.median(taken) / batch * 1e3:.2f}" for taken in seconds.values()]
    ratio = statistics.median(b / a for a, b in zip(seconds["ours"], seconds["diffusers"], strict=True))
    return [*times, f"{ratio:.2f}", f"{float((runs['ours']() - runs['diffusers']()).abs().max()):.0e}"]


def _diffusers_dit(network: DiT) -> nn.Module | None:
    """diffusers' network of the same configuration, its last layers not 0; None where diffusers is not installed."""
    try:
        from diffusers import DiTTransformer2DModel
    except ImportError:
        return None
    reference = DiTTransformer2DModel(
        num_attention_heads=network.heads,
        attention_head_dim=network.width // network.heads,
        in_channels=network.in_channels,
        out_channels=network.out_channels,
        num_layers=network.depth,
        sample_size=network.resolution,
        patch_size=network.patch,
        num_embeds_ada_norm=network.classes,
        norm_eps=1e-6,
    )
    embedders = [block.norm1.emb for block in reference.transformer_blocks]
    for embedder in embedders:
        embedder.load_state_dict(embedders[0].state_dict())
        embedder.time_proj.downscale_freq_shift = 0
    return reference


def bench_distance(device: torch.device) -> str:
    """Seconds of our FD and of torch-fidelity's from the same features, covariances included, and of an interval.

    torch-fidelity computes on the CPU, wherever the device is. Every resample of the interval is computed.
    """
    generator = torch.Generator().manual_seed(0)
    spread = torch.arange(1, WIDTH + 1) ** -0.5  # standard deviations that fall off, as those of real features do
    generated, reference = (spread * torch.randn(IMAGES, WIDTH, generator=generator).relu() for _ in range(2))
    values, real = generated.to(device), reference.to(device)
    runs: dict[str, Callable[[], float]] = {
        "ours": lambda: frechet_distance(values, real),
        "torch-fidelity": lambda: _fidelity_distance(generated, reference),
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    distances: dict[str, float] = {}
    for _ in range(DISTANCE_TURNS):
        for name, work in runs.items():
            with Stopwatch(device) as watch:
                distances[name] = work()
            seconds[name].append(watch.seconds)
    draws = draw([IMAGES], IMAGES, RESAMPLES, seed=0)
    with Stopwatch(device) as watch:
        resampled_fd([values], real, [distances["ours"]], draws)
    ratio = statistics.median(b / a for a, b in zip(seconds["ours"], seconds["torch-fidelity"], strict=True))
    line = [
        f"n = {IMAGES}, D = {WIDTH}, {torch.get_num_threads()} threads",
        *(f"{statistics.median(times):.2f}" for times in seconds.values()),
        f"{ratio:.2f}",
        f"{abs(distances['ours'] / distances['torch-fidelity'] - 1):.0e}",
        f"{watch.seconds:.0f}",
    ]
    columns = ["Fréchet distance", "ours, s", "torch-fidelity, s", "ratio", "relative difference"]
    return markdown([*columns, f"{RESAMPLES} resamples of ours, s"], [line])


def _fidelity_distance(generated: Tensor, reference: Tensor) -> float:
    fits = [fid_features_to_statistics(values) for values in (generated, reference)]
    return fid_statistics_to_metric(*fits, verbose=False)[KEY_METRIC_FID]


def _line(runs: dict[str, Callable[[], object]], batch: int, device: torch.device) -> list[str]:
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(TURNS):
        for name, work in runs.items():
            seconds[name] += repeated(work, device, repeats=1, warmups=1 if turn == 0 else 0)
    cells = [f"{statistics.median(seconds['floor']) / batch * 1e3:.3f}"]
    for name in ("loop", "diffusers"):
        if name not in seconds:
            cells += ["not installed", ""]
            continue
        ratios = [a / b for a, b in zip(seconds[name], seconds["floor"], strict=True)]
        cells += [f"{statistics.median(seconds[name]) / batch * 1e3:.3f}", f"{statistics.median(ratios) - 1:+.1%}"]
    return cells


@torch.no_grad()
def _floor(network: nn.Module, shape: tuple[int, ...], device: torch.device) -> None:
    x, timestep = torch.zeros(shape, device=device), torch.zeros(shape[0], device=device)
    for _ in range(STEPS):
        network(x, timestep, None)


def _loop(network: nn.Module, sampler: str, shape: tuple[int, ...], device: torch.device) -> None:
    schedule = SCHEDULES.build("linear", T=1000)
    noise = ImageNoise(0, torch.arange(shape[0]), device)
    times = SPACINGS.build("uniform")(schedule, STEPS)
    sample(Denoiser(network, schedule), SAMPLERS.build(sampler), times, noise.prior(shape), noise, clip="x0")


def _diffusers_unet(network: UNet) -> nn.Module | None:
    """diffusers' network of the same configuration, None where diffusers is not installed (it is in the dev extra)."""
    try:
        from diffusers import UNet2DModel
    except ImportError:
        return None
    return UNet2DModel(
        sample_size=network.resolution,
        in_channels=network.in_channels,
        out_channels=network.in_channels,
        block_out_channels=[network.width * m for m in network.multipliers],
        layers_per_block=network.blocks,
        down_block_types=["AttnDownBlock2D" if a else "DownBlock2D" for a in network.attends],
        up_block_types=["AttnUpBlock2D" if a else "UpBlock2D" for a in reversed(network.attends)],
        norm_num_groups=network.groups,
        attention_head_dim=None,
        downsample_padding=0,
        flip_sin_to_cos=False,
        freq_shift=1,
        norm_eps=1e-6,
    )


def _pipeline(unet: nn.Module, sampler: str, batch: int, device: torch.device) -> Callable[[], object]:
    from diffusers import DDIMPipeline, DDIMScheduler, DDPMPipeline, DDPMScheduler

    pipeline = DDIMPipeline(unet, DDIMScheduler()) if sampler == "ddim" else DDPMPipeline(unet, DDPMScheduler())
    pipeline.set_progress_bar_config(disable=True)
    return lambda: pipeline(batch_size=batch, num_inference_steps=STEPS, output_type="np")
