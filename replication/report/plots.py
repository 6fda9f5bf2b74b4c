"""Plots: distances, trainings, and grids of images. Colour-blind safe, byte-stable."""

import hashlib
import io
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache
from importlib.metadata import version
from itertools import product
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from replication.files import write_atomically
from replication.harness.job import Job
from replication.harness.jobs.cell import Cell
from replication.harness.journal import Curve as TrainingCurve
from replication.harness.journal import Journal, Record, plain_key
from replication.report.claims.power_law import fitted

if TYPE_CHECKING:  # it takes a second to import, and most reports draw nothing anew
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

# Okabe and Ito's palette: distinct under every common colour blindness. Markers distinguish the labels in grey, and
# from the eighth family on, when colours come again, so does the dash.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vPX<>hd"
DASHES = ("-", "--", ":")
GRID_LINES = 12
AXIS_CHARACTERS = 56  # in a line of what an axis shows
NARROW = 2.5  # between the ends of a logarithmic axis: 1, 2 and 5 are no further apart
SIDE, LARGEST = 72, 128  # pixels of an image in a grid: a small one is enlarged to about that, a larger one reduced
GAP, LETTERS = 3, 18  # pixels between the images, and of a label's letters
NAMED_CURVES = 40  # that a legend can hold
FIXED, OF_SEED = ("recipe.", "sampling.", "protocol."), ("recipe.seed", "recipe.key")  # columns of a cell
_STEM = re.compile(r",|/|[\s=-]+\d")
# labels are text: no dollar sign begins mathematics
STYLE = {
    "font.family": "DejaVu Sans", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False,
    "text.parse_math": False,
}  # fmt: skip

TRAINING = {
    "loss": "loss of a batch",
    "gradient_norm": "gradient norm, not clipped",
    "learning_rate": "learning rate",
    "images_per_second": "images per second",
}
LOGARITHMIC = ("loss", "gradient_norm")


@contextmanager
def drawing(width: float, height: float) -> Iterator[tuple["Figure", io.BytesIO]]:
    """(an empty figure of this size in inches, what holds its PNG afterwards), without dates and versions in it.

    Lines and letters lose nothing that is seen by a palette of 128 colours, and take a third of the bytes.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    picture = io.BytesIO()
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, picture
        figure.savefig(picture, format="png", dpi=144, metadata={"Software": None})
        image = Image.open(picture).convert("RGB").quantize(128, dither=Image.Dither.NONE)
        picture.seek(0)
        picture.truncate()
        image.save(picture, format="PNG")


class Cost(NamedTuple):
    """What a distance is plotted against: a column of the rows, and the scale of the axis' unit; a time, of one device."""

    column: str
    scale: float
    label: str
    device: str = ""

    def of(self, record: Record) -> bool:
        """Whether a row has such a cost."""
        return self.column in record and self.device in ("", record.get("env.device"))


EVALUATIONS = Cost("sampling.nfe", 1, "network evaluations per image")
COMPUTE = Cost("cost.image_multiply_adds", 1e-9, "multiply-adds per image, in G")
SAMPLING = Cost("timing.seconds_per_image", 1000, "milliseconds per image (sampling alone)")
IMAGE = Cost("timing.image_seconds", 1000, "milliseconds per image (decoding included)")


def costs_of(rows: Mapping[str, Record]) -> tuple[Cost, Cost]:
    """What the distance of these rows is plotted against.

    Networks of unequal cost are compared by compute, not by evaluations, and where some are of latents, time is that
    until there are pixels. Where rows were drawn on several devices, time is that of the one with the most of them.
    """
    networks = {record.get("cost.multiply_adds") for record in rows.values()}
    latents = any(record.get("recipe.first_stage", "none") != "none" for record in rows.values())
    time = IMAGE if latents else SAMPLING
    devices = Counter(record.get("env.device", "") for record in rows.values() if time.of(record))
    if len(devices) > 1:
        device = devices.most_common(1)[0][0]
        time = time._replace(label=f"{time.label}, {device}", device=device)
    return COMPUTE if len(networks) > 1 and None not in networks else EVALUATIONS, time


class Look(NamedTuple):
    """How a label is drawn, by its place among all labels of the table, run or not, so that it never changes.

    A family has one colour; in it `dash` distinguishes the lines, and `marker` all labels.
    """

    family: str
    colour: int
    dash: int
    marker: int


class Curve(NamedTuple):
    """The rows of one label by rising cost; or, `repeated`, those of a family whose trainings have several seeds."""

    label: str
    look: Look
    records: list[Record]
    repeated: bool = False

    def drawn(self, cost: Cost) -> list[Any]:
        """All that a plot shows of it."""
        columns = (cost.column, "metric.fd", "metric.fd_low", "metric.fd_high")
        return [self.label, self.look, self.repeated, [[record[c] for c in columns] for record in self.records]]


