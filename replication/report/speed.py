"""Speed, as `replicate bench` measured it on one device: results/bench-<device>.json, and .md, a pure function of that.

A line has what one piece of work took in each of several turns, beside its peers' times of the same turns. Its floor is what
no code goes below that multiplies as the network says (layers/convolution.py multiplies less): its multiply-adds at the rate
of a matrix product, or the bytes that it must read and write once at the bandwidth of a copy, whichever takes longer; both
are timed in these turns too.
"""

import json
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from replication.files import write_atomically
from replication.harness.journal import plain
from replication.metrics.timing import median_interval
from replication.report.tables import Table
from replication.report.write import shared_columns

OURS, PRODUCT, COPY = "ours", "product", "copy"  # runs; any other is a peer's
SECTIONS = {
    "forward": "Forward pass",
    "training": "Training step: batch, gradient, clipping, optimiser, moving average",
    "sampling": "Sampling loop, beside the bare forward passes that it consists of",
    "decoding": "Decoding latents",
    "features": "Feature extraction",
    "distance": "Fréchet distance of features, covariances included",
    "report": "Report: tables, pictures, verdicts and page of the committed rows",
    "company": "Beside one busy process",
    "interval": "Interval of a Fréchet distance: every resample computed",
    "breakdown": "Where the time of a step goes",
}
LAST = ("G multiply-adds/s", "GB/s", "turns", "machine")  # columns
LEGEND = (
    "Medians of alternating turns of one run; in brackets the interval that holds the true median with 95 %, or all turns "
    "where they are five or fewer. **Floor**: the products alone at the rate of one large matrix product of the same "
    "precision, or the bytes that are read and written once at the bandwidth of one large copy, whichever takes longer; where "
    "a convolution takes fewer products than it is counted with (Winograd's), more than 100 % of it can be reached. "
    "**Times ours**: how many times longer a peer takes, turn by turn, with the same weights, batch and inputs: *defaults* "
    "is a library as it comes, its precision too; *best* is in our precision, in channels_last, and where ours is, compiled "
    "and fused."
)
PLAIN_LEGEND = LEGEND.replace("*", "")


@dataclass(frozen=True)
class Line:
    """What one piece of work took.

    unit, scale: how seconds are printed, "ms/image" and 1,000 / images, or "s" and 1.
    seconds: by run, of each turn: OURS, PRODUCT, COPY, peers. Empty where there was no time left for the line.
    multiply_adds, bytes: what the work takes at least; `product`, `copied`: what runs PRODUCT and COPY do.
    missing: peers that are not there, and why. notes: further figures, by heading.
    disturbed: by what other work on the machine, where the times say something of that too.
    """

    what: str
    unit: str
    scale: float
    seconds: Mapping[str, Sequence[float]]
    multiply_adds: float = 0.0
    bytes: float = 0.0
    product: float = 0.0
    copied: float = 0.0
    missing: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    disturbed: str = ""

    def floor(self) -> list[float]:
        """Seconds in each turn."""
        product, copy = self.seconds[PRODUCT], self.seconds[COPY]
        return [
            max(self.multiply_adds / self.product * p, self.bytes / self.copied * c)
            for p, c in zip(product, copy, strict=True)
        ]

    def times_ours(self, peer: str) -> list[float]:
        """How many times longer a peer took, turn by turn."""
        return [theirs / ours for theirs, ours in zip(self.seconds[peer], self.seconds[OURS], strict=True)]

    def cells(self) -> dict[str, str]:
        """Its texts by the heading of their column."""
        if not self.seconds:
            return {"what": self.what, **self.missing}
        ours, found = self.seconds[OURS], {"what": self.what}
        found[f"ours, {self.unit}"] = _spread([s * self.scale for s in ours])
        if self.product:
            floor = self.floor()
            found[f"floor, {self.unit}"] = f"{statistics.median(floor) * self.scale:.3g}"
            found["of the floor"] = _spread([f / s for f, s in zip(floor, ours, strict=True)], "%")
        for peer in self.seconds:
            if peer not in (OURS, PRODUCT, COPY):
                found[f"{peer}, times ours"] = _spread(self.times_ours(peer))
        found |= {f"{peer}, times ours": reason for peer, reason in self.missing.items()} | dict(self.notes)
        if self.product:
            found["G multiply-adds/s"] = f"{self.product / statistics.median(self.seconds[PRODUCT]) / 1e9:.3g}"
            found["GB/s"] = f"{self.copied / statistics.median(self.seconds[COPY]) / 1e9:.3g}"
        found["turns"] = f"{len(ours)}"
        found["machine"] = f"disturbed: {self.disturbed}" if self.disturbed else "quiet"
        return found


def _spread(values: Sequence[float], unit: str = "") -> str:
    """Median and interval."""
    form = "{:.0%}" if unit else "{:.3g}"
    middle, low, high = (form.format(value) for value in median_interval(values))
    return f"{middle} [{low}, {high}]" if len(values) > 1 else middle


@dataclass(frozen=True)
class Section:
    """Lines of one kind, and the columns `env.*` of the process that measured them, as rows have them."""

    env: Mapping[str, str]
    lines: Sequence[Line]

    def table(self) -> Table:
        """One table line for each; what a line does not have is left empty."""
        cells = [line.cells() for line in self.lines]
        columns = list(dict.fromkeys(heading for line in cells for heading in line))
        columns = [heading for heading in columns if heading not in LAST] + [h for h in LAST if h in columns]
        return Table(columns, [[line.get(heading, "") for heading in columns] for line in cells])


Speed = Mapping[str, Section]  # by name, in the order of SECTIONS


def file_name(device: str) -> str:
    """The stem of a device's files: its name as text that every file system takes."""
    return f"bench-{re.sub(r'[^a-z0-9]+', '-', device.lower()).strip('-')}"


def write_speed(device: str, sections: Speed, folder: Path) -> list[Path]:
    """Write the device's two files, with the sections that were there already and were not measured again; returns them."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{file_name(device)}.json"
    every = (read_speed(path)[1] if path.exists() else {}) | dict(sections)
    every = {name: every[name] for name in SECTIONS if name in every}
    content = {"device": device, "sections": {name: asdict(section) for name, section in every.items()}}
    write_atomically(path, (json.dumps(plain(content), indent=1) + "\n").encode())
    write_atomically(path.with_suffix(".md"), markdown_speed(device, every).encode())
    return [path, path.with_suffix(".md")]


def read_speed(path: Path) -> tuple[str, dict[str, Section]]:
    """The device's name and what was measured on it, of a file that `write_speed` wrote."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    sections = {
        name: Section(of["env"], [Line(**line) for line in of["lines"]]) for name, of in content["sections"].items()
    }
    return content["device"], sections


def committed_speed(folder: Path) -> dict[str, tuple[str, dict[str, Section]]]:
    """What the folder has, by the stem of its files."""
    return {path.stem: read_speed(path) for path in sorted(folder.glob("bench-*.json"))}


def markdown_speed(device: str, sections: Speed) -> str:
    """The whole page, byte for byte the same for the same lines."""
    parts = [f"# Speed: {device}", LEGEND]
    parts += [f"## {SECTIONS[name]}\n\n{section.table()}" for name, section in sections.items()]
    environment = shared_columns({name: dict(section.env) for name, section in sections.items()}, "env.")
    return "\n\n".join([*parts, f"## Provenance\n\n{environment}"]) + "\n"
