"""results/index.html: what results/ holds, on one page that loads nothing. A pure function of evidence and files.

Cell texts are those of the Markdown tables, verdicts those of `judge`, pictures the files beside the page.
"""

import base64
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from replication.files import write_atomically
from replication.harness.job import Job
from replication.harness.journal import Record
from replication.registry import EXTRACTORS
from replication.report.beside_papers import HEADING, comparisons
from replication.report.chart import HEIGHT, SHAPES, WIDTH, Panel, panels
from replication.report.claims import Claim, Evidence, Verdict, judge, tally, verdict_table
from replication.report.forensics import committed_forensics, report_blocks
from replication.report.plots import COLOURS, MARKERS, NAMED_CURVES
from replication.report.rows import exact_text
from replication.report.tables import Table
from replication.report.write import all_tables, pictures_of, shared_columns

WORDS = ("supported", "refuted", "inconclusive", "not tested")
GROUPS = (
    "sampling",
    "metric",
    "timing",
    "cost",
    "first_stage",
    "protocol",
    "recipe",
    "checkpoint",
    "env",
)  # of a record, in this order
ROWS = 1000  # of a section: what a page can hold; the others are in the CSV beside it
LONG = 24  # lines, from which on a table scrolls under its own head
KEY_DIGITS = 12
_NUMBER = re.compile(r"([-+]?\d\S*)(?: (.+))?")

_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "template"),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=StrictUndefined,
)


Columns = tuple[tuple[str, str], ...]  # (column, exact value)


@dataclass(frozen=True)
class Text:
    """One cell of a table: a number and what qualifies it, a verdict's word, or words."""

    text: str
    rest: str = ""
    kind: str = "words"

    @classmethod
    def of(cls, text: str) -> "Text":
        if number := _NUMBER.fullmatch(text):
            return cls(number[1], number[2] or "", "number")
        return cls(text, kind=next((word for word in WORDS if text.startswith(word)), "words"))


@dataclass(frozen=True)
class Whole:
    """The whole row behind a line, group by group, and which of the section's protocols it has."""

    anchor: str
    protocol: int
    groups: Markup


_TEMPLATES.filters["text"] = Text.of


def numeric(table: Table) -> list[bool]:
    """Of each column: whether it holds numbers and nothing else."""
    columns = [[line[i] for line in table.lines if line[i]] for i in range(len(table.columns))]
    return [{Text.of(text).kind for text in column} == {"number"} for column in columns]


@dataclass(frozen=True)
class Section:
    """One profile of an experiment that has rows."""

    evidence: Evidence
    anchor: str
    distance: str
    protocols: list[tuple[str, Columns]]  # (title, what it fixes), distinct
    tables: dict[str, Table]  # of figures, by heading; the main one has none
    published: Table | None
    mains: list[str]  # headings of the tables that each row stands in once
    whole: Mapping[str, Whole]  # by key
    panels: list[Panel]
    point_titles: Mapping[str, str]  # by cell key
    pictures: list[tuple[str, str, str]]  # (heading, what is to be seen, data)
    shared: list[tuple[str, list[list[str]]]]


@dataclass(frozen=True)
class Agreed:
    """What is said about a claim in the profiles that agree in it."""

    profiles: list[str]
    words: list[tuple[str, int]]
    table: Table
    tally: str


@dataclass(frozen=True)
class Judged:
    """A claim and its readings."""

    claim: Claim
    experiment: str
    anchor: str
    readings: list[Agreed]


def write_page(evidence: Sequence[Evidence], folder: Path) -> Path:
    """Write folder/index.html from the evidence of all profiles and from the pictures in `folder`."""
    path = folder / "index.html"
    write_atomically(path, page(evidence, folder).encode())
    return path


def page(evidence: Sequence[Evidence], folder: Path) -> str:
    """The page as HTML."""
    sections = [_section(e, folder) for e in evidence if e.rows]
    claims = _judged(evidence)
    rows = [record for section in sections for record in section.evidence.rows.values()]
    devices = Counter(str(record["env.device"]) for record in rows if "env.device" in record)
    return _TEMPLATES.get_template("page.html").render(
        sections=sections,
        claims=claims,
        counts=_counts(word for c in claims for r in c.readings for word, n in r.words for _ in range(n)),
        unrun=[e for e in evidence if e.jobs and not e.rows],
        forensics={stem: report_blocks(found) for stem, found in committed_forensics(folder).items()},
        pictures={path.stem: _data(path) for path in sorted(folder.glob("forensics-*.png"))},
        row_count=len(rows),
        devices=devices,
        distances=_distances(sections),
        width=WIDTH,
        height=HEIGHT,
        key_digits=KEY_DIGITS,
        shapes=[SHAPES[marker] for marker in MARKERS],
        colours=COLOURS,
        named=NAMED_CURVES,
        heading=HEADING,
        zip=zip,
        numeric=numeric,
        long=LONG,
        protocols=max((len(section.protocols) for section in sections), default=0),
    )


