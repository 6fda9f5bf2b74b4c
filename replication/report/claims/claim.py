"""Claims as data: a sentence that people repeat, and its meaning in numbers.

A kind of claim is one file of this package: a class that is registered in CLAIMS, its keys and how it is judged.
"""

import fnmatch
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from typing import Annotated, Any, cast

from pydantic import BeforeValidator, Field, PositiveInt, ValidationError, ValidationInfo, model_validator

from replication.harness.experiment import SIZES, Experiment, Size, explained, sibling
from replication.registry import CLAIMS, METRICS, QUANTITIES, unknown
from replication.report.claims.verdict import Answer, Range, Verdict, general_answer
from replication.settings import Line, Part, Settings
from replication.types import InputError

TOLERANCE = 0.05  # "about 50" is 47.5 to 52.5, of whatever is claimed
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


Tables = Callable[[str | None], Experiment]  # by name; the claims' own experiment where there is none


class Exact(Part):
    """A quantity that is computed and not measured, of the registry QUANTITIES; it needs no rows."""


Subject = Annotated[Point | Exact, Field(union_mode="left_to_right")]


def _every_match(subjects: Any, info: ValidationInfo) -> Any:
    """The list with its patterns written out; the context of the validation gives the labels that there are."""
    if info.context is None or not isinstance(subjects, list):
        return subjects
    found: list[Any] = []
    for subject in subjects:
        try:
            point = Point.model_validate(subject)
        except ValidationError:  # an exact quantity, or what the list's own type will refuse
            found.append(subject)
        else:
            found += point.matching(info.context(point))
    return found


Points = Annotated[list[Point], BeforeValidator(_every_match)]
Subjects = Annotated[list[Subject], BeforeValidator(_every_match), Field(min_length=1)]
Columns = Annotated[list[str], Field(min_length=1)]  # of the rows: metric.fd, sampling.nfe, ...


class Claim(Settings):
    """What every claim has. `awaits` names an experiment that is still to be written: until then it is not tested.

    Nor is it in profiles below the minimum, or above the maximum of one that is about the data of a small one.

    With `unequal`, rows of unequal protocols are compared too, and the verdict is marked.
    """

    kind: str
    name: Line
    statement: Line
    citation: Line
    minimum_profile: Size
    maximum_profile: Size | None = None
    awaits: str | None = None
    unequal: bool = False

    @model_validator(mode="after")
    def _some_profile(self) -> "Claim":
        if self.maximum_profile and SIZES.index(self.maximum_profile) < SIZES.index(self.minimum_profile):
            raise ValueError(f"maximum_profile {self.maximum_profile} is below minimum_profile {self.minimum_profile}")
        return self

    def named(self) -> Iterator[Point | Exact]:
        """Every point and every exact quantity that the claim names."""
        for _, value in self:
            yield from (v for v in (value if isinstance(value, list) else [value]) if isinstance(v, Point | Exact))

    def check(self) -> None:
        """Build the parts that the claim names besides its quantities; raises InputError."""

    def readings(self, evidence: Any) -> Iterable[Any]:
        """What the claim can mean on the Evidence of a profile: a Reading each, with the figures that decide it."""
        raise NotImplementedError

    def judge(self, evidence: Any) -> list[Verdict]:
        """One verdict for each reading, as if it were the only one."""
        return [reading.verdict(self, evidence) for reading in self.readings(evidence)]

    def deciding(self, verdicts: Sequence[Verdict]) -> Sequence[Verdict]:
        """Those that the answer rests on."""
        return verdicts

    def sentence(self, verdicts: Sequence[Verdict]) -> str:
        """What they say."""
        return general_answer(self.deciding(verdicts))

    def answers(self, verdicts: Sequence[Verdict]) -> list[Answer]:
        """The same, side by side."""
        text = self.sentence(verdicts)
        return [Answer("", text, text, self.deciding(verdicts))]

    def answer(self, verdicts: Sequence[Verdict]) -> str:
        """The same as one text."""
        return " ".join(f"{of.capitalize()}: {text}" if of else text for of, text, *_ in self.answers(verdicts))


