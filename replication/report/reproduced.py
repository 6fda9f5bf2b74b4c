"""Whether rows came out as the committed ones: each beside the row of its cell in results/, as git has that file.

The distance decides: it is equal to DIGITS digits, or inside the committed row's 95 % interval, or outside. The other metrics
are compared in the same way and counted, and decide nothing: of a hundred figures of other weights five lie outside by chance.
"""

import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from replication.harness.journal import Record
from replication.harness.measuring import MACHINE, unlike_times
from replication.harness.mlflow_runs import steps_of
from replication.harness.provenance import git
from replication.harness.versions import DRAWN, unequal_version, version_of
from replication.metrics.metric import metrics
from replication.metrics.uncertainty import Z95
from replication.report.rows import exact_text, read_csv, records_in
from replication.report.tables import Table

Word = Literal["equal", "inside", "outside"]

DIGITS = 4
DISTANCE = "metric.fd"
TAG = "reproduced"  # of a row's run in MLflow
MEANS = {"equal": f"equal to {DIGITS} digits", "inside": "inside the interval", "outside": "outside the interval"}


@dataclass(frozen=True)
class Beside:
    """A row and the committed one of its cell, if there is one; `words` by the column of each metric that both have.

    `reason`: why the distances were not compared; empty where they were.
    """

    row: Record
    committed: Record | None
    words: Mapping[str, Word] = field(default_factory=dict)
    reason: str = ""

    @property
    def title(self) -> str:
        return f"{self.row['label']}{steps_of(self.row)}"

    @property
    def word(self) -> Word | None:
        """That of the distance, None where it was not compared."""
        return self.words.get(DISTANCE)

    @property
    def meaning(self) -> str:
        return MEANS[self.word] if self.word else self.reason

    @property
    def others(self) -> list[str]:
        """The words of the other metrics."""
        return [word for column, word in self.words.items() if column != DISTANCE]


@dataclass(frozen=True)
class Reproduction:
    """The rows of a table beside the committed ones; `not_run`: how many of its cells have no row here."""

    rows: Sequence[Beside]
    not_run: int = 0

    @property
    def compared(self) -> list[Beside]:
        return [one for one in self.rows if one.word]

    @property
    def outside(self) -> list[Beside]:
        """Those whose distance lies outside the committed interval."""
        return [one for one in self.rows if one.word == "outside"]

    def __str__(self) -> str:
        """In one line: "reproduced: 8 of 8 distances equal to 4 digits, 88 of 88 other figures; times: another machine"."""
        found = self.compared
        left = Counter(one.reason for one in self.rows if not one.word)
        notes = [f"{n} row{'s' * (n > 1)}: {reason}" for reason, n in left.items()]
        notes += [f"{self.not_run} cell{'s' * (self.not_run > 1)} not run here"] if self.not_run else []
        if not found:
            return "; ".join(["nothing to compare", *notes])
        words, others = [one.word for one in found], [word for one in found for word in one.others]
        head = f"{words.count('equal')} of {len(found)} distances {MEANS['equal']}"
        if inside := words.count("inside"):
            head += f", {inside} inside {'its interval' if inside == 1 else 'their intervals'}"
        if beyond := [
            f"{o.title}: {_figure(o.row)}, committed {_with_interval(o.committed or {})}" for o in self.outside
        ]:
            head += f", {len(beyond)} outside ({', '.join(beyond)})"
        if others:
            head += f", {others.count('equal')} of {len(others)} other figures"
        return "; ".join([f"{'not ' * bool(self.outside)}reproduced: {head}", f"times: {_times(found)}", *notes])

    def table(self) -> Table:
        """One line for each row: its distance, the committed one, what that comes to, and how many other figures are equal."""
        lines = [
            {
                "cell": one.title,
                "distance": _figure(one.row),
                "committed [95 %]": _with_interval(one.committed) if one.committed else "",
                "so": one.meaning,
                "other figures": _counted(one),
            }
            for one in self.rows
        ]
        return Table.of(lines) if lines else Table(["cell", "so"], [])

    def as_json(self) -> dict[str, object]:
        """The same for a program."""
        return {
            "summary": str(self),
            "not_run": self.not_run,
            "rows": [
                {
                    "cell": one.row["cell"],
                    "title": one.title,
                    "distance": one.row.get(DISTANCE),
                    "committed": one.committed and one.committed.get(DISTANCE),
                    "so": one.meaning,
                    "words": one.words,
                }
                for one in self.rows
            ],
        }


