"""The cost of a DiT and of an MM-DiT from their sizes alone, in the conventions of replication/cost.py.

Peebles and Xie 2023, Table 4:

    multiply-adds of an adaLN-Zero block at N tokens of width d:   12 N d^2 + 2 N^2 d + 6 d^2

The paper calls multiply-adds Gflops.
"""

from replication.cost import Cost, activation, attention_product, convolution, embedding, linear, norm, total
from replication.dit.embedders import FREQUENCIES
from replication.dit.feed_forward import EXPANSION
from replication.dit.mm_dit import MMDiT
from replication.dit.model import DiT
from replication.dit.text_embedder import TokenEmbedder

MODULATED = {"adaln-zero": 6, "adaln": 4}  # vectors that a block's modulation says; the other designs have none


def dit_cost(network: DiT) -> Cost:
    """Equal to what the counter measures, for one image and one forward pass."""
    d, tokens, told = network.width, network.tokens, 2 if network.classes else 1
    sequence = tokens + told if network.block == "in-context" else tokens
    block = _block(network, sequence)
    if network.block == "cross-attention":
        block += norm(tokens, d, 2) + _cross_attention(network, tokens, told)
    label = embedding(network.classes + 1, d) if network.classes else Cost()
    return total(
        [
            convolution(network.patch, network.in_channels, d, tokens),
            _two_layers(1, FREQUENCIES, d, d) + label,
            block * network.depth,
            _norm(network, tokens) + linear(tokens, d, network.patch**2 * network.out_channels),
            _modulation(d, 2) * (network.block in MODULATED),
        ]
    )


def mm_dit_cost(network: MMDiT) -> Cost:
    """The same of an MM-DiT, what reads the text included; of tokens, the table's rows and their places."""
    d, image, text = network.width, network.tokens, network.length
    if isinstance(network.text, TokenEmbedder):
        reader = embedding(network.vocabulary, d) + activation((text - 1) * d) + Cost(parameters=text * d)
    else:
        reader = linear(text, network.text.width, d)
    product = attention_product(image + text, image + text, d)
    full = _stream(network, image) + _stream(network, text) + product
    last = _stream(network, image) + _lending_stream(network, text, 2) + product
    return total(
        [
            convolution(network.patch, network.in_channels, d, image),
            _two_layers(1, FREQUENCIES, d, d) + _two_layers(1, d, d, d) + reader,
            full * (network.depth - 1) + last,
            norm(image, d, 0) + linear(image, d, network.patch**2 * network.out_channels) + _modulation(d, 2),
        ]
    )


def _lending_stream(network: MMDiT, n: int, parts: int) -> Cost:
    """A stream up to the attention."""
    d = network.width
    return _modulation(d, parts) + norm(n, d, 0) + linear(n, d, 3 * d) + _qk_norm(network, n, n)


def _stream(network: MMDiT, n: int) -> Cost:
    d = network.width
    return _lending_stream(network, n, 6) + linear(n, d, d) + norm(n, d, 0) + _two_layers(n, d, EXPANSION * d, d)


def _two_layers(n: int, c_in: int, hidden: int, c_out: int) -> Cost:
    return linear(n, c_in, hidden) + activation(n * hidden) + linear(n, hidden, c_out)


def _block(network: DiT, n: int) -> Cost:
    """Self-attention and two layers, with what modulates them."""
    d = network.width
    attention = linear(n, d, 3 * d) + _qk_norm(network, n, n) + attention_product(n, n, d) + linear(n, d, d)
    layers = _two_layers(n, d, EXPANSION * d, d)
    modulation = _modulation(d, MODULATED[network.block]) if network.block in MODULATED else Cost()
    return _norm(network, n) * 2 + attention + layers + modulation


def _cross_attention(network: DiT, n: int, told: int) -> Cost:
    d = network.width
    projections = linear(n, d, d) * 2 + linear(told, d, 2 * d)
    return projections + _qk_norm(network, n, told) + attention_product(n, told, d)


def _norm(network: DiT, n: int) -> Cost:
    """Layer norm, with weights of its own where nothing modulates it."""
    return norm(n, network.width, 0 if network.block in MODULATED else 2)


def _modulation(d: int, parts: int) -> Cost:
    return activation(d) + linear(1, d, parts * d)


def _qk_norm(network: DiT | MMDiT, queries: int, keys: int) -> Cost:
    """Every head's queries and keys are normed by the same weights."""
    if not network.qk_norm:
        return Cost()
    head = network.width // network.heads
    return norm(queries * network.heads, head, 1) + norm(keys * network.heads, head, 1)
