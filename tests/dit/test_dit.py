"""DiT: published sizes, parity with diffusers, the designs of its blocks, its initial state, and what it refuses."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from oracles.diffusers_dit import peer_dit, said_by
from oracles.official_dit import official_dit
from replication.check.models import randomize
from replication.dit.blocks import BLOCKS
from replication.dit.model import DiT, sincos_positions, unpatchify
from replication.dit.published_weights import from_diffusers, from_official
from replication.registry import MODELS
from replication.types import InputError

TABLE_4 = {  # millions of parameters, as printed
    "s/8": 33, "s/4": 33, "s/2": 33, "b/8": 131, "b/4": 130, "b/2": 130,
    "l/8": 459, "l/4": 458, "l/2": 458, "xl/8": 676, "xl/4": 675, "xl/2": 675,
}  # fmt: skip
DESIGNS = {"in-context": 449, "cross-attention": 598, "adaln": 600, "adaln-zero": 675}  # of XL/2
SMALL: dict[str, Any] = {"depth": 2, "width": 32, "heads": 2, "patch": 2, "resolution": 8, "classes": 10}
X = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
TIMESTEP, LABEL = torch.tensor([3.0, 977.0]), torch.tensor([4, 10])


def small(seed: int | None = None, **options: Any) -> DiT:
    """Random weights where a seed is given, so that no gate is closed."""
    torch.manual_seed(0)
    network = MODELS.build("dit", **{**SMALL, **options}).eval()
    if seed is not None:
        randomize(network, seed)
    return network


def said(network: nn.Module, x: Tensor = X, cond: Tensor | None = LABEL) -> Tensor:
    with torch.no_grad():
        answer: Tensor = network(x, TIMESTEP, cond)
    return answer


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("size", TABLE_4)
def test_parameters_of_table_4(size: str) -> None:
    """To the printed million, all twelve; what is learned counts, the fixed positions do not.

    Catches a width, depth or patch of another size, a layer norm with weights (L), and half the output channels (S/8).
    """
    with torch.device("meta"):
        network = MODELS.build(f"dit-{size}")
    assert round(parameters(network) / 1e6) == TABLE_4[size]
    assert (network.classes, network.resolution, network.in_channels, network.out_channels) == (1000, 32, 4, 8)


@pytest.mark.parametrize("block", DESIGNS)
def test_parameters_of_the_block_designs(block: str) -> None:
    """To the printed million. Catches a modulated final layer under in-context (452) and cross-attention (601)."""
    with torch.device("meta"):
        network = MODELS.build("dit-xl/2", block=block)
    assert round(parameters(network) / 1e6) == DESIGNS[block]


@pytest.mark.parametrize(
    "options",
    [{}, {"patch": 4, "width": 48, "heads": 3, "depth": 3}, {"patch": 1, "resolution": 4, "channels": 3}],
    ids=["patch 2", "patch 4", "pixels"],
)
def test_agrees_with_diffusers_with_its_weights(options: dict[str, Any]) -> None:
    """max-abs <= 1e-5 in float32 with every weight random. Catches rows before columns, sines before cosines in the
    timestep, GELU by erf, eps 1e-5, scale before shift, channels before pixels in a patch, and a missing gate.
    """
    network = small(**options)
    peer = peer_dit(network, seed=1)
    network.load_state_dict(from_diffusers(peer.state_dict(), network))
    x = torch.randn(2, network.in_channels, network.resolution, network.resolution)
    expected = said_by(peer, x, TIMESTEP, LABEL)
    assert expected.std() > 0.1
    assert (said(network, x) - expected).abs().max() <= 1e-5


def official(network: DiT) -> dict[str, Tensor]:
    """The weights of an adaLN-Zero network as an official checkpoint spells them, positions included."""
    names = {"patches.project": "x_embedder.proj", "timestep.first": "t_embedder.mlp.0",
             "timestep.second": "t_embedder.mlp.2", "label": "y_embedder.embedding_table",
             "final.modulation.project": "final_layer.adaLN_modulation.1", "final.project": "final_layer.linear",
             "modulation.project": "adaLN_modulation.1", "attention.qkv": "attn.qkv", "attention.out": "attn.proj",
             "mlp.0": "mlp.fc1", "mlp.2": "mlp.fc2"}  # fmt: skip
    spelt = {"pos_embed": network.patches.positions[None]}
    for name, tensor in network.state_dict().items():
        ours = next(ours for ours in names if f"{ours}." in name)
        spelt[name.replace(ours, names[ours])] = tensor
    return spelt


def test_official_checkpoints_are_read() -> None:
    """Exact. Catches a tensor that has no place or the wrong one, and positions taken for a weight."""
    network = small(seed=2)
    converted = from_official(official(network), network)
    assert converted.keys() == network.state_dict().keys()
    assert all(
        converted[name] is tensor or torch.equal(converted[name], tensor)
        for name, tensor in network.state_dict().items()
    )


def test_official_positions_of_another_size_or_law_are_refused() -> None:
    network = small(seed=2)
    with pytest.raises(InputError, match=r"'pos_embed' has 8 x 8 positions, this network 4 x 4"):
        from_official({**official(network), "pos_embed": torch.zeros(1, 64, 32)}, network)
    with pytest.raises(InputError, match="'pos_embed' holds other positions"):
        from_official({**official(network), "pos_embed": network.patches.positions.flip(0)[None]}, network)


ODD = {
    "missing": ("transformer_blocks.1.ff.net.2.bias", None, r"nothing there for 'blocks\.1\.mlp\.2\.bias'"),
    "a missing key": ("transformer_blocks.1.attn1.to_k.bias", None, r"'transformer_blocks\.1\.attn1\.to_k\.bias' is missing"),
    "unexpected": ("transformer_blocks.1.attn2.to_q.bias", (32,), r"'transformer_blocks\.1\.attn2\.to_q\.bias' has no place"),
    "another shape": ("proj_out_2.bias", (7,), r"'proj_out_2\.bias' has shape \(7,\), not \(32,\)"),
    "another copy": ("transformer_blocks.1.norm1.emb.timestep_embedder.linear_1.bias", (32,), "differs from that of the first"),
}  # fmt: skip


@pytest.mark.parametrize("what", ODD)
def test_weights_of_another_network_are_refused_by_name(what: str) -> None:
    """Catches a conversion that drops a tensor, or that takes the first block's embedder whatever the others say."""
    network = small()
    weights, (name, shape, message) = peer_dit(network, seed=1).state_dict(), ODD[what]
    weights.pop(name, None)
    if shape is not None:
        weights[name] = torch.ones(shape)
    with pytest.raises(InputError, match=message):
        from_diffusers(weights, network)


