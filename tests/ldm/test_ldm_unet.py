"""The latent diffusion U-Net: published parameter counts, parity with diffusers, and what it starts as."""

from typing import Any

import pytest
import torch
from torch import nn

from oracles.diffusers_peers import peer_ldm_unet, peer_text_unet
from replication.check.models import randomize
from replication.layers.conditioning import joined
from replication.layers.unet import Attention, ResnetBlock
from replication.layers.weights import unet_from_diffusers
from replication.ldm.transformer import SpatialTransformer
from replication.ldm.unet import ldm_unet
from replication.registry import MODELS
from replication.types import InputError

FACES: dict[str, Any] = {
    "resolution": 16, "width": 16, "multipliers": (1, 2, 3, 4), "blocks": 2, "attention": (8, 4, 2), "groups": 4
}  # fmt: skip
TEXT = {**FACES, "multipliers": (1, 2, 4, 4), "attention": (4, 2, 1)}
SMALL = {**FACES, "multipliers": (1, 2), "blocks": 1, "attention": (2,)}


def image(channels: int, size: int = 16) -> torch.Tensor:
    return torch.randn(2, channels, size, size, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("ldm-celebahq-4", 274_056_163), ("ldm-ffhq-4", 274_056_163),
        ("sd-v1", 859_520_964), ("sd-v2", 865_910_724), ("sdxl", 2_567_463_684),
    ],
)  # fmt: skip
def test_published_parameter_counts(name: str, count: int) -> None:
    """Exact. Catches biases in q, k, v, a gate left out, attention at resolutions instead of factors."""
    with torch.device("meta"):
        network = MODELS.build(name)
    assert sum(p.numel() for p in network.parameters()) == count


def test_imagenet_networks_have_the_millions_that_are_published() -> None:
    """400.92 M is what the official code prints of cin256-v2's U-Net. Catches other multipliers, a missing context."""
    with torch.device("meta"):
        networks = {name: MODELS.build(name) for name in ("ldm-imagenet-4", "ldm-imagenet-8")}
        for network in networks.values():
            assert network.encode(torch.zeros(2, dtype=torch.long)).shape == (2, 1, 512)
            assert network.classes == 1000
    assert [len(network.context_encoder.weight) for network in networks.values()] == [
        1001,
        1000,
    ]  # one has a null label
    trunk = [p for n, p in networks["ldm-imagenet-4"].named_parameters() if not n.startswith("context_encoder")]
    assert round(sum(p.numel() for p in trunk) / 1e4) == 40092


def test_the_churches_network_has_the_millions_that_are_published() -> None:
    """294M in the paper's table, cut off. Catches convolutions for its resampling blocks, or no scale beside the shift."""
    with torch.device("meta"):
        count = sum(p.numel() for p in MODELS.build("ldm-churches-8").parameters())
    assert count // 10**6 == 294


