"""The cost of the U-Net that DDPM and LDM share from its sizes alone, in the conventions of replication/cost.py."""

from replication.cost import Cost, activation, attention_product, convolution, embedding, linear, norm, total
from replication.layers.attention import Attention
from replication.layers.unet import UNet
from replication.types import InputError


def unet_cost(network: UNet) -> Cost:
    """Equal to what the counter measures, for one image and one forward pass.

    Raises InputError for a network of spatial transformers, whose cost is the context's too: the counter has it.
    """
    if not isinstance(network.middle_attention, Attention):
        raise InputError(f"the formula is that of plain attention, not of {type(network.middle_attention).__name__}")
    widths = [network.width * m for m in network.multipliers]
    sides = [network.resolution >> i for i in range(len(widths))]
    parts = [convolution(3, network.in_channels, network.width, sides[0] ** 2), _embedders(network)]
    skips, c = [network.width], network.width
    for i, (width, side) in enumerate(zip(widths, sides, strict=True)):
        for _ in range(network.blocks):
            parts += [_block(network, c, width, side, side), _attention(width, side) * network.attends[i]]
            c = width
            skips.append(c)
        if i < len(widths) - 1:
            parts.append(_resampling(network, c, side, sides[i + 1]))
            skips.append(c)
    parts += [_block(network, c, c, sides[-1], sides[-1]) * 2, _attention(c, sides[-1])]
    for i in reversed(range(len(widths))):
        for _ in range(network.blocks + 1):
            parts += [
                _block(network, c + skips.pop(), widths[i], sides[i], sides[i]),
                _attention(widths[i], sides[i]) * network.attends[i],
            ]
            c = widths[i]
        if i > 0:
            parts.append(_resampling(network, c, sides[i], sides[i - 1]))
    pixels = sides[0] ** 2
    return total([*parts, norm(pixels, c, 2), convolution(3, c, network.conv_out.out_channels, pixels)])


def _embedders(network: UNet) -> Cost:
    told = _told(network)
    label = embedding(network.classes + 1, told) if network.classes else Cost()
    return linear(1, network.width, told) + activation(told) + linear(1, told, told) + label


def _told(network: UNet) -> int:
    """How many numbers every block hears."""
    return 4 * network.width


def _resampling(network: UNet, c: int, side: int, other: int) -> Cost:
    """From one side to another: a block or a convolution."""
    return _block(network, c, c, side, other) if network.resampling_blocks else convolution(3, c, c, other**2)


def _block(network: UNet, c_in: int, c_out: int, side: int, other: int) -> Cost:
    """A residual block, resampled after its first norm; its shortcut is a convolution where the widths differ."""
    pixels = other * other
    heard = linear(1, _told(network), c_out * (2 if network.scale_shift else 1))
    first = norm(side * side, c_in, 2) + convolution(3, c_in, c_out, pixels) + heard
    second = norm(pixels, c_out, 2) + convolution(3, c_out, c_out, pixels)
    return first + second + convolution(1, c_in, c_out, pixels) * (c_in != c_out)


def _attention(c: int, side: int) -> Cost:
    """However many heads."""
    n = side * side
    return norm(n, c, 2) + linear(n, c, c) * 4 + attention_product(n, n, c)
