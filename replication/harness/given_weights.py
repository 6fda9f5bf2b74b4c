"""Weights that a user has: a published network or first stage becomes a recipe's checkpoint, as if it had been trained.

Weights under our own names are taken as they are; else the `published_weights` module beside the part's own (see
layers/weights.py) has the spelling, which is seen from the tensors' names. Every tensor must find its place, and hold
finite numbers. What is stated beside the weights is compared with the recipe (training/diffusers_options.py).

`--weights auto`: the published weights that rows lack, found by what the rows say, fetched and given to them.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from replication.checkpoint import metadata_of_ours
from replication.datasets.dataset import Dataset
from replication.files import locked
from replication.harness.fetched_weights import beside, fetch, fits, in_place, is_here, lacking, published
from replication.harness.jobs.cell import Cell
from replication.harness.workplace import Workplace
from replication.layers.conditioning import Conditional
from replication.layers.weight_files import SUFFIX, WeightFiles, not_finite, read_weights, weight_files, with_folder
from replication.layers.weights import Options, Published, Weights, under_our_names
from replication.registry import AUTOENCODERS, MODELS, Registry, listed
from replication.settings import Part
from replication.training.data import encoder_sha256, images_of
from replication.training.diffusers_options import CONFIG, check_options, check_stated
from replication.training.first_stage import FirstStage, without_memory
from replication.training.recipe import Recipe
from replication.training.snapshots import ENCODER, Snapshots
from replication.training.train import NetworkState
from replication.training.train_first_stage import FirstStageState, measure_scale
from replication.types import InputError


class Taken(NamedTuple):
    """Weights as the parameters of a network."""

    weights: Weights
    options: Options  # of the network in their spelling, that change no shape; none where no file states any
    remarks: list[str]


class Given(NamedTuple):
    """The checkpoint that was written, and what is to be said of the weights in it."""

    path: Path
    remarks: list[str]


def under_its_names(registry: Registry, part: Part, network: nn.Module, found: WeightFiles) -> Taken:
    """The tensors as the parameters of the part's network; raises InputError where they are not all of them."""
    path = found.files[0]
    if "key" in (header := metadata_of_ours(path)):
        name = f"{header['key']}-{header['step']}{SUFFIX}"
        raise InputError(
            f"{path}: a checkpoint of this suite: copy it into checkpoints/ of REPLICATION_HOME, called {name}"
        )
    weights = read_weights(found)
    module = beside(registry, part.name)
    known = [spelling for spelling in module.SPELLINGS if isinstance(network, spelling.of)] if module else []
    own, parameters = network.state_dict().keys(), dict(network.named_parameters()).keys()
    for prefix, short in _copies(weights):
        spelt = [one for one in known if any(name.startswith(one.begins) for name in short)]
        if (parameters <= short.keys() <= own) or (not spelt and short.keys() & own):
            taken: Weights = under_our_names(short, (), network, str(path))
            return _checked(taken, weights, {}, _which_copy(prefix, weights, path), path)
        if spelt:
            options = spelt[0].options(network) if spelt[0].options else {}
            remarks = [f"{path}: {said}" for said in [spelt[0].remark(short)] if said]
            try:
                taken = spelt[0].convert(short, network)
            except (InputError, RuntimeError, TypeError, ValueError, LookupError) as error:
                odd = f"a tensor of another shape than {spelt[0].name} weights have ({error})"  # of another number of axes
                reason = error if isinstance(error, InputError) else odd
                where = f"{path} and {found.beside}" if found.beside else path
                raise InputError(f"{where}: {reason}; {_elsewhere(registry, part, short)}") from error
            return _checked(taken, weights, options, [*_which_copy(prefix, weights, path), *remarks], path)
    named = ", ".join(f"{spelling.begins}*" for spelling in known) or "none"
    theirs = ", ".join(sorted(weights)[:3]) or "nothing"
    raise InputError(
        f"{path}: no published spelling of {registry.kind} {part} (tensors would be named: {named}), it holds {theirs}; "
        f"{_elsewhere(registry, part, weights)}"
    )


SMALLEST = 30_000_000  # numbers of a published network, or more


def _elsewhere(registry: Registry, part: Part, weights: Weights) -> str:
    """What such weights would fit, of the networks or first stages that published weights are known for."""
    fitting: list[str] = []
    if sum(tensor.numel() for tensor in weights.values()) < SMALLEST:
        return "they are of no published network, for none is as small"
    for name in sorted({file.part for file in published()} & set(registry.names()) - {part.name}):
        with without_memory():
            network = registry.build(name)
        module = beside(registry, name)
        for spelling in module.SPELLINGS if module else ():
            known = isinstance(network, spelling.of) and any(tensor.startswith(spelling.begins) for tensor in weights)
            with suppress(InputError, RuntimeError, TypeError, ValueError, LookupError):
                fitting += [name] if known and spelling.convert(weights, network) else []
    if fitting:
        return f"these are weights of {registry.kind} {listed(dict.fromkeys(fitting))}"
    return f"they fit no {registry.kind} of those that `replicate weights list` has either"


