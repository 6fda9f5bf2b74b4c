"""What a network is conditioned on besides x_t: the timestep, and `cond`, a label, a text or a given context.

A network with a condition is `Conditional`, and an `Encoder` turns its cond into the embedding that the layers use.
"""

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from replication.types import InputError


def timestep_embedding(timestep: Tensor, dim: int, cos_first: bool = False) -> Tensor:
    """Sinusoids of the timestep, Float[B] -> Float[B,dim], at frequencies 10000^(-i / divisor), i below half = dim // 2.

    Two conventions, whose weights are not compatible: DDPM has sin before cos and divisor half - 1; IDDPM, ADM, LDM and
    DiT have cos before sin and divisor half (cos_first).
    """
    half = dim // 2
    exponents = torch.arange(half, device=timestep.device) / (half if cos_first else half - 1)
    angles = timestep.float()[:, None] * torch.exp(exponents * -math.log(10000))[None]
    waves = [angles.cos(), angles.sin()] if cos_first else [angles.sin(), angles.cos()]
    return torch.cat(waves, dim=1).to(timestep.dtype)


class Encoder(nn.Module):
    """cond -> its embedding, Float[B,*shape]; a Float is taken for an embedding made before.

    shape: of one image's embedding, None where any size will do; width: its last size. needs: what cond holds for every
    image, in words. classes, vocabulary, length: the number of labels and tokens, and of tokens in a text; 0 for none.
    null: whether the null condition has an embedding, which guidance needs. beside: the folder of a diffusers pipeline that
    has its weights, apart from the network's, and stated: what the config.json there has to say of it.
    """

    needs: str
    classes = vocabulary = length = 0
    null = True
    beside = ""
    stated: Mapping[str, object] = {}

    def __init__(self, *shape: int | None, width: int):
        super().__init__()
        self.shape, self.width = (*shape, width), width

    def check(self, cond: Tensor) -> None:
        """Raises InputError unless these are numbers in this encoder's range; on CUDA it waits for the device."""
        raise NotImplementedError

    def encoded(self, cond: Tensor) -> Tensor:
        """The embedding. Raises InputError for a Float of another shape; no device is waited for."""
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
        """The number of classes, 0 where cond holds no labels."""
        return self.encoder.classes if self.encoder else 0

    @property
    def vocabulary(self) -> int:
        """The number of tokens, 0 where cond holds none."""
        return self.encoder.vocabulary if self.encoder else 0

    @property
    def length(self) -> int:
        """The number of tokens of a text or a context, 0 where that is free or there is none."""
        return self.encoder.length if self.encoder else 0

    def encode(self, cond: Tensor) -> Tensor:
        """The embedding of cond, made once instead of at every step: `forward` takes it in the place of cond.

        A Float is returned as it is, and so is anything where no condition is taken. Raises InputError where cond does
        not fit, a number out of range included, for which it waits for the device.
        """
        if self.encoder is None:
            return cond
        if not cond.is_floating_point():
            self.encoder.check(cond)
        return self.encoder.encoded(cond)

    def embedded(self, cond: Tensor | None) -> Tensor | None:
        """The same for `forward`, which waits for no device; None where no condition is taken.

        Raises InputError for a missing cond.
        """
        if self.encoder is None:
            return None
        if cond is None:
            raise InputError(f"this network is conditional: it needs {self.encoder.needs}")
        # only on the CPU is it free to look at numbers before they are used
        return self.encode(cond) if cond.device.type == "cpu" else self.encoder.encoded(cond)


class LabelEmbedding(Encoder):
    """Label Int[B] -> Float[B,width], for 0..classes-1 and, with `null`, for the null label, `classes` (Ho and Salimans 2022).

    Standard normal at the start.
    """

    needs = "a label for every image"

    def __init__(self, classes: int, width: int, null: bool = True):
        super().__init__(width=width)
        self.classes, self.null = classes, null
        self.weight = nn.Parameter(torch.randn(classes + null, width))

    def check(self, cond: Tensor) -> None:
        note = f"{self.classes} is the null label" if self.null else "there is no null label"
        check_numbers("labels", cond, 1, len(self.weight) - 1, note)

    def forward(self, labels: Tensor) -> Tensor:
        return F.embedding(labels, self.weight)


