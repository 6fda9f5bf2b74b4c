"""Plots: distance against steps and against seconds, and the grid of samples. Colour-blind safe, byte-stable."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from PIL import Image

from replication.harness.cell import Cell
from replication.harness.journal import Record
from replication.registry import EXTRACTORS

# Okabe and Ito's palette: distinct under every common colour blindness. Markers tell the lines apart in grey, and from
# the eighth line on, when colours come again, so does the dash.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vPX<>hd"
DASHES = ("-", "--", ":")
GRID_LINES = 12
NAMED_LINES = 40  # that a legend can hold
STYLE = {"font.family": "DejaVu Sans", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}


def distance_plot(cells: Sequence[Cell], rows: Mapping[str, Record], title: str) -> bytes:
    """PNG bytes: the distance with its 95 % interval against NFE, and against milliseconds per image."""
    name = cells[0].protocol.extractor.build(EXTRACTORS).labels["fd"]
    lines = _lines(cells, rows)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, max(3.8, 1.2 + 0.22 * len(lines))), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        _panel(left, lines, "sampling.nfe", 1, "network evaluations per image")
        _panel(right, lines, "timing.seconds_per_image", 1000, "milliseconds per image (sampling alone)")
        left.set_ylabel(f"{name} (95 % interval)")
        figure.legend(*left.get_legend_handles_labels(), frameon=False, loc="outside right center")
        figure.suptitle(title)
        return _png(figure)


def _lines(cells: Sequence[Cell], rows: Mapping[str, Record]) -> dict[str, list[Record]]:
    """The rows of each label; of more labels than a legend can name, all rows under one name."""
    lines: dict[str, list[Record]] = {}
    for cell in cells:
        if cell.key in rows:
            lines.setdefault(cell.label, []).append(rows[cell.key])
    if len(lines) > NAMED_LINES:
        return {f"{len(lines)} sampling rules": [record for of_label in lines.values() for record in of_label]}
    return lines


def _panel(axes: Axes, lines: Mapping[str, list[Record]], column: str, scale: float, label: str) -> None:
    for i, (name, records) in enumerate(lines.items()):
        of_label = sorted(records, key=lambda record: record[column])
        y = [record["metric.fd"] for record in of_label]
        below = [record["metric.fd"] - record["metric.fd_low"] for record in of_label]
        above = [record["metric.fd_high"] - record["metric.fd"] for record in of_label]
        crowded = len({record["label"] for record in of_label}) > 1
        look = {"linestyle": "none", "markersize": 2, "elinewidth": 0.5} if crowded else {
            "linestyle": DASHES[i // len(COLOURS) % len(DASHES)], "linewidth": 1.4, "markersize": 5, "capsize": 3,
        }  # fmt: skip
        axes.errorbar(
            [record[column] * scale for record in of_label], y, (below, above), label=name,
            color=COLOURS[i % len(COLOURS)], marker=MARKERS[i % len(MARKERS)], **look,
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    # of the minor ticks only 2 and 5 are labelled: 0.2, 0.5, 20, 50
    axes.yaxis.set_minor_formatter(FuncFormatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else ""))
    axes.set_xlabel(label)
    axes.grid(which="both", alpha=0.25, linewidth=0.5)


def sample_grid(cells: Sequence[Cell], strips: Mapping[str, Path]) -> bytes:
    """PNG bytes: one line of images per cell that has a strip, its sampler and step count beside it.

    A long table shows each sampling rule once, at the middle one of its step counts.
    """
    shown = [cell for cell in cells if cell.key in strips]
    if len(shown) > GRID_LINES:
        of_label = {
            label: [cell for cell in shown if cell.label == label] for label in {cell.label: 0 for cell in shown}
        }
        shown = [of[len(of) // 2] for of in of_label.values()]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8, 0.62 * len(shown) + 0.1), layout="constrained")
        for axes, cell in zip(figure.subplots(len(shown), 1, squeeze=False)[:, 0], shown, strict=True):
            axes.imshow(_spaced(Image.open(strips[cell.key])), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            axes.set_xticks([])
            axes.set_yticks([])
            axes.spines[:].set_visible(False)
            axes.set_ylabel(f"{cell.label}\n{cell.sampling.steps} steps", rotation=0, ha="right", va="center")
        return _png(figure)


def _spaced(strip: Image.Image) -> np.ndarray:
    """The strip's square images with a white column between them, uint8 [H,W] or [H,W,3]."""
    pixels = np.asarray(strip)
    size = len(pixels)
    white = np.full_like(pixels[:, :1], 255)
    pieces = [piece for i in range(0, pixels.shape[1], size) for piece in (pixels[:, i : i + size], white)]
    return np.concatenate(pieces[:-1], axis=1)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=144, metadata={"Software": None})
    return buffer.getvalue()
