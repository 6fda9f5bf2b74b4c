"""Claims as data: a sentence that people repeat, and what it says in numbers.

A kind of claim is one file of this package: a class that is registered in CLAIMS, its keys and how it is judged.
"""

import fnmatch
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, ClassVar

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    NonNegativeFloat,
    PositiveInt,
    Tag,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from replication.harness.experiment import Size
from replication.report.claims.verdict import Range, Verdict
from replication.settings import Part, Settings

_CELL = re.compile(r"(?:(?P<experiment>[\w-]+): )?(?P<label>.+) x (?P<steps>\d+)")


class Point(Settings):
    """One cell of a table, by its row's label and its step count: of the claim's own experiment, or of a named one.

    A TOML writes "DDIM x 20", or "samplers: DDIM x 20". In a list of points the label may be a pattern (fnmatch), which
    stands for every row that it matches: "DiT-*/[24] x 250".
    """

    label: str
    steps: PositiveInt
    experiment: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if (found := _CELL.fullmatch(value)) is None:
            raise ValueError('write a cell as "LABEL x STEPS"')
        return {**found.groupdict(), "steps": int(found["steps"])}

    @property
    def cell(self) -> str:
        return f"{self.label} x {self.steps}"

    def matching(self, tables: Sequence[Sequence[str]]) -> list["Point"]:
        """The point for each label of the profiles' tables that its pattern matches, or itself where it is none.

        A claim is about the same cells in every profile: all of them, in the order of the table that has the most.
        """
        if any(self.label in labels for labels in tables):
            return [self]
        found = sorted((fnmatch.filter(labels, self.label) for labels in tables), key=len, reverse=True)
        labels = dict.fromkeys(label for of_table in found for label in of_table)
        return [self.model_copy(update={"label": label}) for label in labels] or [self]


Labels = Callable[
    [Point], Sequence[Sequence[str]]
]  # the labels at the point's steps, of each profile of its experiment


class Exact(Part):
    """A quantity that is computed and not measured, of the registry QUANTITIES; it needs no rows."""


def _tag(subject: Any) -> str:
    if isinstance(subject, str):
        return "point" if _CELL.fullmatch(subject) else "exact"
    return "exact" if isinstance(subject, Exact) or (isinstance(subject, dict) and "name" in subject) else "point"


Subject = Annotated[Annotated[Point, Tag("point")] | Annotated[Exact, Tag("exact")], Discriminator(_tag)]


def _every_match(subjects: Any, info: ValidationInfo) -> Any:
    """The list with its patterns written out; the context of the validation gives the labels that there are."""
    if info.context is None or not isinstance(subjects, list):
        return subjects
    return [one for subject in subjects for one in _matches(subject, info.context)]


def _matches(subject: Any, labels: Labels) -> list[Any]:
    try:
        point = Point.model_validate(subject)
    except ValidationError:  # an exact quantity, or what the list's own type will complain of
        return [subject]
    return list(point.matching(labels(point)))


Points = Annotated[list[Point], BeforeValidator(_every_match)]
Subjects = Annotated[list[Subject], BeforeValidator(_every_match), Field(min_length=1)]
Columns = Annotated[list[str], Field(min_length=1)]  # of the rows: metric.fd, sampling.nfe, ...


class Claim(Settings):
    """What every claim has. `awaits` names an experiment that is still to be written: until then it is not tested."""

    kind: str
    name: str
    statement: str
    citation: str
    minimum_profile: Size
    awaits: str | None = None

    # whether its readings are definitions of a single thing, so that a verdict may turn on the choice
    one_thing: ClassVar[bool] = False

    def named(self) -> Iterator[Point | Exact]:
        """Every point and every exact quantity that the claim names."""
        for _, value in self:
            yield from (v for v in (value if isinstance(value, list) else [value]) if isinstance(v, Point | Exact))

    def check(self) -> None:
        """Build the parts that the claim names besides its quantities; raises InputError."""

    def judge(self, evidence: Any) -> list[Verdict]:
        """One verdict per reading, on the Evidence of a profile."""
        raise NotImplementedError


class OnRows(Claim):
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


class OfFigures(OnRows, Target):
    """Each of `of` is what the target says: points by each of `columns`, or exact quantities."""

    of: Subjects
    columns: list[str] = []

    @model_validator(mode="after")
    def _columns_of_points(self) -> "OfFigures":
        subjects = list(self.named())
        if len({type(subject) for subject in subjects}) > 1:
            raise ValueError("points and exact quantities do not go together")
        if bool(self.columns) != isinstance(subjects[0], Point):
            raise ValueError("columns: points need them, exact quantities have none")
        return self

    def by_column(self) -> list[tuple[Point, str]]:
        """Every point of `of`, in every column."""
        return [(subject, column) for subject in self.of if isinstance(subject, Point) for column in self.columns]