class GivenContext(Encoder):
    """A context that others make, a frozen CLIP or T5: Float[B,L,width], unchanged; L must be `length`, 0 for any.

    vector: so many numbers that stand for the whole text go with it, joined as `joined` does: L + 1 rows.
    """

    needs = "a context for every image"

    def __init__(self, width: int, length: int = 0, vector: int = 0):
        if vector > width:
            raise InputError(f"a vector of {vector} numbers does not fit in a row of a context, which has {width}")
        super().__init__(length + bool(vector) if length else None, width=width)
        self.length, self.vector = length, vector

    def check(self, cond: Tensor) -> None:
        raise InputError(f"cond: this network takes a context Float[B,L,{self.width}], not {cond.dtype}")

    def encoded(self, cond: Tensor) -> Tensor:
        found = super().encoded(cond)
        if self.vector and found.shape[1] < 2:
            raise InputError(f"cond: this network takes a vector and a context, not Float{list(cond.shape)}")
        return found

    def forward(self, cond: Tensor) -> Tensor:
        self.check(cond)
        return cond


def joined(context: Tensor, vector: Tensor) -> Tensor:
    """A context Float[B,L,D] and a vector Float[B,V], V <= D, in one cond, Float[B,1+L,D]: first the vector and zeros."""
    row = F.pad(vector, (0, context.shape[2] - vector.shape[1]))
    return torch.cat([row[:, None].to(context), context], dim=1)


def parted(cond: Tensor) -> tuple[Tensor, Tensor]:
    """(context Float[B,L,D], the row Float[B,D] that its vector begins) of what `joined` made."""
    return cond[:, 1:], cond[:, 0]


class AddedVector(nn.Module):
    """A row of `joined`, Float[B,D], -> Float[B,width], which is added to the time's: Podell et al. 2023 (SDXL), section 2.2.

    Its first `text` numbers are a pooled text and enter as they are, each of the `numbers` behind it, a size or a place in
    pixels, as sinusoids of NUMBER dimensions, as the time does.
    """

    NUMBER = 256

    def __init__(self, text: int, numbers: int, width: int):
        super().__init__()
        self.text, self.numbers = text, numbers
        self.first, self.second = nn.Linear(text + self.NUMBER * numbers, width), nn.Linear(width, width)

    def forward(self, row: Tensor) -> Tensor:
        text, numbers = row[:, : self.text], row[:, self.text : self.text + self.numbers]
        waves = timestep_embedding(numbers.flatten(), self.NUMBER, cos_first=True).reshape(len(row), -1)
        return self.second(F.silu(self.first(torch.cat([text, waves], dim=1))))


class TokenEncoder(Encoder):
    """The base of what reads tokens Int[B,length], each below `vocabulary`, 0 for padding."""

    needs = "the tokens of a text for every image"

    def __init__(self, vocabulary: int, length: int, *shape: int, width: int):
        super().__init__(*shape, width=width)
        self.vocabulary, self.length = vocabulary, length

    def check(self, cond: Tensor) -> None:
        check_numbers("tokens", cond, 2, self.vocabulary - 1, "0 is padding")

    def check_length(self, tokens: Tensor) -> None:
        if tokens.shape[1:] != (self.length,):
            raise InputError(f"cond: this network takes tokens Int[B,{self.length}], not Int{list(tokens.shape)}")


def check_numbers(what: str, numbers: Tensor, ndim: int, last: int, note: str) -> None:
    """Raises InputError unless these are integers 0..last in a tensor of so many axes; on CUDA it waits for the device."""
    if numbers.ndim != ndim or numbers.is_floating_point() or numbers.is_complex():
        found = f"{str(numbers.dtype).removeprefix('torch.')}{list(numbers.shape)}"
        raise InputError(f"cond: this network takes {what} Int[{','.join('BL'[:ndim])}], not {found}")
    if numbers.numel() and not numbers.is_meta:
        low, high = (int(end) for end in numbers.aminmax())
        if low < 0 or high > last:
            raise InputError(f"cond: {what} go from 0 to {last} ({note}), not {low if low < 0 else high}")