class Target(Settings):
    """What a figure is claimed to be: "about" means within TOLERANCE of it, on both sides.

    `above` and `below` are for what must be more or less, as in "stronger than": being equal, which is `at_least` and
    `at_most`, does not support it.
    """

    about: float | None = None
    at_least: float | None = None
    at_most: float | None = None
    above: float | None = None
    below: float | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> "Target":
        if sum(bound is not None for bound in (self.about, self.at_least, self.at_most, self.above, self.below)) != 1:
            raise ValueError("say one of about, at_least, at_most, above and below")
        return self

    @property
    def range(self) -> Range:
        if self.about is not None:
            return Range(self.about - TOLERANCE * abs(self.about), self.about + TOLERANCE * abs(self.about))
        if (low := self.above if self.at_least is None else self.at_least) is not None:
            return Range(low=low, open=self.above is not None)
        high = self.below if self.at_most is None else self.at_most
        assert high is not None  # as one of them is there
        return Range(high=high, open=self.below is not None)


def claims_of(experiment: Experiment) -> list[Claim]:
    """Its claims, with every pattern written out, every part that they name built and every cell found in its table.

    Raises InputError naming the file, the claim, the key and the nearest valid name.
    """
    tables = cache(lambda name: sibling(experiment, name) if name else experiment)
    found = [_checked(content, experiment, f"claim.{i}", tables) for i, content in enumerate(experiment.claims)]
    for name, count in Counter(claim.name for claim in found).items():
        if count > 1:
            raise InputError(f"{experiment.path}: claim {name!r} is there {count} times: give each a name of its own")
    return found


def _checked(content: Mapping[str, Any], experiment: Experiment, where: str, tables: Tables) -> Claim:
    try:
        if "kind" not in content:
            raise InputError("kind: this key is missing")
        kind = cast("type[Claim]", CLAIMS.get(str(content["kind"])))
        found = kind.model_validate(content, context=partial(_labels, tables, content.get("awaits")))
        _check(found, experiment, tables)
    except ValidationError as error:
        raise InputError(f"{experiment.path}: {explained(error, kind, where)}") from error
    except InputError as error:
        raise InputError(f"{experiment.path}: claim {content.get('name', where)}: {error}") from error
    return found


def _labels(tables: Tables, awaited: str | None, point: Point) -> list[list[str]]:
    """Of the rows that have the point's steps, in each profile of its experiment."""
    if awaited is not None and point.experiment == awaited:
        return []
    profiles = tables(point.experiment).profiles.values()
    return [[row.label for row in profile.rows if point.steps in row.steps] for profile in profiles]


def _check(claim: Claim, experiment: Experiment, tables: Tables) -> None:
    """An awaited experiment isn't there yet, and the claim names it; all other parts, cells and metrics are there."""
    for _, value in claim:
        for column in value if isinstance(value, list) else [value]:
            name = column.removeprefix("metric.") if isinstance(column, str) and column.startswith("metric.") else ""
            if name and not any(f"{name}_".startswith(f"{known}_") for known in METRICS.names()):  # or of its spread
                raise unknown("metric", name, METRICS.names())
    if claim.awaits is not None:
        if experiment.path.with_name(f"{claim.awaits}.toml").is_file():
            raise InputError(f"awaits {claim.awaits!r}, which is there now: take the key out and name its cells")
        named = sorted({point.experiment or experiment.name for point in claim.named() if isinstance(point, Point)})
        if claim.awaits not in named:
            raise unknown("experiment in awaits", claim.awaits, named)
    for subject in claim.named():
        if isinstance(subject, Exact):
            subject.build(QUANTITIES)
        elif subject.experiment is None or subject.experiment != claim.awaits:
            _check_point(subject, tables(subject.experiment))
    claim.check()


def _check_point(point: Point, table: Experiment) -> None:
    """The cell is in a profile of its experiment; in one that lacks it, the claim is not tested."""
    if not table.profiles:
        raise InputError(f"{point.cell}: {table.path.name} has no rows; say experiment = ... in the point")
    rows = [row for profile in table.profiles.values() for row in profile.rows]
    valid = sorted({f"{row.label} x {steps}" for row in rows for steps in row.steps})
    if point.cell not in valid:
        raise unknown("cell", point.cell, valid)