def test_a_checkpoint_of_another_patch_is_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"'pos_embed\.proj\.weight' has shape \(32, 4, 4, 4\), not \(32, 4, 2, 2\)"):
        from_diffusers(peer_dit(small(patch=4), seed=1).state_dict(), small())


def test_positions_tell_the_column_first() -> None:
    """max-abs <= 1e-7 (float32). Catches rows first, cosines first, and exponents over width/4 - 1."""
    positions = sincos_positions(3, 8).reshape(3, 3, 8)
    for row, column in ((0, 0), (2, 1), (1, 2)):
        halves = [(math.sin(a), math.sin(a / 100), math.cos(a), math.cos(a / 100)) for a in (column, row)]
        assert (positions[row, column] - torch.tensor(halves).flatten()).abs().max() <= 1e-7


def test_unpatchify_undoes_patches() -> None:
    """Exact. Catches rows and columns swapped, of the patches or within one."""
    image = torch.arange(2 * 3 * 8 * 8.0).reshape(2, 3, 8, 8)
    rows = image.unfold(2, 4, 4).unfold(3, 4, 4)  # [B,C,2,2,4,4]
    assert torch.equal(unpatchify(rows.permute(0, 2, 3, 4, 5, 1).reshape(2, 4, 48), 4), image)


@pytest.mark.parametrize("block", BLOCKS)
def test_a_new_network_is_silent_and_its_xavier_law_is_the_official_one(block: str) -> None:
    """Exact zeros; bounds and deviations within 10 %. Catches a patch embedding initialised as a convolution,
    embedders by Xavier's law, and adaLN-Zero gates that start open.
    """
    network = small(block=block, width=64)
    assert not said(network).any()
    fans = {network.patches.project: (16, 64), network.blocks[0].mlp[0]: (64, 256)}  # type: ignore[index,union-attr]
    for module, (fan_in, fan_out) in fans.items():
        bound = math.sqrt(6 / (fan_in + fan_out))
        assert 0.9 * bound <= module.weight.abs().max() <= bound  # type: ignore[union-attr,operator]
    assert network.label is not None
    for weight in (network.timestep.first.weight, network.timestep.second.weight, network.label.weight):
        assert abs(weight.std() / 0.02 - 1) <= 0.1
    silent = [name for name, p in network.named_parameters() if p.ndim > 1 and not p.any()]
    expected = ["final.project.weight"] + ["final.modulation.project.weight"] * block.startswith("adaln")
    if block == "adaln-zero":
        expected += [f"blocks.{i}.modulation.project.weight" for i in range(2)]
    assert sorted(silent) == sorted(expected)


