"""Weights that a user has: a published network or first stage becomes a recipe's checkpoint, as if it had been trained.

Files are safetensors, or folders as diffusers saves them; the published pickles have to be converted first, since nothing
is unpickled here. Weights under our own names are taken as they are; else the `published_weights` module beside the part's
own (see layers/weights.py) has the spelling, which is seen from the tensors' names. Every tensor must find its place.
"""

import importlib
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from replication.datasets.dataset import Dataset
from replication.files import file_sha256, locked
from replication.harness.workplace import Workplace
from replication.layers.weights import Published, Weights, under_our_names
from replication.registry import AUTOENCODERS, MODELS, Registry
from replication.settings import Part
from replication.training.data import encoder_sha256, images_of
from replication.training.first_stage import FirstStage
from replication.training.recipe import Recipe
from replication.training.snapshots import ENCODER, Snapshots
from replication.training.train import NetworkState
from replication.training.train_first_stage import FirstStageState, measure_scale
from replication.types import InputError

IN_FOLDER = "diffusion_pytorch_model.safetensors"  # diffusers' name


def published() -> list[Published]:
    """Every published file in the tables of the networks' and first stages' folders, in this package and in others."""
    parts = [(registry, name) for registry in (MODELS, AUTOENCODERS) for name in registry.names()]
    tables = {module.__name__: module for registry, name in parts if (module := _beside(registry, name)) is not None}
    return [file for name in sorted(tables) for file in tables[name].WEIGHTS]


def _beside(registry: Registry, name: str) -> ModuleType | None:
    """The module `published_weights` in the part's folder, where there is one."""
    package = registry.get(name).__module__.rpartition(".")[0]
    module = f"{package}.published_weights"
    return importlib.import_module(module) if package and find_spec(module) else None


def under_its_names(registry: Registry, part: Part, network: nn.Module, path: Path) -> Weights:
    """The tensors in `path` as the parameters of the part's network; raises InputError where they are not all of them."""
    weights = read_weights(path)
    if dict(network.named_parameters()).keys() <= weights.keys() <= network.state_dict().keys():
        return under_our_names(weights, (), network, str(path))
    module = _beside(registry, part.name)
    known = [spelling for spelling in module.SPELLINGS if isinstance(network, spelling.of)] if module else []
    for spelling in known:
        if any(name.startswith(spelling.begins) for name in weights):
            return spelling.convert(weights, network)
    named = ", ".join(f"{spelling.begins}*" for spelling in known) or "none"
    raise InputError(f"{path}: no published spelling of {registry.kind} {part} (tensors would be named: {named})")


def give_network(recipe: Recipe, path: Path, place: Workplace) -> Path:
    """Make the weights in `path` the checkpoint of the recipe, and return that file; they are raw and average in one.

    Its first stage must be there already: a network for the latents of another encoder is refused later by its SHA-256.
    Raises InputError for a file that holds no weights of this network, RunError where the checkpoint can't be written.
    """
    network, encoder, stage = recipe.build_network(), None, recipe.first_stage
    network.load_state_dict(under_its_names(MODELS, recipe.network, network, path), strict=False)
    if stage is not None:
        dataset = recipe.build_dataset()
        if not place.stage_snapshots(stage, dataset).found(stage.training.steps):
            raise InputError(
                f"first stage {stage.name!r} of this row is not there yet: give it too, or train it by a run"
            )
        encoder = encoder_sha256(place.autoencoder(stage, dataset)[0])
    notes = {NetworkState.kind: recipe.model_dump(), ENCODER: encoder}
    return _give(network, place.snapshots(recipe), recipe.training.steps, path, notes, place)


def give_first_stage(stage: FirstStage, dataset: Dataset, path: Path, place: Workplace) -> Path:
    """Make the weights in `path` the first stage of a dataset, likewise; the scale is measured where it is to be."""
    autoencoder = stage.build_autoencoder()
    weights = under_its_names(AUTOENCODERS, stage.autoencoder, autoencoder, path)
    autoencoder.to(place.device).load_state_dict(weights, strict=False)
    if autoencoder.scaling == "std":
        measure_scale(autoencoder, images_of(dataset, stage.training, place.device), stage.training)
    snapshots, notes = place.stage_snapshots(stage, dataset), {FirstStageState.kind: stage.model_dump()}
    return _give(autoencoder, snapshots, stage.training.steps, path, notes, place)


def _give(
    network: nn.Module, snapshots: Snapshots, steps: int, path: Path, notes: Mapping[str, Any], place: Workplace
) -> Path:
    """Nothing that was trained or given is written over: rows may have been measured with it."""
    with locked(place.state / "locks" / snapshots.key, f"training {snapshots.key[:12]}"):
        if (target := snapshots.after(steps)).exists():
            raise InputError(
                f"{target}: there is a checkpoint already; move it away, and its rows with it, to give another"
            )
        return snapshots.give(network, steps, file_sha256(_file(path)), notes)


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, or of a folder that holds one under diffusers' name; raises InputError."""
    file = _file(path)
    if not file.is_file():
        raise InputError(f"{file}: there is no such file")
    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{file}: not a readable safetensors file ({error}); a published pickle must be converted first"
        ) from error


def _file(path: Path) -> Path:
    return path / IN_FOLDER if path.is_dir() else path
