"""How much of a codebook is used: the share of codes that occur, and the perplexity of their frequencies."""

from typing import NamedTuple

from torch import Tensor

from replication.metrics.metric import RECONSTRUCTIONS, Material, Metric, Row
from replication.registry import METRICS


class Usage(NamedTuple):
    share: float  # of all codes, those that occurred at all
    perplexity: float  # exp of the entropy in nats: the number of codes, were they equally frequent


def codebook_usage(counts: Tensor) -> Usage:
    """Int[K], how often each code occurred -> Usage; of no codes at all, (0, 1)."""
    frequencies = counts.double() / counts.sum().clamp(min=1)
    used = frequencies[frequencies > 0]
    return Usage(float((counts > 0).double().mean()), float((-used * used.log()).sum().exp()))


class _OfCodes(Metric):
    """A figure of how often each entry of a codebook was used."""

    needs, of_features, spread, table = ("codes",), False, "", RECONSTRUCTIONS


@METRICS.register("codebook_usage")
class CodebookUsage(_OfCodes):
    """The share of a codebook's entries that occur at all (van den Oord et al. 2017 have the codebook)."""

    name, label, higher_is_better, form, position = "codebook_usage", "codes used", True, "{:.1%}", 23

    def compute(self, material: Material, codes: Tensor) -> Row:
        return {self.name: codebook_usage(codes).share}


@METRICS.register("codebook_perplexity")
class CodebookPerplexity(_OfCodes):
    """exp of the entropy of a codebook's entries: their number, were they equally frequent (van den Oord et al. 2017)."""

    name, label, higher_is_better, form, position = "codebook_perplexity", "perplexity", True, "{:.1f}", 24

    def compute(self, material: Material, codes: Tensor) -> Row:
        return {self.name: codebook_usage(codes).perplexity}
