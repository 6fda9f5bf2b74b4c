"""Published weights on this machine: which there are, for which rows, and how they come here.

Each lies in a folder of its own under $REPLICATION_DATA/weights, as its publisher has the files; `fetched.json`, written last,
says that all of them are there. A file's address is downloaded; of a model on the Hub, what a network needs: its weights,
config.json and the scheduler's configuration, whose sizes and SHA-256 the Hub states; or its text encoders with their
tokenizers. HF_ENDPOINT and HF_TOKEN are heeded.
"""

import importlib
import os
import re
import zipfile
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from types import ModuleType

from replication.conditions.encoder_files import TOKENIZER_FILES
from replication.conditions.published_weights import encoder
from replication.download import RECORD, Remote, data_home, download
from replication.files import file_sha256, locked, replaced, require_space, unwritable, write_atomically
from replication.harness.experiment import load_experiment
from replication.harness.home import experiments
from replication.harness.jobs.cell import Cell, cells_of
from replication.layers.weight_files import PICKLES, SHARD, STEM, SUFFIX
from replication.layers.weights import HUB, Published
from replication.progress import Bar
from replication.registry import AUTOENCODERS, CLASSIFIERS, CONDITIONS, MODELS, Registry, listed, unknown
from replication.settings import canonical_json, content_key
from replication.training.recipe import Recipe
from replication.types import InputError, one_line

PROFILE = "paper"  # whose rows published weights are for
# options that follow from a row's other parts
FOLLOWING = {"resolution", "channels", "classes", "vocabulary", "length", "learned_variance", "dropout"}
CONFIGS = (".json", ".yaml", ".yml")
OF_TEXT = ("text_encoder", "tokenizer")  # beginnings of the folders of a pipeline that hold what reads text
CHUNK = 1 << 20


def published() -> list[Published]:
    """Every published file in the tables beside networks, first stages and what they are used with, in any package."""
    parts = [
        (registry, name) for registry in (MODELS, AUTOENCODERS, CONDITIONS, CLASSIFIERS) for name in registry.names()
    ]
    tables = {module.__name__: module for registry, name in parts if (module := beside(registry, name)) is not None}
    return [file for name in sorted(tables) for file in tables[name].WEIGHTS]


def beside(registry: Registry, name: str) -> ModuleType | None:
    """The module `published_weights` in the part's folder, where there is one."""
    package = registry.get(name).__module__.rpartition(".")[0]
    module = f"{package}.published_weights"
    return importlib.import_module(module) if package and find_spec(module) else None


def named(text: str) -> Published:
    """What a name of the tables, a Hub's id ("facebook/DiT-XL-2-256:transformer", of a part) or an address stands for."""
    known = {file.name: file for file in published()}
    if text in known:
        return known[text]
    if re.match(r"https?://", text):
        url = (
            text if text.startswith(HUB) or not re.search(r"huggingface\.co/[^/]+/[^/]+/?$", text) else text.rstrip("/")
        )
        if (model := url.removeprefix(HUB)) != url and model.count("/") == 1:
            return named(model)
        # the files of many models are called alike
        name = f"{content_key(text)[:8]}-{Remote(text, '').filename or 'weights'}"
        return Published(name, "", "", "official", text, "see there")
    if re.fullmatch(r"[\w.-]+/[\w.-]+(:[\w./-]+)?", text):
        model, _, folder = text.partition(":")
        name = text.replace("/", "--").replace(":", "--")
        return Published(name, "", "", "diffusers", f"{HUB}{model}", "see there", folder=folder)
    raise unknown("published weights", text, sorted(known))


def folder_of(file: Published) -> Path:
    """Where its files are, or will be."""
    return data_home() / "weights" / file.name


def is_here(file: Published) -> bool:
    """Whether all of it is."""
    return (folder_of(file) / RECORD).is_file()


def weights_in(file: Published) -> Path:
    """What of its folder holds the weights, for `replicate weights add`."""
    folder = folder_of(file) / file.folder
    return folder / file.file if file.file and (folder / file.file).is_file() else folder


def path_or_name(text: str, path: Path) -> Path:
    """The path, or where the published weights of that name are; raises InputError where they were not fetched."""
    if path.exists():
        return path
    if text not in (known := {file.name: file for file in published()}):
        raise InputError(f"{path}: there is no such file; {unknown('published weights', text, sorted(known))}")
    if not is_here(known[text]):
        raise InputError(f"{text}: these weights are not here yet: `replicate weights fetch {text}`")
    return weights_in(known[text])