def committed_rows(table: Path) -> list[Record]:
    """The rows of a table of results/ as the last commit has it; as it lies there, where git does not know it."""
    try:
        text = git(table.parent, "show", f"HEAD:./{table.name}")
    except OSError:
        return read_csv(table) if table.exists() else []
    return records_in(text, f"{table} at HEAD")


def reproduction(rows: Iterable[Record], committed: Sequence[Record], cells: int = 0) -> Reproduction:
    """Rows beside the committed ones of their cells; `cells`: how many the table has."""
    found = beside(committed)
    compared = [found(row) for row in rows]
    return Reproduction(compared, max(0, cells - len(compared)))


def beside(committed: Sequence[Record]) -> Callable[[Record], Beside]:
    """What sets a row beside the one of these of its key; without one, beside that of its setting under other versions."""
    by_key = {row["cell"]: row for row in committed}
    by_setting = {row.get("setting", row["cell"]): row for row in committed}

    def compared(row: Record) -> Beside:
        other = by_key.get(row["cell"]) or by_setting.get(row.get("setting", row["cell"]))
        if other is None:
            return Beside(row, None, reason="no row of these settings is committed")
        if all(exact_text(row.get(column)) == exact_text(other.get(column)) for column in {*row, *other}):
            return Beside(row, other, reason="the committed one itself")
        if redrawn := [name for name in DRAWN if version_of(row, name) != version_of(other, name)]:
            return Beside(row, other, reason=f"drawn by another version of {', '.join(redrawn)}")
        words = {m.column: word for m in metrics() if (word := _word(row, other, m.column))}
        unequal = unequal_version([row, other], DISTANCE) or "there is no distance"
        return Beside(row, other, words, "" if DISTANCE in words else unequal)

    return compared


def tags_beside(committed: Sequence[Record]) -> Callable[[Record], dict[str, str]]:
    """What a row's run in MLflow is tagged with."""
    compared = beside(committed)
    return lambda row: {TAG: one.meaning} if (one := compared(row)).committed else {}


def _word(row: Record, other: Record, column: str) -> Word | None:
    """What a figure comes to beside the committed one; None where one has none that is finite, or of another version."""
    figure, stated = row.get(column), other.get(column)
    if figure is None or stated is None or unequal_version([row, other], column):
        return None
    if not (math.isfinite(figure) and math.isfinite(stated)):
        return None
    if f"{figure:.{DIGITS}g}" == f"{stated:.{DIGITS}g}":
        return "equal"
    half = Z95 * other.get(f"{column}_se", 0.0)
    low, high = other.get(f"{column}_low", stated - half), other.get(f"{column}_high", stated + half)
    return "inside" if low <= figure <= high else "outside"


def _times(found: Sequence[Beside]) -> str:
    """How the times of sampling stand to the committed ones, where they are of one kind of machine."""
    pairs = [(one.row, one.committed) for one in found if one.committed]
    machines = [dict.fromkeys(_machine(row) for row in of) for of in zip(*pairs, strict=True)]
    if machines[0].keys() != machines[1].keys():
        here, there = (" and ".join(of) for of in machines)
        return f"another machine ({here}; committed: {there})"
    if unlike := dict.fromkeys(text for pair in pairs for text in unlike_times(pair)):
        return f"not compared ({', '.join(unlike)})"
    column = "timing.seconds_per_image"
    ratios = [a[column] / b[column] for a, b in pairs if a.get(column) and b.get(column)]
    return f"{statistics.median(ratios):.2f} of the committed ones, in the median" if ratios else "none"


def _machine(row: Record) -> str:
    device, threads = (row.get(column, "unknown") for column in MACHINE.values())
    return f"{device}, {threads} threads"


def _figure(row: Record) -> str:
    figure = row.get(DISTANCE)
    return "" if figure is None else f"{figure:.{DIGITS}g}"


def _with_interval(row: Record) -> str:
    low, high = (row.get(f"{DISTANCE}_{end}") for end in ("low", "high"))
    return _figure(row) + ("" if low is None or high is None else f" [{low:.3g}, {high:.3g}]")


def _counted(one: Beside) -> str:
    """How many of the other metrics are equal, and the names of those that are outside."""
    if not one.others:
        return ""
    outside = [c.removeprefix("metric.") for c, word in one.words.items() if word == "outside" and c != DISTANCE]
    named = f", outside: {', '.join(outside)}" if outside else ""
    return f"{one.others.count('equal')} of {len(one.others)} equal{named}"
