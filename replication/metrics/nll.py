"""The bound on the negative log-likelihood, averaged over images."""

from torch import Tensor

from replication.metrics.metric import Material, Measurement, Metric
from replication.registry import METRICS


@METRICS.register("nll")
class NLL(Metric):
    """NLL of test images in bits/dim: the variational bound (Ho et al. 2020, equation 5); papers print it as a bound."""

    name, label, unit, direction, needs, of_features = "nll", "NLL", "bits/dim", "lower", ("bits",), False
    interval, position, depends, upper_bound = "normal", 5, ("ema", "precision", "nll_images"), True

    def compute(self, material: Material, bits: Tensor) -> Measurement:
        n = len(bits)
        return Measurement({"nll": float(bits.mean()), "nll_se": float(bits.std() / n**0.5), "nll_images": n})
