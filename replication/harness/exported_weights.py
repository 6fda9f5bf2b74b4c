"""A row's weights as a folder of diffusers: network, first stage, scheduler, a pipeline where one takes these, and a card.

    FOLDER/model_index.json                       of a pipeline, where diffusers has one that draws what the row draws
    FOLDER/unet, transformer                      the network, in float32
    FOLDER/vae or vqvae, scheduler                the first stage; what a scheduler has to know of the training
    FOLDER/README.md                              the card (harness/model_card.py)

What is written was loaded back from the folder and answers like ours, to layers/as_diffusers.py's tolerance, or it is refused.
"""

import inspect
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from replication.checkpoint import load_metadata
from replication.download import RECORD, data_home
from replication.files import unwritable, write_atomically
from replication.harness.fetched_weights import beside
from replication.harness.jobs.cell import Cell
from replication.harness.journal import Record
from replication.harness.model_card import model_card
from replication.harness.workplace import Workplace
from replication.layers.as_diffusers import adjust, as_diffusers, check_equal, imported, spelling_of
from replication.layers.weights import Spelling
from replication.ldm.autoencoder import Autoencoder
from replication.registry import AUTOENCODERS, MODELS, SAMPLERS, Registry
from replication.training.diffusers_options import scheduler_of
from replication.training.snapshots import GIVEN
from replication.types import InputError

CARD = "README.md"
SIDE = 8  # of latents that first stages are compared on
OWNERS = "not stated: it is the owner's to state"


class Pipeline(NamedTuple):
    """A pipeline of diffusers': of which network and first stage, what draws, the scheduler it was written for, and its
    name for the first stage."""

    network: str
    stage: str
    name: str
    draws: str
    scheduler: str = "DDIMScheduler"
    at: str = "vae"


PIPELINES = (
    Pipeline("UNet2DModel", "", "DDPMPipeline", "batch_size=4", "DDPMScheduler"),
    Pipeline("UNet2DModel", "VQModel", "LDMPipeline", "batch_size=4", at="vqvae"),
    Pipeline("UNet2DModel", "AutoencoderKL", "LDMPipeline", "batch_size=4", at="vqvae"),
    Pipeline("DiTTransformer2DModel", "AutoencoderKL", "DiTPipeline", "class_labels=[0, 1], guidance_scale=1.0"),
)
NULL = 1000  # the label that DiTPipeline takes for none, whatever the network's is


