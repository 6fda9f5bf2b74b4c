"""How much of a codebook is used: the share of codes that occur, and the perplexity of their frequencies."""

from typing import NamedTuple

from torch import Tensor


class Usage(NamedTuple):
    share: float  # of all codes, those that occurred at all
    perplexity: float  # exp of the entropy in nats: the number of codes, were they equally frequent


def codebook_usage(counts: Tensor) -> Usage:
    """Int[K], how often each code occurred -> Usage; of no codes at all, (0, 1)."""
    frequencies = counts.double() / counts.sum().clamp(min=1)
    used = frequencies[frequencies > 0]
    return Usage(float((counts > 0).double().mean()), float((-used * used.log()).sum().exp()))
