"""`replicate forensics`."""

import argparse
from pathlib import Path

from replication.commands.options import Commands, add_device, add_profile, added, settings_of, workplace
from replication.commands.report import evidence_on, write_fronts


def register(commands: Commands) -> None:
    text = "change one choice at a time: how far does each move the distance?"
    _add_arguments(added(commands, "forensics", _forensics, text))


def _forensics(options: argparse.Namespace) -> None:
    from replication.harness.experiment import experiment_names
    from replication.harness.forensics.examination import choices_named, investigate
    from replication.harness.forensics.subject import Wishes, subject_of
    from replication.harness.home import project
    from replication.report.forensics import printed, write_forensics

    choices = choices_named(options.only)
    settings = settings_of(options.set)
    wishes = Wishes(options.profile, options.row, options.steps, options.protocol, options.dataset, settings)
    subject = subject_of(options.subject, wishes)
    place = workplace(options.device, subject.base.batch_size)
    found = investigate(subject, choices, place)
    print("\n" + printed(found.rows))
    asked = settings or options.only or options.row or options.steps
    # results/ holds the experiment's own table, whole; of anything else only what somebody wants kept
    own = project() / "results" if subject.from_experiment and not asked else None
    if folder := Path(options.out).absolute() if options.out else own:
        print(
            "\n"
            + "\n".join(f"wrote {file}" for file in write_forensics(found.rows, folder / f"forensics-{subject.name}"))
        )
        if folder == project() / "results":
            write_fronts(evidence_on(experiment_names()))


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "subject", help="an experiment, a checkpoint of the suite, or images: a folder, an .npz, a chunk"
    )
    add_profile(parser)
    parser.add_argument("--row", help="the label of the base in the experiment's table; by default a deterministic one")
    parser.add_argument("--steps", type=int, help="of the base; by default 50, or what the row has nearest to it")
    parser.add_argument("--set", action="append", default=[], metavar="a.b=c", help="change one key of the profile")
    parser.add_argument("--protocol", help="of a file: a named protocol; by default the suite's own")
    parser.add_argument("--dataset", help="of images: what they are compared with; by default the one of their shape")
    parser.add_argument(
        "--only", action="append", default=[], metavar="CHOICE", help="this choice alone; may be repeated"
    )
    parser.add_argument("--out", metavar="FOLDER", help="where table and plot are written; an experiment's: results/")
    add_device(parser)
