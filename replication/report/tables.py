"""The tables of a profile, by the columns that each kind of job has for its rows (harness/table.py)."""

import math
import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from replication.harness.job import Job
from replication.harness.journal import MEASURED, Record
from replication.harness.measuring import unlike_times
from replication.harness.table import TableSpec
from replication.harness.versions import reasons

MARK = "†"  # on whatever was compared all the same, because somebody asked for it
MARK_MEANS = f"{MARK} measured with another n or another reference than the first line: not to be compared with it."
# an underscore within a word, and a bracket before no address, mean nothing
_MARKDOWN = re.compile(r"[\\|`*$]|<(?=[A-Za-z/!?])|(?<!\w)_|_(?!\w)|\](?=\()")
TIMED = "§"  # on times of another device, of other threads or batches than the first line's
PAPER = "paper."  # how columns begin of what a paper prints for a row
STALE = "‡"  # on rows of earlier versions


@dataclass(frozen=True)
class Table:
    """Texts; `keys`: of the row behind each line, where there is one. `notes` explain marks, and stand below it."""

    columns: list[str]
    lines: list[list[str]]
    keys: list[str | None] = field(default_factory=list)
    notes: Sequence[str] = ()

    @classmethod
    def of(
        cls, lines: Sequence[Mapping[str, str]], keys: Sequence[str | None] = (), notes: Sequence[str] = ()
    ) -> "Table":
        """The table of lines that have the same headings."""
        return cls(list(lines[0]), [list(line.values()) for line in lines], list(keys), notes)

    def led_by(self, *columns: str) -> "Table":
        """The table with those of these columns that it has in front, in this order."""
        order = [self.columns.index(column) for column in columns if column in self.columns]
        order += [i for i in range(len(self.columns)) if i not in order]
        lines = [[line[i] for i in order] for line in self.lines]
        return Table([self.columns[i] for i in order], lines, self.keys, self.notes)

    def as_json(self) -> dict[str, Any]:
        """The same for a program: texts by heading, line by line."""
        lines = [dict(zip(self.columns, line, strict=True)) for line in self.lines]
        return {"lines": lines, "notes": list(self.notes)}

    def __str__(self) -> str:
        return "\n\n".join([markdown(self.columns, self.lines), *self.notes])


def tables_of(jobs: Sequence[Job], rows: Mapping[str, Record]) -> dict[str, Table]:
    """The tables of these jobs by heading, kind by kind; further ones hold the jobs whose rows fill them."""
    tables = {}
    for kind in dict.fromkeys(type(job) for job in jobs):
        of_kind = [job for job in jobs if type(job) is kind]
        for spec in kind.tables:
            shown = [job for job in of_kind if not spec.needs or spec.needs in rows.get(job.key, {})]
            if shown:
                tables[spec.heading] = _table(spec, shown, rows)
    return tables


def main_tables(jobs: Sequence[Job], rows: Mapping[str, Record]) -> list[Table]:
    """The first table of each kind of these jobs."""
    tables = tables_of(jobs, rows)
    return [tables[heading] for heading in dict.fromkeys(job.tables[0].heading for job in jobs)]


