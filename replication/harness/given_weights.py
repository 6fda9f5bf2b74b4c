"""Weights that a user has: a published network or first stage becomes a recipe's checkpoint, as if it had been trained.

Files are safetensors, or folders as diffusers saves them; the published pickles have to be converted first, since nothing
is unpickled here. Which spelling the tensors have is seen from their names, and every tensor must find its place.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from replication.datasets.dataset import Dataset
from replication.ddpm import diffusers_weights as of_ddpm
from replication.ddpm.unet import UNet
from replication.dit import diffusers_weights as of_dit
from replication.dit import official_weights as of_dit_officially
from replication.dit.model import DiT
from replication.files import file_sha256, locked
from replication.harness.workplace import Workplace
from replication.ldm import published_weights as of_ldm
from replication.ldm.diffusers_autoencoder import autoencoder_from_compvis, autoencoder_from_diffusers
from replication.ldm.unet import UNet as LatentUNet
from replication.training.first_stage import FirstStage
from replication.training.recipe import Recipe
from replication.training.train import save_given_network
from replication.training.train_first_stage import save_given_first_stage
from replication.types import InputError

Weights = Mapping[str, Tensor]
Converter = Callable[[Weights, nn.Module], dict[str, Tensor]]
IN_FOLDER = "diffusion_pytorch_model.safetensors"  # diffusers' name

# For each of our networks: a name that tells a spelling by how it begins, and what reads that spelling.
CONVERTERS: dict[type[nn.Module], list[tuple[str, Converter]]] = {
    LatentUNet: [(of_ldm.PREFIX, of_ldm.from_official), ("down_blocks.", of_ldm.from_diffusers)],  # type: ignore[list-item]
    UNet: [("down_blocks.", lambda weights, _: of_ddpm.from_diffusers(weights))],
    DiT: [
        ("x_embedder.", of_dit_officially.from_official),  # type: ignore[list-item]
        ("transformer_blocks.", of_dit.from_diffusers),  # type: ignore[list-item]
    ],
}


def give_network(recipe: Recipe, path: Path, place: Workplace) -> Path:
    """Make the weights in `path` the checkpoint of the recipe, and return that file; they are raw and average in one.

    Its first stage must be there already: what was trained on other latents is refused later by its SHA-256. Raises
    InputError for a file that holds no weights of this network, RunError where the checkpoint can't be written.
    """
    network, weights = recipe.build_network(), read_weights(path)
    converters = next((of for kind, of in CONVERTERS.items() if type(network) is kind), [])
    convert = next((of for start, of in converters if any(name.startswith(start) for name in weights)), None)
    if convert is None:
        known = ", ".join(f"{start}..." for start, _ in converters) or "none"
        raise InputError(f"{path}: no published spelling of network {recipe.network} (tensors would be named: {known})")
    network.load_state_dict(convert(weights, network))
    of_first_stage = None
    if recipe.first_stage is not None:
        stage = place.first_stage_path(recipe.first_stage, recipe.build_dataset())
        if not stage.is_file():
            raise InputError(
                f"first stage {recipe.first_stage.name!r} of this row is not there yet: give it too, or train it by a run"
            )
        of_first_stage = file_sha256(stage)
    target = place.checkpoint_path(recipe)
    with locked(place.state / "locks" / target.stem, f"checkpoint {target.stem[:12]}"):
        _require_free(target)
        save_given_network(recipe, network, target, file_sha256(_file(path)), of_first_stage)
    return target


def give_first_stage(stage: FirstStage, dataset: Dataset, path: Path, place: Workplace) -> Path:
    """Make the weights in `path` the first stage of a dataset, likewise."""
    weights = read_weights(path)
    read = autoencoder_from_diffusers if any(".down_blocks." in name for name in weights) else autoencoder_from_compvis
    converted, target = read(weights), place.first_stage_path(stage, dataset)
    with locked(place.state / "locks" / target.stem, f"first stage {stage.name}"):
        _require_free(target)
        save_given_first_stage(stage, dataset, converted, target, file_sha256(_file(path)), place.device)
    return target


def _require_free(target: Path) -> None:
    """Nothing that was trained or given is written over: rows may have been measured with it."""
    if target.exists():
        raise InputError(
            f"{target}: there is a checkpoint already; move it away, and its rows with it, to give another"
        )


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