# how trainers call the copies of a network's weights in one file, in the order in which they are wanted: averages first
AVERAGED = ("ema", "ema_model", "model_ema", "ema_state_dict", "params_ema", "state_dict_ema")
RAW = ("state_dict", "model_state_dict", "model", "net_model", "online_model", "network", "net", "params")


def _copies(weights: Weights, prefix: str = "") -> Iterator[tuple[str, Weights]]:
    """(what was taken off the names, the tensors without it): as they are, then the copies that their names tell of.

    What all names begin with is no name either: "module.", of data parallelism, "_orig_mod.", of a compiled network.
    """
    yield prefix, weights
    first = {name.partition(".")[0] for name in weights if "." in name}
    for word in first if len(first) == 1 else [word for word in (*AVERAGED, *RAW) if word in first]:
        beginning = f"{word}."
        inside = {name.removeprefix(beginning): t for name, t in weights.items() if name.startswith(beginning)}
        yield from _copies(inside, prefix + beginning)


def _which_copy(prefix: str, weights: Weights, path: Path) -> list[str]:
    """What is to be said of the copy under that prefix, and of those that were left."""
    left = sorted({name.partition(".")[0] for name in weights if not name.startswith(prefix)})
    averages = [word for word in left if word in AVERAGED]
    if prefix and not left:
        return [f"{path}: {prefix!r} was taken off the name of every tensor"]
    if prefix.partition(".")[0] in AVERAGED:
        return [
            f"{path}: the averaged weights were taken, those under {prefix!r}, and what is under {listed(left)} was left"
        ]
    if averages:
        return [f"{path}: what is under {listed(averages)} are no weights of this network: the raw ones were taken"]
    return [f"{path}: of the tensors those under {prefix!r} were taken, and not {listed(left)}"] if prefix else []


def _checked(taken: Weights, weights: Weights, options: Options, remarks: list[str], path: Path) -> Taken:
    """Raises InputError for numbers that no network has, naming them as the file does."""
    if odd := [name for name, tensor in taken.items() if not (tensor.is_floating_point() or tensor.ndim == 0)]:
        raise InputError(
            f"{path}: the weights of {odd[0]!r} are {_type(taken[odd[0]])}, which are no weights as trained"
        )
    if not_finite(taken):
        raise InputError(f"{path}: {not_finite(weights)}")
    precisions = sorted({_type(tensor) for tensor in taken.values()} - {"float32"})
    said = [f"{path}: weights in {', '.join(precisions)} are kept as float32"] if precisions else []
    return Taken(taken, options, [*remarks, *said])


def _type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def give_network(recipe: Recipe, path: Path, place: Workplace) -> Given:
    """Make the weights in `path` the checkpoint of the recipe; they are raw and average in one.

    Its first stage must be there already: a network for the latents of another encoder is refused later by its SHA-256.
    Raises InputError for a file that holds no weights of this network, or weights of one that computes or means something
    else; RunError where the checkpoint can't be written.
    """
    encoder, stage, found = None, recipe.first_stage, weight_files(path)
    if (condition := recipe.build_condition()) is not None:
        condition.ensure(recipe.build_dataset())  # the key of the checkpoint holds its content
    with without_memory():  # its names and shapes: the weights go from file to file
        network = recipe.build_network()
    reader = network.encoder if isinstance(network, Conditional) else None
    found = with_folder(found, reader.beside if reader else "")
    taken = under_its_names(MODELS, recipe.network, network, found)
    remarks = check_options(found.folder, taken.options, recipe.meaning())
    if reader and found.beside:
        check_stated(found.beside / CONFIG, reader.stated)
    if stage is not None:
        dataset = recipe.build_dataset()
        if not place.stage_snapshots(stage, dataset).found(stage.training.steps):
            raise InputError(
                f"first stage {stage.name!r} of this row is not there yet: give it too, or train it by a run"
            )
        encoder = encoder_sha256(place.autoencoder(stage, dataset)[0])
    notes = {NetworkState.kind: recipe.model_dump(), ENCODER: encoder}
    snapshots, remarks = place.snapshots(recipe), [*taken.remarks, *remarks]
    return _give(taken.weights, network, snapshots, recipe.training.steps, found, notes, remarks, place)


