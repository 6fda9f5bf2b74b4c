"""What guidance buys and costs: the prompted class, the distance, precision and recall against the guidance weight."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from replication.harness.jobs.cell import Cell
from replication.harness.journal import Record
from replication.report.plots import COLOURS, MARKERS, new_figure, png, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LEAST_WEIGHTS = 3  # below, there is no curve


class Sweep(NamedTuple):
    """Rows of one checkpoint and sampler that differ in the guidance weight alone, by rising weight."""

    name: str
    weights: list[float]
    records: list[Record]


def guidance_sweeps(cells: Sequence[Cell], rows: Mapping[str, Record]) -> list[Sweep]:
    """Those with enough weights, in the table's order."""
    found: dict[tuple[str, ...], list[tuple[float, Cell]]] = {}
    for cell in cells:
        if "metric.class_accuracy" in rows.get(cell.key, {}) and _everywhere(cell):
            setting = cell.sampling
            same = (cell.recipe.key, str(setting.sampler), str(setting.spacing), str(setting.steps), setting.clip)
            found.setdefault(same, []).append((setting.guidance.weight if setting.guidance else 1.0, cell))
    sweeps = []
    for of in found.values():
        of.sort(key=lambda pair: pair[0])
        points = [next(group)[1] for _, group in groupby(of, key=lambda pair: pair[0])]
        if len(points) >= LEAST_WEIGHTS:
            weights = [cell.sampling.guidance.weight if cell.sampling.guidance else 1.0 for cell in points]
            sweeps.append(Sweep(str(points[0].recipe.condition), weights, [rows[cell.key] for cell in points]))
    return sweeps


def _everywhere(cell: Cell) -> bool:
    """Whether guidance, if any, acts on all channels at all times."""
    guidance = cell.sampling.guidance
    return guidance is None or (guidance.channels == "all" and guidance.interval == (0.0, 1.0))


def guidance_plot(sweeps: Sequence[Sweep], distance: str, title: str) -> bytes:
    """PNG bytes of three panels with 95 % intervals; `distance` is what the distance is called."""
    panels = (
        ("class_accuracy", "class accuracy"),
        ("fd", distance),
        ("precision", "precision, and recall (dashed)"),
    )
    with style():
        figure = new_figure(10, 3.2)
        for axes, (metric, label) in zip(figure.subplots(1, 3), panels, strict=True):
            for i, sweep in enumerate(sweeps):
                _draw(axes, sweep, metric, i, "-")
                if metric == "precision":
                    _draw(axes, sweep, "recall", i, "--")
            axes.set_xlabel("guidance weight (1: off)")
            axes.set_ylabel(label)
            axes.grid(alpha=0.25, linewidth=0.5)
        figure.axes[0].legend(frameon=False)
        figure.suptitle(f"{title}: what guidance buys and costs")
        return png(figure)


def _draw(axes: "Axes", sweep: Sweep, metric: str, index: int, dash: str) -> None:
    values, low, high = ([r[f"metric.{metric}{end}"] for r in sweep.records] for end in ("", "_low", "_high"))
    colour = COLOURS[index % len(COLOURS)]
    axes.fill_between(sweep.weights, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.plot(sweep.weights, values, dash, color=colour, marker=MARKERS[index % len(MARKERS)], label=sweep.name)
