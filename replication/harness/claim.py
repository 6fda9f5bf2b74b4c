"""Claims as data: a sentence that people repeat, and what it says in numbers. Judged by report/claims.

Each kind is one way of being right or wrong; a claim below its minimum profile is not tested, never passed.
"""

import math
from collections.abc import Iterator
from typing import Annotated, Any, Literal, NamedTuple, get_args

from pydantic import Discriminator, Field, NonNegativeFloat, PositiveFloat, PositiveInt, Tag, model_validator

from replication.settings import Part, Settings

ProfileName = Literal["cpu", "gpu", "paper"]
PROFILES: tuple[str, ...] = get_args(ProfileName)  # from the smallest to the paper's own budget


class Range(NamedTuple):
    """Where a claim needs its figure to be, ends included unless it is open."""

    low: float = -math.inf
    high: float = math.inf
    open: bool = False

    def __str__(self) -> str:
        if math.isinf(self.high):
            return f"{'above' if self.open else 'at least'} {self.low:.3g}"
        return f"at most {self.high:.3g}" if math.isinf(self.low) else f"{self.low:.3g} to {self.high:.3g}"


class Point(Settings):
    """One cell of a table, by its row's label and its step count: of the claim's own experiment, or of a named one."""

    label: str
    steps: PositiveInt
    experiment: str | None = None

    @property
    def cell(self) -> str:
        return f"{self.label} x {self.steps}"


class Exact(Part):
    """A quantity that is computed and not measured, of the registry QUANTITIES; it needs no rows."""


def _tag(subject: Any) -> str:
    named = isinstance(subject, Exact | str) or (isinstance(subject, dict) and "name" in subject)
    return "exact" if named else "point"


Subject = Annotated[Annotated[Point, Tag("point")] | Annotated[Exact, Tag("exact")], Discriminator(_tag)]
Points = Annotated[list[Point], Field(min_length=1)]
Columns = Annotated[list[str], Field(min_length=1)]  # of the rows: metric.fd, sampling.nfe, ...


class Statement(Settings):
    """What every claim has. `awaits` names an experiment that is still to be written: until then it is not tested."""

    name: str
    statement: str
    citation: str
    minimum_profile: ProfileName
    awaits: str | None = None

    def named(self) -> Iterator[Point | Exact]:
        """Every point and every exact quantity that the claim names."""
        for _, value in self:
            yield from (v for v in (value if isinstance(value, list) else [value]) if isinstance(v, Point | Exact))


class OnRows(Statement):
    """A claim about rows. With `unequal`, rows of unequal protocols are compared too, and the verdict is marked."""

    unequal: bool = False


class Target(Settings):
    """What a figure is claimed to be. `tolerance` is a share: 0.05 makes "about 50" mean 47.5 to 52.5.

    `above` is for what must be more, as in "stronger than": being equal, which is `at_least`, does not support it.
    """

    about: float | None = None
    at_least: float | None = None
    at_most: float | None = None
    above: float | None = None
    tolerance: NonNegativeFloat = 0.0

    @model_validator(mode="after")
    def _one_of_four(self) -> "Target":
        if sum(bound is not None for bound in (self.about, self.at_least, self.at_most, self.above)) != 1:
            raise ValueError("say one of about, at_least, at_most and above")
        return self

    @property
    def range(self) -> Range:
        if self.at_least is not None:
            return Range(low=self.at_least - self.tolerance * abs(self.at_least))
        if self.at_most is not None:
            return Range(high=self.at_most + self.tolerance * abs(self.at_most))
        if self.above is not None:
            return Range(low=self.above - self.tolerance * abs(self.above), open=True)
        assert self.about is not None
        slack = self.tolerance * abs(self.about)
        return Range(self.about - slack, self.about + slack)


class TradeOffClaim(OnRows):
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


class ShareClaim(OnRows):
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


class ValueClaim(OnRows, Target):
    """Each of `of` is what the target says: points by each of `columns`, or exact quantities."""

    kind: Literal["value"]
    of: Annotated[list[Subject], Field(min_length=1)]
    columns: list[str] = []

    @model_validator(mode="after")
    def _columns_of_points(self) -> "ValueClaim":
        check_columns(list(self.named()), self.columns)
        return self


