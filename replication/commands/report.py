"""`replicate report`, `verify`, `claims` and `compare`."""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from replication.commands.options import print_json
from replication.files import all_or_nothing, file_sha256, write_atomically
from replication.harness.experiment import SIZES, experiment_names, load_experiment
from replication.harness.home import project, state
from replication.harness.job import Job, jobs_of
from replication.harness.jobs.cell import cells_of
from replication.harness.journal import Record
from replication.harness.store import Store
from replication.harness.sweep import journal_of
from replication.metrics.uncertainty import Replicates
from replication.report.claims import Evidence, claims_as_json, markdown_claims
from replication.report.claims.evidence import Known, evidence_of
from replication.report.compare import compared, find_row
from replication.report.forensics import committed_forensics, write_forensics
from replication.report.page import write_page
from replication.report.readme import refreshed
from replication.report.reproduced import TAG, Reproduction, committed_rows, reproduction
from replication.report.rows import replicates_of, rows_of
from replication.report.write import write_claims, write_report
from replication.settings import content_key
from replication.terminal import show
from replication.types import InputError, RunError


def report(options: argparse.Namespace) -> None:
    store, results, tables = Store(state()), project() / "results", []
    if not Path.cwd().is_relative_to(project()):  # whoever stands in another repository does not mean this one
        raise InputError(f"{Path.cwd()} holds no experiments, and a report is written in {project()}: run it there")
    names = experiment_names()
    every = evidence_on(names)
    if not (options.experiments or any(evidence.rows for evidence in every)):
        raise InputError(f"there is nothing to report: no experiment has rows in {state()} or {results}")
    asked = [e for e in every if not options.experiments or e.experiment.name in options.experiments]
    reproduced: dict[str, str] = {}
    with all_or_nothing(results) as written:
        for evidence in asked + evidence_on([name for name in options.experiments if name not in names]):
            if not evidence.jobs:
                continue
            journal, described = journal_of(evidence.jobs, state()), {}
            if not options.publish and (beside := _beside_committed(evidence.jobs)) and beside.compared:
                reproduced[evidence.stem], described = f"{beside}.", {TAG: str(beside)}
                evidence = replace(evidence, reproduced=reproduced[evidence.stem])
                print(f"{evidence.stem}: {beside}")
            files = [results / file.name for file in write_report(evidence, journal, written)]
            print("\n".join(f"wrote {file.relative_to(project())}" for file in files))
            if any(journal.read(record["cell"]) for record in evidence.rows.values()):
                named = (evidence.experiment.name, evidence.profile)
                tables.append((*named, journal, list(evidence.rows.values()), files, described))
        print(f"wrote {(results / write_claims(every, written).name).relative_to(project())}")
        for stem, rows in committed_forensics(written).items():
            write_forensics(rows, written / stem)
        every = [replace(e, reproduced=reproduced.get(e.stem, "")) for e in every]
        page = results / write_page(every, written).name
        print(f"wrote {page.relative_to(project())}")
    if options.publish:
        readme = project() / "README.md"
        before = readme.read_bytes().decode("utf-8", "surrogateescape") if readme.exists() else ""
        if (after := refreshed(before, project())) != before:  # one without markers stays as it is
            write_atomically(readme, after.encode("utf-8", "surrogateescape"))
    for name, profile, journal, records, files, described in tables:  # last, since a dead server stops it
        content = content_key({file.name: file_sha256(file) for file in files})  # one of which has every row
        if store.installed and journal.run_of("table", store.shown) != content:
            with store.sweep(name, profile) as sweep:
                sweep.log_table(records, [*files, page], described, content)
            journal.mark_synced("table", store.shown, content)


def _beside_committed(jobs: Sequence[Job]) -> Reproduction | None:
    """The rows that were made here beside the committed ones; None where there are none of either."""
    committed = committed_rows(project() / "results" / f"{jobs[0].experiment}-{jobs[0].profile}.csv")
    rows = rows_of(jobs, journal_of(jobs, state())) if committed else {}
    return reproduction(rows.values(), committed, len(jobs)) if rows else None


def verify(options: argparse.Namespace) -> None:
    """Raises RunError where a distance lies outside the committed interval, InputError where nothing can be compared."""
    found = {}
    for experiment in map(load_experiment, options.experiments or experiment_names()):
        if options.profile and options.experiments:
            experiment.profile(options.profile)
        for profile in experiment.profiles:
            stem = f"{experiment.name}-{profile}"
            if options.profile not in (None, profile) or not (state() / "journal" / stem).is_dir():
                continue  # listing the jobs takes seconds
            if beside := _beside_committed(jobs_of(experiment, profile, check=False)):
                found[stem] = beside
    if options.json:
        print_json({stem: beside.as_json() for stem, beside in found.items()})
    else:
        show("\n\n".join(f"{stem}\n\n{beside.table()}\n\n{beside}" for stem, beside in found.items()), options.all)
    if not found:
        asked = ", ".join(options.experiments) or "any experiment"
        raise InputError(
            f"nothing to verify: there are no rows of {asked} both here and committed; `replicate run` first"
        )
    if outside := [f"{one.title} of {stem}" for stem, beside in found.items() for one in beside.outside]:
        raise RunError(f"outside the committed intervals: {', '.join(outside)}")


def claims(options: argparse.Namespace) -> None:
    every = evidence_on(options.experiments or experiment_names())
    if options.json:
        print_json(claims_as_json(every))
    else:
        show(markdown_claims(every).rstrip("\n"), options.all)


def compare(options: argparse.Namespace) -> None:
    found: list[Record] = []
    replicates: dict[str, Replicates] = {}
    for name in options.rows:
        experiment, _, row = name.partition(":")
        cells = cells_of(load_experiment(experiment, {}, options.profile), options.profile)
        committed, journal = project() / "results" / f"{experiment}-{options.profile}.csv", journal_of(cells, state())
        rows = rows_of(cells, journal, committed)
        found.append(find_row(row, cells, rows))
        replicates |= replicates_of({found[-1]["cell"]: found[-1]}, journal, committed)
    labels = cells[0].protocol.metric_labels
    table = compared(found[0], found[1], labels, options.unequal, replicates)
    if options.json:
        print_json({"rows": found, **table.as_json()})
    else:
        show(table, options.all)


def evidence_on(names: Sequence[str]) -> list[Evidence]:
    """What there is about each profile of the named experiments; one of claims alone is about every profile."""
    experiments = [load_experiment(name) for name in names]
    every = dict.fromkeys([*SIZES, *(profile for experiment in experiments for profile in experiment.profiles)])
    known: Known = {}
    return [
        evidence_of(experiment, profile, state(), project() / "results", known)
        for experiment in experiments
        for profile in experiment.profiles or every
    ]
