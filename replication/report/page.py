"""results/index.html: what results/ holds, on one page that loads nothing. A pure function of evidence and files.

Cell texts are those of the Markdown tables, verdicts those of `judge`, pictures the files beside the page. The answer to the
first claim stands on top; what is long is in the file as text and becomes part of the document when it is opened
(`noscript`: without scripts it is there from the start). Long tables that another file has too are compressed (zlib) and
written as base64; without scripts the page names that file. Pictures go in last, into the room that is left.
"""

import base64
import hashlib
import io
import json
import re
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from PIL import Image

from replication.files import write_atomically
from replication.harness.job import Job
from replication.harness.jobs.cell import Cell
from replication.harness.journal import Record
from replication.report.beside_papers import HEADING, comparisons
from replication.report.board import (
    GROUPS,
    WORDS,
    Shown,
    bars,
    board,
    counted,
    described,
    headline,
    needed,
    sentence,
    size,
    sureness,
)
from replication.report.chart import HEIGHT, SHAPES, WIDTH, Panel, Series, panels
from replication.report.claims import Evidence
from replication.report.forensics import PICTURE, committed_forensics, report_blocks
from replication.report.plots import COLOURS, MARKERS, NAMED_CURVES
from replication.report.speed import PLAIN_LEGEND, SECTIONS, committed_speed
from replication.report.tables import Table
from replication.report.write import TRAINING, all_tables, pictures_of, shared_columns

ROWS = 400  # of a section: what a page can hold; the others are in the CSV beside it
LONG = 12  # lines of a table, from which on it is closed at first
KEY_DIGITS = 12
PHOTOGRAPHS = "photographs.png"  # what the page opens with, where it is there: `replicate sample` draws it
COLOUR = ("RGB", "RGBA")  # modes of Pillow
QUALITY = 60  # of photographs: their pixels are squares of several, which lose little
SIZE = 1_480_000  # bytes, of 1.5 MB: pictures that do not fit in it are links to their files
DIGITS = 6  # of a figure in a whole row, and KEY_DIGITS of a hash; the CSV has all of them
GROUPED = ("sampling", "metric", "timing", "cost", "first_stage", "protocol", "recipe", "checkpoint", "env")
SHARED = {
    "Protocol": ("protocol.",),
    "Training recipe": ("recipe.",),
    "Provenance": ("env.", "measured.", "version.", "checkpoint."),
}
_HASH = re.compile("[0-9a-f]{64}")
_NUMBER = re.compile(r"([-+]?\d\S*)(?: (.+))?")


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
    found.filters |= {
        "text": Text.of,
        "bars": bars,
        "headline": headline,
        "sureness": sureness,
        "described": described,
        "code": _code,
        "packed": _packed,
    }
    found.globals |= {"zip": zip, "numeric": numeric, "sentence": sentence, "needed": needed}
    found.globals |= {"long": LONG, "width": WIDTH, "height": HEIGHT, "colours": len(COLOURS), "named": NAMED_CURVES}
    found.globals |= {"groups": GROUPS, "heading": HEADING}
    found.globals["shapes"] = [SHAPES[marker] for marker in MARKERS]
    return found


def write_page(evidence: Sequence[Evidence], folder: Path) -> Path:
    """Write folder/index.html from the evidence of all profiles and from the pictures in `folder`."""
    path = folder / "index.html"
    write_atomically(path, page(evidence, folder).encode())
    return path


