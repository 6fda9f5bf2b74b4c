"""Published first stages under our names: diffusers' `AutoencoderKL` and `VQModel`, and the original checkpoints.

Neither holds a scale: the autoencoder that takes the weights is built with the scaling they were published with.
"""

import re
from collections.abc import Mapping

from torch import Tensor

from replication.layers.weight_names import DIFFUSERS_BLOCKS, Shapes, highest, under_our_names
from replication.ldm.autoencoder_networks import Levels
from replication.ldm.kl import KLAutoencoder
from replication.ldm.trained import TrainedAutoencoder
from replication.ldm.vq import VQAutoencoder

_DIFFUSERS = ((r"^quantize\.embedding\.", "codebook."), *DIFFUSERS_BLOCKS)

_COMPVIS = (
    (r"^quantize\.embedding\.", "codebook."),
    (r"\.mid\.block_([12])\.", r".middle\1."),
    (r"\.mid\.attn_1\.", ".middle_attention."),
    (r"\.(down|up)\.(\d+)\.\1sample\.conv\.", r".\1sample.\2."),
    (r"\.(down|up)\.(\d+)\.block\.", r".\1.\2.blocks."),
    (r"\.(down|up)\.(\d+)\.attn\.", r".\1.\2.attentions."),
    (r"\.nin_shortcut\.", ".shortcut."),
    (r"(attentions?\.(?:\d+\.)*)proj_out\.", r"\1out."),
)
_FIRST_STAGE = "first_stage_model."


def autoencoder_from_diffusers(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of a diffusers `AutoencoderKL` or `VQModel` as one of ours; tensors are not copied.

    The shapes tell which autoencoder it is, and every tensor of it must be there. Raises InputError, naming a tensor,
    where one is missing, unexpected or of another shape.
    """
    return under_our_names(weights, _DIFFUSERS, _described, "diffusers", "LDM first stage")


def autoencoder_from_compvis(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The `state_dict` of an original checkpoint, of a first stage or of a whole LDM, as one of ours.

    Of a whole LDM the tensors under `first_stage_model.` are taken; the loss's own networks (`loss.`) are left. Raises
    InputError as autoencoder_from_diffusers does.
    """
    whole = any(name.startswith(_FIRST_STAGE) for name in weights)
    mine = {
        name.removeprefix(_FIRST_STAGE): t for name, t in weights.items() if name.startswith(_FIRST_STAGE) or not whole
    }
    mine = {name: t for name, t in mine.items() if not name.startswith("loss.")}
    coarsest = max((int(m[1]) for name in mine if (m := re.match(r"decoder\.up\.(\d+)\.", name))), default=0)
    counted = {_from_coarse_to_fine(name, coarsest): _linear(name, tensor) for name, tensor in mine.items()}
    return under_our_names(counted, _COMPVIS, _described, "CompVis", "LDM first stage")


def _from_coarse_to_fine(name: str, coarsest: int) -> str:
    """The original decoder numbers its levels by their factor, ours in the order they are run."""
    return re.sub(r"^(decoder\.up\.)(\d+)", lambda m: f"{m[1]}{coarsest - int(m[2])}", name)


def _linear(name: str, tensor: Tensor) -> Tensor:
    """The original attention's 1x1 convolutions as the linear layers that they are."""
    convolution = re.search(r"\.attn(_1|\.\d+)\.(q|k|v|proj_out)\.weight$", name) and tensor.shape[2:] == (1, 1)
    return tensor[:, :, 0, 0] if convolution else tensor


def _described(shapes: Shapes) -> TrainedAutoencoder:
    """The autoencoder whose levels, blocks, widths and attentions these tensors have."""
    width, image_channels = shapes["encoder.conv_in.weight"][:2]
    count = 1 + highest(shapes, r"encoder\.down\.(\d+)\.")
    levels = Levels(
        width,
        tuple(shapes[f"encoder.down.{i}.blocks.0.conv1.weight"][0] // width for i in range(count)),
        1 + highest(shapes, r"encoder\.down\.0\.blocks\.(\d+)\."),
        groups=1,
        attention=tuple(2**i for i in range(count) if f"encoder.down.{i}.attentions.0.q.weight" in shapes),
    )
    latent_channels = shapes["post_quant_conv.weight"][1]
    if "codebook.weight" in shapes:
        return VQAutoencoder(image_channels, levels, latent_channels, shapes["codebook.weight"][0])
    return KLAutoencoder(image_channels, levels, latent_channels)
