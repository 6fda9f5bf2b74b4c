"""Weights that others publish: where they are, how they are spelt, and how each tensor finds its place under our names.

A paper's folder holds a module `published_weights` with two tables: SPELLINGS, what brings each spelling of its networks
under our names, and WEIGHTS, the published files. `replicate weights` looks there, beside the part's own module, in this
package as in any other. Tensors do not say all of a network: a spelling also has the options that change what is computed
and the shape of no tensor, as diffusers states them in the config.json beside its weights.
"""

import re
from collections.abc import Callable, Mapping, Sequence, Sized
from typing import Any, Literal, NamedTuple, cast

from torch import Tensor, nn

from replication.layers.unet import Attention, Level, UNet
from replication.types import InputError

Weights = Mapping[str, Tensor]
Table = Sequence[tuple[str, str]]  # (regular expression, replacement), applied in their order


class Option(NamedTuple):
    """An option of diffusers' that changes what a network computes and the shape of no tensor."""

    default: object  # what it is where a config.json leaves it out
    ours: tuple[object, ...]  # the values that mean what our network computes; none where it cannot be said


# of each class of diffusers that computes what our network does, the first of which is written; a name that no such class
# has is of something that none of them computes
Options = Mapping[str, Mapping[str, Option]]


class Place(NamedTuple):
    """Where a tensor of others is under our names: all of ours, or one of its equal parts along the first axis."""

    name: str
    part: int = 0
    parts: int = 1


class Spelling(NamedTuple):
    """One way to write the weights of a kind of network, recognised by how some tensor's name begins.

    What is written again (layers/as_diffusers.py) has `shapes`, the options of its class that tensors show, and `place`, of a
    tensor by its name there. `adjusted`: Python that a loaded `model` takes to compute this, where no option says it.
    """

    of: type[nn.Module]
    name: Literal["official", "diffusers"]
    begins: str
    convert: Callable[[Weights, Any], dict[str, Tensor]]  # (weights, network) -> the network's state dict
    options: Callable[[Any], Options] | None = None  # of a network; None where nothing beside the weights states any
    remark: Callable[[Weights], str] = lambda _: ""  # what is to be said of how these weights are read
    shapes: Callable[[Any], Mapping[str, object]] | None = None
    place: Callable[[str], Place] | None = None
    adjusted: str = ""


class Published(NamedTuple):
    """A published file or folder, of the paper in whose folder the table is.

    url: of a file, or of a model on the Hub; of one that holds several, `folder` is the part meant, and `also` another one with
    weights of the same network. A row may use a network
    that was trained on its dataset and resolution, on its schedule and for its objective, to predict the same, and for as
    many steps where the source states them. stages: the first stages that these weights are, "experiment:name". size
    (bytes) and sha256 are left out where nobody states them: never measured on what was downloaded. The Hub states both for
    every file.
    """

    name: str  # as `replicate weights fetch` takes it
    part: str  # the name of the network or first stage, or of the condition that encodes with it
    what: str  # data, and what is particular
    spelling: Literal["official", "diffusers", "transformers"]
    url: str
    licence: str
    dataset: str = ""
    resolution: int = 0
    steps: int = 0
    schedule: str = "linear"
    objective: str = "simple"
    parameterization: str = "eps"
    stages: tuple[str, ...] = ()
    folder: str = ""
    also: str = ""
    file: str = ""  # what it is called, where the address does not say
    size: int | None = None
    sha256: str = ""

    @property
    def hub(self) -> str:
        """The model's id on the Hub; empty for a file from elsewhere."""
        return self.url.removeprefix(HUB) if self.url.startswith(HUB) else ""


HUB = "https://huggingface.co/"


