"""`replicate`: the command line. Exit codes: 0 done, 1 failed while running, 2 the input is wrong."""

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

try:
    import torchvision  # noqa: F401
except (
    ImportError,
    RuntimeError,
) as error:  # a build for another torch says "operator torchvision::nms does not exist"
    print(
        f"replicate: torchvision does not fit torch ({error}): install both in one step, `make setup`", file=sys.stderr
    )
    sys.exit(2)

from replication import registry
from replication.doctor import examine
from replication.files import write_atomically
from replication.harness.cell import Cell, cells_of, find_cell
from replication.harness.claim import PROFILES
from replication.harness.compute import strip
from replication.harness.experiment import Experiment, experiment_names, load_experiment, toml_value
from replication.harness.first_stage_cell import first_stage_cells
from replication.harness.forensics.choices import CHOICES
from replication.harness.forensics.examination import choices_named, investigate
from replication.harness.forensics.subject import Wishes, subject_of
from replication.harness.given_weights import give_first_stage, give_network
from replication.harness.home import project, state
from replication.harness.prompt import prompted
from replication.harness.protocol import named_protocol, protocol_names
from replication.harness.store import Store
from replication.harness.sweep import all_journals, first_stage_journal, journal_of, run, sync
from replication.harness.workplace import Workplace
from replication.report.claims import Evidence, markdown_claim, markdown_claims
from replication.report.claims.evidence import evidence_of, others_of
from replication.report.compare import comparison, find_row
from replication.report.first_stages import first_stage_table
from replication.report.forensics import printed, write_forensics
from replication.report.page import write_page
from replication.report.plots import picture_grid
from replication.report.readme import refreshed
from replication.report.rows import rows_of
from replication.report.tables import markdown, measured_tables
from replication.report.write import write_claims, write_report
from replication.settings import Part, content_key
from replication.types import InputError, RunError


def _parts(parts: registry.Registry) -> dict[str, str]:
    """First line of the docstring, by name."""
    return {name: ((parts.get(name).__doc__ or "").strip().splitlines() or [""])[0] for name in parts.names()}


