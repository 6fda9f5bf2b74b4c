"""`replicate forensics`."""

import argparse
from pathlib import Path

from replication.commands.options import device_of
from replication.commands.report import evidence_on, write_fronts
from replication.harness.experiment import experiment_names
from replication.harness.forensics.examination import choices_named, investigate
from replication.harness.forensics.subject import Wishes, subject_of
from replication.harness.home import project, state
from replication.harness.workplace import Workplace
from replication.report.forensics import printed, write_forensics


def forensics(options: argparse.Namespace) -> None:
    choices = choices_named(options.only)
    settings = dict(options.set)
    wishes = Wishes(options.profile, options.row, options.steps, options.protocol, options.dataset, settings)
    subject = subject_of(options.subject, wishes)
    place = Workplace(state(), device_of(options.device), subject.base.batch_size)
    found = investigate(subject, choices, place)
    print("\n" + printed(found.rows))
    asked = settings or options.only or options.row or options.steps
    # results/ holds the experiment's own table, whole; other tables are written where --out asks for them
    own = project() / "results" if subject.from_experiment and not asked else None
    if folder := Path(options.out).absolute() if options.out else own:
        files = write_forensics(found.rows, folder / f"forensics-{subject.name}")
        print("\n" + "\n".join(f"wrote {file}" for file in files))
        if folder == project() / "results":
            write_fronts(evidence_on(experiment_names()))
