"""The files of a report, from rows alone: results/<experiment>-<profile>.csv, .md, .tex, .png and -samples.png.

Where papers have values for the cells, -published.csv has them beside the measured ones; where there are first stages,
there is -reconstructions.png; where rows differ in the guidance weight, -guidance.png; where there are curves of
trainings, -training.png.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from replication.files import file_sha256, write_atomically
from replication.harness.jobs.cell import Cell
from replication.harness.journal import Journal, Record
from replication.registry import EXTRACTORS
from replication.report.beside_papers import HEADING, Comparison, comparisons, published_csv, published_table
from replication.report.claims import Evidence, markdown_claim, markdown_claims
from replication.report.comparable import MARK
from replication.report.guidance import guidance_plot, guidance_sweeps
from replication.report.latex import latex_document, latex_table
from replication.report.plots import distance_plot, refresh, strips_grid, strips_of
from replication.report.rows import csv_text
from replication.report.tables import MARK_MEANS, Table, markdown, tables_of
from replication.report.training import TRAINING, training_plot

GUIDANCE = ("guidance", "Guidance", "class accuracy, distance, precision and recall against the guidance weight")
SHOWN = 12  # values of a column of the protocol or the provenance


def write_report(evidence: Evidence, journal: Journal, folder: Path) -> list[Path]:
    """Write what the rows allow, and return the files. Pictures need strips, which only the journals have."""
    experiment, cells, rows = evidence.experiment, evidence.cells, evidence.cell_rows
    stem = f"{experiment.name}-{evidence.profile}"
    folder.mkdir(parents=True, exist_ok=True)
    found = comparisons(cells, rows)
    tables = all_tables(evidence, found)
    files: dict[str, bytes] = {}
    if evidence.rows:
        files[".csv"] = csv_text(list(evidence.rows.values())).encode()
        files[".tex"] = latex_report(experiment.title, stem, tables).encode()
    if found and rows:
        files["-published.csv"] = published_csv(found).encode()
    for end, content in files.items():
        write_atomically(folder / f"{stem}{end}", content)
    drawn = _pictures(evidence, journal)
    for end, (shown, draw) in drawn.items():
        refresh(folder / f"{stem}{end}", shown, draw)
    pictures = [picture for picture in pictures_of(evidence) if (folder / f"{stem}-{picture[0]}.png").exists()]
    write_atomically(folder / f"{stem}.md", markdown_report(evidence, tables, pictures).encode())
    return [folder / f"{stem}{end}" for end in (".md", *files, *drawn)]


def _pictures(evidence: Evidence, journal: Journal) -> dict[str, tuple[Any, Callable[[], bytes]]]:
    """The pictures that the rows allow, by the end of the file's name: what is shown, and what draws it."""
    title, cells, rows = evidence.experiment.title, evidence.cells, evidence.cell_rows
    pictures: dict[str, tuple[Any, Callable[[], bytes]]] = {}
    if rows:
        distance = cells[0].protocol.extractor.build(EXTRACTORS).labels["fd"]
        shown = [title, distance, [(cell.label, rows.get(cell.key)) for cell in cells]]
        pictures[".png"] = shown, partial(distance_plot, cells, rows, title)
        if sweeps := guidance_sweeps(cells, rows):
            pictures[f"-{GUIDANCE[0]}.png"] = [title, distance, sweeps], partial(guidance_plot, sweeps, distance, title)
        if trained := list(journal.curves().values()):
            pictures[f"-{TRAINING[0]}.png"] = [title, trained], partial(training_plot, trained, title)
    for kind in dict.fromkeys(type(job) for job in evidence.jobs):
        if strips := strips_of([job for job in evidence.jobs if type(job) is kind], journal):
            shown = [(caption, file_sha256(path)) for caption, path in strips]
            pictures[f"-{kind.picture[0]}.png"] = shown, partial(strips_grid, strips, kind.picture_rows)
    return pictures


def all_tables(evidence: Evidence, found: Sequence[Comparison]) -> dict[str, Table]:
    """By heading: the cells' own, what papers print beside them, and those of other kinds of job."""
    tables = tables_of(evidence.cells, evidence.rows)
    if found:
        tables[HEADING] = published_table(found)
    return tables | tables_of([job for job in evidence.jobs if not isinstance(job, Cell)], evidence.rows)


def pictures_of(evidence: Evidence) -> list[tuple[str, str, str]]:
    """What may be shown: the end of the file's name, a heading, and what is to be seen."""
    return [GUIDANCE, TRAINING, *dict.fromkeys(job.picture for job in evidence.jobs)]


def write_claims(evidence: Sequence[Evidence], folder: Path) -> Path:
    """Write claims.md, the whole list, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "claims.md", markdown_claims(evidence).encode())
    return folder / "claims.md"


def markdown_report(evidence: Evidence, tables: Mapping[str, Table], pictures: Sequence[tuple[str, str, str]]) -> str:
    """The whole page: table, plot, grid, verdicts, further tables by heading, protocol and provenance."""
    experiment, rows = evidence.experiment, evidence.cell_rows
    stem = f"{experiment.name}-{evidence.profile}"
    parts = [f"# {experiment.title} ({evidence.profile})", str(tables[""])]
    if any(f" {MARK} " in f" {line[0]} " for line in tables[""].lines):
        parts.append(MARK_MEANS)
    if rows:
        parts.append(f"![distance against evaluations and time]({stem}.png)")
    parts += [f"![{seen}]({stem}-{end}.png)" for end, _, seen in pictures]
    parts += [markdown_claim(claim, evidence) for claim in evidence.claims]
    for heading, table in tables.items():
        parts += [f"## {heading}", str(table)] if heading else []
    if rows:
        parts += [
            "## Protocol",
            markdown(["column", "value"], shared_columns(rows, ("protocol.", "recipe."))),
            "## Provenance",
            markdown(["column", "value"], shared_columns(rows, ("env.", "checkpoint."))),
        ]
    return "\n\n".join(parts) + "\n"


def latex_report(title: str, stem: str, tables: Mapping[str, Table]) -> str:
    """The page's tables of figures in LaTeX; a second one says in its caption what it is."""
    return latex_document(
        [
            latex_table(
                table.columns, table.lines, ": ".join(filter(None, (title, heading))), f"{stem}-{i}" if i else stem
            )
            for i, (heading, table) in enumerate(tables.items())
        ]
    )


def shared_columns(rows: Mapping[str, Record], prefixes: tuple[str, ...]) -> list[list[str]]:
    """Each column once, with the values that the rows have in it, or the first few and how many there are."""
    columns = dict.fromkeys(c for record in rows.values() for c in record if c.startswith(prefixes))
    lines = []
    for column in columns:
        values = dict.fromkeys(str(record[column]) for record in rows.values() if column in record)
        shown = list(values)[:SHOWN]
        more = [f"... ({len(values)} values)"] if len(values) > SHOWN else []
        lines.append([column, "; ".join(shown + more)])
    return lines
