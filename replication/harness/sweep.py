"""A sweep: the cells of a profile that have no row yet are computed, one after the other, and journalled."""

from collections.abc import Sequence
from pathlib import Path

from replication.files import locked
from replication.harness.cell import Cell
from replication.harness.compute import Workplace, compute
from replication.harness.journal import Journal
from replication.harness.store import Store
from replication.registry import DATASETS, EXTRACTORS
from replication.types import RunError


def journal_of(cells: Sequence[Cell], state: Path) -> Journal:
    """The journal that the cells of one profile share."""
    return Journal(state / "journal" / f"{cells[0].experiment}-{cells[0].profile}")


def all_journals(state: Path) -> list[Journal]:
    """Every journal there is, those of changed or foreign experiments too."""
    return [Journal(folder) for folder in sorted((state / "journal").glob("*")) if folder.is_dir()]


def run(cells: Sequence[Cell], place: Workplace, store: Store) -> None:
    """Compute what is missing, row by row; a row is in the journal before MLflow hears of it.

    Raises InputError at once if data, weights or the tracking server are missing; RunError when a cell fails, or at the
    end when rows could not be told to MLflow. Rows that are done are kept in either case.
    """
    store.check()
    journal = journal_of(cells, place.state)
    missing = [cell for cell in cells if journal.read(cell.key) is None]
    for dataset in {str(cell.recipe.dataset): cell.recipe.dataset for cell in missing}.values():
        dataset.build(DATASETS).load("train")
    for extractor in {str(cell.protocol.extractor): cell.protocol.extractor for cell in missing}.values():
        extractor.build(EXTRACTORS).ensure()
    if len(missing) < len(cells):
        print(f"{len(cells) - len(missing)} of {len(cells)} cells are done already", flush=True)
    for cell in missing:
        with locked(place.state / "locks" / cell.key, f"cell {cell.label} x {cell.sampling.steps}"):
            if journal.read(cell.key) is None:  # another process may have finished it meanwhile
                journal.write(*compute(cell, place))
    sync(journal, store, trust_marks=True)


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