def rows_of(file: Published) -> list[str]:
    """ "experiment: row" of each row of profile `paper` that may use it, first stages included."""
    of_stages = [f"{experiment}: first stage {name}" for experiment, _, name in (s.partition(":") for s in file.stages)]
    cells = _cells(tuple(experiments().items())) if file.dataset or in_place(file) else []
    uses = is_read_by if in_place(file) else lambda file, cell: fits(file, cell.recipe)
    of_cells = {f"{name}: {cell.label}": None for name, cell in cells if uses(file, cell)}
    return [*of_stages, *of_cells]


@cache
def _cells(files: tuple[tuple[str, Path], ...]) -> list[tuple[str, Cell]]:
    """By experiment, of these files by their names."""
    found = []
    for name, _ in files:
        try:
            cells = cells_of(load_experiment(name, {}, PROFILE), PROFILE, check=False)
        except InputError:  # it has no such profile, or is somebody's unfinished file
            continue
        found += [(name, cell) for cell in cells]
    return found


def fits(file: Published, recipe: Recipe) -> bool:
    """Whether these are weights of the recipe's network, trained as it says on its data and, where that is stated, as long."""
    network = recipe.network
    trained = (file.dataset, file.resolution, file.parameterization, file.schedule, file.objective)
    asked = (recipe.dataset.name, recipe.build_dataset().resolution, recipe.parameterization)
    return (
        (*asked, recipe.schedule.name, recipe.objective.name) == trained
        and MODELS.get(network.name) is MODELS.get(file.part)  # by whichever of its names
        and network.options.keys() <= FOLLOWING
        and file.steps in (0, recipe.training.steps)
    )


def in_place(file: Published) -> bool:
    """Whether it is read where it was fetched, and given to no row: text encoders, and classifiers that guide."""
    return file.part in CONDITIONS.names() or file.part in CLASSIFIERS.names()


def is_read_by(file: Published, cell: Cell) -> bool:
    """Whether it is what the cell's condition, or its guidance, names."""
    condition, guidance = cell.recipe.build_condition(), cell.sampling.guidance
    classifier = guidance.built_classifier() if guidance else None
    return file.name in (getattr(condition, "model", ""), getattr(classifier, "weights", ""))


def lacking(cell: Cell) -> Iterator[Published]:
    """What of that has to be fetched; raises InputError for a name that nothing is published under."""
    condition, guidance = cell.recipe.build_condition(), cell.sampling.guidance
    known = {file.name: file for file in published()}
    if condition is not None and cell.recipe.condition and (model := condition.lacking):
        yield known.get(model) or encoder(model, cell.recipe.condition.name)
    classifier = guidance.built_classifier() if guidance else None
    if classifier is not None and (name := classifier.lacking):
        yield named(name)


def size_of(file: Published) -> str:
    """As it is printed; "not stated" where nobody does before the download."""
    return f"{file.size / 1e6:,.0f} MB" if file.size else "the Hub states it" if file.hub else "not stated"


def remotes(file: Published) -> dict[str, Remote]:
    """What is downloaded, by its place in the folder; raises InputError where the Hub can't be asked or lacks the weights."""
    if not file.hub:
        name = file.file or Remote(file.url, "").filename or "weights"
        return {name: Remote(file.url, file.sha256, file.size)}
    import huggingface_hub  # slow
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    endpoint = os.environ.get("HF_ENDPOINT") or None
    token = huggingface_hub.get_token()
    try:
        tree = huggingface_hub.HfApi(endpoint=endpoint, token=token).list_repo_tree(file.hub, recursive=True)
        there = {entry.path: entry for entry in tree if isinstance(entry, huggingface_hub.RepoFile)}
    except (HfHubHTTPError, HFValidationError, OSError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{file.url}: the Hub does not list its files ({one_line(error)}); where it asks for a licence to be accepted, do "
            "that there and set HF_TOKEN. Files that you have: `replicate weights add EXPERIMENT --network PATH`"
        ) from error
    wanted = {}
    wanted_of = _of_text if file.part in CONDITIONS.names() else _wanted
    every = [file, *([file._replace(folder=file.also)] if file.also else [])]
    for path in (path for one in every for path in wanted_of(one, list(there))):
        entry = there[path]
        url = huggingface_hub.hf_hub_url(file.hub, path, endpoint=endpoint)
        wanted[path] = Remote(url, entry.lfs.sha256 if entry.lfs else "", entry.size, token or "")
    return wanted


