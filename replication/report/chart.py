"""The distance plot once more, as geometry for inline SVG: sharp at any width, and each point leads to its row.

Repeated trainings of a family are points about the power law that is fitted to them, in the band of their spread.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from replication.harness.jobs.cell import Cell
from replication.harness.journal import Record
from replication.report.plots import Cost, Fit, Look, costs_of, curves, fit

WIDTH, HEIGHT = 440, 320  # of a panel, in the user units that its text is set in
LEFT, RIGHT, TOP, BOTTOM = 44, 432, 10, 276  # its axes
TICKS = (1, 2, 5)
SHAPES = {
    "o": "M4 0A4 4 0 1 1-4 0A4 4 0 1 1 4 0Z", "s": "M-3.5-3.5H3.5V3.5H-3.5Z", "D": "M0-5 5 0 0 5-5 0Z",
    "^": "M0-5 4.5 4H-4.5Z", "v": "M0 5 4.5-4H-4.5Z", "P": "M-1.6-4.5H1.6V-1.6H4.5V1.6H1.6V4.5H-1.6V1.6H-4.5V-1.6H-1.6Z",
    "X": "M-4-2-2-4 0-2 2-4 4-2 2 0 4 2 2 4 0 2-2 4-4 2-2 0Z", "<": "M-5 0 4-4.5V4.5Z", ">": "M5 0-4-4.5V4.5Z",
    "h": "M0-4.6 4-2.3V2.3L0 4.6-4 2.3V-2.3Z", "d": "M0-5.5 3 0 0 5.5-3 0Z",
}  # fmt: skip


class Series(NamedTuple):
    """One line: its look, paths in user units, and (x, y, cell key) of its points.

    `line` joins the points, or is the fit to them where there is an `exponent`; `band` is empty elsewhere.
    """

    label: str
    look: Look
    line: str
    bars: str
    band: str
    exponent: float | None
    points: list[tuple[str, str, str]]


class Panel(NamedTuple):
    """Distance against one cost; ticks are (position, text)."""

    label: str
    x_ticks: list[tuple[str, str]]
    y_ticks: list[tuple[str, str]]
    series: list[Series]


class Scale(NamedTuple):
    """Logarithmic, from values [low, high] to user units [start, end]; what lies below is drawn at the edge."""

    low: float
    high: float
    start: float
    end: float

    @classmethod
    def over(cls, values: Sequence[float], start: float, end: float) -> "Scale":
        """The scale that holds every positive one of the values, with some air; [0.5, 2] if there is none."""
        positive = [value for value in values if value > 0] or [1.0]
        air = max((max(positive) / min(positive)) ** 0.04, 1.1)
        return cls(min(positive) / air, max(positive) * air, start, end)

    def __call__(self, value: float) -> str:
        share = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        return f"{self.start + share * (self.end - self.start):.1f}".removesuffix(".0")

    def ticks(self) -> list[tuple[str, str]]:
        """At 1, 2 and 5 of each decade; where there are more than two decades, 2 and 5 get a line but no text."""
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        values = [tick * 10.0**decade for decade in decades for tick in TICKS]
        crowded = self.high / self.low > 500
        return [
            (self(value), "" if crowded and f"{value:e}"[0] != "1" else f"{value:g}")
            for value in values
            if self.low <= value <= self.high
        ]


def panels(cells: Sequence[Cell], rows: Mapping[str, Record]) -> list[Panel]:
    """The two panels of `distance_plot`, from the same curves; a cost that no row has gets none."""
    ends = [record[f"metric.fd{end}"] for record in rows.values() for end in ("", "_low", "_high")]
    y = Scale.over(ends, BOTTOM, TOP)
    return [_panel(cost, cells, rows, y) for cost in costs_of(rows) if any(map(cost.of, rows.values()))]


def _panel(cost: Cost, cells: Sequence[Cell], rows: Mapping[str, Record], y: Scale) -> Panel:
    found, keys = curves(cells, rows, cost), {record["cell"]: key for key, record in rows.items()}
    x = Scale.over([record[cost.column] * cost.scale for curve in found for record in curve.records], LEFT, RIGHT)
    series = []
    for curve in found:
        points = [(x(r[cost.column] * cost.scale), y(r["metric.fd"]), keys[r["cell"]]) for r in curve.records]
        ends = [(y(r["metric.fd_low"]), y(r["metric.fd_high"])) for r in curve.records]
        bars = "".join(f"M{px} {low}V{high}" for (px, _, _), (low, high) in zip(points, ends, strict=True))
        law = fit(curve, cost)
        line = [(x(at), y(value)) for at, value in law.ends] if law else [(px, py) for px, py, _ in points]
        joined = "" if curve.repeated and not law else _path(line)
        band, exponent = (_band(law, x, y), law.exponent) if law else ("", None)
        series.append(Series(curve.label, curve.look, joined, bars, band, exponent, points))
    return Panel(cost.label, x.ticks(), y.ticks(), series)


def _band(law: Fit, x: Scale, y: Scale) -> str:
    """Around what lies between the least and the most at each cost."""
    below = [(x(at), y(least)) for at, least, _ in law.band]
    above = [(x(at), y(most)) for at, _, most in reversed(law.band)]
    return f"{_path(below + above)}Z"


def _path(points: Sequence[tuple[str, str]]) -> str:
    return "M" + "L".join(f"{px} {py}" for px, py in points)
