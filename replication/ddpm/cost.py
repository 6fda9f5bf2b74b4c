"""The cost of DDPM's U-Net from its sizes alone, in the conventions of replication/cost.py."""

from replication.cost import Cost, activation, attention_product, convolution, embedding, linear, norm, total
from replication.ddpm.unet import UNet


def unet_cost(network: UNet) -> Cost:
    """Equal to what the counter measures, for one image and one forward pass."""
    told = 4 * network.width
    widths = [network.width * m for m in network.multipliers]
    sides = [network.resolution >> i for i in range(len(widths))]
    parts = [convolution(3, network.in_channels, network.width, sides[0] ** 2), _embedders(network, told)]
    skips, c = [network.width], network.width
    for i, (width, side) in enumerate(zip(widths, sides, strict=True)):
        for _ in range(network.blocks):
            parts += [_block(c, width, told, side), _attention(width, side) * network.attends[i]]
            c = width
            skips.append(c)
        if i < len(widths) - 1:
            parts.append(convolution(3, c, c, sides[i + 1] ** 2))
            skips.append(c)
    parts += [_block(c, c, told, sides[-1]) * 2, _attention(c, sides[-1])]
    for i in reversed(range(len(widths))):
        for _ in range(network.blocks + 1):
            parts += [
                _block(c + skips.pop(), widths[i], told, sides[i]),
                _attention(widths[i], sides[i]) * network.attends[i],
            ]
            c = widths[i]
        if i > 0:
            parts.append(convolution(3, c, c, sides[i - 1] ** 2))
    pixels = sides[0] ** 2
    return total([*parts, norm(pixels, c, 2), convolution(3, c, network.conv_out.out_channels, pixels)])


def _embedders(network: UNet, told: int) -> Cost:
    label = embedding(network.classes + 1, told) if network.classes else Cost()
    return linear(1, network.width, told) + activation(told) + linear(1, told, told) + label


def _block(c_in: int, c_out: int, told: int, side: int) -> Cost:
    """A residual block; its shortcut is a convolution where the widths differ."""
    pixels = side * side
    first = norm(pixels, c_in, 2) + convolution(3, c_in, c_out, pixels) + linear(1, told, c_out)
    second = norm(pixels, c_out, 2) + convolution(3, c_out, c_out, pixels)
    return first + second + convolution(1, c_in, c_out, pixels) * (c_in != c_out)


def _attention(c: int, side: int) -> Cost:
    n = side * side
    return norm(n, c, 2) + linear(n, c, c) * 4 + attention_product(n, n, c)
