"""What guidance buys and costs: the prompted class, the distance, precision and recall against the guidance weight."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from replication.harness.jobs.cell import Cell
from replication.harness.journal import Record
from replication.report.plots import banded, drawing

DRAWN = {f"metric.{name}" for name in ("class_accuracy", "fd", "precision", "recall")}
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
        if everywhere and rows.get(cell.key, {}).keys() >= DRAWN:
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
                banded(axes, sweep.weights, sweep.records, metric, i, label=sweep.name)
                if metric == "precision":
                    banded(axes, sweep.weights, sweep.records, "recall", i, linestyle="--")
            axes.set_xlabel("guidance weight (1: off)")
            axes.set_ylabel(label)
            axes.grid(alpha=0.25, linewidth=0.5)
        figure.axes[0].legend(frameon=False)
        figure.suptitle(f"{title}: what guidance buys and costs")
    return picture.getvalue()