def test_presets_split_attention_into_the_published_heads() -> None:
    """Exact; no parameter count shows it. Catches 8 heads for 32 channels a head, and the other way round."""
    split = {}
    for name in ("ldm-celebahq-4", "ldm-churches-8", "ldm-imagenet-8", "ldm-imagenet-4", "sd-v1"):
        with torch.device("meta"):
            attentions = [m for m in MODELS.build(name).modules() if hasattr(m, "heads")]
        split[name] = {m.heads for m in attentions}, {m.q.out_features // m.heads for m in attentions}
    assert split["ldm-celebahq-4"][1] == split["ldm-imagenet-8"][1] == {32}
    assert split["sd-v1"][0] == split["ldm-churches-8"][0] == {8}
    assert split["ldm-imagenet-4"][0] == {1}


@pytest.mark.parametrize(
    ("config", "channels", "head_channels"),
    [(FACES, 3, 8), ({**FACES, "attention": (4, 1), "blocks": 1}, 4, 16), (SMALL, 1, 4)],
    ids=["faces", "other-levels", "small"],
)
def test_agrees_with_diffusers_with_its_weights(config: dict[str, Any], channels: int, head_channels: int) -> None:
    """max-abs <= 1e-5 in float32, all weights random so that the branches that start at zero are heard.

    Catches: GroupNorm eps 1e-6, padding right and below only, sin before cos, divisor half - 1, one head for several.
    """
    peer = peer_ldm_unet(channels=channels, head_channels=head_channels, **config).eval()
    network = ldm_unet(channels=channels, head_channels=head_channels, **config).eval()
    randomize(peer, seed=1)
    network.load_state_dict(unet_from_diffusers(peer.state_dict(), network))
    x, timestep = image(channels), torch.tensor([1.0, 437.0])
    with torch.no_grad():
        expected, answer = peer(x, timestep).sample, network(x, timestep)
    assert expected.std() > 0.1
    assert (answer - expected).abs().max() <= 1e-5


@pytest.mark.parametrize(
    ("config", "heads", "context", "depth"),
    [(TEXT, 8, 24, 1), ({**SMALL, "attention": (1, 2)}, 2, 7, 2), (SMALL, 1, 12, 1)],
    ids=["sd-v1-narrow", "two-deep", "one-head"],
)
def test_agrees_with_diffusers_told_a_context(config: dict[str, Any], heads: int, context: int, depth: int) -> None:
    """max-abs <= 1e-5 in float32, all weights random, and the context matters.

    Catches: gate before value, tanh GELU, cross before self-attention, heads taken for channels, a norm left out.
    """
    peer = peer_text_unet(channels=4, heads=heads, context=context, depth=depth, **config).eval()
    network = ldm_unet(channels=4, heads=heads, context=context, depth=depth, **config).eval()
    randomize(peer, seed=1)
    network.load_state_dict(unet_from_diffusers(peer.state_dict(), network))
    x, timestep = image(4), torch.tensor([0.0, 999.0])
    conditioned = torch.randn(2, 5, context, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        expected, answer = peer(x, timestep, conditioned).sample, network(x, timestep, conditioned)
        other = network(x, timestep, conditioned.roll(1, dims=0))
    assert expected.std() > 0.1
    assert (answer - expected).abs().max() <= 1e-5
    assert (answer - other).abs().max() > 1e-3


def sdxl_of(width: int = 16) -> tuple[dict[str, Any], dict[str, Any]]:
    """SDXL's design in small, for diffusers and for us: levels of 0, 2 and 3 blocks, heads of so many channels each."""
    same = {
        **FACES,
        "width": width,
        "multipliers": (1, 2, 4),
        "attention": (2, 4),
        "context": 24,
        "pooled": 10,
        "numbers": 6,
    }
    return {**same, "heads": (2, 4, 8), "depth": (1, 2, 3)}, {**same, "head_channels": width // 2, "depth": [0, 2, 3]}


def sizes_of(images: int) -> torch.Tensor:
    """Height and width, top and left of the crop, height and width that are meant; of each image others."""
    sizes = torch.tensor([1024.0, 768.0, 0.0, 37.0, 1024.0, 1024.0])
    return sizes + torch.arange(images)[:, None] * torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])


def test_agrees_with_diffusers_told_a_text_and_its_sizes() -> None:
    """max-abs <= 1e-5 in float32: SDXL's design, all weights random, and each part of the condition matters.

    Catches: sin before cos in the sizes, the pooled text behind them, depths of the levels in another order, a middle of
    depth 1, heads by their number, the vector's row attended to as if it were a token.
    """
    theirs, ours = sdxl_of()
    peer, network = peer_text_unet(channels=4, **theirs).eval(), ldm_unet(channels=4, **ours).eval()
    randomize(peer, seed=1)
    network.load_state_dict(unet_from_diffusers(peer.state_dict(), network))
    generator = torch.Generator().manual_seed(3)
    x, timestep = image(4), torch.tensor([0.0, 999.0])
    context, text = torch.randn(2, 5, 24, generator=generator), torch.randn(2, 10, generator=generator)
    sizes = sizes_of(2)
    cond = joined(context, torch.cat([text, sizes], dim=1))
    assert cond.shape == (2, 6, 24)
    added = {"text_embeds": text, "time_ids": sizes}
    with torch.no_grad():
        expected = peer(x, timestep, context, added_cond_kwargs=added).sample
        answer = network(x, timestep, cond)
        others = [network(x, timestep, joined(*parts)) for parts in (
            (context.roll(1, 0), torch.cat([text, sizes], dim=1)),
            (context, torch.cat([text.roll(1, 0), sizes], dim=1)),
            (context, torch.cat([text, sizes.roll(1, 1)], dim=1)),
        )]  # fmt: skip
    assert expected.std() > 0.1
    assert (answer - expected).abs().max() <= 1e-5
    assert all((answer - other).abs().max() > 1e-3 for other in others)
    with pytest.raises(InputError, match=r"takes a vector and a context, not Float\[2, 1, 24\]"):
        network(x, timestep, cond[:, :1])


@pytest.mark.parametrize("attention", [(1, 2, 4), (8, 2)], ids=["as-published", "other-levels"])
def test_agrees_with_diffusers_with_adm_blocks(attention: tuple[int, ...]) -> None:
    """max-abs <= 1e-5 in float32: the churches' network, narrow. Catches shift before scale, a scale without the 1,
    resampling after the convolution or of one branch alone, and strided sampling for the mean of four."""
    config = {**FACES, "attention": attention}
    peer = peer_ldm_unet(channels=4, head_channels=8, adm_blocks=True, **config).eval()
    network = ldm_unet(channels=4, head_channels=8, scale_shift=True, resampling_blocks=True, **config).eval()
    randomize(peer, seed=1)
    network.load_state_dict(unet_from_diffusers(peer.state_dict(), network))
    x, timestep = image(4), torch.tensor([1.0, 437.0])
    with torch.no_grad():
        expected, answer = peer(x, timestep).sample, network(x, timestep)
    assert expected.std() > 0.1
    assert (answer - expected).abs().max() <= 1e-5


def test_agrees_with_diffusers_told_a_label() -> None:
    """max-abs <= 1e-5 in float32. Catches a label added after the activation, or not at all."""
    peer = peer_ldm_unet(channels=3, head_channels=8, classes=10, **SMALL).eval()
    network = ldm_unet(channels=3, head_channels=8, classes=10, **SMALL).eval()
    randomize(peer, seed=1)
    network.load_state_dict(unet_from_diffusers(peer.state_dict(), network))
    x, timestep, label = image(3), torch.tensor([1.0, 437.0]), torch.tensor([3, 10])
    with torch.no_grad():
        expected, answer = peer(x, timestep, label).sample, network(x, timestep, label)
    assert (answer - expected).abs().max() <= 1e-5


@pytest.mark.parametrize("conditioned", [False, True], ids=["plain", "conditioned"])
def test_every_branch_starts_at_zero_and_the_rest_as_pytorch_does(conditioned: bool) -> None:
    """Exact, and within bounds. Catches DDPM's xavier or its gain of 1e-5 here, and an end left as it was."""
    torch.manual_seed(0)
    network = ldm_unet(channels=3, heads=2, context=8 if conditioned else 0, **FACES)
    ends: list[nn.Module] = [m.conv2 for m in network.modules() if isinstance(m, ResnetBlock)]
    ends += [m.out for m in network.modules() if isinstance(m, Attention)]
    ends += [m.proj_out for m in network.modules() if isinstance(m, SpatialTransformer)]
    ends.append(network.conv_out)
    assert len(ends) == 22 + 16 + 1  # blocks, attentions
    for module in network.modules():
        if any(module is end for end in ends):
            assert not any(p.any() for p in module.parameters())
        elif isinstance(module, nn.Conv2d | nn.Linear):
            bound = module.weight[0].numel() ** -0.5
            assert 0.8 * bound <= module.weight.abs().max() <= bound


def test_group_norm_eps_is_one_in_a_million_in_the_transformers_alone() -> None:
    """Exact. Catches one eps for both, which parity at activations of order 1 would hardly show."""
    network = ldm_unet(channels=3, heads=2, context=8, **SMALL)
    inside = {m.norm for m in network.modules() if isinstance(m, SpatialTransformer)}
    assert {m.eps for m in inside} == {1e-6}
    assert {m.eps for m in network.modules() if isinstance(m, nn.GroupNorm) and m not in inside} == {1e-5}


@pytest.mark.parametrize("conditioned", [False, True], ids=["plain", "conditioned"])
def test_channels_last_changes_nothing(conditioned: bool) -> None:
    """max-abs <= 1e-5 in float32. Catches a view of H*W positions that another memory format breaks."""
    network = ldm_unet(channels=3, heads=2, context=8 if conditioned else 0, **SMALL).eval()
    randomize(network, seed=1)
    with torch.no_grad():
        expected = network(image(3), torch.ones(2), torch.ones(2, 3, 8))
        network = network.to(memory_format=torch.channels_last)
        answer = network(image(3).to(memory_format=torch.channels_last), torch.ones(2), torch.ones(2, 3, 8))
    assert (answer - expected).abs().max() <= 1e-5


def options(**more: Any) -> dict[str, Any]:
    basic = {"resolution": 8, "channels": 3, "width": 8, "multipliers": [1, 2], "blocks": 1, "attention": [2]}
    return {**basic, "heads": 2, "groups": 4, **more}


@pytest.mark.parametrize("name", ["ldm-celebahq-4", "ldm-churches-8", "ldm-imagenet-4", "ldm-imagenet-8", "sd-v1"])
def test_dropout_of_the_presets(name: str) -> None:
    """Exact: none by default, or the rate that is asked for, once in each block. Catches a rate that is not passed on."""
    for rate in (0.0, 0.1):
        with torch.device("meta"):
            network = MODELS.build(name, **({"dropout": rate} if rate else {}))
        rates = [m.p for m in network.modules() if isinstance(m, nn.Dropout)]
        assert rates == [rate] * sum(isinstance(m, ResnetBlock) for m in network.modules())


def test_options_of_the_factory_reach_the_network() -> None:
    """Exact. Catches learned_variance, dropout, groups or depth accepted and ignored."""
    with torch.device("meta"):
        network = MODELS.build("ldm-unet", **options(learned_variance=True, dropout=0.2, context=8, depth=3))
        assert network(torch.empty(2, 3, 8, 8), torch.empty(2), torch.empty(2, 1, 8)).shape == (2, 6, 8, 8)
    assert {m.p for m in network.modules() if isinstance(m, nn.Dropout)} == {0.2}
    assert {m.num_groups for m in network.modules() if isinstance(m, nn.GroupNorm)} == {4}
    assert {len(m.blocks) for m in network.modules() if isinstance(m, SpatialTransformer)} == {3}
    assert network.attends == [False, True]


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"attention": [16]}, r"\[1, 2\], not at \[16\]"),
        ({"heads": 0}, "heads or head_channels"),
        ({"head_channels": 8}, "heads or head_channels"),
        ({"heads": 3}, "heads = 3"),
        ({"heads": 0, "head_channels": 32}, "head_channels = 32"),
        ({"vocabulary": 9, "length": 4}, "context is 0"),
        ({"context": 8, "vocabulary": 9}, "needs length"),
        ({"context": 8, "vocabulary": 9, "length": 4, "classes": 3}, "classes = 3"),
        ({"context": 8, "vocabulary": 9, "length": 4, "text_heads": 3}, "3 heads"),
        ({"context": 8, "depth": [1, 2, 3]}, r"depth = \[1, 2, 3\] has 3 levels, multipliers = \[1, 2\] 2"),
        ({"pooled": 4, "numbers": 6}, r"pooled \+ numbers = 10 are joined to a context"),
        (
            {"context": 8, "pooled": 4, "numbers": 6},
            "a vector of 10 numbers does not fit in a row of a context, which has 8",
        ),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_options_that_do_not_fit_are_refused_by_name(wrong: dict[str, Any], named: str) -> None:
    """Catches an attention level that silently does not exist, as resolutions in the place of factors would be."""
    with pytest.raises(InputError, match=named):
        MODELS.build("ldm-unet", **options(**wrong))


@pytest.mark.parametrize("size", [(9, 8), (8, 9)])
def test_a_size_that_does_not_halve_is_refused_by_name(size: tuple[int, int]) -> None:
    """Catches the skips' own message about sizes of tensors deep inside."""
    network = MODELS.build("ldm-unet", **options())
    with pytest.raises(InputError, match=f"{size[0]}x{size[1]} do not halve 1 times: sizes must be multiples of 2"):
        network(torch.zeros(1, 3, *size), torch.zeros(1))
