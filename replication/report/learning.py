"""How far a table would still go: the distance against the images that a network has seen, from snapshots of its training."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from replication.harness.jobs.cell import Cell
from replication.harness.journal import Record
from replication.report.plots import COLOURS, DASHES, NAMED_CURVES, Cost, banded, drawing, scales

LEAST_SNAPSHOTS = 2  # below, there is no curve
SEEN = Cost("recipe.images", 1e-3, "images seen in training, in thousands")


class Learning(NamedTuple):
    """Rows of snapshots of one training that are sampled and measured alike, by rising number of images seen."""

    name: str
    seen: list[int]
    records: list[Record]


def learning_curves(cells: Sequence[Cell], rows: Mapping[str, Record]) -> list[Learning]:
    """Those with enough snapshots, in the table's order, each by the label of its last one."""
    found: dict[tuple[str, ...], dict[int, Cell]] = {}
    for cell in cells:
        if "metric.fd" in rows.get(cell.key, {}):
            setting, training = cell.sampling, cell.recipe.training
            protocol = cell.protocol.model_dump_json(exclude={"changed"})
            same = (cell.recipe.training_key, setting.model_dump_json(), protocol)
            found.setdefault(same, {}).setdefault(training.steps * training.batch_size, cell)
    return [
        Learning(of[max(of)].title, sorted(of), [rows[of[seen].key] for seen in sorted(of)])
        for of in found.values()
        if len(of) >= LEAST_SNAPSHOTS
    ]


def learning_plot(curves: Sequence[Learning], distance: str, title: str) -> bytes:
    """PNG bytes, with 95 % intervals; `distance` is what the distance is called."""
    with drawing(7, 4) as (figure, picture):
        axes = figure.subplots()
        for i, curve in enumerate(curves):
            seen = [n * SEEN.scale for n in curve.seen]
            look = {"linestyle": DASHES[i // len(COLOURS) % len(DASHES)], "markersize": 4, "label": curve.name}
            banded(axes, seen, curve.records, "fd", i, alpha=0.12, **look)
        scales(axes, SEEN)
        axes.set_ylabel(distance)
        if len(curves) <= NAMED_CURVES:
            figure.legend(frameon=False, loc="outside right upper", fontsize=7)
        figure.suptitle(f"{title}: what more training brings")
    return picture.getvalue()
