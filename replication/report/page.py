"""results/index.html: what results/ holds, on one page that loads nothing. A pure function of evidence and files.

Cell texts are those of the Markdown tables, verdicts those of `judge`, pictures the files beside the page.
"""

import base64
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from replication.files import write_atomically
from replication.harness.job import Job
from replication.harness.journal import Record
from replication.report.beside_papers import HEADING, comparisons
from replication.report.chart import HEIGHT, SHAPES, WIDTH, panels
from replication.report.claims import Claim, Evidence, Verdict, answered, judge, notes, verdict_table
from replication.report.forensics import PICTURE, committed_forensics, report_blocks
from replication.report.plots import COLOURS, MARKERS, NAMED_CURVES
from replication.report.rows import exact_text
from replication.report.tables import Table
from replication.report.write import all_tables, pictures_of, shared_columns

WORDS = ("supported", "refuted", "inconclusive", "does not discriminate", "not tested")
# of a record, in this order
GROUPS = ("sampling", "metric", "timing", "cost", "first_stage", "protocol", "recipe", "checkpoint", "env")
ROWS = 1000  # of a section: what a page can hold; the others are in the CSV beside it
LONG = 24  # lines, from which on a table scrolls under its own head
KEY_DIGITS = 12
_NUMBER = re.compile(r"([-+]?\d\S*)(?: (.+))?")

Columns = tuple[tuple[str, str], ...]  # (column, exact value)
Shown = dict[str, Any]  # what the template reads


class Text(NamedTuple):
    """One cell of a table: a number and what qualifies it, a verdict's word, or words."""

    text: str
    rest: str = ""
    kind: str = "words"

    @classmethod
    def of(cls, text: str) -> "Text":
        if number := _NUMBER.fullmatch(text):
            return cls(number[1], number[2] or "", "number")
        return cls(text, kind=next((word for word in WORDS if text.startswith(word)), "words"))


def numeric(table: Table) -> list[bool]:
    """Of each column: whether it holds numbers and nothing else."""
    columns = zip(*table.lines, strict=True) if table.lines else [()] * len(table.columns)
    return [{Text.of(text).kind for text in column if text} == {"number"} for column in columns]


