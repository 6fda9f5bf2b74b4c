"""Costs from the sizes of a network alone, by hand: what the counter of replication/cost.py must find.

Peebles and Xie 2023, Table 4 (the paper calls multiply-adds Gflops):

    multiply-adds of an adaLN-Zero block at N tokens of width d:   12 N d^2 + 2 N^2 d + 6 d^2

A network is a list of the costs of its layers, so parts are added and repeated as lists are.
"""

from replication.cost import Cost
from replication.dit.blocks import EXPANSION
from replication.dit.mm_dit import MMDiT, TokenEmbedder
from replication.dit.model import FREQUENCIES, DiT
from replication.layers.unet import Attention, UNet
from replication.types import InputError

BYTES = 4  # of a float32
MODULATED = {"adaln-zero": 6, "adaln": 4}  # vectors that modulate a block; the other designs have none
Parts = list[Cost]


def total(parts: Parts) -> Cost:
    return Cost(
        sum(part.multiply_adds for part in parts),
        sum(part.parameters for part in parts),
        sum(part.activation_bytes for part in parts),
    )


def linear(n: int, c_in: int, c_out: int) -> Parts:
    """A linear layer with bias at n places."""
    return [Cost(n * c_in * c_out, c_in * c_out + c_out, BYTES * n * c_out)]


def convolution(kernel: int, c_in: int, c_out: int, pixels: int) -> Parts:
    """A convolution with bias whose output has so many pixels."""
    return linear(pixels, kernel * kernel * c_in, c_out)


def norm(n: int, width: int, learned: int) -> Parts:
    """A norm of n places; learned: 2 numbers per channel with weight and bias, 1 with weight alone, or 0."""
    return [Cost(0, learned * width, BYTES * n * width)]


def activation(numbers: int) -> Parts:
    """A module with as many outputs as inputs."""
    return [Cost(0, 0, BYTES * numbers)]


def embedding(rows: int, width: int) -> Parts:
    """A table of which one row is read."""
    return [Cost(0, rows * width, BYTES * width)]


def attention_product(queries: int, keys: int, width: int) -> Parts:
    """softmax(q k) v, whatever the number of heads."""
    return [Cost(2 * queries * keys * width)]


def two_layers(n: int, c_in: int, hidden: int, c_out: int) -> Parts:
    return linear(n, c_in, hidden) + activation(n * hidden) + linear(n, hidden, c_out)


def modulation(d: int, parts: int) -> Parts:
    return activation(d) + linear(1, d, parts * d)


def qk_norm(network: DiT | MMDiT, queries: int, keys: int) -> Parts:
    """The queries and keys of every head are normed by the same weights."""
    if not network.qk_norm:
        return []
    head = network.width // network.heads
    return norm(queries * network.heads, head, 1) + norm(keys * network.heads, head, 1)


def dit_cost(network: DiT) -> Cost:
    """Of one image and one forward pass."""
    d, tokens, vectors = network.width, network.tokens, 2 if network.classes else 1
    sequence = tokens + vectors if network.block == "in-context" else tokens
    learned = 0 if network.block in MODULATED else 2  # numbers per channel of a layer norm
    block = norm(sequence, d, learned) * 2 + linear(sequence, d, 3 * d) + qk_norm(network, sequence, sequence)
    block += attention_product(sequence, sequence, d) + linear(sequence, d, d)
    block += two_layers(sequence, d, EXPANSION * d, d)
    if network.block in MODULATED:
        block += modulation(d, MODULATED[network.block])
    if network.block == "cross-attention":
        block += norm(tokens, d, 2) + linear(tokens, d, d) * 2 + linear(vectors, d, 2 * d)
        block += qk_norm(network, tokens, vectors) + attention_product(tokens, vectors, d)
    return total(
        convolution(network.patch, network.in_channels, d, tokens)
        + two_layers(1, FREQUENCIES, d, d)
        + embedding(network.classes + 1, d) * (network.classes > 0)
        + block * network.depth
        + norm(tokens, d, learned)
        + linear(tokens, d, network.patch**2 * network.out_channels)
        + modulation(d, 2) * (network.block in MODULATED)
    )


