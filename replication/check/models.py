"""What a network must do: `network(x [B,C,H,W], timestep [B], cond)` -> [B,C or 2C,H,W], images by themselves, trainable.

Its input is found from what it declares: resolution (8), in_channels (1), and, where it is conditional, its classes,
vocabulary or context.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from replication.check.finding import Finding, at_most, holds
from replication.check.oracles.networks import randomize


def findings(build: Callable[[], nn.Module], largest: int = 60_000_000) -> Iterator[Finding]:
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
    untrained = [name for name, p in network.named_parameters() if p.requires_grad and p.grad is None]
    yield holds("parameters without a gradient", untrained or "none", not untrained, "none")
    beside = sorted(network.state_dict().keys() - dict(network.named_parameters()).keys())
    yield holds("state beside the parameters, which no checkpoint keeps", beside or "none", not beside, "none")
    if device == "cpu":
        yield from _numbers(network, x, timestep, cond, output.detach())


@torch.no_grad()
def _numbers(network: nn.Module, x: Tensor, timestep: Tensor, cond: Tensor | None, output: Tensor) -> Iterator[Finding]:
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    finite = bool(output.isfinite().all()) and all(bool(g.isfinite().all()) for g in gradients)
    yield holds("output and gradients", "finite" if finite else "not finite", finite, "finite")
    each = [
        network(x[i : i + 1], timestep[i : i + 1], None if cond is None else cond[i : i + 1]) for i in range(len(x))
    ]
    yield at_most("difference that the batch makes", float((torch.cat(each) - output).abs().max()), 1e-9)
    for what, other in (
        ("timestep", (timestep.flip(0), cond)),
        ("cond", (timestep, None if cond is None else cond.flip(0))),
    ):
        if what == "timestep" or cond is not None:
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