class Fit(NamedTuple):
    """The power law through all rows of a curve, and between what the rows lie at each cost: (cost, least, most)."""

    exponent: float
    ends: tuple[tuple[float, float], tuple[float, float]]  # (cost, distance) of the line
    band: list[tuple[float, float, float]]


def families(labels: Sequence[str]) -> dict[str, str]:
    """The family of each label: what stands before its comma, slash or number, and "Euler" for "Euler ancestral" too."""
    stems = {label: _STEM.split(label)[0].strip() or label for label in labels}
    known = set(stems.values())

    def shortest(stem: str) -> str:
        words = stem.split(" ")
        return next(start for i in range(1, len(words) + 1) if (start := " ".join(words[:i])) in known)

    return {label: shortest(stem) for label, stem in stems.items()}


def looks(labels: Sequence[str]) -> dict[str, Look]:
    """How each label is drawn; a colour that comes again does so with another dash, and not with a marker that it had."""
    family_of, members, found = families(labels), Counter[str](), {}
    position = {family: i for i, family in enumerate(dict.fromkeys(family_of.values()))}
    drawn: list[list[int]] = [[] for _ in COLOURS]  # markers in each colour
    for i, (label, family) in enumerate(family_of.items()):
        rounds, colour = divmod(position[family], len(COLOURS))
        turn = [(i + shift) % len(MARKERS) for shift in range(len(MARKERS))]
        marker = min(turn, key=drawn[colour].count)  # the next one that this colour has had least often
        found[label] = Look(family, colour, (members[family] + rounds) % len(DASHES), marker)
        members[family] += 1
        drawn[colour].append(marker)
    return found


def curves(cells: Sequence[Cell], rows: Mapping[str, Record], cost: Cost) -> list[Curve]:
    """One curve per label that has rows with this cost, in the table's order; one per family of repeated trainings."""
    look = looks(list(dict.fromkeys(cell.label for cell in cells)))
    repeated = {look[label].family for label in _repeated(cells)}
    found: dict[str, Curve] = {}
    for cell in cells:
        family = look[cell.label].family
        name = family if family in repeated else cell.label
        curve = found.setdefault(name, Curve(name, look[cell.label], [], family in repeated))
        if cost.of(rows.get(cell.key, {})):
            curve.records.append(rows[cell.key])
    for curve in found.values():
        curve.records.sort(key=lambda record: record[cost.column])
    return [curve for curve in found.values() if curve.records]


def _repeated(cells: Sequence[Cell]) -> set[str]:
    """The labels of cells that differ from another one in the seed of their training alone."""
    if len({cell.recipe.training.seed for cell in cells}) < 2:
        return set()
    alike: dict[tuple[str, ...], set[str]] = {}
    for cell in cells:
        fixed = {name: str(value) for name, value in cell.columns.items() if name.startswith(FIXED)}
        alike.setdefault(tuple(fixed[name] for name in fixed if name not in OF_SEED), set()).add(cell.label)
    return {label for of in alike.values() if len(of) > 1 for label in of}


def fit(curve: Curve, cost: Cost) -> Fit | None:
    """By least squares in logarithms; None where no cost has several trainings, or there is one cost alone."""
    places: dict[float, list[float]] = {}
    for record in curve.records if curve.repeated else ():
        places.setdefault(record[cost.column] * cost.scale, []).append(record["metric.fd"])
    values = [value for of in places.values() for value in of]
    if not 1 < len(places) < len(values) or min(values) <= 0:
        return None
    x = np.repeat(list(places), [len(of) for of in places.values()])
    law = fitted(x, np.array(values))
    first, last = ((at, float(np.exp(law.intercept - law.exponent * np.log(at)))) for at in (min(places), max(places)))
    band = [(at, min(of), max(of)) for at, of in places.items()]
    return Fit(float(law.exponent), (first, last), band)


