"""Official checkpoints read under our names: every tensor in its place, heads in their order."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from oracles.diffusers_peers import peer_ldm_unet
from replication.check.models import randomize
from replication.layers.unet import UNet
from replication.layers.weights import unet_from_diffusers
from replication.ldm.published_weights import from_official, of_adm, one_copy
from replication.registry import MODELS
from replication.types import InputError

OPTIONS: dict[str, Any] = {
    "resolution": 8, "channels": 3, "width": 8, "multipliers": [1, 2], "blocks": 2, "attention": [2], "groups": 4
}  # fmt: skip
ADM = {"scale_shift": True, "resampling_blocks": True}
INNER = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "embed": "emb_layers.1", "norm2": "out_layers.0",
    "conv2": "out_layers.3", "shortcut": "skip_connection",
}  # fmt: skip
# two levels of two blocks: where the official code has each of our parts
PLACES = {
    "embed.": "time_embed.", "conv_in.": "input_blocks.0.0.", "norm_out.": "out.0.", "conv_out.": "out.2.",
    "label.": "label_emb.", "added.first.": "label_emb.0.0.", "added.second.": "label_emb.0.2.",
    "down.0.blocks.0.": "input_blocks.1.0.", "down.0.blocks.1.": "input_blocks.2.0.",
    "down.1.blocks.0.": "input_blocks.4.0.", "down.1.attentions.0.": "input_blocks.4.1.",
    "down.1.blocks.1.": "input_blocks.5.0.", "down.1.attentions.1.": "input_blocks.5.1.",
    "middle1.": "middle_block.0.", "middle_attention.": "middle_block.1.", "middle2.": "middle_block.2.",
    "up.0.blocks.0.": "output_blocks.0.0.", "up.0.attentions.0.": "output_blocks.0.1.",
    "up.0.blocks.1.": "output_blocks.1.0.", "up.0.attentions.1.": "output_blocks.1.1.",
    "up.0.blocks.2.": "output_blocks.2.0.", "up.0.attentions.2.": "output_blocks.2.1.",
    "down.0.attentions.0.": "input_blocks.1.1.", "down.0.attentions.1.": "input_blocks.2.1.",
    "up.1.attentions.0.": "output_blocks.3.1.", "up.1.attentions.1.": "output_blocks.4.1.",
    "up.1.attentions.2.": "output_blocks.5.1.",
    "up.1.blocks.0.": "output_blocks.3.0.", "up.1.blocks.1.": "output_blocks.4.0.", "up.1.blocks.2.": "output_blocks.5.0.",
}  # fmt: skip
TRANSFORMER = {
    "self_attention.out": "attn1.to_out.0",
    "cross_attention.out": "attn2.to_out.0",
    "self_attention.": "attn1.to_",
    "cross_attention.": "attn2.to_",
    "feed_forward.expand": "ff.net.0.proj",
    "feed_forward.contract": "ff.net.2",
}


def build(**options: Any) -> UNet:
    network: UNet = MODELS.build("ldm-unet", **{"heads": 2, **OPTIONS, **options}).eval()
    randomize(network, seed=1)
    return network


def official(network: UNet, prefix: str = "model.diffusion_model.", linear: bool = False) -> dict[str, Tensor]:
    """The network's tensors under the names, and in the shapes, of an official checkpoint.

    linear: with linear layers around the transformers, as in SD 2 and SDXL.
    """
    weights = {}
    convolution = not network.resampling_blocks
    places = {
        **PLACES,
        "downsample.0.": "input_blocks.3.0." + ("op." if convolution else ""),
        # after the attention, or in its place
        "upsample.0.": f"output_blocks.2.{2 if network.attends[1] else 1}." + ("conv." if convolution else ""),
    }
    for name, tensor in network.state_dict().items():
        if name.startswith("context_encoder."):
            weights["cond_stage_model.embedding.weight"] = tensor
            continue
        ours, theirs = next(pair for pair in places.items() if name.startswith(pair[0]))
        rest = name.removeprefix(ours)
        rest = f"transformer_{rest}" if "attention" in ours and rest.startswith("blocks.") else rest
        for inner, other in (TRANSFORMER if "attention" in ours else INNER).items():
            if inner in rest:
                rest = rest.replace(inner, other, 1)
                break
        projection = linear and "proj_" in rest and rest.endswith("weight")
        weights[prefix + theirs + rest] = tensor[:, :, 0, 0] if projection else tensor
    return weights


def with_one_convolution_for_qkv(
    weights: dict[str, Tensor], heads: int, heads_outermost: bool = True
) -> dict[str, Tensor]:
    """Plain attention as the official code keeps it: head after head, each with its q, k and v rows; or all q before all k."""
    packed = {}
    for name, tensor in weights.items():
        stem, part, kind = name.rsplit(".", 2)
        if part == "q":
            rows = [weights[f"{stem}.{letter}.{kind}"].chunk(heads) for letter in "qkv"]
            order = [(i, head) for head in range(heads) for i in range(3)]
            whole = torch.cat([rows[i][head] for i, head in (order if heads_outermost else sorted(order))])
            packed[f"{stem}.qkv.{kind}"] = whole[..., None] if kind == "weight" else whole
        elif part == "out" and kind in {"weight", "bias"} and f"{stem}.q.{kind}" in weights:
            packed[f"{stem}.proj_out.{kind}"] = tensor[..., None] if kind == "weight" else tensor
        elif part not in {"k", "v"}:
            packed[name] = tensor
    return packed


@pytest.mark.parametrize("options", [{"context": 6}, {"context": 6, "classes": 4}], ids=["text", "class"])
def test_spatial_transformers_come_back(options: dict[str, Any]) -> None:
    """Exact. Catches a block, a level or a projection under another's name, and a class embedder left behind."""
    network = build(**options)
    weights = {**official(network), "first_stage_model.decoder.conv_in.weight": torch.zeros(1)}
    assert not set(weights) & set(network.state_dict())
    converted = from_official(weights, build(**options))
    assert set(converted) == set(network.state_dict())
    assert all(torch.equal(converted[name], tensor) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize("with_others", [True, False], ids=["whole", "unet"])
def test_sdxl_comes_back(with_others: bool) -> None:
    """Exact, and no tensor of ours is a copy. Catches a block of a deep transformer under another's number, the vector's
    layers or the linear projections without a place, and the other networks of the file in the way."""
    options = {"context": 24, "depth": [0, 3], "pooled": 10, "numbers": 6}
    network, others = (
        build(**options),
        dict.fromkeys(("conditioner.embedders.0.x", "first_stage_model.x"), torch.zeros(1)),
    )
    weights = {**official(network, linear=True), **(others if with_others else {})}
    assert weights["model.diffusion_model.middle_block.1.proj_in.weight"].ndim == 2
    assert "model.diffusion_model.input_blocks.4.1.transformer_blocks.2.attn2.to_k.weight" in weights
    assert {"model.diffusion_model.label_emb.0.0.weight", "model.diffusion_model.label_emb.0.2.bias"} <= weights.keys()
    converted = from_official(weights, build(**options))
    assert set(converted) == set(network.state_dict())
    for name, tensor in network.state_dict().items():
        assert torch.equal(converted[name], tensor), name
        assert converted[name].untyped_storage().data_ptr() == tensor.untyped_storage().data_ptr(), name


@pytest.mark.parametrize(
    "options",
    [{}, {"classes": 4}, {"heads": 0, "head_channels": 4}, {"attention": [1]}, ADM, {**ADM, "attention": [1]}],
    ids=["2", "label", "of 4", "other-level", "adm", "adm-other-level"],
)
def test_plain_attention_comes_back(options: dict[str, Any]) -> None:
    """Exact. Catches q, k and v read one after the other for all heads at once."""
    network = build(**options)
    weights = with_one_convolution_for_qkv(official(network), heads=2 if "head_channels" not in options else 4)
    converted = from_official(weights, build(**options))
    assert set(converted) == set(network.state_dict())
    assert all(torch.equal(converted[name], tensor) for name, tensor in network.state_dict().items())


def test_packed_heads_attend_as_the_official_equation_says() -> None:
    """max-abs <= 1e-5 in float32: the attention computed from the packed convolution itself, each head its own q, k, v.

    Catches an order of heads in which this test's packing and the converter agree with each other alone.
    """
    network = build()
    stem = "model.diffusion_model.middle_block.1."
    packed = with_one_convolution_for_qkv(official(network), heads=2)
    x = torch.randn(1, 16, 2, 2, generator=torch.Generator().manual_seed(2))
    h = network.middle_attention.norm(x).flatten(2)
    qkv = F.conv1d(h, packed[stem + "qkv.weight"], packed[stem + "qkv.bias"])  # [1,3*16,4]
    q, k, v = qkv.reshape(2, 24, 4).split(8, dim=1)  # one head of 8 channels after the other
    weight = torch.softmax(torch.einsum("hct,hcs->hts", q, k) / 8**0.5, dim=-1)
    heard = torch.einsum("hts,hcs->hct", weight, v).reshape(1, 16, 4)
    expected = x + F.conv1d(heard, packed[stem + "proj_out.weight"], packed[stem + "proj_out.bias"]).reshape(x.shape)
    assert (network.middle_attention(x) - expected).abs().max() <= 1e-5


def test_the_moving_average_is_what_is_taken() -> None:
    """Exact, and the only copy where there is one. Catches the raw weights in its place, and a silent fall-back to them."""
    raw, averaged = build(context=6), build(context=6)
    randomize(averaged, seed=5)
    weights = official(raw)
    for name, tensor in official(averaged, prefix="diffusion_model.").items():
        weights["model_ema." + name.replace(".", "")] = tensor
    converted = from_official(weights, build(context=6))
    assert all(torch.equal(converted[name], tensor) for name, tensor in averaged.state_dict().items())
    del weights[next(name for name in weights if name.startswith("model_ema."))]
    with pytest.raises(InputError, match=r"no moving average 'model_ema\.diffusion_model\w+(weight|bias)'"):
        from_official(weights, build(context=6))
    assert one_copy(weights) == ""
    alone = {**official(raw), "model_ema.decay": torch.tensor(0.9999)}
    converted = from_official(alone, build(context=6))
    assert all(torch.equal(converted[name], tensor) for name, tensor in raw.state_dict().items())
    assert "one copy of the weights, taken as it is" in one_copy(alone)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"input_blocks.4.1.norm.weight": None}, "down.1.attentions.0.norm.weight"),
        ({"input_blocks.9.0.op.weight": torch.zeros(3)}, "input_blocks.9.0.op.weight"),
        ({"out.2.weight": torch.zeros(3, 3)}, r"conv_out.weight.*\(3, 3\), not \(3, 8, 3, 3\)"),
    ],
    ids=["missing", "unexpected", "shape"],
)
def test_official_weights_of_another_network_are_refused_by_name(change: dict[str, Tensor], named: str) -> None:
    """Catches a conversion that leaves part of the network at its initial values."""
    weights = with_one_convolution_for_qkv(official(build()), heads=2)
    for name, tensor in change.items():
        weights.pop("model.diffusion_model." + name, None)
        if tensor is not None:
            weights["model.diffusion_model." + name] = tensor
    with pytest.raises(InputError, match=named):
        from_official(weights, build())