class RatioClaim(OnRows, Target):
    """Each of `of`, divided by `over`, is what the target says: points by each of `columns`, or exact quantities."""

    kind: Literal["ratio"]
    of: Annotated[list[Subject], Field(min_length=1)]
    over: Subject
    columns: list[str] = []

    @model_validator(mode="after")
    def _columns_of_points(self) -> "RatioClaim":
        check_columns(list(self.named()), self.columns)
        return self


class OrderingClaim(OnRows):
    """From each point to the next, every column of `rising` rises and every one of `falling` falls."""

    kind: Literal["ordering"]
    points: Annotated[list[Point], Field(min_length=2)]
    rising: list[str] = []
    falling: list[str] = []

    @model_validator(mode="after")
    def _some_column(self) -> "OrderingClaim":
        if not self.rising and not self.falling:
            raise ValueError("say which columns are rising or falling")
        return self


class TrendClaim(OnRows, Target):
    """Over the points, each of `columns` is correlated with the column `along` as the target says.

    `methods` say how: rank is Spearman's correlation, log-log Pearson's of both logarithms, semi-log Pearson's of the
    column with the logarithm of `along`. Points at the same place along are repeats, such as other seeds of a training.
    With `than`, other points, or `than_along`, another column, the target is about how much more closely the columns follow
    than over those or along that one. `direction` is then the one in which they are to follow: where the distance is to
    fall, closeness is minus the correlation, and a distance that rises is as far from it as can be.
    """

    kind: Literal["trend"]
    points: Annotated[list[Point], Field(min_length=3)]
    columns: Columns
    along: str
    methods: Annotated[list[Literal["rank", "log-log", "semi-log"]], Field(min_length=1)] = ["rank", "log-log"]
    than: list[Point] = []
    than_along: str | None = None
    direction: Literal["falling", "rising"] | None = None

    @property
    def compares(self) -> bool:
        """Whether the target is about a difference of two correlations."""
        return bool(self.than or self.than_along)

    @model_validator(mode="after")
    def _enough_points(self) -> "TrendClaim":
        if 0 < len(self.than) < 3:
            raise ValueError("than: a correlation takes at least 3 points")
        return self

    @model_validator(mode="after")
    def _direction_of_comparisons(self) -> "TrendClaim":
        if self.compares != (self.direction is not None):
            raise ValueError("direction: a comparison (than, than_along) needs it, a correlation alone has its sign")
        return self


class EquivalenceClaim(OnRows):
    """By each of `columns`, each point differs from `reference` by less than the share `margin` of the reference."""

    kind: Literal["equivalence"]
    points: Points
    reference: Point
    columns: Columns
    margin: PositiveFloat


def check_columns(subjects: list[Point | Exact], columns: list[str]) -> None:
    """Raises ValueError unless the subjects are of one sort, and points, but not exact quantities, have columns."""
    if len({type(subject) for subject in subjects}) > 1:
        raise ValueError("points and exact quantities do not go together")
    if bool(columns) != isinstance(subjects[0], Point):
        raise ValueError("columns: points need them, exact quantities have none")


Claim = Annotated[
    TradeOffClaim | ShareClaim | PriorClaim | ValueClaim | RatioClaim | OrderingClaim | TrendClaim | EquivalenceClaim,
    Field(discriminator="kind"),
]

# The settings below [[claim]], by the name that a location in a TOML has: kinds of claims, and keys that hold points.
TABLES: dict[str, type[Settings]] = {
    "tradeoff": TradeOffClaim,
    "share": ShareClaim,
    "prior": PriorClaim,
    "value": ValueClaim,
    "ratio": RatioClaim,
    "ordering": OrderingClaim,
    "trend": TrendClaim,
    "equivalence": EquivalenceClaim,
    **dict.fromkeys(("point", "points", "than", "candidate", "reference", "baseline"), Point),
}
