"""The report of `replicate forensics`, of the rows of its CSV: a table sorted by size, and a plot of every move."""

from collections.abc import Mapping, Sequence
from math import ceil, log10
from pathlib import Path
from typing import NamedTuple

from replication.files import write_atomically
from replication.harness.forensics.examination import NOT_CHANGED, outdated
from replication.harness.forensics.move import NEGLIGIBLE
from replication.harness.forensics.sources import SOURCES
from replication.harness.journal import Record
from replication.harness.versions import reasons
from replication.report.plots import COLOURS, drawing, refresh
from replication.report.rows import csv_text, read_csv
from replication.report.tables import STALE, Table
from replication.report.write import shared_columns


class Verdict(NamedTuple):
    """What it means, and how it is drawn: by colour and by shape, either of which identifies it."""

    meaning: str
    colour: str
    marker: str


VERDICTS = {
    "moves it": Verdict("0 lies outside the 95 % interval of the move.", COLOURS[1], "o"),
    "negligible": Verdict(
        f"it does, but the whole interval stays below {NEGLIGIBLE}, which no paper prints.", COLOURS[4], "D"
    ),
    "no effect seen": Verdict(
        "0 lies inside, so the move may be nothing, or smaller than these images can show.", COLOURS[0], "s"
    ),
    "identical": Verdict("the same features to the last bit.", "#777777", "x"),
    "noise": Verdict(
        "other seeds, and nothing else; the yardstick for whoever compares two runs without common seeds. One in twenty "
        "choices that do nothing looks as if it did.",
        "#000000",
        "v",
    ),
}
LEGEND = {word: verdict.meaning for word, verdict in VERDICTS.items()}
PAIRED = (
    "The interval is that of the move, not of a distance: images that correspond (the same seed and number, the same "
    "reference image) are resampled in common. Where they do not (“other images”), each set is resampled by itself."
)
AGAIN = "`replicate forensics` measures it again"
PICTURE = "every move with its 95 % interval"

Block = str | Table | Mapping[str, str]  # a paragraph or PICTURE, a table, or words and their meanings


def report_blocks(rows: Sequence[Record]) -> dict[str, list[Block]]:
    """The blocks of each section by its heading; the first heading is the title."""
    first, findings = rows[0], [row for row in rows if row["verdict"] != NOT_CHANGED]
    missing = [
        {"not changed": row["choice"], "because": row["because"]} for row in rows if row["verdict"] == NOT_CHANGED
    ]
    behind = outdated(first)
    sources = [[name, source] for name, source in SOURCES.items() if name in {row["choice"] for row in rows}]
    every = {str(i): row for i, row in enumerate(rows)}
    return {
        f"Which choice moves {first['distance']}, and how far: {first['title']}": [
            _base(first),
            *([f"{STALE} The whole table is of earlier versions ({reasons(behind)}): {AGAIN}."] if behind else []),
            *((Table.of([_line(row) for row in findings]), PICTURE) if findings else ()),
            LEGEND,
            PAIRED,
            *([Table.of(missing)] if missing else []),
        ],
        "Where each choice was seen": [Table(["choice", "paper, code or thread"], sources)],
        "Protocol": [shared_columns(every, "sampling.", "protocol.", "recipe.")],
        "Provenance": [shared_columns(every, "env.")],
    }


def printed(rows: Sequence[Record]) -> str:
    """What the terminal shows: of what, its base, the table, and what was not changed."""
    title, blocks = next(iter(report_blocks(rows).items()))
    return "\n\n".join([title, *(_markdown(block) for block in blocks if block not in (PICTURE, PAIRED))])


def markdown_report(rows: Sequence[Record], stem: str) -> str:
    """The whole page, byte for byte the same for the same rows."""
    sections = report_blocks(rows).items()
    parts = [[f"## {heading}", *(_markdown(block, stem) for block in blocks)] for heading, blocks in sections]
    parts[0][0] = f"{parts[0][0][1:]} ({stem})"
    return "\n\n".join(part for section in parts for part in section) + "\n"


def _markdown(block: Block, stem: str = "") -> str:
    if isinstance(block, Mapping):
        return " ".join(f"**{word}**: {meaning}" for word, meaning in block.items())
    return f"![{block}]({stem}.png)" if block == PICTURE else str(block)


