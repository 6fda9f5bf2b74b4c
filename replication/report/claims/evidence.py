"""What a claim is judged on: the rows of one profile, of its own experiment and of the others that it names."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from replication.harness.experiment import SIZES, Experiment, sibling
from replication.harness.job import Job, jobs_of
from replication.harness.jobs.cell import Cell
from replication.harness.journal import Record
from replication.harness.measuring import unlike_times
from replication.harness.sweep import journal_of
from replication.harness.versions import unequal_version
from replication.metrics.metric import metrics
from replication.metrics.uncertainty import Replicates
from replication.report.claims.claim import Claim, Point, claims_of
from replication.report.claims.draws import Figure
from replication.report.claims.verdict import NotTested, Verdict
from replication.report.compare import VERSIONS, Resampled, differences, named_differences
from replication.report.rows import replicates_of, rows_of

PRINTED = {"metric.fd_infinity": "metric.fd"}  # papers print the distance of a finite n alone
TITLES = {
    "sampling.nfe": "NFE",
    "sampling.steps": "steps",
    "cost.parameters": "parameters",
    "cost.multiply_adds": "multiply-adds",
    "cost.training_multiply_adds": "multiply-adds of the training",
    "cost.image_multiply_adds": "multiply-adds/image",
    "timing.seconds_per_image": "seconds/image",
    "timing.image_seconds": "seconds/image, decoding included",
}


@dataclass(frozen=True)
class Evidence:
    """`rows` by the key of their job; an experiment of claims alone has neither. `others` by experiment name.

    `replicates` by the key in the row itself, record["cell"]: a row of earlier versions has another key than its job.
    `reproduced`: how the rows stand to the committed ones, in one line; empty where that is not asked for.
    """

    experiment: Experiment
    profile: str
    jobs: Sequence[Job]
    rows: Mapping[str, Record]
    claims: Sequence[Claim] = ()
    others: Mapping[str, "Evidence"] = field(default_factory=dict)
    replicates: Mapping[str, Replicates] = field(default_factory=dict)
    reproduced: str = ""
    verdicts: dict[str, list[Verdict]] = field(default_factory=dict, compare=False)  # by the claim's text, once judged

    @property
    def stem(self) -> str:
        """What the names of its files in results/ begin with."""
        return f"{self.experiment.name}-{self.profile}"

    @cached_property
    def cells(self) -> list[Cell]:
        """The jobs that are cells."""
        return [job for job in self.jobs if isinstance(job, Cell)]

    @cached_property
    def cell_rows(self) -> dict[str, Record]:
        """The rows of the cells."""
        return {cell.key: self.rows[cell.key] for cell in self.cells if cell.key in self.rows}

    @cached_property
    def _cells_at(self) -> dict[tuple[str, int], Cell]:
        return {(cell.label, cell.sampling.steps): cell for cell in self.cells}

    @property
    def size(self) -> int:
        """The place in SIZES of what the profile counts as, in this experiment or else in those that its claims name."""
        tables = [self.experiment, *(other.experiment for other in self.others.values())]
        found = [table.profiles[self.profile].counts_as for table in tables if self.profile in table.profiles]
        return next(SIZES.index(size) for size in (*found, self.profile, SIZES[0]) if size in SIZES)

    def shortfall(self, claim: Claim) -> str:
        """Why nothing can be said about the claim here, empty if something can."""
        if claim.awaits is not None:
            return f"there is no experiment {claim.awaits!r} yet"
        if (own := self.experiment.profiles.get(self.profile)) is not None and own.scale < 1:
            return f"profile {self.profile} at scale {own.scale:g} is a rehearsal"
        if self.size < SIZES.index(claim.minimum_profile):
            return f"profile {self.profile} is too small, it takes {claim.minimum_profile}"
        if claim.maximum_profile and self.size > SIZES.index(claim.maximum_profile):
            return f"it is about the data of profile {claim.maximum_profile}"
        return ""

    def cell(self, point: Point) -> Cell:
        """The cell of a point; raises NotTested where its table has none."""
        table = self.table(point)
        if (cell := table._cells_at.get((point.label, point.steps))) is None:
            raise NotTested(f"{point.cell} is no cell of {table.experiment.name} in profile {table.profile}")
        return cell

    def row(self, point: Point) -> Resampled:
        """The row of a point with its replicates; raises NotTested where there is no row."""
        table, cell = self.table(point), self.cell(point)
        if (record := table.rows.get(cell.key)) is None:
            raise NotTested(f"{point.cell} of {table.experiment.name} is not run")
        return Resampled(record, table.replicates.get(record["cell"]), cell.changes(record))

    def printed(self, figures: Sequence[Figure]) -> tuple[list[float], str] | None:
        """What the papers print of these figures, and where: in one table that has them all, else in the first for each.

        None where one of them is not printed.
        """
        of_each = [self._printed(point, column) for point, column in figures]
        if not figures or not all(of_each):
            return None
        whole = [table for table in of_each[0] if all(table in of for of in of_each)]
        tables = whole[:1] * len(figures) or [next(iter(of)) for of in of_each]
        values = [of[table] for of, table in zip(of_each, tables, strict=True)]
        return values, " and ".join(dict.fromkeys(tables))

    def _printed(self, point: Point, column: str) -> dict[str, float]:
        """By table, what is printed in that column for a point, in any profile: a metric, or a cost beside one."""
        try:
            experiment = self.table(point).experiment
        except NotTested:
            return {}
        group, _, name = PRINTED.get(column, column).partition(".")
        rows = [row for profile in experiment.profiles.values() for row in profile.rows if row.label == point.label]
        found: dict[str, float] = {}
        for value in (v for row in rows for v in experiment.published(row) if v.steps == point.steps):
            table = f"{value.paper}, {value.table}"
            if group == "cost" and name in value.costs:
                found.setdefault(table, value.costs[name])
            elif group == "metric" and name == value.metric:
                found.setdefault(table, value.value)
        return found

    def table(self, point: Point) -> "Evidence":
        """The evidence of the experiment that the point is of; raises NotTested if it has nothing in this profile."""
        if point.experiment in (None, self.experiment.name):
            return self
        if point.experiment not in self.others:
            raise NotTested(f"experiment {point.experiment!r} has no profile {self.profile}")
        return self.others[point.experiment]

    def title(self, column: str, point: Point) -> str:
        """The printed name of a column, for a metric that of the point's extractor: FD-digits, NFE."""
        if not column.startswith("metric."):
            return TITLES.get(column, column.partition(".")[2].replace("_", " "))
        try:
            labels = self.table(point).cells[0].protocol.metric_labels
        except NotTested:
            labels = {metric.name: metric.label.replace("FID", "FD") for metric in metrics()}
        name = column.removeprefix("metric.")
        return labels.get(name, name.replace("_", " "))