def distance_plot(found: Sequence[tuple[Cost, list[Curve]]], distance: str, title: str) -> bytes:
    """PNG bytes: the distance with its 95 % interval against NFE or multiply-adds, and against milliseconds per image.

    Of more curves than a legend can name, the rows are points of one colour. `distance` is what the distance is called.
    """
    most = max(len(of) for _, of in found)
    crowded = most > NAMED_CURVES
    with drawing(10, 3.8 if crowded else max(3.8, 1.2 + 0.22 * most)) as (figure, picture):
        left, right = figure.subplots(1, 2, sharey=True)
        named: dict[str, Line2D] = {}
        for axes, (cost, of) in zip((left, right), found, strict=True):
            if crowded:
                every = [record for curve in of for record in curve.records]
                of = [Curve(f"{most} sampling rules", Look("", 0, 0, 0), every, repeated=True)]
            for curve in of:
                line = _draw(axes, curve, cost, 2 if crowded else 5)
                named.setdefault(curve.label, line)
                if not crowded and (law := fit(curve, cost)):
                    _draw_fit(axes, curve, law)
            scales(axes, cost)
        left.set_ylabel(f"{distance} (95 % interval)")
        figure.legend(list(named.values()), list(named), frameon=False, loc="outside right center")
        figure.suptitle(title)
    return picture.getvalue()


def _draw(axes: "Axes", curve: Curve, cost: Cost, size: float) -> "Line2D":
    """The curve, or the points of repeated trainings, and their intervals, all of them as one broken line: matplotlib's
    own error bars take seconds for ten thousand."""
    colour = COLOURS[curve.look.colour]
    x = [record[cost.column] * cost.scale for record in curve.records]
    ends = [end for r in curve.records for end in (r["metric.fd_low"], r["metric.fd_high"], np.nan)]
    axes.plot(np.repeat(x, 3), ends, color=colour, linewidth=1, marker="_", markersize=6 if size > 2 else 0)
    (line,) = axes.plot(
        x, [record["metric.fd"] for record in curve.records], label=curve.label, color=colour,
        marker=MARKERS[curve.look.marker], markersize=size, linewidth=1.4,
        linestyle="none" if curve.repeated else DASHES[curve.look.dash],
    )  # fmt: skip
    return line


def _draw_fit(axes: "Axes", curve: Curve, law: Fit) -> None:
    colour = COLOURS[curve.look.colour]
    at, least, most = zip(*law.band, strict=True)
    axes.fill_between(at, least, most, color=colour, alpha=0.15, linewidth=0)
    axes.plot(*zip(*law.ends, strict=True), color=colour, linewidth=1.4)


def banded(
    axes: "Axes", x: Sequence[float], records: Sequence[Record], metric: str, i: int, alpha: float = 0.15, **line: Any
) -> None:
    """A figure of the records against x, in the i-th colour, its 95 % interval as a band; `line`: how matplotlib draws it."""
    values, low, high = ([r[f"metric.{metric}{end}"] for r in records] for end in ("", "_low", "_high"))
    colour = COLOURS[i % len(COLOURS)]
    axes.fill_between(x, low, high, color=colour, alpha=alpha, linewidth=0)
    axes.plot(x, values, color=colour, marker=MARKERS[i % len(MARKERS)], **line)


def scales(axes: "Axes", cost: Cost) -> None:
    """Both logarithmic, in plain numbers."""
    axes.set_xscale("log")
    axes.set_yscale("log")
    _plain_numbers(axes.xaxis, axes.yaxis)
    axes.set_xlabel(fill(cost.label, AXIS_CHARACTERS))
    axes.grid(which="both", alpha=0.25, linewidth=0.5)


def _plain_numbers(*logarithmic: "Axis") -> None:
    """0.01 where matplotlib would write a power of ten in mathematics."""
    from matplotlib.ticker import FuncFormatter

    def shown(axis: "Axis", value: float) -> str:
        """Of the minor ticks 2 and 5, as 0.2, 0.5, 20 and 50; all where the axis may have none of these."""
        low, high = axis.get_view_interval()
        return f"{value:g}" if high < NARROW * low or f"{value:e}"[0] in "25" else ""

    for axis in logarithmic:
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(FuncFormatter(lambda value, _, axis=axis: shown(axis, value)))


