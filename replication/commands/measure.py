"""`replicate measure`: images of one's own, a row's stored samples, or the rows of an experiment measured again."""

import argparse

from replication.commands.options import device_of, jobs_named, print_json, workplace
from replication.files import expanded
from replication.harness.experiment import published_tables
from replication.harness.home import check_unambiguous, experiments, project, state
from replication.harness.journal import Record
from replication.harness.published import PublishedValue, printed_of
from replication.harness.store import Store
from replication.harness.subjects import (
    Subject,
    check_comparable,
    measure,
    protocol_of,
    reference_of,
    subject_of_images,
    subject_of_row,
)
from replication.harness.sweep import journal_of, measure_again
from replication.harness.workplace import Workplace
from replication.registry import listed
from replication.report.measured import joint_figures, joint_record, printed
from replication.report.reproduced import committed_rows, tags_beside
from replication.report.rows import rows_of
from replication.report.tables import main_tables
from replication.terminal import show
from replication.types import InputError

BATCH = 256  # of the extractor
PROFILE = "cpu"  # of an experiment, unless another one is asked for


def measure_images(options: argparse.Namespace) -> None:
    path = expanded(options.subject, "HOME")
    check_unambiguous(options.subject)
    if not path.exists() and (options.subject in experiments() or path.suffix == ".toml"):
        return _again(options)
    papers = printed_of(published_tables(), options.published, path.name if path.is_file() else "")
    settings = dict(options.set)
    place = Workplace(state(), device_of(options.device), BATCH, progress=False)
    subjects = [_subject(name, options, place) for name in (options.subject, options.compare) if name is not None]
    if options.profile is not None and all(subject.protocol is None for subject in subjects):
        raise InputError(f"--profile {options.profile}: only an experiment has that, and these are images of files")
    check_comparable(subjects[0], subjects[-1])
    reference = reference_of(options.reference, subjects[0])
    protocol = protocol_of(subjects[0], reference, options.protocol, settings)
    one, *others = (measure(subject, reference, protocol, place) for subject in subjects)
    other = next(iter(others), None)
    pairs = joint_figures(one, other) if other else {}
    if options.json:
        compared = {"other": other.record, "paired": joint_record(pairs)} if other else {}
        beside = {"published": [_value(one) for one in papers]} if papers else {}
        print_json({**one.record, **compared, **beside})
    else:
        show(printed(one, other, pairs, papers), options.all)


def _value(value: PublishedValue) -> Record:
    return {"source": f"{value.paper}, {value.table}", "row": value.row, "metric": value.metric, "value": value.value}


def _subject(name: str, options: argparse.Namespace, place: Workplace) -> Subject:
    path = expanded(name, "HOME")
    if path.exists() or ":" not in name:
        return subject_of_images(path)
    return subject_of_row(name, options.profile or PROFILE, dict(options.set), place)


def _again(options: argparse.Namespace) -> None:
    """Rows that lack a metric, or have one of an earlier version, from their stored samples."""
    for option in ("reference", "protocol", "compare", "published"):
        if (value := getattr(options, option)) is not None:
            raise InputError(
                f"--{option} {value}: an experiment's rows state that themselves; {options.subject}:LABEL:STEPS is the "
                "images of one of them"
            )
    options.experiment, options.profile = options.subject, options.profile or PROFILE
    experiment, jobs = jobs_named(options)
    place = workplace(options, experiment)
    tags = tags_beside(committed_rows(project() / "results" / f"{experiment.name}-{options.profile}.csv"))
    without = [job.title for job in measure_again(jobs, place, Store(place.state), tags)]
    rows = rows_of(jobs, journal_of(jobs, place.state))
    if options.json:
        print_json({"rows": list(rows.values()), "without_samples": without})
        return
    show("\n\n".join(map(str, main_tables(jobs, rows))), options.all)
    if without:
        print(f"\nnot measured again, for their samples are not stored: {listed(without)}")