def test_diffusers_weights_of_another_network_are_refused_by_name() -> None:
    """Catches weights of a network with attention at another level."""
    config: dict[str, Any] = {"resolution": 8, "width": 8, "multipliers": (1, 2), "blocks": 2, "groups": 4}
    weights = peer_ldm_unet(channels=3, head_channels=4, attention=(1,), **config).state_dict()
    with pytest.raises(InputError, match=r"down.1.attentions.0"):
        unet_from_diffusers(weights, build())


@pytest.mark.parametrize("classes", [0, 4], ids=["unconditional", "labels"])
def test_adms_own_files_are_the_unet_alone(classes: int) -> None:
    """Exact but for the null label, which those files lack. Catches: ADM's and IDDPM's files refused for a prefix they have
    not, and heads mixed up."""
    network = build(classes=classes, **ADM)
    weights = official(network, prefix="")
    label = {"label_emb.weight": weights.pop("label_emb.weight")[:classes]} if classes else {}
    weights = {**with_one_convolution_for_qkv(weights, heads=2), **label}
    converted = from_official(weights, build(classes=classes, **ADM))
    for name, tensor in network.state_dict().items():
        if name == "label.weight":
            assert torch.equal(converted[name][:classes], tensor[:classes])
            assert (converted[name][classes:] == 0).all()
        else:
            assert torch.equal(converted[name], tensor), name
    assert ("no null label" in of_adm(weights)) == bool(classes)


