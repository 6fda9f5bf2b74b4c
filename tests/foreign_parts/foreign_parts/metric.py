"""The distance of mean features."""

from torch import Tensor

from replication.metrics.metric import Material, Metric, Row
from replication.registry import METRICS


@METRICS.register("foreign_shift")
class Shift(Metric):
    """The distance of mean features, averaged over seeds, for tests (2026)."""

    name, label, higher_is_better = "foreign_shift", "Shift", False
    needs, spread = ("samples", "real"), ""

    def compute(self, material: Material, samples: list[Tensor], real: Tensor) -> Row:
        centre = real.double().mean(0)
        distances = [float((values.double().mean(0) - centre).norm()) for values in samples]
        return {self.name: sum(distances) / len(distances)}
