"""What a network must do: `network(x [B,C,H,W], timestep [B], cond)` -> [B,C or 2C,H,W], images by themselves, trainable.

Its input is found from what it declares: resolution (8), in_channels (1), and, where it is conditional, its classes,
vocabulary or context. Here is also a network for tests that needs no training.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Finding(NamedTuple):
    """One line of a check: `measured` and `needed` are texts to print; `ok` is the verdict."""

    name: str
    measured: str
    needed: str
    ok: bool


def at_most(name: str, value: float, bound: float) -> Finding:
    """An error, which must not exceed the bound; NaN does."""
    return Finding(name, f"{value:.3g}", f"at most {bound:g}", value <= bound)


def near(name: str, value: float, target: float, atol: float) -> Finding:
    """A value that must be the target to within atol."""
    return Finding(name, f"{value:.2f}", f"{target:g} +- {atol:g}", abs(value - target) <= atol)


def holds(name: str, measured: object, ok: bool, needed: str = "yes") -> Finding:
    """A fact, shown as it was found."""
    return Finding(name, str(measured), needed, ok)


def check_model(build: Callable[[], nn.Module], largest: int = 60_000_000) -> Iterator[Finding]:
    """`build` makes the network; one of more than `largest` parameters is looked at without memory, shapes alone."""
    with torch.device("meta"):
        network = build().eval()
    count = sum(p.numel() for p in network.parameters())
    device = "meta" if count > largest else "cpu"
    yield holds("parameters", f"{count:,}" + " (shapes alone are checked)" * (device == "meta"), True, "any")
    if device == "cpu":
        network = build().eval().double()
        randomize(network, seed=3)  # a new network often answers 0 whatever it is given
    x, timestep, cond = inputs(network, device)
    output = network(x, timestep, cond)
    channels = (x.shape[1], 2 * x.shape[1])
    fits = output.shape in [(len(x), c, *x.shape[2:]) for c in channels]
    yield holds(f"output of {list(x.shape)}", list(output.shape), fits, f"{channels[0]} or {channels[1]} channels")
    output.square().mean().backward()
    yield without_gradient(network)
    beside = sorted(network.state_dict().keys() - dict(network.named_parameters()).keys())
    yield holds("state beside the parameters, which no checkpoint keeps", beside or "none", not beside, "none")
    if device == "cpu":
        yield from _numbers(network, x, timestep, cond, output.detach())


def without_gradient(network: nn.Module, and_zero: bool = False) -> Finding:
    """That every trainable parameter has a gradient; with `and_zero`, one that is not 0."""
    untrained = [
        name
        for name, p in network.named_parameters()
        if p.requires_grad and (p.grad is None or (and_zero and not bool(p.grad.abs().sum() > 0)))
    ]
    return holds("parameters without a gradient", untrained or "none", not untrained, "none")


@torch.no_grad()
def _numbers(network: nn.Module, x: Tensor, timestep: Tensor, cond: Tensor | None, output: Tensor) -> Iterator[Finding]:
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    finite = bool(output.isfinite().all()) and all(bool(g.isfinite().all()) for g in gradients)
    yield holds("output and gradients", "finite" if finite else "not finite", finite, "finite")
    each = [network(x[[i]], timestep[[i]], None if cond is None else cond[[i]]) for i in range(len(x))]
    yield at_most("difference that the batch makes", float((torch.cat(each) - output).abs().max()), 1e-9)
    changed = {"timestep": (timestep.flip(0), cond)}
    if cond is not None:
        changed["cond"] = (timestep, cond.flip(0))
    for what, other in changed.items():
        moved = float((network(x, *other) - output).abs().max())
        yield holds(f"difference that another {what} makes", f"{moved:.3g}", moved > 0, "above 0")


def inputs(network: nn.Module, device: str) -> tuple[Tensor, Tensor, Tensor | None]:
    """(x [3,C,H,W], timestep [3], cond) that the network takes, by what it declares."""
    generator = torch.Generator().manual_seed(0)
    size, channels = getattr(network, "resolution", 8), getattr(network, "in_channels", 1)
    dtype = next((p.dtype for p in network.parameters()), torch.float32)
    x = torch.randn(3, channels, size, size, generator=generator, dtype=dtype)
    classes, vocabulary = getattr(network, "classes", 0), getattr(network, "vocabulary", 0)
    length, encoder = getattr(network, "length", 0) or 5, getattr(network, "encoder", None)
    cond = None
    if classes:
        cond = torch.tensor([0, classes // 2, classes - 1])
    elif vocabulary:
        cond = torch.randint(1, vocabulary, (3, length), generator=generator)
    elif width := getattr(network, "context", 0) or getattr(encoder, "width", 0):
        cond = torch.randn(3, length, width, generator=generator, dtype=dtype)
    timestep = torch.tensor([0, 500, 999], dtype=dtype)
    return x.to(device), timestep.to(device), None if cond is None else cond.to(device)


class SmallNetwork(nn.Module):
    """Two float64 convolutions, the timestep between them: [B,2,H,W], [B] -> [B,out,H,W] of order 1."""

    def __init__(self, out: int = 2):
        super().__init__()
        self.first, self.last = nn.Conv2d(2, 8, 3, padding=1), nn.Conv2d(8, out, 3, padding=1)
        randomize(self.double(), seed=3)

    def forward(self, x: Tensor, timestep: Tensor, cond: Tensor | None = None) -> Tensor:
        h = self.first(x) + torch.cos(timestep / 200)[:, None, None, None]
        return self.last(torch.tanh(h))


def randomize(network: nn.Module, seed: int) -> None:
    """Draw every parameter anew, biases and norms too, so that no branch is silent; activations stay of order 1."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in network.parameters():
            drawn = torch.randn(p.shape, generator=generator, dtype=p.dtype)
            fan_in = p[0].numel() if p.ndim > 1 else 0
            p.copy_(0.7 * drawn / fan_in**0.5 if fan_in else 0.1 * drawn)
        for module in network.modules():
            if isinstance(module, nn.GroupNorm):
                module.weight.add_(1)
