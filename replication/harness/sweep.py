"""A sweep: the cells of a profile that have no row yet are computed, one after the other, and journalled."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from replication.files import locked
from replication.harness.jobs.cell import Cell
from replication.harness.jobs.compute import compute
from replication.harness.jobs.first_stage import FirstStageCell, compute_first_stage
from replication.harness.journal import Journal, Record
from replication.harness.store import Store
from replication.harness.workplace import Workplace
from replication.registry import DATASETS, EXTRACTORS
from replication.types import RunError

FIRST_STAGES = "-first-stages"  # after the name of an experiment and profile: what belongs to its first stages


def journal_of(cells: Sequence[Cell], state: Path) -> Journal:
    """The journal that the cells of one profile share."""
    return Journal(state / "journal" / f"{cells[0].experiment}-{cells[0].profile}")


def first_stage_journal(journal: Journal) -> Journal:
    """The journal of the first stages behind the cells of this one."""
    return Journal(journal.folder.with_name(f"{journal.folder.name}{FIRST_STAGES}"))


def all_journals(state: Path) -> list[Journal]:
    """Every journal there is, those of changed or foreign experiments too."""
    return [Journal(folder) for folder in sorted((state / "journal").glob("*")) if folder.is_dir()]


def run(cells: Sequence[Cell], place: Workplace, store: Store, stages: Sequence[FirstStageCell] = ()) -> None:
    """Compute what is missing, first stages first, row by row; a row is in the journal before MLflow hears of it.

    Raises InputError at once if data, weights or the tracking server are missing; RunError when a cell fails, or at the
    end when rows could not be told to MLflow. Rows that are done are kept in either case.
    """
    store.check()
    own = journal_of(cells, place.state)
    first = first_stage_journal(own)
    missing = [cell for cell in cells if own.read(cell.key) is None]
    missing_stages = [stage for stage in stages if first.read(stage.key) is None]
    parts = [(cell.recipe.dataset, cell.protocol.extractor) for cell in missing]
    parts += [(stage.dataset, stage.protocol.extractor) for stage in missing_stages]
    for part in {str(dataset): dataset for dataset, _ in parts}.values():
        part.build(DATASETS).load("train")
    for part in {str(extractor): extractor for _, extractor in parts}.values():
        part.build(EXTRACTORS).ensure()
    needed = [(stage.first_stage, stage.build_dataset()) for stage in missing_stages]
    needed += [(c.recipe.first_stage, c.recipe.build_dataset()) for c in missing if c.recipe.first_stage]
    for stage, dataset in needed:
        if not place.first_stage_path(stage, dataset).exists():
            stage.ensure()
    if len(missing) < len(cells):
        print(f"{len(cells) - len(missing)} of {len(cells)} cells are done already", flush=True)
    for row in missing_stages:
        _complete(first, row.key, f"first stage {row.label}", place, partial(compute_first_stage, row, place))
    for cell in missing:
        _complete(own, cell.key, f"cell {cell.label} x {cell.sampling.steps}", place, partial(compute, cell, place))
    for journal in (first, own) if stages else (own,):
        sync(journal, store, trust_marks=True)


def _complete(
    journal: Journal, key: str, what: str, place: Workplace, work: Callable[[], tuple[Record, bytes]]
) -> None:
    """Compute and journal one row, unless another process has meanwhile."""
    with locked(place.state / "locks" / key, what):
        if journal.read(key) is None:
            journal.write(*work())


def sync(journal: Journal, store: Store, trust_marks: bool) -> int:
    """Tell MLflow the journal's rows; returns how many were looked at. Raises RunError if it doesn't take one.

    With `trust_marks` a row that this store was told once is not asked after again.
    """
    count = 0
    for key in journal.cells():
        record = journal.read(key)
        if record is None or (trust_marks and journal.synced_with(key) == store.address):
            continue
        try:
            store.log(record, journal.strip_path(key))
        except RunError as error:
            raise RunError(
                f"{error}; the rows are safe in {journal.folder}: `replicate sync` tells MLflow later"
            ) from error
        journal.mark_synced(key, store.address)
        count += 1
    return count