@cache
def _environment() -> Environment:
    folder = FileSystemLoader(Path(__file__).parent / "template")
    found = Environment(loader=folder, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    found.filters["text"] = Text.of
    found.globals |= {"zip": zip, "numeric": numeric, "long": LONG, "width": WIDTH, "height": HEIGHT}
    found.globals |= {"key_digits": KEY_DIGITS, "colours": COLOURS, "named": NAMED_CURVES, "heading": HEADING}
    found.globals["shapes"] = [SHAPES[marker] for marker in MARKERS]
    return found


def write_page(evidence: Sequence[Evidence], folder: Path) -> Path:
    """Write folder/index.html from the evidence of all profiles and from the pictures in `folder`."""
    path = folder / "index.html"
    write_atomically(path, page(evidence, folder).encode())
    return path


def page(evidence: Sequence[Evidence], folder: Path) -> str:
    """The page as HTML."""
    sections = [_section(e, folder) for e in evidence if e.rows]
    claims = _judged(evidence)
    rows = [record for section in sections for record in section["evidence"].rows.values()]
    return (
        _environment()
        .get_template("page.html")
        .render(
            sections=sections,
            claims=claims,
            counts=_counts(word for c in claims for r in c["readings"] for word, n in r["words"] for _ in range(n)),
            unrun=[e for e in evidence if e.jobs and not e.rows],
            forensics={stem: report_blocks(found) for stem, found in committed_forensics(folder).items()},
            picture=PICTURE,
            pictures={path.stem: _data(path) for path in sorted(folder.glob("forensics-*.png"))},
            row_count=len(rows),
            devices=Counter(str(record["env.device"]) for record in rows if "env.device" in record),
            distances={s["distance"]: str(s["evidence"].cells[0].protocol.extractor) for s in sections},
            protocols=max((len(section["protocols"]) for section in sections), default=0),
        )
    )


def _section(evidence: Evidence, folder: Path) -> Shown:
    """One profile of an experiment that has rows."""
    evidence = replace(evidence, jobs=evidence.jobs[:ROWS])
    cells, rows = evidence.cells, evidence.cell_rows
    jobs = [job for job in evidence.jobs if job.key in evidence.rows]
    groups = {job.key: _grouped(evidence.rows[job.key]) for job in jobs}
    fixed = {groups[job.key]["protocol"]: job.protocol.title for job in jobs}
    tables = all_tables(evidence, comparisons(cells, rows))
    distance = cells[0].protocol.metric_labels["fd"]
    figures = [line[tables[""].columns.index(distance)] for line in tables[""].lines]
    return {
        "evidence": evidence,
        "distance": distance,
        "protocols": [(title, protocol) for protocol, title in fixed.items()],  # (title, what it fixes), distinct
        "published": tables.pop(HEADING, None),
        "tables": tables,  # by heading; the main one has none
        "mains": [job.tables[0].heading for job in evidence.jobs],  # of the tables that each row stands in once
        "whole": {job.key: _whole(evidence.stem, job, groups[job.key], list(fixed)) for job in jobs},
        "panels": panels(cells, rows),
        "point_titles": {
            cell.key: f"{cell.label}, {cell.sampling.steps} steps: {distance} {figure}"
            for cell, figure in zip(cells, figures, strict=True)
        },
        "pictures": [
            (heading, seen, _data(path))
            for end, heading, seen in pictures_of(evidence)
            if (path := folder / f"{evidence.stem}-{end}.png").exists()
        ],
        "shared": {
            "Protocol": shared_columns(rows, "protocol.").lines,
            "Training recipe": shared_columns(rows, "recipe.").lines,
            "Provenance": shared_columns(rows, "env.", "measured.", "version.", "checkpoint.").lines,
        },
    }


def _whole(stem: str, job: Job, groups: Mapping[str, Columns], protocols: Sequence[Columns]) -> Shown:
    """The whole row behind a line, group by group, and which of the section's protocols it has."""
    published = tuple((p.metric, f"{p.value:g} ({p.citation})") for p in job.published)
    whole = Markup("").join(_group(*item) for item in (*groups.items(), ("published", published)) if item[1])
    anchor, protocol = f"{stem}-{job.key[:KEY_DIGITS]}", protocols.index(groups["protocol"])
    return {"anchor": anchor, "protocol": protocol, "groups": whole}


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


def _judged(evidence: Sequence[Evidence]) -> list[Shown]:
    """Every claim once; profiles that agree are named together, and those without a verdict only if none has one."""
    claims: dict[tuple[str, str], Claim] = {}
    found: dict[tuple[str, str], dict[tuple[Verdict, ...], list[str]]] = {}
    for e in evidence:
        for claim in e.claims:
            which = (e.experiment.name, claim.name)
            claims[which] = claim
            found.setdefault(which, {}).setdefault(tuple(judge(claim, e)), []).append(e.profile)
    return [
        {"claim": claim, "experiment": name, "readings": _readings(claim, found[name, claim.name])}
        for (name, _), claim in claims.items()
    ]


def _readings(claim: Claim, found: Mapping[tuple[Verdict, ...], list[str]]) -> list[Shown]:
    tested = [verdicts for verdicts in found if any(v.word != "not tested" for v in verdicts)]
    return [
        {
            "profiles": found[verdicts],
            "words": _counts(v.word for v in verdicts),
            "table": verdict_table(verdicts),
            "answer": answered(claim, verdicts),
            "notes": notes(verdicts),
        }
        for verdicts in tested or list(found)[:1]
    ]


def _counts(words: Iterable[str]) -> list[tuple[str, int]]:
    counts = Counter(words)
    return [(word, counts[word]) for word in WORDS if counts[word]]


def _data(path: Path) -> str:
    """The PNG as a data URI."""
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
