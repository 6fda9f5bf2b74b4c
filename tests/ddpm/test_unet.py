"""The U-Net: published parameter counts, parity with diffusers, and the facts that parity cannot show."""

import math
import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from oracles.diffusers_peers import peer_unet
from replication.check.models import randomize
from replication.ddpm.published_weights import from_official
from replication.ddpm.unet import ddpm_unet
from replication.layers.conditioning import timestep_embedding
from replication.layers.unet import Attention, ResnetBlock, UNet
from replication.layers.weights import unet_from_diffusers
from replication.registry import MODELS
from replication.types import InputError

CIFAR10: dict[str, Any] = {
    "resolution": 32, "width": 128, "multipliers": (1, 2, 2, 2), "blocks": 2, "attention": (16,), "groups": 32
}  # fmt: skip
NARROW_256 = {**CIFAR10, "resolution": 256, "width": 8, "multipliers": (1, 1, 2, 2, 4, 4), "groups": 4}
DIGITS = {**CIFAR10, "resolution": 8, "width": 32, "multipliers": (1, 2), "blocks": 1, "attention": (4,), "groups": 8}


def ours(channels: int, **options: Any) -> UNet:
    return ddpm_unet(channels=channels, **options)


@pytest.mark.parametrize(("name", "count"), [("ddpm-cifar10", 35_746_307), ("ddpm-256", 113_673_219)])
def test_published_parameter_counts(name: str, count: int) -> None:
    """Exact. Catches a middle without attention, an up path without its extra block, shortcuts everywhere."""
    with torch.device("meta"):
        network = MODELS.build(name)
    assert sum(p.numel() for p in network.parameters()) == count


@pytest.mark.parametrize(
    ("config", "channels", "pixels"),
    [(CIFAR10, 3, 32), (NARROW_256, 3, 64), (DIGITS, 1, 8)],
    ids=["cifar10", "256-narrow", "digits"],
)
def test_agrees_with_diffusers_with_its_weights(config: dict[str, Any], channels: int, pixels: int) -> None:
    """max-abs <= 1e-5 in float32, all weights random so that the branches that start near zero are heard.

    Catches: GroupNorm eps 1e-5, padding (1,1,1,1), cos before sin, divisor half, skips popped from the wrong end.
    """
    peer, network = peer_unet(channels=channels, **config).eval(), ours(channels, **config).eval()
    randomize(peer, seed=1)
    network.load_state_dict(unet_from_diffusers(peer.state_dict(), network))
    x = torch.randn(2, channels, pixels, pixels, generator=torch.Generator().manual_seed(2))
    for timestep in (torch.tensor([0.0, 999.0]), torch.tensor([1.0, 437.0])):
        with torch.no_grad():
            expected, answer = peer(x, timestep).sample, network(x, timestep)
        assert expected.std() > 0.1
        assert (answer - expected).abs().max() <= 1e-5


def test_ddpm_cifar10_is_the_configuration_that_parity_was_shown_for() -> None:
    """Catches a preset that drifts from the configuration tested above, or whose attention sits elsewhere."""
    with torch.device("meta"):
        preset, tested = MODELS.build("ddpm-cifar10"), ours(3, **CIFAR10)
        wide = ours(3, **{**NARROW_256, "width": 128, "groups": 32})
        assert _shapes(MODELS.build("ddpm-256")) == _shapes(wide)
    assert _shapes(preset) == _shapes(tested)
    assert {m.num_groups for m in preset.modules() if isinstance(m, nn.GroupNorm)} == {32}


def _shapes(network: nn.Module) -> dict[str, torch.Size]:
    return {name: p.shape for name, p in network.named_parameters()}


def test_dropout_of_the_presets() -> None:
    """Exact: 0.1 for CIFAR-10, none at 256, once in each block. Catches a rate that is not passed on."""
    with torch.device("meta"):
        rates = {name: _dropout_rates(MODELS.build(name)) for name in ("ddpm-cifar10", "ddpm-256")}
    assert rates == {"ddpm-cifar10": [0.1] * 22, "ddpm-256": [0.0] * 32}


def _dropout_rates(network: nn.Module) -> list[float]:
    return [m.p for m in network.modules() if isinstance(m, nn.Dropout)]


def test_sin_comes_before_cos_and_the_divisor_is_half_minus_one() -> None:
    """max-abs <= 1e-6 (float32). Catches cos first (IDDPM) and divisor half: the last frequency is exactly 1/10000."""
    dim, steps = 8, torch.tensor([0.0, 1.0, 10.0])
    frequencies = [10000 ** (-i / 3) for i in range(4)]
    expected = [[math.sin(t * f) for f in frequencies] + [math.cos(t * f) for f in frequencies] for t in steps.tolist()]
    assert (timestep_embedding(steps, dim) - torch.tensor(expected)).abs().max() <= 1e-6


