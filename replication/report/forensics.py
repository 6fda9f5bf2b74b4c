"""The report of `replicate forensics`: a table sorted by size, and a plot of every move with its interval."""

from math import ceil, log10
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter

from replication.files import write_atomically
from replication.harness.forensics.choices import CHOICES
from replication.harness.forensics.examination import Examination, Finding
from replication.harness.forensics.move import NEGLIGIBLE
from replication.harness.journal import Record
from replication.report.plots import COLOURS, STYLE, png
from replication.report.rows import write_csv
from replication.report.tables import markdown
from replication.report.write import shared_columns

# Colour and shape both tell the verdict, so that either will do.
LOOKS = {
    "moves it": (COLOURS[1], "o"),
    "noise": ("#000000", "v"),
    "negligible": (COLOURS[4], "D"),
    "no effect seen": (COLOURS[0], "s"),
    "identical": ("#777777", "x"),
}
LEGEND = (
    "**moves it**: 0 lies outside the 95 % interval of the move. **negligible**: it does, but the whole interval stays "
    f"below {NEGLIGIBLE}, which no paper prints. **no effect seen**: 0 lies inside, so the move may be nothing, or "
    "smaller than these images can show. **identical**: the same features to the last bit. **noise**: other seeds, and "
    "nothing else; the yardstick for whoever compares two runs without common seeds. One in twenty choices that do nothing "
    "looks as if it did."
)
PAIRED = (
    "The interval is that of the move, not of a distance: images that correspond (the same seed and number, the same "
    "reference image) are resampled in common. Where they do not (marked *other images*), each set is resampled by itself."
)


def printed(examination: Examination) -> str:
    """What the terminal shows: base, table, and what was not changed."""
    parts = [markdown_base(examination), markdown_table(examination), LEGEND, markdown_missing(examination)]
    return "\n\n".join(part for part in parts if part)


def markdown_table(examination: Examination) -> str:
    """One line per change, the largest move first."""
    label = examination.label
    columns = ["choice", "from", "to", f"{label} before", "after", "move [95 %]", "images", "verdict"]
    return markdown(columns, [_line(finding) for finding in examination.findings])


def markdown_missing(examination: Examination) -> str:
    """The choices that could not be changed, and what each needs; empty if there are none."""
    if not examination.missing:
        return ""
    return markdown(["not changed", "because"], [[name, reason] for name, reason in examination.missing])


def markdown_base(examination: Examination) -> str:
    """The base in one line."""
    base, protocol = examination.subject.base, examination.subject.protocol
    cell = base.cell
    sampling = (
        f"{cell.sampling.sampler} x {cell.sampling.steps}, spacing {cell.sampling.spacing}, clip {cell.sampling.clip}, "
        f"{'EMA' if protocol.ema else 'raw'} weights, {protocol.quantizer}, {protocol.precision}, seed {base.seed}"
        if cell
        else "images as given"
    )
    return (
        f"Base: {sampling}; n = {base.n:,} against {base.dataset} {base.split}, "
        f"{protocol.extractor}; protocol {protocol.title}. One choice at a time is taken differently."
    )


def markdown_report(examination: Examination, stem: str) -> str:
    """The whole page, byte for byte the same for the same findings."""
    told = {finding.alternative.choice for finding in examination.findings} | {n for n, _ in examination.missing}
    sources = [[choice.name, choice.source] for choice in CHOICES if choice.name in told]
    rows: dict[str, Record] = {str(i): row for i, row in enumerate(examination.rows)}
    parts = [
        f"# Which choice moves {examination.label}, and how far: {examination.subject.title} ({stem})",
        markdown_base(examination),
        markdown_table(examination),
        f"![every move with its 95 % interval]({stem}.png)",
        LEGEND,
        PAIRED,
        markdown_missing(examination),
        "## Where each choice was seen",
        markdown(["choice", "paper, code or thread"], sources),
        "## Protocol",
        markdown(["column", "value"], shared_columns(rows, ("sampling.", "protocol.", "recipe."))),
        "## Provenance",
        markdown(["column", "value"], shared_columns(rows, ("env.",))),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def forest_plot(examination: Examination) -> bytes:
    """PNG bytes: one line per change, the largest move on top, linear near 0 and logarithmic beyond."""
    findings = [f for f in examination.findings if f.word != "identical"] or examination.findings
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8.5, 1.4 + 0.24 * len(findings)), layout="constrained")
        axes = figure.subplots()
        for y, finding in enumerate(findings):
            move, (colour, marker) = finding.move, LOOKS[finding.word]
            axes.plot([move.interval.low, move.interval.high], [y, y], color=colour, linewidth=1.6, zorder=2)
            axes.plot([move.value], [y], marker=marker, color=colour, markersize=5, zorder=3)
        axes.axvline(0, color="black", linewidth=0.8, zorder=1)
        _scale(axes, max(abs(end) for f in findings for end in (f.move.interval.low, f.move.interval.high)))
        axes.set_yticks(range(len(findings)), [_change(finding) for finding in findings])
        axes.set_ylim(len(findings) - 0.5, -0.5)
        axes.set_xlabel(f"move of {examination.label} (95 % interval of the move)")
        axes.margins(x=0.04)
        axes.grid(axis="x", alpha=0.25, linewidth=0.5)
        words = [word for word in LOOKS if any(f.word == word for f in findings)]
        handles = [Line2D([], [], color=LOOKS[w][0], marker=LOOKS[w][1], linewidth=1.6, label=w) for w in words]
        figure.legend(handles=handles, frameon=False, loc="outside upper center", ncols=len(handles))
        return png(figure)


def write_forensics(examination: Examination, folder: Path) -> list[Path]:
    """forensics-<name>.csv, .md and .png in `folder`; returns the files."""
    stem = f"forensics-{examination.subject.name}"
    files = [folder / f"{stem}.{suffix}" for suffix in ("csv", "md", "png")]
    write_csv({str(i): row for i, row in enumerate(examination.rows)}, files[0])
    write_atomically(files[1], markdown_report(examination, stem).encode())
    write_atomically(files[2], forest_plot(examination))
    return files


def _line(finding: Finding) -> list[str]:
    alternative, move = finding.alternative, finding.move
    return [
        alternative.choice,
        alternative.before,
        alternative.after,
        f"{move.before:.4g}",
        f"{move.after:.4g}",
        "0" if move.word == "identical" else f"{move.value:+.3g} [{move.interval.low:+.2g}, {move.interval.high:+.2g}]",
        "same" if move.paired else "other images",
        finding.word,
    ]


def _change(finding: Finding) -> str:
    alternative = finding.alternative
    return f"{alternative.choice}: {alternative.before} → {alternative.after}"


def _scale(axes: Axes, largest: float) -> None:
    """Linear around 0 and logarithmic beyond a hundredth, or a hundredth of the largest end if all are small."""
    linear = min(0.01, largest / 100) or 0.01
    decades = [linear * 10**k for k in range(max(ceil(log10(largest / linear)), 0) + 1)] if largest else [linear]
    axes.set_xscale("symlog", linthresh=linear)
    axes.xaxis.set_major_locator(FixedLocator([*(-tick for tick in decades), 0, *decades]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.minorticks_off()