def page(evidence: Sequence[Evidence], folder: Path) -> str:
    """The page as HTML: experiments in their order, of each one the profile with the largest images first."""
    first = {name: i for i, name in enumerate(dict.fromkeys(e.experiment.name for e in evidence))}
    ordered = sorted(evidence, key=lambda e: (first[e.experiment.name], -size(e)))
    sections = [_section(e, folder) for e in ordered if e.rows]
    claims = board(ordered)
    rows = [record for section in sections for record in section["evidence"].rows.values()]
    forensics = {stem: report_blocks(found) for stem, found in committed_forensics(folder).items()}
    pictures = {folder / PHOTOGRAPHS: "generated, a class of CIFAR-10 in each line, by the models of the tables below"}
    pictures |= {path: f"{s['evidence'].experiment.title}: {seen}" for s in sections for path, _, seen in s["pictures"]}
    pictures |= {folder / f"{stem}.png": PICTURE for stem in forensics}
    protocols = max((len(section["protocols"]) for section in sections), default=0)
    parts = {
        name: Markup(_environment().get_template(f"page.{name}").render(protocols=protocols)) for name in ("css", "js")
    }
    text = (
        _environment()
        .get_template("page.html")
        .render(
            **parts,
            # what the content policy knows a style or script by
            hashes={name: f"'sha256-{_base64(hashlib.sha256(of.encode()).digest())}'" for name, of in parts.items()},
            sections=sections,
            claims=claims,
            counts=counted(word for c in claims for r in c["readings"] for word, n in r["words"] for _ in range(n)),
            unrun=[e for e in ordered if e.jobs and not e.rows],
            forensics=forensics,
            picture=PICTURE,
            speed=committed_speed(folder),
            headings=SECTIONS,
            legend=PLAIN_LEGEND,
            row_count=len(rows),
            devices=Counter(str(record["env.device"]) for record in rows if "env.device" in record),
            distances={s["distance"]: str(s["evidence"].cells[0].protocol.extractor) for s in sections},
        )
    )
    return _with_pictures(text, {path: seen for path, seen in pictures.items() if path.exists()})


def _section(evidence: Evidence, folder: Path) -> Shown:
    """One profile of an experiment that has rows."""
    every, evidence = len(evidence.cells), replace(evidence, jobs=evidence.jobs[:ROWS])
    cells, rows, stem = evidence.cells, evidence.cell_rows, evidence.stem
    jobs = [job for job in evidence.jobs if job.key in evidence.rows]
    fixed = {job.key: _columns(evidence.rows[job.key], "protocol.") for job in jobs}
    titles = {fixed[job.key]: job.protocol.title for job in jobs}
    tables = all_tables(evidence, comparisons(cells, rows))
    distance = cells[0].protocol.metric_labels["fd"]
    figures = [line[tables[""].columns.index(distance)] for line in tables[""].lines]
    charts = panels(cells, rows)
    return {
        "evidence": evidence,
        "cells": every,
        "on": described(cells[0].recipe.build_dataset()),
        "distance": distance,
        "protocols": [(title, protocol) for protocol, title in titles.items()],  # (title, what it fixes), distinct
        "published": tables.pop(HEADING, None),
        # in front what a narrow screen shows: which row it is, and how far from the data
        "tables": {heading: table.led_by(table.columns[0], "steps", distance) for heading, table in tables.items()},
        "mains": [job.tables[0].heading for job in evidence.jobs],  # of the tables that each row stands in once
        "anchors": {job.key: (f"{stem}-{job.key[:KEY_DIGITS]}", list(titles).index(fixed[job.key])) for job in jobs},
        "panels": charts,
        "families": _families(charts),
        "point_titles": {
            cell.key: f"{cell.label} × {cell.sampling.steps}: {printed}"
            for cell, printed in zip(cells, figures, strict=True)
        },
        "pictures": [
            (path, title, seen)
            for end, title, seen in pictures_of(evidence)
            if (path := folder / f"{stem}-{end}.png").exists()
        ],
        "files": [f"{stem}.{end}" for end in ("csv", "md", "tex") if (folder / f"{stem}.{end}").exists()],
        "shared": {title: shared_columns(rows, *of).lines for title, of in SHARED.items()},
        "whole": _whole(jobs, evidence.rows),
    }


def _families(charts: Sequence[Panel]) -> dict[str, list[Series]]:
    """The lines of the first panel by family, for the legend; none where there are too many."""
    found: dict[str, list[Series]] = {}
    for series in charts[0].series if charts and len(charts[0].series) <= NAMED_CURVES else ():
        found.setdefault(series.look.family, []).append(series)
    return found