def training_plot(trainings: Sequence[TrainingCurve], title: str) -> bytes:
    """PNG bytes of a panel for each of TRAINING against the steps, with a line for each training."""
    with drawing(10, max(5.0, 0.6 + 0.2 * len(trainings))) as (figure, picture):
        lines: list[Line2D] = []
        for axes, (column, label) in zip(figure.subplots(2, 2, sharex=True).flat, TRAINING.items(), strict=True):
            for i, curve in enumerate(trainings):
                colour, dash = COLOURS[i % len(COLOURS)], DASHES[i // len(COLOURS) % len(DASHES)]
                lines += axes.plot(curve["step"], curve[column], dash, color=colour, linewidth=0.9)
            if column in LOGARITHMIC:
                axes.set_yscale("log")
                _plain_numbers(axes.yaxis)
            axes.set_ylabel(label)
            axes.grid(alpha=0.25, linewidth=0.5)
        for axes in figure.axes[2:]:
            axes.set_xlabel("training steps")
        titles = [str(curve["title"]) for curve in trainings]
        figure.legend(lines[: len(titles)], titles, frameon=False, loc="outside right center")
        figure.suptitle(f"{title}: training")
    return picture.getvalue()


def strips_of(jobs: Sequence[Job], rows: Mapping[str, Record], journal: Journal) -> list[tuple[str, Path]]:
    """(caption, file) of the jobs that have a strip; a long table shows each label once, at the middle one of its jobs."""
    strips = {key: journal.strip_path(record["cell"]) for key, record in rows.items()}
    shown = [job for job in jobs if job.key in strips and strips[job.key].exists()]
    if len(shown) > GRID_LINES:
        of_label: dict[str, list[Job]] = {}
        for job in shown:
            of_label.setdefault(job.label, []).append(job)
        shown = [of[len(of) // 2] for of in of_label.values()]
    return [(job.caption, strips[job.key]) for job in shown]


def picture_grid(lines: Sequence[tuple[str, Path | Image.Image]], rows: int = 1) -> bytes:
    """PNG bytes: strips of square images or their files, each with its label; a strip may hold several rows of images.

    Every pixel of a small image is a square of so many whole ones, so that nothing is smoothed. Matplotlib takes seconds for
    a hundred strips.
    """
    from matplotlib import get_data_path

    file = Path(get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
    font = ImageFont.truetype(str(file), LETTERS, layout_engine=ImageFont.Layout.BASIC)
    grids = [_spaced(_read(strip), rows) for _, strip in lines]
    colour = "L" if all(grid.mode == "L" for grid in grids) else "RGB"
    measure = ImageDraw.Draw(Image.new("L", (1, 1)))
    _, _, wide, tall = (
        max(of) for of in zip(*(measure.textbbox((0, 0), label, font) for label, _ in lines), strict=True)
    )
    left, heights = int(wide) + 3 * GAP, [max(grid.height, int(tall)) for grid in grids]
    size = left + max(grid.width for grid in grids) + 2 * GAP, sum(heights) + 3 * GAP * len(grids) + GAP
    sheet, top = Image.new(colour, size, "white"), 2 * GAP
    draw = ImageDraw.Draw(sheet)
    for (label, _), grid, height in zip(lines, grids, heights, strict=True):
        draw.text((left - 2 * GAP, top + height // 2), label, "black", font, anchor="rm", align="right")
        sheet.paste(grid, (left, top + (height - grid.height) // 2))
        top += height + 3 * GAP
    sheet.save(picture := io.BytesIO(), format="PNG")
    return picture.getvalue()


def _read(strip: Path | Image.Image) -> Image.Image:
    """Grey, or in colour. A file is closed again: a large table has more strips than a process may have files open."""
    with Image.open(strip) if isinstance(strip, Path) else nullcontext(strip) as image:
        return image.convert("L" if image.mode == "L" else "RGB")


def _spaced(strip: Image.Image, rows: int) -> Image.Image:
    """The strip's square images in their size on a grid, with white between them."""
    size = strip.height // rows
    side = size * max(1, SIDE // size) if size <= LARGEST else LARGEST
    shown = strip.resize(
        (strip.width // size * side, rows * side), Image.Resampling.NEAREST if side >= size else Image.Resampling.BOX
    )
    grid = Image.new(strip.mode, [length // side * (side + GAP) - GAP for length in shown.size], "white")
    for x, y in product(range(strip.width // size), range(rows)):
        image = shown.crop((x * side, y * side, (x + 1) * side, (y + 1) * side))
        grid.paste(image, (x * (side + GAP), y * (side + GAP)))
    return grid


def refresh(path: Path, shown: Any, draw: Callable[[], bytes]) -> None:
    """Write the picture that `draw` makes of `shown`, a JSON value, unless the file holds that already.

    What it was drawn from stands in the PNG as its source: the same content, drawn by the same code.
    """
    source = plain_key([shown, _drawer()])
    try:
        with Image.open(path) as there:
            if there.info.get("Source") == source:
                return
    except OSError:
        pass
    buffer, info = io.BytesIO(), PngInfo()
    image = Image.open(io.BytesIO(draw()))
    info.add_text("Source", source)
    image.save(buffer, format="PNG", optimize=True, pnginfo=info)
    write_atomically(path, buffer.getvalue())


@cache
def _drawer() -> str:
    """The code that draws, and its libraries."""
    code = [Path(__file__).with_name(f"{module}.py").read_bytes() for module in ("plots", "guidance", "forensics")]
    return f"{hashlib.sha256(b''.join(code)).hexdigest()} {version('matplotlib')} {version('pillow')}"