def mm_dit_cost(network: MMDiT) -> Cost:
    """The same of an MM-DiT, what embeds the text included; of tokens, the table's rows and their positions."""
    d, image, text = network.width, network.tokens, network.length
    if isinstance(network.text, TokenEmbedder):
        reader = embedding(network.vocabulary, d) + activation((text - 1) * d) + [Cost(parameters=text * d)]
    else:
        reader = linear(text, network.text.width, d)

    def before(n: int, parts: int) -> Parts:
        """A stream up to the attention."""
        return modulation(d, parts) + norm(n, d, 0) + linear(n, d, 3 * d) + qk_norm(network, n, n)

    def stream(n: int) -> Parts:
        return before(n, 6) + linear(n, d, d) + norm(n, d, 0) + two_layers(n, d, EXPANSION * d, d)

    product = attention_product(image + text, image + text, d)
    return total(
        convolution(network.patch, network.in_channels, d, image)
        + two_layers(1, FREQUENCIES, d, d)
        + two_layers(1, d, d, d)
        + reader
        + (stream(image) + stream(text) + product) * (network.depth - 1)
        + (stream(image) + before(text, 2) + product)
        + norm(image, d, 0)
        + linear(image, d, network.patch**2 * network.out_channels)
        + modulation(d, 2)
    )


def unet_cost(network: UNet) -> Cost:
    """The same of the U-Net of DDPM and LDM.

    Raises InputError for a network of spatial transformers, whose cost is the context's too: the counter has it.
    """
    if not isinstance(network.middle_attention, Attention):
        raise InputError(f"the formula is that of plain attention, not of {type(network.middle_attention).__name__}")
    widths = [network.width * m for m in network.multipliers]
    sides = [network.resolution >> i for i in range(len(widths))]
    e, pixels = 4 * network.width, sides[0] ** 2

    def block(c_in: int, c_out: int, side: int, after: int) -> Parts:
        """A residual block, resampled after its first norm; its shortcut is a convolution where the widths differ."""
        n = after * after
        first = norm(side * side, c_in, 2) + convolution(3, c_in, c_out, n)
        first += linear(1, e, c_out * (2 if network.scale_shift else 1))
        second = norm(n, c_out, 2) + convolution(3, c_out, c_out, n)
        return first + second + convolution(1, c_in, c_out, n) * (c_in != c_out)

    def attention(c: int, side: int) -> Parts:
        n = side * side
        return norm(n, c, 2) + linear(n, c, c) * 4 + attention_product(n, n, c)

    def resampling(c: int, side: int, after: int) -> Parts:
        return block(c, c, side, after) if network.resampling_blocks else convolution(3, c, c, after**2)

    parts = convolution(3, network.in_channels, network.width, pixels)
    parts += two_layers(1, network.width, e, e) + embedding(network.classes + 1, e) * (network.classes > 0)
    skips, c = [network.width], network.width
    for i, (width, side) in enumerate(zip(widths, sides, strict=True)):
        for _ in range(network.blocks):
            parts += block(c, width, side, side) + attention(width, side) * network.attends[i]
            c = width
            skips.append(c)
        if i < len(widths) - 1:
            parts += resampling(c, side, sides[i + 1])
            skips.append(c)
    parts += block(c, c, sides[-1], sides[-1]) * 2 + attention(c, sides[-1])
    for i in reversed(range(len(widths))):
        for _ in range(network.blocks + 1):
            parts += (
                block(c + skips.pop(), widths[i], sides[i], sides[i])
                + attention(widths[i], sides[i]) * network.attends[i]
            )
            c = widths[i]
        if i > 0:
            parts += resampling(c, sides[i], sides[i - 1])
    return total(parts + norm(pixels, c, 2) + convolution(3, c, network.conv_out.out_channels, pixels))