Known = dict[tuple[Path | None, str], Evidence]  # by the file of an experiment and a profile


def differing(records: Sequence[Record], columns: Iterable[str], allowed: bool) -> tuple[str, ...]:
    """In what rows that are compared in `columns` are unequal, for the mark on the verdict.

    Raises NotTested for what is not allowed, and for a metric at two versions in any case.
    """
    found = differences(records)
    if any(column.startswith("timing.") for column in columns):
        found += unlike_times(records)  # which do not compare samplers
    versions = [text for text in dict.fromkeys(unequal_version(records, column) for column in columns) if text]
    if versions or (found and not allowed):
        raise NotTested(f"the rows differ in {'; '.join(found + versions)}")
    return (*found, *named_differences(records, VERSIONS))


def with_rows(evidence: Sequence[Evidence]) -> list[Evidence]:
    """Those of the profiles that there are any rows in, and of the smallest in any case, from the smallest on."""
    found = {e.profile for e in evidence if e.rows or any(other.rows for other in e.others.values())} | {SIZES[0]}
    return sorted((e for e in evidence if e.profile in found), key=lambda e: (e.size, e.profile))


def evidence_of(
    experiment: Experiment, profile: str, state: Path, results: Path, known: Known | None = None
) -> Evidence:
    """The rows that decide an experiment's claims, from journals or results/; raises InputError for a wrong claim.

    `known`: tables that were read for other experiments of this project, and are not read again.
    """
    known = {} if known is None else known
    claims = claims_of(experiment)
    others = others_of(experiment, claims, profile, state, results, known)
    if not experiment.profiles:
        return Evidence(experiment, profile, [], {}, claims, others)
    return replace(_table(experiment, profile, state, results, known), claims=claims, others=others, verdicts={})


def others_of(
    experiment: Experiment, claims: Sequence[Claim], profile: str, state: Path, results: Path, known: Known
) -> dict[str, Evidence]:
    """That of the other experiments that the claims name, where they have this profile."""
    claimed = [(claim, point.experiment) for claim in claims for point in claim.named() if isinstance(point, Point)]
    names = dict.fromkeys(name for claim, name in claimed if name and name not in (experiment.name, claim.awaits))
    tables = {name: sibling(experiment, name) for name in names}
    there = {name: other for name, other in tables.items() if profile in other.profiles}
    return {name: _table(other, profile, state, results, known) for name, other in there.items()}


def _table(experiment: Experiment, profile: str, state: Path, results: Path, known: Known) -> Evidence:
    """The rows of one profile, with no claims."""
    if (key := (experiment.path, profile)) not in known:
        jobs, committed = jobs_of(experiment, profile, check=False), results / f"{experiment.name}-{profile}.csv"
        journal = journal_of(jobs, state)
        rows = rows_of(jobs, journal, committed)
        known[key] = Evidence(experiment, profile, jobs, rows, replicates=replicates_of(rows, journal, committed))
    return known[key]
