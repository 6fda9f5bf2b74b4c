"""What reads a network's `cond`: a part that turns numbers, a label's or a text's, into what the network hears."""

from torch import Tensor, nn

from replication.types import InputError


class Encoder(nn.Module):
    """cond -> said, Float[B,*shape]; a Float is taken for something said already.

    shape: of one image's, None where any size will do; width: its last size. needs: what cond says of every image, in
    words. classes, vocabulary, length: how many labels and tokens it knows, and how many tokens a text has; 0 for none.
    """

    needs: str
    classes = vocabulary = length = 0

    def __init__(self, *shape: int | None, width: int):
        super().__init__()
        self.shape, self.width = (*shape, width), width

    def check(self, cond: Tensor) -> None:
        """Raises InputError unless these are numbers that this encoder knows; on CUDA it waits for the device."""
        raise NotImplementedError

    def encoded(self, cond: Tensor) -> Tensor:
        """What cond says. Raises InputError for a Float of another shape; no device is waited for."""
        if not cond.is_floating_point():
            return self(cond)
        fits = cond.ndim == 1 + len(self.shape)
        if not fits or any(size not in (None, n) for size, n in zip(self.shape, cond.shape[1:], strict=True)):
            takes = ",".join("L" if size is None else str(size) for size in self.shape)
            raise InputError(f"cond: this network takes Float[B,{takes}] as it is, not Float{list(cond.shape)}")
        return cond


class Conditional(nn.Module):
    """A network that reads `cond` by its `encoder`, or takes none; a recipe compares the numbers with its condition."""

    @property
    def encoder(self) -> Encoder | None:
        """What reads cond; None in a network that takes no condition."""
        raise NotImplementedError

    @property
    def classes(self) -> int:
        """How many classes the network knows, 0 where it reads no labels."""
        return self.encoder.classes if self.encoder else 0

    @property
    def vocabulary(self) -> int:
        """How many tokens the network knows, 0 where it reads none."""
        return self.encoder.vocabulary if self.encoder else 0

    @property
    def length(self) -> int:
        """How many tokens a text or a context has, 0 where that is free or there is none."""
        return self.encoder.length if self.encoder else 0

    def encode(self, cond: Tensor) -> Tensor:
        """What cond says, made once instead of at every step: `forward` takes it in the place of cond, to the same end.

        A Float is returned as it is, and so is anything where no condition is taken. Raises InputError where cond does
        not fit, a number out of range included, for which it waits for the device.
        """
        if self.encoder is None:
            return cond
        if not cond.is_floating_point():
            self.encoder.check(cond)
        return self.encoder.encoded(cond)

    def said(self, cond: Tensor | None) -> Tensor | None:
        """The same for `forward`, which waits for no device; None where no condition is taken.

        Raises InputError for a missing cond.
        """
        if self.encoder is None:
            return None
        if cond is None:
            raise InputError(f"this network is conditional: it needs {self.encoder.needs}")
        # only on the CPU is it free to look at numbers before they are used
        return self.encode(cond) if cond.device.type == "cpu" else self.encoder.encoded(cond)


def check_numbers(what: str, numbers: Tensor, ndim: int, last: int, note: str) -> None:
    """Raises InputError unless these are integers 0..last in a tensor of so many axes; on CUDA it waits for the device."""
    if numbers.ndim != ndim or numbers.is_floating_point() or numbers.is_complex():
        found = f"{str(numbers.dtype).removeprefix('torch.')}{list(numbers.shape)}"
        raise InputError(f"cond: this network takes {what} Int[{','.join('BL'[:ndim])}], not {found}")
    if numbers.numel() and not numbers.is_meta:
        low, high = (int(end) for end in numbers.aminmax())
        if low < 0 or high > last:
            raise InputError(f"cond: {what} go from 0 to {last} ({note}), not {low if low < 0 else high}")