def _section(evidence: Evidence, folder: Path) -> Section:
    evidence = replace(evidence, jobs=evidence.jobs[:ROWS])
    cells, rows = evidence.cells, evidence.cell_rows
    stem = f"{evidence.experiment.name}-{evidence.profile}"
    jobs = [job for job in evidence.jobs if job.key in evidence.rows]
    groups = {job.key: _grouped(evidence.rows[job.key]) for job in jobs}
    fixed = {groups[job.key]["protocol"]: job.protocol.title for job in jobs}
    order = list(fixed)
    tables = all_tables(evidence, comparisons(cells, rows))
    distance = cells[0].protocol.extractor.build(EXTRACTORS).labels["fd"]
    figures = [line[tables[""].columns.index(distance)] for line in tables[""].lines]
    return Section(
        evidence=evidence,
        anchor=stem,
        distance=distance,
        protocols=[(title, protocol) for protocol, title in fixed.items()],
        published=tables.pop(HEADING, None),
        tables=tables,
        mains=[job.tables[0].heading for job in evidence.jobs],
        whole={job.key: _whole(stem, job, groups[job.key], order) for job in jobs},
        panels=panels(cells, rows),
        point_titles={
            cell.key: f"{cell.label}, {cell.sampling.steps} steps: {distance} {figure}"
            for cell, figure in zip(cells, figures, strict=True)
        },
        pictures=[
            (heading, seen, _data(path))
            for end, heading, seen in pictures_of(evidence)
            if (path := folder / f"{stem}-{end}.png").exists()
        ],
        shared=[
            (title, shared_columns(rows, prefixes))
            for title, prefixes in (
                ("Protocol", ("protocol.",)),
                ("Training recipe", ("recipe.",)),
                ("Provenance", ("env.", "checkpoint.")),
            )
        ],
    )


def _whole(stem: str, job: Job, groups: Mapping[str, Columns], protocols: Sequence[Columns]) -> Whole:
    published = [(p.metric, f"{p.value:g} ({p.citation})") for p in job.published]
    whole = Markup("").join(_group(*item) for item in (*groups.items(), ("published", tuple(published))) if item[1])
    return Whole(f"{stem}-{job.key[:KEY_DIGITS]}", protocols.index(groups["protocol"]), whole)


def _grouped(record: Record) -> dict[str, Columns]:
    """The record's columns with a value, by what stands before their dot; metrics by name, a figure beside its interval."""
    groups: dict[str, list[tuple[str, str]]] = {group: [] for group in ("row", *GROUPS)}
    for column, value in record.items():
        group, name = _split(column)
        if value != "":
            groups.setdefault(group, []).append((name, exact_text(value)))
    groups["metric"].sort()
    return {group: tuple(columns) for group, columns in groups.items()}


@cache
def _split(column: str) -> tuple[str, str]:
    group, dot, name = column.partition(".")
    return (group, name) if dot else ("row", column)


@lru_cache(maxsize=1024)  # rows of a table share their protocol, recipe and provenance
def _group(title: str, columns: Columns) -> Markup:
    listed = "".join(f"<dt>{escape(name)}<dd>{escape(text)}" for name, text in columns)
    return Markup(f"<section><h4>{escape(title)}</h4><dl>{listed}</dl></section>")


def _judged(evidence: Sequence[Evidence]) -> list[Judged]:
    """Every claim once; profiles that say the same are named together, those that say nothing only if all do."""
    readings: dict[tuple[str, str], dict[tuple[Verdict, ...], list[str]]] = {}
    claims: dict[tuple[str, str], Claim] = {}
    for e in evidence:
        for claim in e.claims:
            which = (e.experiment.name, claim.name)
            claims[which] = claim
            readings.setdefault(which, {}).setdefault(tuple(judge(claim, e)), []).append(e.profile)
    return [
        Judged(claim, which[0], f"claim-{which[0]}-{which[1]}", _readings(claim, readings[which]))
        for which, claim in claims.items()
    ]


def _readings(claim: Claim, found: Mapping[tuple[Verdict, ...], list[str]]) -> list[Agreed]:
    tested = {
        verdicts: profiles for verdicts, profiles in found.items() if {v.word for v in verdicts} != {"not tested"}
    }
    kept = tested or dict(list(found.items())[:1])
    return [
        Agreed(profiles, _counts(v.word for v in verdicts), verdict_table(verdicts), tally(claim, verdicts))
        for verdicts, profiles in kept.items()
    ]


def _counts(words: Iterable[str]) -> list[tuple[str, int]]:
    counts = Counter(words)
    return [(word, counts[word]) for word in WORDS if counts[word]]


def _distances(sections: Sequence[Section]) -> dict[str, str]:
    """Extractor by the printed name of its distance."""
    return {section.distance: str(section.evidence.cells[0].protocol.extractor) for section in sections}


def _data(path: Path) -> str:
    """The PNG as a data URI."""
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