def _base(row: Record) -> str:
    """The base in one line."""
    sampling = "images as given"
    if "sampling.sampler" in row:
        weights = "EMA" if row["protocol.ema"] == "true" else "raw"
        sampling = (
            f"{row['sampling.sampler']} x {row['sampling.steps']}, spacing {row['sampling.spacing']}, "
            f"clip {row['sampling.clip']}, {weights} weights, "
            f"{row['protocol.quantizer']}, {row['protocol.precision']}, seed {row['protocol.seeds']}"
        )
    changed = row.get("protocol.changed", "nothing")
    protocol = row["protocol.name"] + ("" if changed == "nothing" else f" ({changed})")
    return (
        f"Base: {sampling}; n = {row['protocol.n']:,} against {row['protocol.reference']}, {row['protocol.extractor']}; "
        f"protocol {protocol}. One choice at a time is taken differently."
    )


def _line(row: Record) -> dict[str, str]:
    interval = f"[{row['metric.move_low']:+.2g}, {row['metric.move_high']:+.2g}]"
    return {
        "choice": row["choice"],
        "from": row["from"],
        "to": row["to"],
        f"{row['distance']} before": f"{row['metric.fd_before']:.4g}",
        "after": f"{row['metric.fd_after']:.4g}",
        "move [95 %]": "0" if row["verdict"] == "identical" else f"{row['metric.move']:+.3g} {interval}",
        "images": "same" if row["paired"] == "yes" else "other images",
        "verdict": row["verdict"],
    }


def forest_plot(rows: Sequence[Record]) -> bytes:
    """PNG bytes: one line per change, the largest move on top, linear near 0 and logarithmic beyond."""
    from matplotlib.lines import Line2D
    from matplotlib.ticker import FixedLocator, FuncFormatter

    changed = [row for row in rows if row["verdict"] != NOT_CHANGED]
    findings = [row for row in changed if row["verdict"] != "identical"] or changed
    largest = max(abs(row[end]) for row in findings for end in ("metric.move_low", "metric.move_high"))
    linear = min(0.01, largest / 100) or 0.01
    decades = [linear * 10**k for k in range(max(ceil(log10(largest / linear)), 0) + 1)] if largest else [linear]
    with drawing(8.5, 1.4 + 0.24 * len(findings)) as (figure, picture):
        axes = figure.subplots()
        for y, row in enumerate(findings):
            _, colour, marker = VERDICTS[row["verdict"]]
            axes.plot([row["metric.move_low"], row["metric.move_high"]], [y, y], color=colour, linewidth=1.6, zorder=2)
            axes.plot([row["metric.move"]], [y], marker=marker, color=colour, markersize=5, zorder=3)
        axes.axvline(0, color="black", linewidth=0.8, zorder=1)
        axes.set_xscale("symlog", linthresh=linear)
        axes.xaxis.set_major_locator(FixedLocator([*(-tick for tick in decades), 0, *decades]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.minorticks_off()
        axes.set_yticks(range(len(findings)), [f"{row['choice']}: {row['from']} → {row['to']}" for row in findings])
        axes.set_ylim(len(findings) - 0.5, -0.5)
        axes.set_xlabel(f"move of {rows[0]['distance']} (95 % interval of the move)")
        axes.margins(x=0.04)
        axes.grid(axis="x", alpha=0.25, linewidth=0.5)
        looks = {word: look for word, look in VERDICTS.items() if any(row["verdict"] == word for row in findings)}
        handles = [
            Line2D([], [], color=look.colour, marker=look.marker, linewidth=1.6, label=word)
            for word, look in looks.items()
        ]
        figure.legend(handles=handles, frameon=False, loc="outside upper center", ncols=len(handles))
    return picture.getvalue()


def write_forensics(rows: Sequence[Record], stem: Path) -> list[Path]:
    """The files `stem`.csv, .md and .png; returns them."""
    files = [stem.with_name(f"{stem.name}.{suffix}") for suffix in ("csv", "md", "png")]
    write_atomically(files[0], csv_text(rows).encode())
    write_atomically(files[1], markdown_report(rows, stem.name).encode())
    if any(row["verdict"] != NOT_CHANGED for row in rows):
        refresh(files[2], list(rows), lambda: forest_plot(rows))
    return [file for file in files if file.exists()]


def committed_forensics(folder: Path) -> dict[str, list[Record]]:
    """The rows of the folder's reports, by the name of their files."""
    return {path.stem: read_csv(path) for path in sorted(folder.glob("forensics-*.csv"))}