REGISTRIES = {
    "schedules": registry.SCHEDULES, "spacings": registry.SPACINGS, "samplers": registry.SAMPLERS,
    "objectives": registry.OBJECTIVES, "models": registry.MODELS, "autoencoders": registry.AUTOENCODERS,
    "conditions": registry.CONDITIONS, "datasets": registry.DATASETS, "extractors": registry.EXTRACTORS,
    "quantities": registry.QUANTITIES, "perceptual": registry.PERCEPTUAL, "discriminators": registry.DISCRIMINATORS,
}  # fmt: skip
LISTS: dict[str, Callable[[], dict[str, str]]] = {
    **{kind: partial(_parts, parts) for kind, parts in REGISTRIES.items()},
    "protocols": lambda: {name: named_protocol(name).source for name in protocol_names()},
    "choices": lambda: {choice.name: choice.source for choice in CHOICES},
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; every expected failure is one message on standard error, never a traceback."""
    options = _parser().parse_args(arguments)
    try:
        options.command(options)
    except InputError as error:
        return _fail(str(error), 2)
    except RunError as error:
        return _fail(str(error), 1)
    except RuntimeError as error:
        reason = str(error).splitlines()[0] if str(error) else ""
        if not isinstance(error, torch.OutOfMemoryError) and "allocate memory" not in reason:
            raise
        return _fail(f"out of memory: try --set batch_size=N, or recipe.training.batch_size ({reason})", 1)
    except OSError as error:
        return _fail(f"{error.filename or 'system'}: {error.strerror or error}; what was finished before is kept", 1)
    except KeyboardInterrupt:
        return _fail("interrupted; the same command goes on from here", 1)
    return 0


def _fail(message: str, code: int) -> int:
    print(f"replicate: {message}", file=sys.stderr)
    return code


def _run(options: argparse.Namespace) -> None:
    experiment, cells = _cells(options.experiment, options.profile, _settings(options.set))
    place = Workplace(state(), _device(options.device), experiment.profile(options.profile).batch_size)
    stages = first_stage_cells(experiment, options.profile)
    run(cells, place, Store(place.state), stages)
    journal = journal_of(cells, place.state)
    rows = rows_of(cells, journal)
    print("\n" + markdown(*measured_tables(cells, rows)[""]) + "\n")
    if stages:
        found = rows_of(stages, first_stage_journal(journal))
        print(markdown(*first_stage_table(stages, found)) + "\n")
    others = others_of(experiment, options.profile, state(), project() / "results")
    for claim in experiment.claims:
        print(markdown_claim(claim, Evidence(experiment, options.profile, cells, rows, others)))


def _plan(options: argparse.Namespace) -> None:
    experiment, cells = _cells(options.experiment, options.profile, _settings(options.set))
    journal = journal_of(cells, state())
    lines = []
    for cell in cells:
        schedule = cell.recipe.build_schedule()
        nfe = cell.sampling.sampler.build(registry.SAMPLERS).nfe(schedule, cell.sampling.times(schedule))
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


def _report(options: argparse.Namespace) -> None:
    store, results, tables = Store(state()), project() / "results", []
    every = _evidence(experiment_names())
    for evidence in _evidence(options.experiments) if options.experiments else every:
        if not evidence.cells:
            continue
        journal = journal_of(evidence.cells, state())
        files = write_report(evidence, journal, results)
        print("\n".join(f"wrote {file.relative_to(project())}" for file in files))
        if any(journal.read(key) for key in evidence.rows):
            tables.append((evidence.experiment.name, evidence.profile, journal, list(evidence.rows.values()), files))
    print(f"wrote {write_claims(every, results).relative_to(project())}")
    _write_fronts(every)
    for name, profile, journal, records, files in tables:  # last, since a dead server stops it
        told = f"{store.address} {content_key(records)}"
        if journal.synced_with("table") != told:
            store.log_table(name, profile, records, files)
            journal.mark_synced("table", told)


def _write_fronts(every: Sequence[Evidence]) -> None:
    """What shows everything that there is in results/: the page, and the README's tables."""
    print(f"wrote {write_page(every, project() / 'results').relative_to(project())}")
    readme = project() / "README.md"
    if readme.exists():
        write_atomically(readme, refreshed(readme.read_text(encoding="utf-8"), project()).encode())


def _claims(options: argparse.Namespace) -> None:
    print(markdown_claims(_evidence(options.experiments or experiment_names())), end="")


def _compare(options: argparse.Namespace) -> None:
    found = []
    for name in options.rows:
        experiment, _, row = name.partition(":")
        _, cells = _cells(experiment, options.profile, {})
        committed = project() / "results" / f"{experiment}-{options.profile}.csv"
        found.append(find_row(row, cells, rows_of(cells, journal_of(cells, state()), committed)))
    labels = cells[0].protocol.extractor.build(registry.EXTRACTORS).labels
    print(comparison(found[0], found[1], labels, options.unequal))


def _forensics(options: argparse.Namespace) -> None:
    choices = choices_named(options.only)
    settings = _settings(options.set)
    wishes = Wishes(options.profile, options.row, options.steps, options.protocol, options.dataset, settings)
    subject = subject_of(options.subject, wishes)
    place = Workplace(state(), _device(options.device), subject.base.samples.batch_size)
    found = investigate(subject, choices, place)
    print("\n" + printed(found))
    asked = settings or options.only or options.row or options.steps
    # results/ holds the experiment's own table, whole; of anything else only what somebody wants kept
    own = project() / "results" if subject.from_experiment and not asked else None
    if folder := Path(options.out).absolute() if options.out else own:
        print("\n" + "\n".join(f"wrote {file}" for file in write_forensics(found, folder)))
        if folder == project() / "results":
            _write_fronts(_evidence(experiment_names()))


def _sample(options: argparse.Namespace) -> None:
    experiment, cells = _cells(options.experiment, options.profile, _settings(options.set))
    cell = find_cell(cells, options.row, options.steps)
    if options.n < 1:
        raise InputError(f"-n {options.n}: at least one image for each prompt")
    out = Path(options.out).absolute()
    if out.suffix != ".png":
        raise InputError(f"--out {options.out}: the picture is a PNG, and its name ends in .png")
    place = Workplace(state(), _device(options.device), experiment.profile(options.profile).batch_size)
    pictures = prompted(cell, options.prompt, options.n, options.seed, place)
    lines = [(prompt, strip(images)) for prompt, images in zip(options.prompt, pictures, strict=True)]
    write_atomically(out, picture_grid(lines))
    print(f"wrote {out}: {options.n} images for each prompt, {cell.label} x {cell.sampling.steps}, seed {options.seed}")


def _weights_add(options: argparse.Namespace) -> None:
    experiment, cells = _cells(options.experiment, options.profile, _settings(options.set))
    cell = find_cell(cells, options.row, None)
    if not options.network and not options.first_stage:
        raise InputError("nothing to add: say --network PATH, --first-stage PATH or both")
    place = Workplace(state(), _device(options.device), experiment.profile(options.profile).batch_size)
    for given, add in ((options.first_stage, give_first_stage), (options.network, give_network)):
        if given:
            print(f"wrote {add(cell.recipe, Path(given).expanduser(), place)}")


def _sync(options: argparse.Namespace) -> None:
    store = Store(state())
    store.check()
    for journal in all_journals(state()):
        count = sync(journal, store, trust_marks=False)
        print(f"{journal.folder.name}: {count} rows are in MLflow at {store.address}")


def _data_list(_: argparse.Namespace) -> None:
    print("\n".join(registry.DATASETS.build(name).status() for name in registry.DATASETS.names()))


def _data_add(options: argparse.Namespace) -> None:
    dataset = Part(name=options.dataset, options=_options_of_part(options.set))
    dataset.build(registry.DATASETS).add(Path(options.path))
    print(dataset.build(registry.DATASETS).status())


def _data_verify(options: argparse.Namespace) -> None:
    asked = _options_of_part(options.set)
    for name in options.datasets or registry.DATASETS.names():
        dataset = registry.DATASETS.build(name, **asked)
        if not options.datasets and not dataset.present():
            print(dataset.status())
            continue
        for split, fingerprint in dataset.verify().items():
            print(f"{name} {split}: {fingerprint}")


def _doctor(options: argparse.Namespace) -> None:
    lines, trouble = examine(_device(options.device), Store(state()))
    print(markdown(["what", "found"], lines))
    if trouble:
        raise InputError("; ".join(trouble))


def _bench(options: argparse.Namespace) -> None:
    from replication.bench import bench  # diffusers, which it compares with, takes seconds to import

    print(bench(_device(options.device)))


def _list(options: argparse.Namespace) -> None:
    if options.kind not in LISTS:
        raise registry.unknown("kind", options.kind, list(LISTS))
    for name, summary in LISTS[options.kind]().items():
        print(f"{name:24} {summary}")


def _cells(name: str, profile: str, settings: dict[str, str]) -> tuple[Experiment, list[Cell]]:
    experiment = load_experiment(name, settings, profile)
    return experiment, cells_of(experiment, profile)


def _evidence(names: Sequence[str]) -> list[Evidence]:
    """What there is about each profile of the named experiments; one of claims alone is about every profile."""
    return [
        evidence_of(experiment, profile, state(), project() / "results")
        for experiment in map(load_experiment, names)
        for profile in experiment.profiles or PROFILES
    ]


def _settings(pairs: Sequence[str]) -> dict[str, str]:
    settings = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator or not key:
            raise InputError(f"--set {pair}: write it as key=value, e.g. --set protocol.n=500")
        settings[key] = value
    return settings


def _options_of_part(pairs: Sequence[str]) -> dict[str, Any]:
    return {option: toml_value(value) for option, value in _settings(pairs).items()}


def _device(name: str) -> torch.device:
    """The device itself; auto is CUDA where there is one. Raises InputError for one that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise registry.unknown("device", name, ["auto", "cpu", "cuda"]) from error
    if device.type not in ("cpu", "cuda") or (device.type == "cuda" and not torch.cuda.is_available()):
        raise InputError(f"--device {name}: there is no such device here (valid: auto, cpu, cuda with a CUDA device)")
    return device


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="replicate", description="Replicate diffusion papers, cell by cell.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, work: Callable[[argparse.Namespace], None], text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(command=work)
        return added

    for name, work, text in (
        ("run", _run, "train, sample, measure and record what has no row yet"),
        ("plan", _plan, "list the cells of an experiment, checked, without computing anything"),
    ):
        added = command(name, work, text)
        added.add_argument("experiment", help="a name in experiments/, or the path of a TOML file")
        added.add_argument("--profile", default="cpu", choices=PROFILES)
        added.add_argument("--set", action="append", default=[], metavar="a.b=c", help="change one key of the profile")
        if name == "run":
            added.add_argument("--executor", default="local", choices=["local"])
            added.add_argument("--device", default="auto", help="auto, cpu or cuda")
    for name, work, text in (
        ("report", _report, "write results/ from rows"),
        ("claims", _claims, "judge the claims from rows"),
    ):
        command(name, work, text).add_argument("experiments", nargs="*", metavar="EXPERIMENT")
    _sample_parser(command("sample", _sample, "draw images of your own prompts, and write them to a PNG"))
    added = command("compare", _compare, "set two rows side by side, if their protocols allow it")
    added.add_argument("rows", nargs=2, metavar="EXPERIMENT:LABEL:STEPS")
    added.add_argument("--profile", default="cpu", choices=PROFILES)
    added.add_argument("--unequal", action="store_true", help="compare rows of unequal protocols too, with a mark")
    _forensics_parser(
        command("forensics", _forensics, "change one choice at a time: how far does each move the distance?")
    )
    command("sync", _sync, "tell MLflow the rows that it lacks")
    for name, work, text in (
        ("doctor", _doctor, "look at this machine: versions, device, folders, data, weights, tracking store"),
        ("bench", _bench, "measure what the sampling loop costs over the bare forward passes"),
    ):
        command(name, work, text).add_argument("--device", default="auto", help="auto, cpu or cuda")
    command("list", _list, "list the parts of one kind").add_argument("kind", help=", ".join(LISTS))
    _weights_parser(command("weights", lambda _: None, "make published weights the checkpoint of a row"))
    _data_parser(command("data", lambda _: None, "datasets: list, add a local copy, verify"))
    return parser


def _sample_parser(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("experiment", help="a name in experiments/, or the path of a TOML file")
    parser.add_argument("--row", required=True, help="the label of a conditional row in the experiment's table")
    parser.add_argument("--steps", type=int, help="of the sampler; by default the row's first step count")
    parser.add_argument("--prompt", action="append", required=True, help="what the images are to show; may be repeated")
    parser.add_argument("-n", type=int, default=10, help="images for each prompt")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="samples.png", help="the picture: one line of images for each prompt")
    parser.add_argument("--profile", default="cpu", choices=PROFILES)
    parser.add_argument("--set", action="append", default=[], metavar="a.b=c", help="change one key of the profile")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")


def _weights_parser(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    added = commands.add_parser("add", help="from safetensors, under diffusers' names or the official code's")
    added.set_defaults(command=_weights_add)
    added.add_argument("experiment", help="a name in experiments/, or the path of a TOML file")
    added.add_argument("--row", required=True, help="the label of a row in the experiment's table")
    added.add_argument("--network", metavar="PATH", help="of the row's network: a file, or a folder of diffusers")
    added.add_argument("--first-stage", metavar="PATH", help="of the autoencoder behind its latents, likewise")
    added.add_argument("--profile", default="paper", choices=PROFILES)
    added.add_argument("--set", action="append", default=[], metavar="a.b=c", help="change one key of the profile")
    added.add_argument("--device", default="auto", help="auto, cpu or cuda")


def _forensics_parser(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "subject", help="an experiment, a checkpoint of the suite, or images: a folder, an .npz, a chunk"
    )
    parser.add_argument("--profile", default="cpu", choices=PROFILES, help="of an experiment")
    parser.add_argument("--row", help="the label of the base in the experiment's table; by default a deterministic one")
    parser.add_argument("--steps", type=int, help="of the base; by default 50, or what the row has nearest to it")
    parser.add_argument("--set", action="append", default=[], metavar="a.b=c", help="change one key of the profile")
    parser.add_argument("--protocol", help="of a file: a named protocol; by default the suite's own")
    parser.add_argument("--dataset", help="of images: what they are compared with; by default the one of their shape")
    parser.add_argument(
        "--only", action="append", default=[], metavar="CHOICE", help="this choice alone; may be repeated"
    )
    parser.add_argument("--out", metavar="FOLDER", help="where table and plot are written; an experiment's: results/")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")


def _data_parser(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    actions.add_parser("list", help="what is there").set_defaults(command=_data_list)
    add = actions.add_parser(
        "add", help="take in a local copy: a folder of images, parquet shards or the binary archive"
    )
    add.add_argument("dataset")
    add.add_argument("path")
    add.set_defaults(command=_data_add)
    verify = actions.add_parser("verify", help="read everything and compare fingerprints")
    verify.add_argument("datasets", nargs="*")
    for action in (add, verify):
        action.add_argument("--set", action="append", default=[], metavar="a=b", help="one option of the dataset")
    verify.set_defaults(command=_data_verify)