# diffusers' words for the levels and blocks that DDPM's U-Net and LDM's autoencoders share, wherever in the network they
# sit. Files from before diffusers 0.15 spell the attention otherwise (query, proj_attn); both spellings are read.
DIFFUSERS_BLOCKS: Table = (
    (r"(^|\.)conv_norm_out\.", r"\1norm_out."),
    (r"(^|\.)mid_block\.resnets\.0\.", r"\1middle1."),
    (r"(^|\.)mid_block\.resnets\.1\.", r"\1middle2."),
    (r"(^|\.)mid_block\.attentions\.0\.", r"\1middle_attention."),
    (r"(^|\.)(down|up)_blocks\.(\d+)\.\2samplers\.0\.conv\.", r"\1\2sample.\3."),
    (r"(^|\.)(down|up)_blocks\.(\d+)\.resnets\.", r"\1\2.\3.blocks."),
    (r"(^|\.)(down|up)_blocks\.(\d+)\.attentions\.", r"\1\2.\3.attentions."),
    (r"\.conv_shortcut\.", ".shortcut."),
    (r"(attentions?\.(?:\d+\.)*)group_norm\.", r"\1norm."),
    (r"(attentions?\.(?:\d+\.)*)(?:to_q|query)\.", r"\1q."),
    (r"(attentions?\.(?:\d+\.)*)(?:to_k|key)\.", r"\1k."),
    (r"(attentions?\.(?:\d+\.)*)(?:to_v|value)\.", r"\1v."),
    (r"(attentions?\.(?:\d+\.)*)(?:to_out\.0|proj_attn)\.", r"\1out."),
)

# those of a transformer over a context, the same in the official code; SD 2's and SDXL's linear projections are 1x1
# convolutions here
TRANSFORMER: Table = (
    (r"\.transformer_blocks\.", ".blocks."),
    (r"\.attn1\.", ".self_attention."),
    (r"\.attn2\.", ".cross_attention."),
    (r"\.ff\.net\.0\.proj\.", ".feed_forward.expand."),
    (r"\.ff\.net\.2\.", ".feed_forward.contract."),
    (r"attention\.to_(q|k|v)\.", r"attention.\1."),
    (r"attention\.to_out\.0\.", "attention.out."),
)

# and those that only a U-Net has; what is named a sampler and is no convolution is a block
_DIFFUSERS_UNET: Table = (
    (r"^add_embedding\.linear_1\.", "added.first."),
    (r"^add_embedding\.linear_2\.", "added.second."),
    (r"^(down|up)_blocks\.(\d+)\.\1samplers\.0\.(?!conv\.)", r"\1sample.\2."),
    *TRANSFORMER,
    (r"^class_embedding\.", "label."),
    (r"^time_embedding\.linear_1\.", "embed.0."),
    (r"^time_embedding\.linear_2\.", "embed.2."),
    (r"\.time_emb_proj\.", ".embed."),
    *DIFFUSERS_BLOCKS,
)

# and the words of DDIM's code, in which the official DDPM weights were carried from TensorFlow, and of LDM's first stages
LEVELS: Table = (
    (r"(^|\.)mid\.block_([12])\.", r"\1middle\2."),
    (r"(^|\.)mid\.attn_1\.", r"\1middle_attention."),
    (r"(^|\.)(down|up)\.(\d+)\.\2sample\.conv\.", r"\1\2sample.\3."),
    (r"(^|\.)(down|up)\.(\d+)\.block\.", r"\1\2.\3.blocks."),
    (r"(^|\.)(down|up)\.(\d+)\.attn\.", r"\1\2.\3.attentions."),
    (r"\.nin_shortcut\.", ".shortcut."),
    (r"(attentions?\.(?:\d+\.)*)proj_out\.", r"\1out."),
)


def as_run(weights: Weights, levels: int) -> dict[str, Tensor]:
    """Weights that LEVELS names, their levels on the way up counted as they are run, as here, and not by their factor.

    Their attention's 1x1 convolutions are linear layers here.
    """
    mine = {}
    for name, tensor in weights.items():
        own = re.sub(r"((?:^|\.)up\.)(\d+)", lambda m: f"{m[1]}{levels - 1 - int(m[2])}", name)
        linear = ".attn" in own and tensor.shape[2:] == (1, 1)
        mine[own] = tensor[:, :, 0, 0] if linear else tensor
    return mine


def renamed(name: str, table: Table) -> str:
    """The name after every pattern of the table."""
    for pattern, replacement in table:
        name = re.sub(pattern, replacement, name)
    return name