def _columns(record: Record, group: str) -> tuple[tuple[str, str], ...]:
    """(column without its group, text) of those with a value."""
    return tuple((name.removeprefix(group), _text(value)) for name, value in record.items() if name.startswith(group))


def _whole(jobs: Sequence[Job], rows: Mapping[str, Record]) -> str:
    """The rows, for whoever opens one: {keys, columns: by name the values in their order, shared: those with one for all}."""
    found: dict[str, dict[str, str]] = {}
    for job in jobs:
        texts = {name: _text(value) for name, value in rows[job.key].items() if value not in ("", None)}
        papers: dict[str, list[str]] = {}
        for p in job.published:
            papers.setdefault(f"published.{p.metric}", []).append(f"{p.value:g} ({p.citation})")
        found[job.key[:KEY_DIGITS]] = texts | {name: "; ".join(of) for name, of in papers.items()}
    names = dict.fromkeys(name for texts in found.values() for name in texts)
    columns = sorted(names, key=_place)
    values = {name: {texts.get(name, "") for texts in found.values()} for name in columns}
    shared = {name: next(iter(values[name])) for name in columns if len(values[name]) == 1}
    own = {name: [texts.get(name, "") for texts in found.values()] for name in columns if name not in shared}
    text = json.dumps({"keys": [*found], "columns": own, "shared": shared}, ensure_ascii=False, separators=(",", ":"))
    return _compressed(text)


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _compressed(text: str) -> str:
    return _base64(zlib.compress(text.encode(), 9))


def _packed(html: Markup, file: str) -> Markup:
    """A part that is made of this text when it is opened, compressed where that is shorter; `file` has it too."""
    short = Markup(
        '<script type="application/zlib">{}</script><noscript><p class="note">In <a href="{}">{}</a></noscript>'
    )
    found = short.format(_compressed(html), quote(file), file)
    return found if len(found) < len(html) else Markup("<noscript>{}</noscript>").format(html)


def _place(column: str) -> tuple[int, str]:
    """Groups in their order, those of the row itself first; metrics by name, a figure beside its interval."""
    group, dot, name = column.partition(".")
    if not dot:
        return -1, ""
    place = GROUPED.index(group) if group in GROUPED else len(GROUPED)
    return place, name if group == "metric" else group if place == len(GROUPED) else ""


def _text(value: Any) -> str:
    text = f"{value:.{DIGITS}g}" if isinstance(value, float) else str(value)
    return f"{text[:KEY_DIGITS]}…" if _HASH.fullmatch(text) else text


def _with_pictures(text: str, pictures: Mapping[Path, str]) -> str:
    """`text` with each picture, a file and what is seen in it, where its name stands.

    Samples in colour come first, and curves of trainings last; whatever there is no room for is a link.
    """
    room = SIZE - len(text.encode())
    for path in sorted(pictures, key=_place_of_picture):
        with Image.open(path) as image:
            shown = {"name": path.name, "seen": pictures[path], "size": image.size, "source": _data(path, image)}
        html = _environment().get_template("picture.html").render(shown)
        if len(html.encode()) > room:
            html = _environment().get_template("picture.html").render(shown | {"source": ""})
        text, room = text.replace(f"<!--{path.name}-->", html), room - len(html.encode())
    return text


def _place_of_picture(path: Path) -> int:
    if path.name == PHOTOGRAPHS:
        return 0
    with Image.open(path) as image:
        in_colour = image.mode in COLOUR
    end = path.stem.rpartition("-")[2]
    return 1 if end == Cell.picture[0] and in_colour else 3 if end == TRAINING[0] else 2


def _data(path: Path, image: Image.Image) -> str:
    """As a data URI; photographs, which are in colour, as WebP where that is smaller."""
    content, kind = path.read_bytes(), "png"
    if image.mode in COLOUR:
        webp = io.BytesIO()
        image.save(webp, format="WEBP", quality=QUALITY, method=6)
        content, kind = min((content, kind), (webp.getvalue(), "webp"), key=lambda pair: len(pair[0]))
    return f"data:image/{kind};base64,{_base64(content)}"


def _code(text: str) -> Markup:
    """`text` with what stands between backticks as code."""
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(text))))
