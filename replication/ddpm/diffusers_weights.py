"""Published weights: the DDPM U-Nets on the Hugging Face Hub (google/ddpm-cifar10-32 and its siblings), under our names.

Their files say `down_blocks.1.resnets.0.conv1.weight` where ours say `down.1.blocks.0.conv1.weight`; the tensors are the
same.
"""

from collections.abc import Mapping

from torch import Tensor

from replication.ddpm.unet import UNet
from replication.layers.weight_names import DIFFUSERS_UNET, Shapes, highest, under_our_names


def from_diffusers(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of a diffusers `UNet2DModel` as one that `UNet.load_state_dict` takes; tensors are not copied.

    The shapes tell which UNet it is, and every tensor of that network must be there. Raises InputError, naming a tensor,
    where one is missing, unexpected or of another shape.
    """
    return under_our_names(weights, DIFFUSERS_UNET, _described, "diffusers", "DDPM U-Net")


def _described(shapes: Shapes) -> UNet:
    """The network whose levels, blocks, widths and attentions these tensors have."""
    width, channels = shapes["conv_in.weight"][:2]
    levels = 1 + highest(shapes, r"down\.(\d+)\.")
    resolution = 1 << levels  # any will do: it only says at which level an attention sits
    return UNet(
        resolution,
        channels,
        width,
        tuple(shapes[f"down.{i}.blocks.0.conv1.weight"][0] // width for i in range(levels)),
        1 + highest(shapes, r"down\.0\.blocks\.(\d+)\."),
        tuple(resolution >> i for i in range(levels) if f"down.{i}.attentions.0.q.weight" in shapes),
        groups=1,
        learned_variance=shapes["conv_out.weight"][0] == 2 * channels,
    )
