"""`replicate forensics`."""

import argparse

from replication.commands.options import device_of
from replication.commands.report import evidence_on
from replication.files import all_or_nothing, expanded
from replication.harness.experiment import experiment_names
from replication.harness.forensics.base import Wishes, base_of
from replication.harness.forensics.choices import choices_named
from replication.harness.forensics.examination import investigate
from replication.harness.home import project, state
from replication.harness.workplace import Workplace
from replication.report.forensics import printed, write_forensics
from replication.report.page import write_page
from replication.terminal import show


def forensics(options: argparse.Namespace) -> None:
    choices = choices_named(options.only)
    settings = dict(options.set)
    wishes = Wishes(options.profile, options.row, options.steps, options.protocol, options.dataset, settings)
    base = base_of(options.subject, wishes)
    rows = investigate(base, choices, Workplace(state(), device_of(options.device), base.batch_size))
    show("\n" + printed(rows), options.all)
    # results/ holds the experiment's own table, whole; of anything else only what somebody wants kept
    whole = base.drawn_as and not (base.checkpoint or settings or options.only or options.row or options.steps)
    results = project() / "results"
    if folder := expanded(options.out, "--out").absolute() if options.out else results if whole else None:
        with all_or_nothing(folder) as written:
            files = write_forensics(rows, written / f"forensics-{base.name}")
            if folder == results:
                files.append(write_page(evidence_on(experiment_names()), written))
        print("\n" + "\n".join(f"wrote {folder / file.name}" for file in files))
