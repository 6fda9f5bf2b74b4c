"""Claims as data: a sentence that people repeat, and what it says in numbers. Judged by report/claims.

Each kind is one way of being right or wrong; a claim below its minimum profile is not tested, never passed.
"""

from typing import Annotated, Literal, get_args

from pydantic import Field, PositiveFloat, PositiveInt

from replication.settings import Part, Settings

ProfileName = Literal["cpu", "gpu", "paper"]
PROFILES: tuple[str, ...] = get_args(ProfileName)  # from the smallest to the paper's own budget


class Point(Settings):
    """One cell of the table, by its row's label and its step count."""

    label: str
    steps: PositiveInt


class Statement(Settings):
    """What every claim has."""

    name: str
    statement: str
    citation: str
    minimum_profile: ProfileName


class TradeOffClaim(Statement):
    """`candidate` has at least `quality` times the quality of `reference`, and at least `speed` times its speed.

    "About" is the tolerance: 0.05 makes "about 80 %" mean at least 76 %, and "50 times" at least 47.5 times.
    `baseline` is the candidate's budget spent the old way; it defines the share of the gap that is closed.
    """

    kind: Literal["tradeoff"]
    candidate: Point
    reference: Point
    baseline: Point
    quality: PositiveFloat
    speed: PositiveFloat
    tolerance: PositiveFloat


class ShareClaim(Statement):
    """At least `share` of the variance of log distance over the table's cells goes with the number of steps."""

    kind: Literal["share"]
    share: Annotated[float, Field(gt=0, lt=1)]


class PriorClaim(Statement):
    """q(x_T) on each schedule is N(0, I) for all that can be told: at most `nats` per image, and a test that agrees.

    `images` is how many draws of x_T the test sees; `end` the time that counts as T, 1 unless a spacing stops earlier.
    """

    kind: Literal["prior"]
    dataset: Part
    schedules: Annotated[list[Part], Field(min_length=1)]
    nats: PositiveFloat
    images: PositiveInt
    end: Annotated[float, Field(gt=0, le=1)] = 1.0


class MarginalClaim(Statement):
    """Iterating q(x_t|x_s) step by step gives the moments of the closed form, to `tolerance`, on each schedule."""

    kind: Literal["marginal"]
    schedules: Annotated[list[Part], Field(min_length=1)]
    tolerance: PositiveFloat


Claim = Annotated[TradeOffClaim | ShareClaim | PriorClaim | MarginalClaim, Field(discriminator="kind")]