def export_diffusers(
    cell: Cell, row: Record | None, papers: Sequence[str], place: Workplace, folder: Path
) -> list[str]:
    """Write the folder, new or empty, and return what is to be said of it; the place is on the CPU.

    Raises InputError for weights that are not here, for what diffusers cannot say, for a folder that holds something, and
    where diffusers is not installed; RunError where it can't be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: there is something already; the weights take a new or an empty folder")
    recipe = cell.recipe
    if not (snapshots := place.snapshots(recipe)).found(recipe.training.steps):
        raise InputError(
            f"{cell.title}: its weights are not here; `replicate run {cell.experiment} --profile {cell.profile}` trains them, "
            "`replicate weights add` takes published ones"
        )
    path = snapshots.after(recipe.training.steps)
    loaded = place.model(recipe, cell.protocol.ema, path)
    network, stage = cast(nn.Module, loaded.denoiser.network), loaded.autoencoder if recipe.first_stage else None
    spelling = _spelling(MODELS, recipe.network.name, network)
    model = as_diffusers(network, spelling)
    of_stage = None
    if stage is not None and recipe.first_stage:
        of_stage = as_diffusers(stage, _spelling(AUTOENCODERS, recipe.first_stage.autoencoder.name, stage))
    pipeline, sampler = _pipeline(model, of_stage), cell.sampling.sampler
    models = {"transformer" if type(model).__name__ == "DiTTransformer2DModel" else "unet": model}
    models |= {} if of_stage is None else {pipeline.at if pipeline else "vae": of_stage}
    variance = str({**SAMPLERS.defaults(sampler.name), **sampler.options}.get("variance", "fixed-small"))
    scheduler, says = scheduler_of(recipe.meaning(), variance, cell.sampling.clip != "none")
    if pipeline and scheduler == "DDPMScheduler":
        scheduler = pipeline.scheduler
    notes = _notes(network, spelling, pipeline)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder.parent, prefix=".export-") as unfinished:
            scratch = Path(unfinished) / folder.name
            _write(models, scheduler, says, pipeline, scratch)
            at = list(models)
            _check_network(network, spelling, scratch / at[0], recipe.latent_shape, recipe.null(2, "cpu"))
            if stage is not None:
                _check_stage(stage, scratch / at[1])
            files = {str(file.relative_to(scratch)): file for file in sorted(scratch.rglob("*.safetensors"))}
            load = _load(models, spelling, pipeline, cell.sampling.steps, notes)
            card = model_card(cell, row, papers, files, _licence(path), load, library="diffusers")
            write_atomically(scratch / CARD, card.encode())
            if folder.exists():
                folder.rmdir()
            scratch.rename(folder)
    except OSError as error:
        raise unwritable(folder, error) from error
    return notes


def _spelling(registry: Registry, name: str, network: nn.Module) -> Spelling:
    module = beside(registry, name)
    return spelling_of(network, module.SPELLINGS if module else ())


def _pipeline(network: Any, stage: Any) -> Pipeline | None:
    """Of a network and perhaps a first stage; a U-Net on labels has none, since its pipelines ask for no label."""
    of = (type(network).__name__, "" if stage is None else type(stage).__name__)
    labelled = of[0] == "UNet2DModel" and network.config.num_class_embeds
    return None if labelled else next((one for one in PIPELINES if (one.network, one.stage) == of), None)


def _write(
    models: Mapping[str, Any], scheduler: str, says: dict[str, Any], pipeline: Pipeline | None, folder: Path
) -> None:
    diffusers = imported()
    kind = getattr(diffusers, scheduler)
    known = inspect.signature(kind.__init__).parameters
    made = kind.from_config({key: value for key, value in says.items() if key in known})
    if pipeline:
        getattr(diffusers, pipeline.name)(**models, scheduler=made).save_pretrained(folder)
        return
    for part, model in models.items():
        model.save_pretrained(folder / part)
    made.save_pretrained(folder / "scheduler")


@torch.no_grad()
def _check_network(
    network: nn.Module, spelling: Spelling, folder: Path, shape: tuple[int, ...], null: Tensor | None
) -> None:
    """Raises InputError unless the model in the folder answers like ours; the second image without a label."""
    x, timestep = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0)), torch.tensor([3, 77])
    model, named = _loaded(folder), {}
    adjust(model, spelling)
    if null is not None:
        cond = null if null.is_floating_point() else null * torch.tensor([0, 1])
        named = {"encoder_hidden_states" if cond.is_floating_point() else "class_labels": cond}
    ours = network(x, timestep.float(), *named.values())
    check_equal(ours, model(x, timestep, **named).sample, f"network, {type(model).__name__}")


@torch.no_grad()
def _check_stage(stage: Autoencoder, folder: Path) -> None:
    """Likewise, of images and of their latents."""
    model, side = _loaded(folder), SIDE * stage.f
    generator, name = torch.Generator().manual_seed(0), type(model).__name__
    images = torch.rand(1, stage.image_channels, side, side, generator=generator) * 2 - 1
    scale = model.config.scaling_factor
    encoded, latents = model.encode(images), stage.encode(images)
    mode = encoded.latent_dist.mode() if name == "AutoencoderKL" else encoded.latents
    check_equal(latents, mode * scale, f"first stage, {name}, encoding")
    check_equal(stage.decode(latents), model.decode(latents / scale).sample, f"first stage, {name}, decoding")


def _loaded(folder: Path) -> Any:
    kind = json.loads((folder / "config.json").read_text(encoding="utf-8"))["_class_name"]
    return getattr(imported(), kind).from_pretrained(folder, low_cpu_mem_usage=False).eval()


def _notes(network: nn.Module, spelling: Spelling, pipeline: Pipeline | None) -> list[str]:
    """What a user of the folder has to know."""
    notes = ["diffusers' schedulers visit other times than this suite's spacings: the figures are this suite's own"]
    if spelling.adjusted:
        notes.append(
            "no option of this class says all of the function: the lines after loading do, without them it is another"
        )
    if pipeline is None:
        notes.append("no pipeline of diffusers' takes such parts: each is loaded by itself")
    elif pipeline.name == "DiTPipeline" and getattr(network, "classes", NULL) != NULL:
        notes.append(
            f"DiTPipeline guides by label {NULL}, here the null label is {network.classes}: guidance_scale stays 1"
        )
    return notes


def _load(
    models: Mapping[str, Any], spelling: Spelling, pipeline: Pipeline | None, steps: int, notes: Sequence[str]
) -> str:
    """Markdown: Python to be run beside the card, and the notes."""
    part = next(iter(models))
    if pipeline:
        names = [pipeline.name]
        lines = [f'pipeline = {pipeline.name}.from_pretrained(".")', f"model = pipeline.{part}"]
        last = [f"images = pipeline({pipeline.draws}, num_inference_steps={steps}).images"]
    else:
        names = [type(model).__name__ for model in models.values()]
        lines = [f'{at} = {type(of).__name__}.from_pretrained("{at}")' for at, of in models.items()]
        lines, last = [*lines, f"model = {part}"], []
    adjusted = spelling.adjusted.splitlines()
    code = "\n".join([f"from diffusers import {', '.join(sorted(names))}", "", *lines, *adjusted, *last])
    return f"```python\n{code}\n```\n\n" + "\n".join(f"- {note}" for note in notes)


def _licence(checkpoint: Path) -> str:
    """That of the published file which the weights are from, where it was fetched here; else it is the owner's to state."""
    given = load_metadata(checkpoint).get(GIVEN)
    for record in sorted((data_home() / "weights").glob(f"*/{RECORD}")) if given else ():
        stated = json.loads(record.read_text(encoding="utf-8"))
        if given in stated["sha256"].values():
            return str(stated["licence"])
    return OWNERS