def test_initialisation_is_xavier_uniform_and_near_zero_at_the_ends_of_branches() -> None:
    """Bounds within 2 % of the law's. Catches Kaiming, gain 1e-10 instead of its root, and a forgotten conv_out."""
    torch.manual_seed(0)
    network = ours(3, **{**CIFAR10, "width": 64})
    ends: list[nn.Module] = [m.conv2 for m in network.modules() if isinstance(m, ResnetBlock)]
    ends += [m.out for m in network.modules() if isinstance(m, Attention)] + [network.conv_out]
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            assert module.bias is not None
            assert not module.bias.any()
            fan_in = module.weight[0].numel()
            fan_out = module.weight[:, 0].numel()
            bound = math.sqrt(6 / (fan_in + fan_out)) * (1e-5 if any(module is m for m in ends) else 1)
            assert 0.98 * bound <= module.weight.abs().max() <= bound
        elif isinstance(module, nn.GroupNorm):
            assert module.eps == 1e-6
    x = torch.randn(1, 3, 32, 32)
    assert network(x, torch.zeros(1)).abs().max() < 1e-3  # eps starts as nearly zero


def test_stride_two_convolutions_look_right_and_below() -> None:
    """Exact: the convolution gets 9x9 of 8x8 pixels, zeros last. Catches padding (1,1,1,1) and zeros at the left."""
    network = ours(1, **DIGITS).eval()
    seen = []
    network.downsample[0].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    network(torch.randn(1, 1, 8, 8), torch.zeros(1))
    assert seen[0].shape[-2:] == (9, 9)
    assert not seen[0][..., -1].any()
    assert not seen[0][..., -1, :].any()
    assert seen[0][..., 0, 0].any()
    assert network.downsample[0].padding == (0, 0)


def test_learned_variance_doubles_the_output_channels() -> None:
    """Exact. Catches the option being accepted and ignored."""
    with torch.device("meta"):
        network = MODELS.build("ddpm-digits", learned_variance=True)
        assert network(torch.empty(2, 1, 8, 8), torch.empty(2)).shape == (2, 2, 8, 8)


def test_weights_of_the_old_spelling_are_read() -> None:
    """Exact. Catches dropping query, key, value and proj_attn, which the published files still use."""
    new = peer_unet(channels=1, **DIGITS).state_dict()
    spelling = {"to_q.": "query.", "to_k.": "key.", "to_v.": "value.", "to_out.0.": "proj_attn."}
    old = {}
    for name, tensor in new.items():
        for after, before in spelling.items():
            name = name.replace(after, before)
        old[name] = tensor
    assert set(old) != set(new)
    converted, network = unet_from_diffusers(old, ours(1, **DIGITS)), ours(1, **DIGITS)
    assert all(
        converted[name].data_ptr() == tensor.data_ptr() for name, tensor in unet_from_diffusers(new, network).items()
    )


ODD = {
    "a missing tensor": ("mid_block.attentions.0.to_q.weight", None, "middle_attention.q.weight"),
    "a missing level's last block": ("up_blocks.1.resnets.1.conv2.bias", None, "up.1.blocks.1.conv2.bias"),
    "a tensor of another network": ("class_embedding.weight", (4, 4), "class_embedding.weight"),
    "another shape": ("conv_out.weight", (3, 32, 3, 3), "conv_out.weight"),
    "nothing to start from": ("conv_in.weight", None, "conv_in.weight"),
}


@pytest.mark.parametrize("what", ODD)
def test_weights_that_are_not_all_of_one_network_are_refused_by_name(what: str) -> None:
    """Catches a conversion that drops a tensor or leaves part of the network at its initial values."""
    weights, (name, shape, named) = peer_unet(channels=1, **DIGITS).state_dict(), ODD[what]
    weights.pop(name, None)
    if shape is not None:
        weights[name] = torch.zeros(shape)
    with pytest.raises(InputError, match=named):
        unet_from_diffusers(weights, ours(1, **DIGITS))


def ddim_names(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """diffusers' tensors under the names of DDIM's code, whose levels on the way up are counted by their factor."""
    spelt, last = {}, 1
    for name, tensor in weights.items():
        up = re.sub(r"^up_blocks\.(\d+)", lambda m: f"up.{last - int(m[1])}", name)
        for theirs, ddims in (
            ("time_embedding.linear_1", "temb.dense.0"), ("time_embedding.linear_2", "temb.dense.1"), ("down_blocks.", "down."),
            ("conv_norm_out", "norm_out"), ("mid_block.resnets.0", "mid.block_1"), ("mid_block.resnets.1", "mid.block_2"),
            ("mid_block.attentions.0", "mid.attn_1"), (".resnets.", ".block."), (".attentions.", ".attn."),
            ("samplers.0.conv", "sample.conv"), ("time_emb_proj", "temb_proj"), ("conv_shortcut", "nin_shortcut"),
            ("group_norm", "norm"), ("to_out.0", "proj_out"), ("to_q", "q"), ("to_k", "k"), ("to_v", "v"),
        ):  # fmt: skip
            up = up.replace(theirs, ddims)
        attention = "attn" in up and tensor.ndim == 2
        spelt[up] = tensor[:, :, None, None] if attention else tensor
    return spelt


def test_official_weights_as_ddims_code_has_them() -> None:
    """max-abs <= 1e-5 from the peer whose weights they are. Catches: levels on the way up in the other order, and 1x1
    convolutions of the attention that are refused."""
    config = {**DIGITS, "blocks": 2}
    peer, network = peer_unet(channels=3, **config).eval(), ours(3, **config).eval()
    randomize(peer, seed=1)
    network.load_state_dict(from_official(ddim_names(peer.state_dict()), network))
    x, timestep = torch.randn(2, 3, 8, 8), torch.tensor([1.0, 437.0])
    with torch.no_grad():
        assert (network(x, timestep) - peer(x, timestep).sample).abs().max() <= 1e-5
