"""What a network knows of a class: one vector for each, and one more that says nothing (Ho and Salimans 2022)."""

from torch import Tensor, nn

from replication.types import InputError


class LabelEmbedding(nn.Embedding):
    """Int[B] -> Float[B,dim] for the labels 0..classes-1, and for `classes`, which says nothing."""

    def __init__(self, classes: int, dim: int):
        super().__init__(classes + 1, dim)
        self.classes = classes

    def check(self, labels: Tensor) -> None:
        """Raises InputError unless these are labels Int[B] that the network knows."""
        check_numbers("labels", labels, 1, self.classes, f"{self.classes} says nothing")


def check_numbers(what: str, numbers: Tensor, ndim: int, last: int, note: str) -> None:
    """Raises InputError unless these are integers 0..last in a tensor of so many axes; on CUDA it waits for the device."""
    if numbers.ndim != ndim or numbers.is_floating_point() or numbers.is_complex():
        found = f"{numbers.dtype} of shape {tuple(numbers.shape)}".removeprefix("torch.")
        raise InputError(f"cond: this network takes {what} Int[{'B,L'[: 2 * ndim - 1]}], not {found}")
    if numbers.numel():
        low, high = (int(end) for end in numbers.aminmax())
        if low < 0 or high > last:
            raise InputError(f"cond: {what} go from 0 to {last} ({note}), not {low if low < 0 else high}")
