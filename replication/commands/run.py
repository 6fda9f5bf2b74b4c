"""`replicate run` and `replicate plan`."""

import argparse

from replication.commands.options import (
    Commands,
    add_device,
    add_experiment,
    added,
    cells_named,
    device_of,
    settings_of,
)


def register(commands: Commands) -> None:
    parser = added(commands, "run", _run, "train, sample, measure and record what has no row yet")
    add_experiment(parser)
    parser.add_argument(
        "--row", action="append", help="only the row of this label, and its first stage; may be repeated"
    )
    add_device(parser)
    add_experiment(
        added(commands, "plan", _plan, "list the cells of an experiment, checked, without computing anything")
    )


def _run(options: argparse.Namespace) -> None:
    from replication.harness.home import project, state
    from replication.harness.jobs.cell import row_cells
    from replication.harness.jobs.first_stage import first_stage_cells
    from replication.harness.store import Store
    from replication.harness.sweep import first_stage_journal, journal_of, run
    from replication.harness.workplace import Workplace
    from replication.report.claims import Evidence, claims_of, markdown_claim
    from replication.report.claims.evidence import others_of
    from replication.report.first_stages import first_stage_table
    from replication.report.rows import rows_of
    from replication.report.tables import markdown, measured_tables

    experiment, cells = cells_named(options.experiment, options.profile, settings_of(options.set))
    place = Workplace(state(), device_of(options.device), experiment.profile(options.profile).batch_size)
    stages = first_stage_cells(experiment, options.profile)
    if options.row:
        cells = [cell for label in dict.fromkeys(options.row) for cell in row_cells(cells, label)]
        named = {cell.recipe.first_stage.name for cell in cells if cell.recipe.first_stage}
        stages = [
            stage for stage in stages if stage.label in named and stage.dataset in (c.recipe.dataset for c in cells)
        ]
    run(cells, place, Store(place.state), stages)
    journal = journal_of(cells, place.state)
    rows = rows_of(cells, journal)
    print("\n" + markdown(*measured_tables(cells, rows)[""]) + "\n")
    if stages:
        found = rows_of(stages, first_stage_journal(journal))
        print(markdown(*first_stage_table(stages, found)) + "\n")
    claims = claims_of(experiment)
    others = others_of(experiment, claims, options.profile, state(), project() / "results")
    evidence = Evidence(experiment, options.profile, cells, rows, claims, others)
    for claim in claims:
        print(markdown_claim(claim, evidence))


def _plan(options: argparse.Namespace) -> None:
    from replication.harness.home import state
    from replication.harness.jobs.first_stage import first_stage_cells
    from replication.harness.sweep import first_stage_journal, journal_of
    from replication.registry import SAMPLERS
    from replication.report.first_stages import first_stage_table
    from replication.report.rows import rows_of
    from replication.report.tables import markdown

    experiment, cells = cells_named(options.experiment, options.profile, settings_of(options.set))
    journal = journal_of(cells, state())
    lines = []
    for cell in cells:
        schedule = cell.recipe.build_schedule()
        nfe = cell.sampling.sampler.build(SAMPLERS).nfe(schedule, cell.sampling.times(schedule))
        nfe *= 2 if cell.sampling.guidance else 1
        published = ", ".join(f"{metric} {value:g}" for metric, value in cell.targets.items())
        done = "done" if journal.read(cell.key) else "to run"
        steps = str(cell.sampling.steps)
        lines.append(
            [
                cell.key[:12],
                cell.label,
                str(cell.sampling.spacing),
                steps,
                str(nfe),
                cell.recipe.key[:12],
                published,
                done,
            ]
        )
    print(markdown(["cell", "sampler", "spacing", "steps", "NFE", "checkpoint", "paper", "state"], lines))
    if stages := first_stage_cells(experiment, options.profile):
        print("\n" + markdown(*first_stage_table(stages, rows_of(stages, first_stage_journal(journal)))))
