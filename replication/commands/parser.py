"""The arguments of `replicate`, command by command, with an example of each; the commands themselves are not imported."""

import argparse
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from replication.types import InputError

PARTS = ("dataset", "extractor", "metric", "model", "objective", "sampler", "schedule", "spacing")  # of check and new
TABLES = {  # that a terminal is shown as far as they fit
    "run.run_experiments", "plan.plan", "report.claims", "report.compare", "report.verify", "measure.measure_images",
    "machine.doctor", "machine.status", "weights.list_weights", "forensics.forensics", "reference.list_references",
}  # fmt: skip
AS_JSON = {
    "plan.plan", "parts.list_parts", "report.compare", "report.claims", "report.verify", "machine.doctor", "machine.status",
    "measure.measure_images", "weights.list_weights",
}  # fmt: skip
EXAMPLES = {
    "run.run_experiments": (
        "run ddpm",
        "run ddpm --row DDIM --set protocol.n=500",
        "run ddpm ldm --profile gpu --budget 1500",
        'run dit --profile paper --row "DiT-XL/2, 7M, guidance 1.5" --weights auto',
        "run ddpm --executor ray --worker-cpus 4",
    ),
    "plan.plan": (
        "plan ddpm",
        "plan ddpm samplers --profile evening",
        "plan dit --profile paper --all",
        "plan ddpm --row DDIM --only sampling.steps=20 --json",
    ),
    "run.sample": (
        "sample ddpm",
        'sample ldm --row "text, guidance 2" --prompt "the digit seven" -n 8 --out sevens.png',
    ),
    "forensics.forensics": (
        "forensics ddpm",
        "forensics ddpm --only weights --only quantizer",
        "forensics images/ --dataset cifar10",
    ),
    "measure.measure_images": (
        "measure images/ --reference cifar10",
        "measure ddpm:DDIM:20 --compare ddpm:DDPM:1000",
        "measure samples.npz --protocol ddpm-2020 --json",
        "measure ddpm --profile cpu",
    ),
    "report.report": ("report ddpm", "report --publish"),
    "report.claims": ("claims", "claims ddpm --json"),
    "report.verify": ("verify ddpm", "verify --json"),
    "report.compare": ("compare ddpm:DDPM:1000 ddpm:DDIM:20", "compare 'dit:DiT-B/2:50' 'ldm:f = 2:50' --unequal"),
    "machine.sync_rows": ("sync",),
    "machine.status": ("status", "status --json"),
    "archive.export": ("export rows.zip", "export rows.zip ddpm --samples 'DDIM x 20'", "export rows.json ddpm"),
    "archive.import_": ("import rows.zip",),
    "data.list_datasets": ("data list",),
    "data.add": ("data add cifar10 cifar-10-binary.tar.gz", "data add own-images photographs/ --set resolution=64"),
    "data.verify": ("data verify", "data verify digits"),
    "weights.list_weights": ("weights list",),
    "weights.fetch_weights": (
        "weights fetch dit-xl-2-256 sd-vae-ft-ema",
        "weights fetch google/ddpm-cifar10-32",
        "weights fetch https://example.org/model.ckpt",
    ),
    "weights.add": (
        "weights add ddpm --row DDIM --network ddpm-ema-cifar10",
        "weights add ddpm --row DDIM --network unet/diffusion_pytorch_model.safetensors",
    ),
    "weights.export": ("weights export ddpm --row DDIM --steps 20 --diffusers ddpm-digits/",),
    "reference.list_references": ("reference list",),
    "reference.fetch_references": ("reference fetch adm-imagenet256",),
    "reference.make_reference": (
        "reference make churches photographs/",
        "reference make cifar10.npz cifar10 --split test",
    ),
    "samples.export": (
        "samples export ddpm:DDIM:20 --png samples/",
        "samples export dit:DiT-B/2:250 --npz samples.npz",
    ),
    "parts.list_parts": ("list", "list samplers", "list experiments --json"),
    "parts.check": ("check sampler ddim", "check metric my_metric.py:MyMetric"),
    "parts.new": ("new sampler my-sampler",),
    "machine.doctor": ("doctor", "doctor --json"),
    "machine.bench_all": ("bench", "bench sampling distance"),
}


