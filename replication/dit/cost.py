"""The cost of a DiT from its sizes alone, in the conventions of replication/cost.py: Peebles and Xie 2023, Table 4.

    multiply-adds of an adaLN-Zero block at N tokens of width d:   12 N d^2 + 2 N^2 d + 6 d^2

The paper calls multiply-adds Gflops.
"""

from replication.cost import Cost, activation, attention_product, convolution, embedding, linear, norm, total
from replication.dit.embedders import FREQUENCIES
from replication.dit.feed_forward import EXPANSION
from replication.dit.model import DiT

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
            linear(1, FREQUENCIES, d) + activation(d) + linear(1, d, d) + label,
            block * network.depth,
            _norm(network, tokens) + linear(tokens, d, network.patch**2 * network.out_channels),
            _modulation(d, 2) * (network.block in MODULATED),
        ]
    )


def _block(network: DiT, n: int) -> Cost:
    """Self-attention and two layers, with what modulates them."""
    d = network.width
    attention = linear(n, d, 3 * d) + _qk_norm(network, n, n) + attention_product(n, n, d) + linear(n, d, d)
    layers = linear(n, d, EXPANSION * d) + activation(n * EXPANSION * d) + linear(n, EXPANSION * d, d)
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


def _qk_norm(network: DiT, queries: int, keys: int) -> Cost:
    """Every head's queries and keys are normed by the same weights."""
    if not network.qk_norm:
        return Cost()
    head = network.width // network.heads
    return norm(queries * network.heads, head, 1) + norm(keys * network.heads, head, 1)
