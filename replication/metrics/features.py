"""Features: what an extractor says about N images, and all that every metric needs of them."""

from dataclasses import dataclass

from torch import Tensor

from replication.types import InputError


@dataclass(frozen=True, eq=False)
class Features:
    """`values: float32 [N,D]` feed FD, KID, precision and recall; `logits: float32 [N,K]` feed the inception score."""

    values: Tensor
    logits: Tensor

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.logits.ndim != 2 or len(self.values) != len(self.logits):
            shapes = f"{list(self.values.shape)} and {list(self.logits.shape)}"
            raise InputError(f"features: values [N,D] and logits [N,K] must agree in N, got {shapes}")

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: Tensor) -> "Features":
        return Features(self.values[rows], self.logits[rows])
