"""The tables of a profile, by the columns that each kind of job has for its rows (harness/table.py)."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from replication.harness.job import Job
from replication.harness.journal import Record
from replication.harness.measuring import unlike_times
from replication.harness.table import TableSpec
from replication.harness.versions import reasons

MARK = "†"  # on whatever was compared all the same, because somebody asked for it
MARK_MEANS = f"{MARK} measured with another n or another reference than the first line: not to be compared with it."
# an underscore within a word, and a bracket before no address, mean nothing
_MARKDOWN = re.compile(r"[\\|`*$]|<(?=[A-Za-z/!?])|(?<!\w)_|_(?!\w)|\](?=\()")
TIMED = "§"  # on times of another device, of other threads or batches than the first line's
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
    records = [{**job.columns, **_printed(job), **rows.get(job.key, {})} for job in jobs]
    lines = [{column.heading.format_map(labels): column.text(record) for column in spec.columns} for record in records]
    first, unequal, behind = spec.columns[0].heading.format_map(labels), False, stale(jobs, rows)
    for job, line in zip(jobs, lines, strict=True):
        if any(job.columns.get(column) != jobs[0].columns.get(column) for column in spec.alike):
            line[first] += f" {MARK}"
            unequal = True
        if job.key in behind:
            line[first] += f" {STALE}"
    unlike = _mark_times(spec, records, lines)
    for heading, column in zip(list(lines[0]), spec.columns, strict=True):
        if not column.absent and not any(line[heading] for line in lines):
            for line in lines:
                del line[heading]
    endless = [
        f"{column.heading.format_map(labels)} of {job.title}"
        for job, record in zip(jobs, records, strict=True)
        for column in spec.columns
        if isinstance(value := record.get(column.column), float) and not math.isfinite(value)
    ]
    notes = [*([MARK_MEANS] if unequal else []), *unlike, *stale_notes(behind)]
    notes += [f"Not finite: {'; '.join(endless)}."] if endless else []
    return Table.of(lines, [job.key if job.key in rows else None for job in jobs], notes)


def _mark_times(spec: TableSpec, records: Sequence[Record], lines: Sequence[dict[str, str]]) -> list[str]:
    """Mark the times of rows that were timed otherwise than the first that was; the note that says how, if there are any."""
    headings = [
        (heading, c) for heading, c in zip(lines[0], spec.columns, strict=True) if c.column.startswith("timing.")
    ]
    timed = [any(column.column in record for _, column in headings) for record in records]
    first = next((record for record, is_timed in zip(records, timed, strict=True) if is_timed), {})
    ways: dict[str, None] = {}
    for record, is_timed, line in zip(records, timed, lines, strict=True):
        if found := unlike_times([first, record]) if is_timed else []:
            ways |= dict.fromkeys(found)
            line |= {heading: f"{line[heading]} {TIMED}" for heading, _ in headings if line[heading]}
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
    return {f"paper.{first.metric}": first.value, "paper.dataset": first.dataset, "paper.source": first.citation}


def escaped(text: str) -> str:
    """The text with what means something to Markdown written so that it is printed: code, tags, stress, mathematics."""
    return _MARKDOWN.sub(r"\\\g<0>", text)


def markdown(columns: Sequence[str], lines: Sequence[Sequence[Any]]) -> str:
    """A Markdown table of texts, whose columns are aligned in the source too, for reading in a terminal."""
    columns, lines = [escaped(str(c)) for c in columns], [[escaped(str(cell)) for cell in line] for line in lines]
    widths = [max(len(str(line[i])) for line in [columns, *lines]) for i in range(len(columns))]
    text = [
        " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in [columns, *lines]
    ]
    rule = " | ".join("-" * width for width in widths)
    return "\n".join(f"| {line} |" for line in [text[0], rule, *text[1:]])
