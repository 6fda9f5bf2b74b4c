"""How long and how fast a network learns, whichever network and whatever it learns."""

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from replication.numerics import Precision
from replication.settings import Settings


class Training(Settings):
    """Adam (eps 1e-8) with warm-up, global gradient clipping and EMA: Ho et al. 2020, appendix B."""

    steps: PositiveInt
    batch_size: PositiveInt
    learning_rate: PositiveFloat
    warmup: int = Field(ge=0)  # steps over which the rate climbs from 0, linearly
    grad_clip: NonNegativeFloat = 1.0  # largest norm of the whole gradient; 0: none is too large
    ema_decay: float = Field(ge=0, lt=1)
    flip: bool
    precision: Precision = "float32"
    seed: int = 0