def under_our_names(weights: Weights, table: Table, network: nn.Module, source: str) -> dict[str, Tensor]:
    """The network's state dict of these tensors, which are not copied; `source` is a word for messages, "diffusers".

    Buffers may be missing. Raises InputError, naming a tensor, where a parameter is missing, and where a tensor is
    unexpected, of another shape, or there twice.
    """
    theirs = {renamed(name, table): name for name in weights}
    if len(theirs) < len(weights):
        double = next(name for name in weights if theirs[renamed(name, table)] != name)
        raise InputError(
            f"weights from {source}: {double!r} and {theirs[renamed(double, table)]!r} are the same tensor"
        )
    expected, parameters = network.state_dict(), dict(network.named_parameters())
    for name, tensor in expected.items():
        if name in theirs and (shape := weights[theirs[name]].shape) != tensor.shape:
            found = f"{tuple(shape)}, not {tuple(tensor.shape)}"
            raise InputError(f"weights from {source}: {theirs[name]!r} has shape {found}")
        if name in parameters and name not in theirs:
            stem = name.rpartition(".")[0]
            beside = [f", beside {other!r}" for own, other in theirs.items() if own.rpartition(".")[0] == stem]
            missing = f"nothing there for {name!r} of our network, of shape {tuple(tensor.shape)}"
            raise InputError(f"weights from {source}: {missing}{beside[0] if beside else ''}")
    for name in theirs.keys() - expected.keys():
        raise InputError(f"weights from {source}: {theirs[name]!r} has no place in our network")
    return {name: weights[theirs[name]] for name in expected if name in theirs}


