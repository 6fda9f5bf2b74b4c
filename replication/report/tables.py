r"""The tables of a profile, by the columns that each kind of job has for its rows (harness/table.py).

In Markdown, and in LaTeX for `\input` into any document that loads booktabs and longtable.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from replication.harness.job import Job
from replication.harness.journal import MEASURED, Record
from replication.harness.measuring import most_disturbing, unlike_conditions
from replication.harness.table import TableSpec
from replication.harness.versions import reasons

MARK = "†"  # on whatever was compared all the same, because somebody asked for it
MARK_MEANS = f"{MARK} measured with another n or another reference than the first line: not to be compared with it."
# an underscore within a word, and a bracket before no address, mean nothing
_MARKDOWN = re.compile(r"[\\|`*$]|<(?=[A-Za-z/!?])|(?<!\w)_|_(?!\w)|\](?=\()")
TIMED = "§"  # on times beside other work, or of another device, other threads or batches
PAPER = "paper."  # how columns begin of what a paper prints for a row
STALE = "‡"  # on rows of earlier versions
SPECIAL = {  # in LaTeX
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "±": r"$\pm$", "×": r"$\times$", "†": r"\textdagger{}", "‡": r"\textdaggerdbl{}", "§": r"\S{}",
    # after the end of a line these two would be its options
    "[": "{[}", "*": "{*}",
}  # fmt: skip
_SPECIAL = re.compile("[" + re.escape("".join(SPECIAL)) + "]")
_MINUS = re.compile(r"(?<![\w.-])-(?=\d)")
WIDE = 30  # characters from which on a column is set in lines of its own


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
        behind = stale(of_kind, rows)
        for spec in kind.tables:
            shown = [job for job in of_kind if not spec.needs or spec.needs in rows.get(job.key, {})]
            if shown:
                tables[spec.heading] = _table(spec, shown, rows, behind)
    return tables


def main_tables(jobs: Sequence[Job], rows: Mapping[str, Record]) -> list[Table]:
    """The first table of each kind of these jobs."""
    tables = tables_of(jobs, rows)
    return [tables[heading] for heading in dict.fromkeys(job.tables[0].heading for job in jobs)]


def _table(spec: TableSpec, jobs: Sequence[Job], rows: Mapping[str, Record], behind: Mapping[str, str]) -> Table:
    """Columns that no line fills are left out, unless their spec has a text for that; `behind`: the rows that are stale."""
    labels = jobs[0].protocol.metric_labels
    headings = [column.heading.format_map(labels) for column in spec.columns]
    read = {*spec.alike, *(name for column in spec.columns for name in column.read)} - {""}
    described = {name for name in read if not name.startswith((*MEASURED, PAPER))}
    of_papers = any(name.startswith(PAPER) for name in read)
    measured, lines, alike, endless = [rows.get(job.key, {}) for job in jobs], [], [], list[str]()
    for job, row in zip(jobs, measured, strict=True):  # row by row: of ten thousand, the one just read is at hand
        record = row if described <= row.keys() else job.columns | row  # the job is asked where no row describes it
        record = record | _printed(job) if of_papers else record
        lines.append([column.text(record) for column in spec.columns])
        alike.append([record.get(column) for column in spec.alike])
        values = zip(headings, [record.get(column.column) for column in spec.columns], strict=True)
        endless += [f"{h} of {job.title}" for h, v in values if isinstance(v, float) and not math.isfinite(v)]
    unequal, outdated = [values != alike[0] for values in alike], [behind.get(job.key, "") for job in jobs]
    for line, other, old in zip(lines, unequal, outdated, strict=True):
        line[0] += f" {MARK}" * other + f" {STALE}" * bool(old)
    times = {column.column: i for i, column in enumerate(spec.columns) if column.column.startswith("timing.")}
    notes = [MARK_MEANS] * any(unequal) + _mark_times(measured, times, lines) + stale_notes(filter(None, outdated))
    notes += [f"Not finite: {'; '.join(endless)}."] * bool(endless)
    filled = [i for i, column in enumerate(spec.columns) if column.absent or any(line[i] for line in lines)]
    keys = [job.key if job.key in rows else None for job in jobs]
    return Table([headings[i] for i in filled], [[line[i] for i in filled] for line in lines], keys, notes)


def _mark_times(records: Sequence[Record], times: Mapping[str, int], lines: Sequence[list[str]]) -> list[str]:
    """Mark times beside other work, and of rows timed otherwise than the first without; the note that says how, if any are.

    `times`: by column of times, its place in the `lines` of the rows.
    """
    timed = [i for i, record in enumerate(records) if not times.keys().isdisjoint(record)]
    quiet = [i for i in timed if not records[i].get("timing.disturbed")][:1]
    several = quiet and unlike_conditions([records[i] for i in timed])
    ways: dict[str, None] = {}
    for i in timed:
        unlike = unlike_conditions([records[quiet[0]], records[i]]) if several else []
        ways |= dict.fromkeys(unlike)
        if unlike or records[i].get("timing.disturbed"):
            for place in times.values():
                lines[i][place] += f" {TIMED}" * bool(lines[i][place])
    if beside := most_disturbing([records[i] for i in timed]):
        ways[f"{beside} at most"] = None
    note = f"{TIMED} timed otherwise than lines without this mark, and not to be compared with them: {'; '.join(ways)}."
    return [note] if ways else []


def stale(jobs: Sequence[Job], rows: Mapping[str, Record]) -> dict[str, str]:
    """By key, in which versions rows are not today's: "fd 1 -> 2"; rows of today's versions are left out."""
    changed = {job.key: job.changes(rows[job.key]) for job in jobs if job.key in rows}
    return {key: reasons(of) for key, of in changed.items() if of}


def stale_notes(versions: Iterable[str]) -> list[str]:
    """The line below a table, with the `versions` that rows of it are behind in; none where there are no such rows."""
    why = "; ".join(dict.fromkeys(versions))
    return [f"{STALE} of earlier versions ({why}): `replicate run` measures it again."] if why else []


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


def _escaped(texts: Sequence[str]) -> list[str]:
    """Each of them `escaped`, all in one look: many take long one by one. No page shows a NUL."""
    return escaped("\0".join(text.replace("\0", "") for text in texts)).split("\0")


def markdown(columns: Sequence[str], lines: Sequence[Sequence[Any]]) -> str:
    """A Markdown table of texts, whose columns are aligned in the source too, for reading in a terminal."""
    cells = [_escaped([*map(str, column)]) for column in zip(columns, *lines, strict=True)]
    widths = [max(map(len, column)) for column in cells]
    even = [[cell.ljust(width) for cell in column] for column, width in zip(cells, widths, strict=True)]
    text = [f"| {' | '.join(line)} |" for line in zip(*even, strict=True)]
    return "\n".join([text[0], f"| {' | '.join('-' * width for width in widths)} |", *text[1:]])


@lru_cache(maxsize=4096)  # the same few words stand in most lines
def latex_escaped(text: str) -> str:
    """The text with whatever means something to LaTeX written so that it is printed, and minus signs as such."""
    return _MINUS.sub("$-$", _SPECIAL.sub(lambda match: SPECIAL[match.group()], " ".join(text.split())))


def latex_report(title: str, stem: str, tables: Mapping[str, Table]) -> str:
    """The tables by heading as one file; a comment at its head says which packages they need."""
    captions = [f"{title}: {heading}" if heading else title for heading in tables]
    labels = [f"{stem}-{i}" if i else stem for i in range(len(tables))]
    longtables = [latex_table(*of) for of in zip(tables.values(), captions, labels, strict=True)]
    return "\n".join(["% \\usepackage{booktabs,longtable}", *longtables])


def latex_table(table: Table, caption: str, label: str) -> str:
    """One longtable, which may go over pages; its head is repeated on each."""
    head, *lines = (" & ".join(map(latex_escaped, line)) + r" \\" for line in [table.columns, *table.lines])
    body, notes = "\n".join(lines), "".join(f"{latex_escaped(note)}\n\n" for note in table.notes)
    wide = [max(map(len, texts)) > WIDE for texts in zip(table.columns, *table.lines, strict=True)]
    spec = "".join(r"p{3.5cm}" if w else "l" for w in wide)
    return rf"""\begingroup\footnotesize\setlength{{\tabcolsep}}{{3pt}}
\begin{{longtable}}{{@{{}}{spec}@{{}}}}
\caption{{{latex_escaped(caption)}}}\label{{tab:{label}}}\\
\toprule
{head}
\midrule
\endfirsthead
\toprule
{head}
\midrule
\endhead
\bottomrule
\endlastfoot
{body}
\end{{longtable}}
{notes}\endgroup
"""