def _wanted(file: Published, there: list[str]) -> Iterator[str]:
    """Of a model's files: the weights of the part meant, and what is said beside them."""
    inside = [path for path in there if str(PurePosixPath(path).parent) == (file.folder or ".")]
    names = {PurePosixPath(path).name: path for path in inside}
    chosen = _whole(names, STEM, SUFFIX) or _whole(names, STEM, ".bin")
    other = [name for name in names if name.endswith(SUFFIX)] or [name for name in names if name.endswith(PICKLES)]
    chosen = [file.file] if file.file in names else chosen or (other if len(other) == 1 else [])
    if not chosen:
        parts = sorted({str(PurePosixPath(path).parent) for path in there if path.endswith((SUFFIX, *PICKLES))})
        where = f"{file.url}, {file.folder}" if file.folder else file.url
        several = f"several weights there ({listed(sorted(other))})" if other else "no weights there"
        raise InputError(f"{where}: {several}; weights lie in: {', '.join(parts)}; say {file.hub}:FOLDER")
    yield from (names[name] for name in chosen)
    yield from (
        path
        for path in there
        if path in (names.get("config.json"), "scheduler_config.json", "scheduler/scheduler_config.json")
    )


def _whole(names: Iterable[str], stem: str, kind: str) -> list[str]:
    """Of the files of a folder, the weights of that name, in one file or in shards; those of other variants are left."""
    if f"{stem}{kind}" in names:
        return [f"{stem}{kind}"]
    found = [shard for name in names if name.endswith(kind) and (shard := SHARD.fullmatch(name))]
    shards = [shard[0] for shard in found if shard[1] == stem and not shard[3]]
    return [f"{stem}{kind}.index.json", *shards] if shards else []


def _of_text(file: Published, there: list[str]) -> Iterator[str]:
    """Of a model's files: its text encoders and tokenizers, in a pipeline's folders for them or all at the top.

    Of a condition that makes tokens alone, the tokenizer.
    """
    tokens = getattr(CONDITIONS.get(file.part), "tokens_alone", False)
    folders = sorted({path.partition("/")[0] for path in there if path.startswith(OF_TEXT) and "/" in path}) or ["."]
    of_tokenizer, found = {*TOKENIZER_FILES, "spiece.model", "config.json"}, 0
    for folder in folders:
        names = {PurePosixPath(path).name: path for path in there if str(PurePosixPath(path).parent) == folder}
        weights = [] if tokens else _whole(names, "model", SUFFIX)
        found += sum(name in TOKENIZER_FILES for name in names) if tokens else len(weights)
        yield from (names[name] for name in names if name in weights or name in of_tokenizer)
    yield from (path for path in there if path == "model_index.json")
    if not found:
        lacking = (
            f"tokenizer ({', '.join(TOKENIZER_FILES)})"
            if tokens
            else f"text encoder, whose weights are called model{SUFFIX}"
        )
        raise InputError(f"{file.url}: no {lacking} there")


def fetch(file: Published) -> Path:
    """Download what is missing of it, unpacked and checked, and return what holds the weights; it goes on where it stopped.

    Raises InputError where the network, the server or the content is not right; RunError where it can't be written.
    """
    folder = folder_of(file)
    with locked(folder.with_name(f".{folder.name}.lock"), f"weights {file.name}"):
        if is_here(file):
            return weights_in(file)
        wanted = remotes(file)
        have = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        require_space(folder, sum(remote.size or 0 for remote in wanted.values()) - have)
        for place, remote in wanted.items():
            way = (
                "its path is the option `model` or `weights` of what reads it"
                if in_place(file)
                else "`replicate weights add EXPERIMENT --network PATH`"
            )
            otherwise = f"a copy from elsewhere will do: {way} ({file.url})"
            download(remote, folder / place, otherwise)
            _unpack(folder / place)
        files = {
            str(path.relative_to(folder)): file_sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()
        }
        record = {"name": file.name, "url": file.url, "licence": file.licence, "sha256": files}
        write_atomically(folder / RECORD, canonical_json(record).encode())
    return weights_in(file)


def _unpack(archive: Path) -> None:
    """Put the weights and configurations of a ZIP in its place; a file of torch's is a ZIP too, and stays as it is."""
    if not zipfile.is_zipfile(archive):
        return
    with zipfile.ZipFile(archive) as opened:
        members = [member for member in opened.infolist() if not member.is_dir()]
        if any(member.filename.endswith("data.pkl") for member in members):
            return
        wanted = [member for member in members if member.filename.endswith((SUFFIX, *PICKLES, *CONFIGS))]
        if not wanted:
            raise InputError(f"{archive}: no weights in it, but {listed([member.filename for member in members[:3]])}")
        with Bar(sum(member.file_size for member in wanted), f"unpacking {archive.name}", "B", 0) as shown:
            for member in wanted:
                target = archive.with_name(PurePosixPath(member.filename).name)
                with replaced(target) as partial, opened.open(member) as source, open(partial, "wb") as out:
                    while chunk := source.read(CHUNK):
                        out.write(chunk)
                        shown.update(len(chunk))
    try:
        archive.unlink()
    except OSError as error:
        raise unwritable(archive, error) from error
