"""The distance of mean features."""

from torch import Tensor

from replication.metrics.metric import Material, Measurement, Metric
from replication.registry import METRICS


@METRICS.register("foreign_shift")
class Shift(Metric):
    """The distance of mean features, averaged over seeds, for tests (2026)."""

    name, label, direction = "foreign_shift", "Shift", "lower"
    needs, interval = ("samples", "real"), "none"

    def compute(self, material: Material, samples: list[Tensor], real: Tensor) -> Measurement:
        centre = real.double().mean(0)
        distances = [float((values.double().mean(0) - centre).norm()) for values in samples]
        return Measurement({self.name: sum(distances) / len(distances)})