def parser() -> argparse.ArgumentParser:
    """Of `replicate`: each command's options, and `work`, the function of replication/commands that does it."""
    parser = argparse.ArgumentParser(prog="replicate", description="Replicate diffusion papers, cell by cell.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {_version()}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_experiments(commands)
    _add_results(commands)
    _add_material(commands)
    _add_parts(commands)
    return parser


def _version() -> str:
    try:
        return version("diffusion-replication")
    except PackageNotFoundError:  # a copy of the source that nobody has installed
        return "of a source tree"


def _add_experiments(commands: Any) -> None:
    run = _added(commands, "run", "run.run_experiments", "train, sample, measure and record what has no row yet")
    _add_experiments_chosen(run)
    text = "auto: published weights instead of trainings, fetched where they are not here"
    run.add_argument("--weights", choices=["auto"], help=text)
    text = "end within so many seconds: begin no cell that would not, stop trainings at a snapshot; exit 75 if rows are left"
    run.add_argument("--budget", type=float, metavar="SECONDS", help=text)
    text = (
        "who computes: this process, or the workers of the Ray cluster at RAY_ADDRESS, by default one of this machine"
    )
    run.add_argument("--executor", choices=("local", "ray"), default="local", help=text)
    text = "of each worker of a cluster that has no GPU"
    run.add_argument("--worker-cpus", type=int, default=1, metavar="CORES", help=text)
    _add_device(run)
    text = "what a run would do: cells and trainings, checked, with their estimated seconds, disk and memory"
    plan = _added(commands, "plan", "plan.plan", text)
    _add_experiments_chosen(plan)
    text = "auto: with published weights instead of trainings: which are to be downloaded"
    plan.add_argument("--weights", choices=["auto"], help=text)
    _add_device(plan)
    sample = _added(commands, "sample", "run.sample", "draw images, of your own prompts too, and write them to a PNG")
    _add_experiment(sample)
    sample.add_argument(
        "--row", help="the label of a row in the table; by default a trained one that reads the prompt, or takes none"
    )
    sample.add_argument("--steps", type=int, help="of the sampler; by default the row's first step count")
    sample.add_argument(
        "--prompt",
        action="append",
        default=[],
        help="what the images of a conditional row are to show; may be repeated",
    )
    sample.add_argument("-n", type=int, default=10, help="images for each prompt")
    sample.add_argument("--seed", type=int, default=0)
    sample.add_argument("--out", default="samples.png", help="the picture: one line of images for each prompt")
    _add_device(sample)
    text = "change one choice at a time: how far does each move the distance?"
    forensics = _added(commands, "forensics", "forensics.forensics", text)
    forensics.add_argument("subject", help="an experiment, a checkpoint, or images: a folder, an .npz, a chunk")
    _add_profile(forensics, None)
    forensics.add_argument(
        "--row", help="the label of the base in the experiment's table; default: a deterministic one"
    )
    forensics.add_argument("--steps", type=int, help="of the base; by default 50, or what the row has nearest to it")
    _add_set(forensics, "one key of the profile")
    forensics.add_argument("--protocol", help="of a file: a named protocol; by default the suite's own")
    forensics.add_argument("--dataset", help="of images: the reference's; by default the one of their shape")
    forensics.add_argument("--only", action="append", default=[], metavar="CHOICE", help="this choice; may be repeated")
    forensics.add_argument("--out", metavar="FOLDER", help="of table and plot; an experiment's: results/")
    _add_device(forensics)
    text = "measure images: FID or FD, KID, IS, precision, recall, ..., each with its interval and the protocol"
    measure = _added(commands, "measure", "measure.measure_images", text)
    measure.add_argument(
        "subject",
        help="a folder or a ZIP of images, an .npz, sample chunks; EXPERIMENT:LABEL:STEPS, a row's stored samples; or an "
        "experiment, whose rows are measured again where a metric is new or another one",
    )
    text = "a dataset, images as above, or moments (mu, sigma) in an .npz or by name; by default the dataset of their shape"
    measure.add_argument("--reference", help=text)
    measure.add_argument("--protocol", help="a named one, e.g. ddpm-2020; by default the suite's own, or the row's")
    text = "the printed values beside these; by default those of a file that a paper hands out, by its name"
    measure.add_argument("--published", metavar="TABLE:ROW", help=text)
    measure.add_argument("--compare", metavar="OTHER", help="as many other images: differences and ratios")
    _add_profile(measure, None)
    _add_set(measure, "one key of the protocol, or of the experiment's profile")
    _add_device(measure)


def _add_results(commands: Any) -> None:
    for name, text in (("report", "write results/ from rows"), ("claims", "judge the claims from rows")):
        report = _added(commands, name, f"report.{name}", text)
        report.add_argument("experiments", nargs="*", metavar="EXPERIMENT")
        if name == "report":
            text = "for a commit: README's tables too, and nothing said about the rows that were committed before"
            report.add_argument("--publish", action="store_true", help=text)
    text = "set the rows that were made here beside the committed ones: exit code 1 where a distance lies outside its interval"
    verify = _added(commands, "verify", "report.verify", text)
    verify.add_argument("experiments", nargs="*", metavar="EXPERIMENT")
    verify.add_argument("--profile", help="of the experiments; by default all that have rows here")
    compare = _added(commands, "compare", "report.compare", "set two rows side by side, if their protocols allow it")
    compare.add_argument("rows", nargs=2, metavar="EXPERIMENT:LABEL:STEPS")
    _add_profile(compare)
    compare.add_argument("--unequal", action="store_true", help="compare rows of unequal protocols too, with a mark")
    _added(commands, "sync", "machine.sync_rows", "write the rows that MLflow lacks")
    _added(commands, "status", "machine.status", "where the sweeps are that run now, and how many rows there are")
    text = "rows, replicates, strips and curves of this machine's journal as one verified archive, or rows alone as a table"
    export = _added(commands, "export", "archive.export", text)
    export.add_argument(
        "file", type=Path, help="the archive; or .csv or .json, for rows with intervals and provenance alone"
    )
    export.add_argument("experiments", nargs="*", metavar="EXPERIMENT", help="of these alone; by default of all")
    for option, what in (("--samples", "stored images"), ("--weights", "averaged weights, as float16,")):
        text = f"the {what} of these rows too, e.g. 'DDIM x 20' or '* x 50'; may be repeated"
        export.add_argument(option, action="append", metavar="LABEL x STEPS", help=text)
    _added(commands, "import", "archive.import_", "take in what `replicate export` wrote").add_argument(
        "file", type=Path
    )


def _add_material(commands: Any) -> None:
    data = commands.add_parser("data", help="datasets: list, add a local copy, verify")
    actions = data.add_subparsers(required=True, metavar="ACTION")
    _added(actions, "list", "data.list_datasets", "what is there")
    text = "take in a local copy: a folder of images, a tar or zip, parquet shards or the binary archive"
    add = _added(actions, "add", "data.add", text)
    add.add_argument("dataset")
    add.add_argument("path", type=Path)
    verify = _added(actions, "verify", "data.verify", "read everything and compare fingerprints")
    verify.add_argument("datasets", nargs="*")
    for action in (add, verify):
        _add_set(action, "one option of the dataset")
    weights = commands.add_parser("weights", help="published weights, as the checkpoint of a row")
    actions = weights.add_subparsers(required=True, metavar="ACTION")
    text = "published files that can be added: for which rows, their addresses, sizes and licences, and whether they are here"
    _added(actions, "list", "weights.list_weights", text)
    get = _added(actions, "fetch", "weights.fetch_weights", "download some, checked; what was interrupted goes on")
    text = "of `weights list`, a model's id on the Hub (MODEL:FOLDER for a part of it), or an address"
    get.add_argument("names", nargs="+", metavar="NAME", help=text)
    add = _added(
        actions,
        "add",
        "weights.add",
        "from safetensors or torch's files, as diffusers or the official code names tensors",
    )
    _add_experiment(add, profile="paper")
    add.add_argument("--row", help="the label of a row in the experiment's table")
    add.add_argument("--stage", help="or the name of a first stage in its table of those")
    text = "of the row's network: a file, a folder of diffusers, or the name of weights that were fetched"
    add.add_argument("--network", metavar="PATH", help=text)
    add.add_argument("--first-stage", metavar="PATH", help="of the first stage, the row's or the one named; likewise")
    _add_device(add)
    text = "a row's network and first stage as a folder of diffusers, with a model card"
    out = _added(actions, "export", "weights.export", text)
    _add_experiment(out)
    out.add_argument("--row", required=True, help="the label of a row in the experiment's table")
    out.add_argument("--steps", type=int, help="whose figures the card has; by default the row's first step count")
    out.add_argument("--diffusers", required=True, metavar="FOLDER", help="a new one, which diffusers loads")

    references = commands.add_parser(
        "reference", help="moments in the place of a reference's images: list, fetch, make"
    )
    actions = references.add_subparsers(required=True, metavar="ACTION")
    _added(
        actions, "list", "reference.list_references", "files of moments that evaluators hand out, with their addresses"
    )
    get = _added(actions, "fetch", "reference.fetch_references", "download some; what was interrupted goes on")
    get.add_argument("names", nargs="+", metavar="NAME", help="of `reference list`")
    make = _added(actions, "make", "reference.make_reference", "compute the moments of images, and keep them by a name")
    make.add_argument("name", metavar="NAME", help="what protocols call it, or a file whose name ends in .npz")
    make.add_argument("subject", help="a folder or a ZIP of images, an .npz, sample chunks; or a dataset")
    make.add_argument("--split", default="train", help="of a dataset (train)")
    make.add_argument("--protocol", help="whose extractor it is; by default the suite's own")
    _add_set(make, "one key of the protocol, e.g. protocol.extractor")
    _add_device(make)
    samples = commands.add_parser("samples", help="stored images: export them for others' tools")
    actions = samples.add_subparsers(required=True, metavar="ACTION")
    out = _added(
        actions, "export", "samples.export", "as PNG files, or as ADM's .npz: for its evaluator, clean-fid and others"
    )
    out.add_argument("subject", help="EXPERIMENT:LABEL:STEPS, a row's stored samples, or images at a path")
    out.add_argument("--png", metavar="FOLDER", help="a new folder of PNG files, 000000.png and on")
    out.add_argument("--npz", metavar="FILE", help="arr_0 uint8 [N,H,W,C], and the labels as arr_1")
    out.add_argument("--seed", type=int, help="of the row's seeds (the first)")
    _add_profile(out, None)
    _add_set(out, "one key of the profile")


def _add_parts(commands: Any) -> None:
    text = "list the parts of one kind, each with what it is; without a kind, the kinds"
    listed = _added(commands, "list", "parts.list_parts", text)
    listed.add_argument("kind", nargs="?", help="samplers, schedules, models, ...")
    check = _added(commands, "check", "parts.check", "run the contract tests of a part, installed or not")
    check.add_argument("kind", choices=PARTS)
    check.add_argument("name", help="a registered name, package.module:name, or path/to/file.py:name")
    _add_set(check, "an option of the part")
    new = _added(commands, "new", "parts.new", "write a commented template of a part, which works as it is")
    new.add_argument("kind", choices=PARTS)
    new.add_argument("name", help="as a TOML names it, e.g. my-sampler")
    new.add_argument("--out", type=Path, default=Path(), metavar="FOLDER", help="where to write it (here)")
    text = "look at this machine: versions, device, folders, data, weights, tracking store"
    _add_device(_added(commands, "doctor", "machine.doctor", text))
    text = "measure speed beside the machine's own rate, diffusers and torch-fidelity, into results/bench-<device>.md"
    bench = _added(commands, "bench", "machine.bench_all", text)
    text = "forward, training, sampling, decoding, features, distance, report, company (beside a busy process); default: these"
    bench.add_argument("sections", nargs="*", metavar="SECTION", help=f"{text}. By name alone: interval, breakdown")
    text = "that the sections share (540): lines have fewer turns then, and the last ones none"
    bench.add_argument("--budget", type=float, default=540.0, metavar="SECONDS", help=text)
    _add_device(bench)


def _added(commands: Any, name: str, work: str, text: str) -> argparse.ArgumentParser:
    """A parser for the command; `commands` is argparse's action, whose class is private."""
    examples = "\n".join(f"  replicate {example}" for example in EXAMPLES[work])
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=text,
        description=text,
        epilog=f"for example:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(work=work)
    parser.add_argument("--quiet", action="store_true", help="no progress")
    if work in TABLES:
        parser.add_argument(
            "--all", action="store_true", help="whole tables on a terminal too: wider and longer than it is"
        )
    if work in AS_JSON:
        parser.add_argument("--json", action="store_true", help="the same for a program")
    return parser


def _add_experiment(parser: argparse.ArgumentParser, profile: str = "cpu") -> None:
    parser.add_argument("experiment", help="a name in experiments/, or the path of a TOML file")
    _add_profile(parser, profile)
    _add_set(parser, "one key of the profile")


def _add_experiments_chosen(parser: argparse.ArgumentParser) -> None:
    text = "a name in experiments/, or the path of a TOML file"
    parser.add_argument("experiments", nargs="+", metavar="EXPERIMENT", help=text)
    _add_profile(parser)
    _add_set(parser, "one key of the profile")
    text = "only the row of this label, and its first stage; may be repeated"
    parser.add_argument("--row", action="append", help=text)
    text = "only rows with this value in this column, e.g. sampling.steps=20; may be repeated"
    parser.add_argument("--only", action="append", default=[], type=_pair, metavar="KEY=VALUE", help=text)


def _add_profile(parser: argparse.ArgumentParser, profile: str | None = "cpu") -> None:
    """With None, the command sees whether one was named: it may be about images, which have none."""
    parser.add_argument("--profile", default=profile, help=f"of the experiment; by default {profile or 'cpu'}")


def _add_set(parser: argparse.ArgumentParser, what: str) -> None:
    text = f"change {what}; may be repeated"
    parser.add_argument("--set", action="append", default=[], type=_pair, metavar="a.b=c", help=text)


def _pair(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise InputError(f"{text}: write it as key=value, e.g. --set protocol.n=500")
    return key, value


def _add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--device",
        default="auto",
        help="auto, cpu or cuda; cuda+replay compiles nothing, cuda+eager records nothing either",
    )
