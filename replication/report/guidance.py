"""What guidance buys and costs: the prompted class, the distance, precision and recall against the guidance weight."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from replication.harness.jobs.cell import Cell
from replication.harness.journal import Record
from replication.report.plots import COLOURS, MARKERS, drawing

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
    found: dict[tuple[str, ...], dict[float, Record]] = {}
    for cell in cells:
        setting, guidance = cell.sampling, cell.sampling.guidance
        everywhere = guidance is None or (
            guidance.channels == "all" and guidance.interval == (0.0, 1.0) and guidance.classifier is None
        )
        if "metric.class_accuracy" in rows.get(cell.key, {}) and everywhere:
            model = (str(cell.recipe.condition), cell.recipe.key)
            same = (*model, str(setting.sampler), str(setting.spacing), str(setting.steps), setting.clip)
            found.setdefault(same, {}).setdefault(guidance.weight if guidance else 1.0, rows[cell.key])
    return [
        Sweep(same[0], sorted(of), [of[weight] for weight in sorted(of)])
        for same, of in found.items()
        if len(of) >= LEAST_WEIGHTS
    ]


def guidance_plot(sweeps: Sequence[Sweep], distance: str, title: str) -> bytes:
    """PNG bytes of three panels with 95 % intervals; `distance` is what the distance is called."""
    panels = {"class_accuracy": "class accuracy", "fd": distance, "precision": "precision, and recall (dashed)"}
    with drawing(10, 3.2) as (figure, picture):
        for axes, (metric, label) in zip(figure.subplots(1, 3), panels.items(), strict=True):
            for i, sweep in enumerate(sweeps):
                _draw(axes, sweep, metric, i, "-")
                if metric == "precision":
                    _draw(axes, sweep, "recall", i, "--")
            axes.set_xlabel("guidance weight (1: off)")
            axes.set_ylabel(label)
            axes.grid(alpha=0.25, linewidth=0.5)
        figure.axes[0].legend(frameon=False)
        figure.suptitle(f"{title}: what guidance buys and costs")
    return picture.getvalue()


def _draw(axes: "Axes", sweep: Sweep, metric: str, index: int, dash: str) -> None:
    values, low, high = ([r[f"metric.{metric}{end}"] for r in sweep.records] for end in ("", "_low", "_high"))
    colour = COLOURS[index % len(COLOURS)]
    axes.fill_between(sweep.weights, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.plot(sweep.weights, values, dash, color=colour, marker=MARKERS[index % len(MARKERS)], label=sweep.name)