def give_first_stage(stage: FirstStage, dataset: Dataset, path: Path, place: Workplace) -> Given:
    """Make the weights in `path` the first stage of a dataset, likewise; the scale is measured where it is to be."""
    found = weight_files(path)
    with without_memory():
        autoencoder = stage.build_autoencoder()
    taken = under_its_names(AUTOENCODERS, stage.autoencoder, autoencoder, found)
    remarks = check_options(found.folder, taken.options, None)
    tensors = taken.weights
    if autoencoder.scaling == "std":
        autoencoder = stage.build_autoencoder().to(place.device)
        autoencoder.load_state_dict(tensors, strict=False)
        measure_scale(autoencoder, images_of(dataset, stage.training, place.device), stage.training)
        remarks.append(f"the scale of latents is measured, {float(autoencoder.scale):.5g}, whatever {CONFIG} says")
        tensors = autoencoder.state_dict()
    snapshots, notes = place.stage_snapshots(stage, dataset), {FirstStageState.kind: stage.model_dump()}
    remarks = [*taken.remarks, *remarks]
    return _give(tensors, autoencoder, snapshots, stage.training.steps, found, notes, remarks, place)


def _give(
    weights: Weights,
    network: nn.Module,
    snapshots: Snapshots,
    steps: int,
    found: WeightFiles,
    notes: Mapping[str, Any],
    remarks: list[str],
    place: Workplace,
) -> Given:
    """Nothing that was trained or given is written over: rows may have been measured with it."""
    with locked(place.state / "locks" / snapshots.key, f"training {snapshots.key[:12]}"):
        if (target := snapshots.own(steps)).exists():
            raise InputError(
                f"{target}: there is a checkpoint already; move it away, and its rows with it, to give another"
            )
        written = snapshots.give(weights, network, steps, found.sha256(), notes)
    left = [f"{found.files[0]} was taken, and not {', '.join(found.left)}"] if found.left else []
    return Given(written, [*left, *remarks])


class Wanted(NamedTuple):
    """A published file for a cell's network, its first stage, or what it is conditioned or guided by."""

    file: Published
    cell: Cell
    of_stage: bool = False

    @property
    def title(self) -> str:
        stage = self.cell.recipe.first_stage
        if in_place(self.file):
            return self.file.part
        return f"first stage {stage.name}" if self.of_stage and stage else self.cell.label


def wanted_first(cells: Sequence[Cell]) -> list[Wanted]:
    """The text encoders and classifiers that these cells lack, each once: keys hold their content."""
    return list({file.name: Wanted(file, cell) for cell in cells for file in lacking(cell)}.values())


def wanted(cells: Sequence[Cell], place: Workplace) -> list[Wanted]:
    """What these cells lack besides, each once, a first stage before the networks in its latents.

    Raises InputError where no published file is for a row: of its network, data, meaning and steps.
    """
    found: dict[str, Wanted] = {}
    for cell in cells:
        recipe, stage, dataset = cell.recipe, cell.recipe.first_stage, cell.recipe.build_dataset()
        if stage is not None:
            snapshots = place.stage_snapshots(stage, dataset)
            if snapshots.key not in found and not snapshots.found(stage.training.steps):
                name = f"{cell.experiment}:{stage.name}"
                fitting = [file for file in published() if name in file.stages]
                found[snapshots.key] = Wanted(_chosen(fitting, f"first stage {stage.name}", cell), cell, True)
        snapshots = place.snapshots(recipe)
        if snapshots.key not in found and not snapshots.found(recipe.training.steps):
            fitting = [file for file in published() if not in_place(file) and fits(file, recipe)]
            found[snapshots.key] = Wanted(_chosen(fitting, f"network {recipe.network}", cell), cell)
    return list(found.values())


def _chosen(fitting: Sequence[Published], what: str, cell: Cell) -> Published:
    """One that is here already, or else the first of its paper's table."""
    if not fitting:
        steps = cell.recipe.training.steps
        raise InputError(
            f"--weights auto: no published weights are known for the {what} of row {cell.label!r} (on {cell.recipe.dataset}, "
            f"{steps:,} steps); `replicate weights list` has those that there are, `weights add` takes your own"
        )
    return next(filter(is_here, fitting), fitting[0])


def give(one: Wanted, place: Workplace) -> list[str]:
    """Fetch the file unless it is here, and make it the row's; returns what is to be said of it. Raises as these do."""
    path, recipe = fetch(one.file), one.cell.recipe
    said = f"{one.title}: {one.file.name}, {one.file.url}"
    if in_place(one.file):
        return [f"{said}; licence: {one.file.licence}"]
    if one.of_stage and recipe.first_stage:
        given = give_first_stage(recipe.first_stage, recipe.build_dataset(), path, place)
    else:
        given = give_network(recipe, path, place)
    return [said, *given.remarks]
