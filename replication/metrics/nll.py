"""The bound on the negative log-likelihood, averaged over images."""

from torch import Tensor

from replication.metrics.metric import Material, Metric, Row
from replication.registry import METRICS


@METRICS.register("nll")
class NLL(Metric):
    """NLL of test images in bits/dim: the variational bound (Ho et al. 2020, equation 5); papers print it as a bound."""

    name, label, unit, higher_is_better, needs, of_features = "nll", "NLL", "bits/dim", False, ("bits",), False
    spread, position, depends, upper_bound = "error", 5, ("ema", "precision", "nll_images"), True

    def compute(self, material: Material, bits: Tensor) -> Row:
        n = len(bits)
        return {"nll": float(bits.mean()), "nll_se": float(bits.std() / n**0.5), "nll_images": n}