def unet_options(network: UNet) -> Options:
    """Of a `UNet2DModel`, or of a `UNet2DConditionModel` where the network attends to a context."""
    eps, groups, shift = network.norm_out.eps, network.groups, "scale_shift" if network.scale_shift else "default"
    common = {
        "center_input_sample": Option(False, (False,)),
        "time_embedding_type": Option("positional", ("positional",)),
        "flip_sin_to_cos": Option(True, (network.cos_first,)),
        "freq_shift": Option(0, (0 if network.cos_first else 1,)),
        "act_fn": Option("silu", ("silu", "swish")),
        "norm_num_groups": Option(32, (groups,)),
        "norm_eps": Option(1e-5, (eps,)),
        "mid_block_scale_factor": Option(1, (1,)),
        "resnet_time_scale_shift": Option("default", (shift,)),
        "class_embed_type": Option(None, (None,)),
        "timestep_scale": Option(1.0, (network.timestep_scale,)),  # IDDPM's
        "time_width": Option(network.width, (network.time_width,)),  # ADM's at 512 pixels
    }
    if not network.resampling_blocks:
        common["downsample_padding"] = Option(1, (1 if network.pad_all_sides else 0,))
    split = {(m.q.in_features, m.heads) for m in network.modules() if isinstance(m, Attention)}
    if split:
        width = {channels // heads for channels, heads in split}  # of a head
        alone = (None,) if all(heads == 1 for _, heads in split) else ()
        heads = Option(8, (*alone, *(width if len(width) == 1 else ())))
        norm = Option(None, (groups, None))
        return {"UNet2DModel": {**common, "attention_head_dim": heads, "attn_norm_num_groups": norm}}
    plain = {name: Option(None, (None,)) for name in _NONE} | {name: Option(False, (False, None)) for name in _OFF}
    of_context = {
        "attention_head_dim": Option(8, _heads(network)),  # it is their number, under a wrong name
        "resnet_out_scale_factor": Option(1.0, (1,)),
        "attention_type": Option("default", ("default",)),
    }
    if network.added is not None:
        of_context["addition_embed_type"] = Option(None, ("text_time",))
        of_context["addition_time_embed_dim"] = Option(None, (network.added.NUMBER,))
    return {"UNet2DConditionModel": {**common, **plain, **of_context}}


def unet_shapes(network: UNet) -> dict[str, object]:
    """What a `UNet2DModel` or `UNet2DConditionModel` is built from besides those options."""
    context = network.encoder.width if network.encoder is not network.label and network.encoder else 0
    attention = "CrossAttn" if context else "Attn"
    # the blocks that resample by themselves say so in their names, and those with attention by an option
    plain = ("ResnetDown", "ResnetUp", "sampleBlock2D") if network.resampling_blocks else ("Down", "Up", "Block2D")
    down = [f"{attention}DownBlock2D" if attends else f"{plain[0]}{plain[2]}" for attends in network.attends]
    up = [f"{attention}UpBlock2D" if attends else f"{plain[1]}{plain[2]}" for attends in reversed(network.attends)]
    sizes = {
        "sample_size": network.resolution,
        "in_channels": network.in_channels,
        "out_channels": network.conv_out.out_channels,
        "block_out_channels": [network.width * multiplier for multiplier in network.multipliers],
        "layers_per_block": network.blocks,
        "down_block_types": down,
        "up_block_types": up,
        "num_class_embeds": None if network.label is None else len(network.label.weight),
    }
    if context:
        return {**sizes, "cross_attention_dim": context, "transformer_layers_per_block": _depth(network)}
    resampling = "resnet" if network.resampling_blocks else "conv"
    return {**sizes, "downsample_type": resampling, "upsample_type": resampling}


def _depth(network: UNet) -> int | list[int]:
    """Blocks of each spatial transformer: one number, or a list where the levels' differ."""
    middle = len(cast(Sized, network.middle_attention.blocks))
    levels = cast(Sequence[Level], network.down)
    found = [len(cast(Sized, level.attentions[0].blocks)) if level.attends else 1 for level in levels]
    alike = all(depth == middle for depth, level in zip(found, levels, strict=True) if level.attends)
    return middle if alike else found


_NONE = (
    "num_attention_heads", "addition_embed_type", "encoder_hid_dim_type", "time_embedding_act_fn", "timestep_post_act",
    "time_cond_proj_dim", "cross_attention_norm",
)  # fmt: skip
_OFF = (
    "only_cross_attention", "mid_block_only_cross_attention", "dual_cross_attention", "class_embeddings_concat",
    "resnet_skip_time_act",
)  # fmt: skip


def _heads(network: UNet) -> tuple[object, ...]:
    """How many each level of a network with a context has: one number, or a list where they differ."""

    def of(part: nn.Module) -> list[int]:
        return [heads for m in part.modules() if isinstance(heads := getattr(m, "heads", None), int)]

    found, middle = {*of(network.down), *of(network.up)}, of(network.middle_attention)[0]
    # of a head, the same everywhere unless all have so many
    channels = network.width * network.multipliers[-1] // middle
    alike, levels = found <= {middle}, zip(network.multipliers, network.attends, strict=True)
    by_level = [middle if alike and attends else network.width * m // channels for m, attends in levels]
    return (middle, by_level) if alike else (by_level,)  # a level that does not attend may state any


def place_by(table: Table) -> Callable[[str], Place]:
    """The places in a spelling that differs from ours in names alone."""
    return lambda name: Place(renamed(name, table))


def by_table(table: Table) -> Callable[[Weights, nn.Module], dict[str, Tensor]]:
    """The conversion of a spelling of diffusers that differs from ours in names alone; raises as under_our_names does."""
    return lambda weights, network: under_our_names(weights, table, network, "diffusers")


def projections(weights: Weights) -> Weights:
    """With linear layers around the transformers as the 1x1 convolutions that they are, which is a view."""
    linear = [name for name, t in weights.items() if re.search(r"\.proj_(in|out)\.weight$", name) and t.ndim == 2]
    return {**weights, **{name: weights[name][:, :, None, None] for name in linear}}


def unet_from_diffusers(weights: Weights, network: UNet) -> dict[str, Tensor]:
    """The state dict of a `UNet2DModel` or `UNet2DConditionModel` as one of this network; raises as under_our_names does."""
    return under_our_names(projections(weights), _DIFFUSERS_UNET, network, "diffusers")


DIFFUSERS_UNET = Spelling(
    UNet,
    "diffusers",
    "down_blocks.",
    unet_from_diffusers,
    unet_options,
    shapes=unet_shapes,
    place=place_by(_DIFFUSERS_UNET),
)
