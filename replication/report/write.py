"""The files of a report, from rows alone: results/<experiment>-<profile>.csv, .md, .tex, .png and -samples.png.

The rows' replicates are in -replicates.safetensors.
Where papers have values for the cells, -published.csv has them beside the measured ones; where there are first stages,
there is -reconstructions.png; where rows differ in the guidance weight, -guidance.png; where they are of several snapshots of
one training, -learning.png; where there are curves of trainings, -training.png.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, repeat
from pathlib import Path
from typing import Any

from replication.files import file_sha256, write_atomically
from replication.harness.jobs.cell import Cell
from replication.harness.journal import Journal, Record
from replication.harness.replicates import save_replicates
from replication.report.beside_papers import HEADING, Comparison, comparisons, published_csv, published_table
from replication.report.claims import Evidence, markdown_claim, markdown_claims
from replication.report.guidance import guidance_plot, guidance_sweeps
from replication.report.learning import learning_curves, learning_plot
from replication.report.plots import (
    costs_of,
    curves,
    distance_plot,
    picture_grid,
    refresh,
    strips_of,
    training_plot,
)
from replication.report.rows import csv_text, replicates_beside
from replication.report.tables import Table, escaped, latex_report, tables_of

GUIDANCE = ("guidance", "Guidance", "class accuracy, distance, precision and recall against the guidance weight")
LEARNING = ("learning", "What more training brings", "distance against the images that each network has seen")
TRAINING = ("training", "Training", "loss, gradient norm, learning rate and speed of each training against its steps")
SHOWN = 12  # values of a column of the protocol or the provenance


def write_report(evidence: Evidence, journal: Journal, folder: Path) -> list[Path]:
    """Write what the rows allow, and return the files. Pictures need strips, which only the journals have."""
    rows, stem = evidence.cell_rows, evidence.stem
    folder.mkdir(parents=True, exist_ok=True)
    found = comparisons(evidence.cells, rows)
    tables = all_tables(evidence, found)
    files = {}
    if evidence.rows:
        files[".csv"] = csv_text(list(evidence.rows.values()))
        files[".tex"] = latex_report(evidence.experiment.title, stem, tables)
    if found and rows:
        files["-published.csv"] = published_csv(found)
    for end, text in files.items():
        write_atomically(folder / f"{stem}{end}", text.encode())
    replicates = replicates_beside(folder / f"{stem}.csv")
    replicates.unlink(missing_ok=True)
    if evidence.replicates:
        save_replicates(replicates, evidence.replicates)
    drawn = []
    for end, shown, draw in _pictures(evidence, journal):
        refresh(folder / f"{stem}{end}.png", shown, draw)
        drawn.append(f"{end}.png")
    pictures = [picture for picture in pictures_of(evidence) if (folder / f"{stem}-{picture[0]}.png").exists()]
    write_atomically(folder / f"{stem}.md", markdown_report(evidence, tables, pictures).encode())
    return [folder / f"{stem}{end}" for end in (".md", *files, *drawn)] + [replicates] * bool(evidence.replicates)


def _pictures(evidence: Evidence, journal: Journal) -> Iterator[tuple[str, Any, Callable[[], bytes]]]:
    """The pictures that the rows allow: the end of the file's name, what is shown, and what draws it."""
    title, cells, rows = evidence.experiment.title, evidence.cells, evidence.cell_rows
    if rows:
        distance = cells[0].protocol.metric_labels["fd"]
        found = [(cost, curves(cells, rows, cost)) for cost in costs_of(rows)]
        shown = [title, distance, [(cost, [curve.drawn(cost) for curve in of]) for cost, of in found]]
        yield "", shown, partial(distance_plot, found, distance, title)
        if sweeps := guidance_sweeps(cells, rows):
            yield f"-{GUIDANCE[0]}", [title, distance, sweeps], partial(guidance_plot, sweeps, distance, title)
        if learned := learning_curves(cells, rows):
            yield f"-{LEARNING[0]}", [title, distance, learned], partial(learning_plot, learned, distance, title)
        if trained := sorted(journal.curves().values(), key=lambda curve: str(curve["title"])):
            yield f"-{TRAINING[0]}", [title, trained], partial(training_plot, trained, title)
    for kind in dict.fromkeys(type(job) for job in evidence.jobs):
        if strips := strips_of([job for job in evidence.jobs if type(job) is kind], evidence.rows, journal):
            hashes = [(caption, file_sha256(path)) for caption, path in strips]
            yield f"-{kind.picture[0]}", hashes, partial(picture_grid, strips, kind.picture_rows)


def all_tables(evidence: Evidence, found: Sequence[Comparison]) -> dict[str, Table]:
    """By heading: the cells' own, what papers print beside them, and those of other kinds of job."""
    tables = tables_of(evidence.cells, evidence.rows)
    if found:
        tables[HEADING] = published_table(found)
    return tables | tables_of([job for job in evidence.jobs if not isinstance(job, Cell)], evidence.rows)


def pictures_of(evidence: Evidence) -> list[tuple[str, str, str]]:
    """What may be shown: the end of the file's name, a heading, and what is to be seen."""
    return [GUIDANCE, LEARNING, TRAINING, *dict.fromkeys(job.picture for job in evidence.jobs)]


def write_claims(evidence: Sequence[Evidence], folder: Path) -> Path:
    """Write claims.md, the whole list, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "claims.md", markdown_claims(evidence).encode())
    return folder / "claims.md"


def markdown_report(evidence: Evidence, tables: Mapping[str, Table], pictures: Sequence[tuple[str, str, str]]) -> str:
    """The whole page: table, plot, grid, verdicts, further tables by heading, protocol and provenance."""
    rows = evidence.cell_rows
    parts = [f"# {escaped(evidence.experiment.title)} ({evidence.profile})", evidence.reproduced, str(tables[""])]
    if rows:
        parts.append(f"![distance against evaluations and time]({evidence.stem}.png)")
    parts += [f"![{seen}]({evidence.stem}-{end}.png)" for end, _, seen in pictures]
    parts += [markdown_claim(claim, evidence) for claim in evidence.claims]
    further = {heading: table for heading, table in tables.items() if heading}
    if rows:
        further["Protocol"] = shared_columns(rows, "protocol.", "recipe.")
        further["Provenance"] = shared_columns(rows, "env.", "measured.", "version.", "checkpoint.")
    parts += [f"## {heading}\n\n{table}" for heading, table in further.items()]
    return "\n\n".join(part for part in parts if part) + "\n"


def shared_columns(rows: Mapping[str, Record], *prefixes: str) -> Table:
    """Each column once, with the values that the rows have in it, or the first few and how many there are."""
    lines, absent = [], object()
    columns = [c for c in dict.fromkeys(chain.from_iterable(rows.values())) if c.startswith(prefixes)]
    entries = zip(*([*map(row.get, columns, repeat(absent))] for row in rows.values()), strict=True)
    for column, of in zip(columns, entries, strict=True):
        values = list(dict.fromkeys(str(value) for value in dict.fromkeys(of) if value is not absent))
        more = [f"... ({len(values)} values)"] if len(values) > SHOWN else []
        lines.append([column, "; ".join(values[:SHOWN] + more)])
    return Table(["column", "value"], lines)