def test_an_adaln_zero_block_starts_as_the_identity() -> None:
    """Exact. Catches a gate that multiplies the sum instead of the branch, and 1 + gate."""
    x = torch.randn(2, 16, 32)
    assert torch.equal(small().blocks[0](x, torch.randn(2, 2, 32)), x)
    assert not torch.equal(small(block="adaln").blocks[0](x, torch.randn(2, 2, 32)), x)


def test_adaln_zero_with_open_gates_is_adaln() -> None:
    """max-abs <= 1e-6: the same weights, gates of 1. Catches a gate with 1 added, and shifts and scales in another order."""
    plain, gated = small(seed=3, block="adaln").blocks[0], small(seed=3).blocks[0]
    weights = plain.state_dict()
    weight, bias = weights["modulation.project.weight"].chunk(4), weights["modulation.project.bias"].chunk(4)
    nothing, one = torch.zeros(32, 32), torch.ones(32)
    weights["modulation.project.weight"] = torch.cat([*weight[:2], nothing, *weight[2:], nothing])
    weights["modulation.project.bias"] = torch.cat([*bias[:2], one, *bias[2:], one])
    gated.load_state_dict(weights)
    x, cond = torch.randn(2, 16, 32), torch.randn(2, 2, 32)
    with torch.no_grad():
        assert (gated(x, cond) - plain(x, cond)).abs().max() <= 1e-6


def test_in_context_tokens_are_part_of_the_sequence_and_leave_at_the_end() -> None:
    """Exact: the blocks see two tokens more than the final layer. Catches one token for both, and a token left in."""
    network = small(seed=3, block="in-context")
    lengths = []
    for module in (network.blocks[0], network.final):
        module.register_forward_pre_hook(lambda _, args: lengths.append(args[0].shape[1]))
    said(network)
    assert lengths == [18, 16]


def test_cross_attention_looks_at_time_and_label_as_a_sequence() -> None:
    """max-abs <= 1e-5 against torch's own multi-head attention, weights copied. Catches their sum for the sequence, and
    keys from the image.
    """
    cross = small(seed=3, block="cross-attention").blocks[0].cross  # type: ignore[union-attr]
    peer = nn.MultiheadAttention(32, 2, batch_first=True)
    with torch.no_grad():
        peer.in_proj_weight.copy_(torch.cat([cross.q.weight, cross.kv.weight]))  # type: ignore[union-attr]
        peer.in_proj_bias.copy_(torch.cat([cross.q.bias, cross.kv.bias]))  # type: ignore[union-attr]
        peer.out_proj.load_state_dict(cross.out.state_dict())  # type: ignore[union-attr]
        x, cond = torch.randn(2, 16, 32), torch.randn(2, 2, 32)
        assert (cross(x, cond) - peer(x, cond, cond)[0]).abs().max() <= 1e-5  # type: ignore[operator]