@pytest.mark.parametrize(
    ("name", "options", "count"),
    [
        ("adm-64", {}, 295_904_454 + 768), ("adm-256", {}, 552_814_086), ("adm-256", {"classes": 1000}, 553_838_086 + 1024),
        ("adm-512", {}, 558_997_638 + 1024), ("iddpm-imagenet64-label", {}, 273_050_118),
    ],
)  # fmt: skip
def test_parameters_of_adm_and_iddpm(name: str, options: dict[str, Any], count: int) -> None:
    """ADM's published counts, and IDDPM's 270M; a row for a null label is ours. Catches: another level's attention or width."""
    with torch.device("meta"):
        network = MODELS.build(name, **options)
    assert sum(p.numel() for p in network.parameters()) == count


def test_adm_at_64_packs_its_attention_otherwise() -> None:
    """Exact: all queries, then all keys, then all values, in files whose shapes are those of the other order.

    Catches: use_new_attention_order overlooked, which makes noise of every sample.
    """
    network, ours = build(**ADM), build(**ADM)
    weights = with_one_convolution_for_qkv(official(network, prefix=""), heads=2, heads_outermost=False)
    with torch.device("meta"):
        ours.heads_outermost = MODELS.build("adm-64").heads_outermost
    converted = from_official(weights, ours)
    assert all(torch.equal(converted[name], tensor) for name, tensor in network.state_dict().items())
    ours.heads_outermost = True
    assert not torch.equal(from_official(weights, ours)["middle_attention.q.weight"], network.middle_attention.q.weight)


def test_the_time_may_have_more_sinusoids_than_the_network_channels() -> None:
    """Catches: an embedding of another width than the official one at 512 pixels, whose first level is half as wide."""
    network = build(time_width=16, **ADM)
    assert network.embed[0].weight.shape == (64, 16)
    assert network.conv_in.out_channels == 8
    assert network(torch.randn(2, 3, 8, 8), torch.tensor([0.0, 999.0])).shape == (2, 3, 8, 8)


def test_iddpms_times_are_those_of_1000_steps() -> None:
    """Exact. Catches: an option that is accepted and ignored, with which 4000 times are noise to the network."""
    scaled, plain = build(timestep_scale=0.25), build()
    x, t = torch.randn(2, 3, 8, 8), torch.tensor([4.0, 3996.0])
    with torch.no_grad():
        assert torch.equal(scaled(x, t), plain(x, t / 4))
        assert not torch.equal(scaled(x, t), plain(x, t))