def _table(spec: TableSpec, jobs: Sequence[Job], rows: Mapping[str, Record]) -> Table:
    """Columns that no line fills are left out, unless their spec has a text for that."""
    labels = jobs[0].protocol.metric_labels
    read = {*spec.alike, *(name for column in spec.columns for name in column.read)}
    described = {name for name in read if not name.startswith((*MEASURED, PAPER)) and name}
    records = [_read(job, rows.get(job.key, {}), read, described) for job in jobs]
    shown = {column.heading.format_map(labels): [*map(column.text, records)] for column in spec.columns}
    alike = [[record.get(column) for column in spec.alike] for record in records]
    unequal, behind = [values != alike[0] for values in alike], stale(jobs, rows)
    first = next(iter(shown))
    for i, job in enumerate(jobs):
        shown[first][i] += f" {MARK}" * unequal[i] + f" {STALE}" * (job.key in behind)
    times = {h: c.column for h, c in zip(shown, spec.columns, strict=True) if c.column.startswith("timing.")}
    unlike = _mark_times([rows.get(job.key, {}) for job in jobs], {c: shown[h] for h, c in times.items()})
    endless = [
        f"{heading} of {job.title}"
        for job, record in zip(jobs, records, strict=True)
        for heading, column in zip(shown, spec.columns, strict=True)
        if isinstance(value := record.get(column.column), float) and not math.isfinite(value)
    ]
    notes = [*([MARK_MEANS] if any(unequal) else []), *unlike, *stale_notes(behind)]
    notes += [f"Not finite: {'; '.join(endless)}."] if endless else []
    filled = [h for h, column in zip(shown, spec.columns, strict=True) if column.absent or any(shown[h])]
    lines = [list(line) for line in zip(*(shown[heading] for heading in filled), strict=True)]
    return Table(filled, lines, [job.key if job.key in rows else None for job in jobs], notes)


def _read(job: Job, row: Record, names: Set[str], described: Set[str]) -> Record:
    """Of these columns what papers print, and what the row says; the job is asked where there is no row that describes it."""
    layers = [_printed(job), row] if described <= row.keys() else [job.columns, _printed(job), row]
    return {name: of[name] for of in layers for name in names & of.keys()}


def _mark_times(records: Sequence[Record], shown: Mapping[str, list[str]]) -> list[str]:
    """Mark the times of rows that were timed otherwise than the first that was; the note that says how, if there are any.

    `shown`: by column of times, the texts of all rows.
    """
    timed = [i for i, record in enumerate(records) if not shown.keys().isdisjoint(record)]
    ways: dict[str, None] = {}
    for i in timed:
        if found := unlike_times([records[timed[0]], records[i]]):
            ways |= dict.fromkeys(found)
            for texts in shown.values():
                texts[i] += f" {TIMED}" * bool(texts[i])
    return (
        [f"{TIMED} timed otherwise than the first line, and not to be compared with it: {'; '.join(ways)}."]
        if ways
        else []
    )


def stale(jobs: Sequence[Job], rows: Mapping[str, Record]) -> dict[str, str]:
    """By key, in which versions rows are not today's: "fd 1 -> 2"; rows of today's versions are left out."""
    changed = {job.key: job.changes(rows[job.key]) for job in jobs if job.key in rows}
    return {key: reasons(of) for key, of in changed.items() if of}


def stale_notes(behind: Mapping[str, str]) -> list[str]:
    """The line below a table some of whose rows are `stale`, none where they are not."""
    why = "; ".join(dict.fromkeys(behind.values()))
    return [f"{STALE} of earlier versions ({why}): `replicate run` measures it again."] if behind else []


def _printed(job: Job) -> Record:
    """The first value that a paper prints for the job, as columns `paper.*`."""
    if not job.published:
        return {}
    first = job.published[0]
    return {
        f"{PAPER}{first.metric}": first.value,
        f"{PAPER}dataset": first.dataset,
        f"{PAPER}source": first.citation,
    }


def escaped(text: str) -> str:
    """The text with what means something to Markdown written so that it is printed: code, tags, stress, mathematics."""
    return _MARKDOWN.sub(r"\\\g<0>", text)


def markdown(columns: Sequence[str], lines: Sequence[Sequence[Any]]) -> str:
    """A Markdown table of texts, whose columns are aligned in the source too, for reading in a terminal."""
    cells = [[escaped(str(cell)) for cell in column] for column in zip(columns, *lines, strict=True)]
    widths = [max(map(len, column)) for column in cells]
    even = [[cell.ljust(width) for cell in column] for column, width in zip(cells, widths, strict=True)]
    text = [f"| {' | '.join(line)} |" for line in zip(*even, strict=True)]
    return "\n".join([text[0], f"| {' | '.join('-' * width for width in widths)} |", *text[1:]])