@pytest.mark.parametrize("block", BLOCKS)
def test_every_design_hears_time_label_and_place(block: str) -> None:
    """Catches a design that ignores the label or the time, and one without positions (rolled patches roll along)."""
    network = small(seed=4, block=block)
    answer = said(network)
    assert answer.shape == (2, 8, 8, 8)
    other = network(X, TIMESTEP.flip(0), LABEL)
    assert (other - answer).abs().max() > 1e-3
    assert (said(network, cond=torch.tensor([5, 10])) - answer)[0].abs().max() > 1e-3
    assert torch.equal(said(network, cond=torch.tensor([5, 10]))[1], answer[1])
    assert (said(network, X.roll(2, dims=3)).roll(-2, dims=3) - answer).abs().max() > 1e-3


@pytest.mark.parametrize("block", BLOCKS)
def test_without_classes_it_is_told_the_time_alone(block: str) -> None:
    network = small(seed=4, block=block, classes=0, learned_variance=False, channels=1, patch=4)
    assert said(network, X[:, :1], None).shape == (2, 1, 8, 8)
    assert not [name for name in network.state_dict() if name.startswith("label")]


@pytest.mark.parametrize("block", BLOCKS)
def test_qk_norm_makes_attention_deaf_to_the_size_of_queries_and_keys(block: str) -> None:
    """max-abs <= 1e-5: ten times the weights of q and k change nothing. Catches a norm after the product, or of one only."""
    network = small(seed=5, block=block, qk_norm=True)
    before = said(network)
    with torch.no_grad():
        for module in network.modules():
            for name, rows in (("qkv", 64), ("q", 32), ("kv", 32)):
                layer = getattr(module, name, None)
                if isinstance(layer, nn.Linear):
                    layer.weight[:rows] *= 10
                    layer.bias[:rows] *= 10
    assert (said(network) - before).abs().max() <= 1e-5
    assert (said(small(seed=5, block=block)) - before).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"block": "adaln-zreo"}, "unknown block 'adaln-zreo'; did you mean 'adaln-zero'"),
        ({"patch": 3}, r"patch = 3 does not divide images of resolution = 8 \(valid: 1, 2, 4, 8\)"),
        ({"heads": 3}, "width = 32 is not a multiple of heads = 3"),
        ({"width": 34}, "width = 34 must be a multiple of 4"),
        ({"qk_norms": True}, "unknown option 'qk_norms'; did you mean 'qk_norm'"),
    ],
)
def test_sizes_that_do_not_fit_are_refused_by_name(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        small(**options)


def test_inputs_that_do_not_fit_are_refused_by_name() -> None:
    """Catches an index error from the embedding's depths, a negative label that counts from the end, and broadcasting."""
    network = small()
    for label in (11, -1):
        with pytest.raises(InputError, match=rf"labels go from 0 to 10 \(10 is the null label\), not {label}"):
            said(network, cond=torch.tensor([3, label]))
    with pytest.raises(InputError, match=r"positions are for images \(4, 8, 8\), not \(4, 4, 4\)"):
        said(network, X[:, :, :4, :4])
    with pytest.raises(InputError, match=r"not \(4, 8, 7\)"):
        said(network, X[..., :7])
    with pytest.raises(InputError, match="conditional: it needs a label"):
        said(network, cond=None)


@pytest.mark.parametrize("block", BLOCKS)
def test_labels_can_be_encoded_once_for_all_steps(block: str) -> None:
    """Exact. Catches an encoded label that is embedded again, a label that is not checked, and null that is encoded otherwise."""
    network = small(seed=6, block=block)
    with torch.no_grad():
        encoded = network.encode(LABEL)
    assert encoded.shape == (2, 32)
    assert torch.equal(said(network, cond=encoded), said(network))
    with pytest.raises(InputError, match=r"labels go from 0 to 10 .*, not 11"):
        network.encode(torch.tensor([11]))
    with pytest.raises(InputError, match=r"takes Float\[B,32\] as it is, not Float\[2, 31\]"):
        said(network, cond=encoded[:, 1:])
    unconditional = small(seed=6, block=block, classes=0)
    assert (unconditional.classes, unconditional.vocabulary, unconditional.length) == (0, 0, 0)


def test_an_official_checkpoint_of_another_size_is_refused_by_name() -> None:
    """Width, depth and label count. Catches a load that passes over what it does not know, or that tells no tensor."""
    other = official(small(seed=2, width=64))
    other["pos_embed"] = small().patches.positions[None]
    with pytest.raises(InputError, match=r"'x_embedder\.proj\.weight' has shape \(64, 4, 2, 2\), not \(32, 4, 2, 2\)"):
        from_official(other, small())
    with pytest.raises(InputError, match=r"'blocks\.2\..* has no place in our network"):
        from_official(official(small(seed=2, depth=3)), small())
    with pytest.raises(InputError, match=r"nothing there for 'blocks\.1\."):
        from_official(official(small(seed=2, depth=1)), small())
    with pytest.raises(InputError, match=r"'y_embedder\.embedding_table\.weight' has shape \(12, 32\), not \(11, 32\)"):
        from_official(official(small(seed=2, classes=11)), small())


def test_official_weights_answer_as_the_official_arithmetic() -> None:
    """max-abs <= 1e-5, of answers of size 1. Catches: cosines and sines, shift and scale, or rows and columns exchanged, and
    heads split otherwise than qkv of the official code is."""
    theirs = official_dit(seed=3, resolution=8, classes=5, depth=3, width=48, heads=4)
    network = DiT(resolution=8, channels=4, classes=5, depth=3, width=48, heads=4, patch=2).eval()
    network.load_state_dict(from_official(theirs.state_dict(), network))
    x, t, y = torch.randn(4, 4, 8, 8), torch.tensor([0.0, 3, 500, 999]), torch.tensor([0, 2, 4, 5])
    with torch.no_grad():
        answer = theirs(x, t, y)
        assert answer.abs().mean() > 0.1
        assert (network(x, t, y) - answer).abs().max() <= 1e-5


def test_sit_is_the_official_network_with_time_and_velocity_turned() -> None:
    """max-abs <= 1e-5: its time is 0 at noise, its velocity leads to the data. Catches: times in thousands, the sign, the
    channels that are not used, and a sampler that goes the wrong way."""
    theirs = official_dit(seed=3, resolution=8, classes=5, depth=3, width=48, heads=4)
    network = MODELS.build("sit", resolution=8, channels=4, classes=5, depth=3, width=48, heads=4, patch=2).eval()
    network.load_state_dict(from_official(theirs.state_dict(), network))
    x, t, y = torch.randn(4, 4, 8, 8), torch.tensor([1.0, 0.5, 0.25, 0.001]), torch.tensor([0, 2, 4, 5])
    with torch.no_grad():
        velocity = theirs(x, 1 - t, y)[:, :4]  # of x = t data + (1 - t) noise in its own time
        assert (network(x, 1000 * t, y) + velocity).abs().max() <= 1e-5


@pytest.mark.parametrize("block", ["adaln", "adaln-zero"])
def test_evaluations_by_onednn_are_those_of_training(block: str) -> None:
    """1e-5, of outputs near 1: without gradients other products, and GELU within them. Catches GELU's form by erf (1e-3)."""
    network = small(3, block=block)
    for _ in range(2):  # weights that have changed since too
        trained = network(X, TIMESTEP, LABEL).detach()
        assert float((said(network) - trained).abs().max() / trained.abs().max()) < 1e-5
        randomize(network, 7)
