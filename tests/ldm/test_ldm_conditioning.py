"""What a latent diffusion U-Net may be conditioned on: labels, texts and contexts; each encoded once or at every step."""

from typing import Any

import pytest
import torch
from torch import Tensor

from replication.check.models import randomize
from replication.layers.unet import UNet
from replication.ldm.transformer import TextTransformer
from replication.registry import MODELS
from replication.types import InputError

KINDS: dict[str, dict[str, Any]] = {
    "label, added": {"classes": 10},
    "label, context": {"classes": 10, "context": 8},
    "tokens": {"vocabulary": 20, "length": 5, "context": 8, "text_layers": 2, "text_heads": 2},
    "context": {"context": 8, "length": 5},
    "context of any length": {"context": 8},
}
COND = {
    "label, added": torch.tensor([3, 10]),
    "label, context": torch.tensor([3, 10]),
    "tokens": torch.tensor([[1, 19, 7, 0, 0], [0, 0, 0, 0, 0]]),
    "context": torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(1)),
    "context of any length": torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(1)),
}
ENCODED = {"label, added": (2, 32), "label, context": (2, 1, 8), "tokens": (2, 5, 8), "context": (2, 5, 8)}
X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(2))
TIMESTEP = torch.tensor([1.0, 437.0])


def network(kind: str = "", seed: int = 3) -> UNet:
    options = {"resolution": 8, "channels": 3, "width": 8, "multipliers": [1, 2], "blocks": 1, "attention": [2]}
    built: UNet = MODELS.build("ldm-unet", **options, heads=2, groups=4, **KINDS.get(kind, {})).eval()
    randomize(built, seed)
    return built


@pytest.mark.parametrize("kind", KINDS)
def test_encoding_once_is_encoding_at_every_step(kind: str) -> None:
    """Exact, and twice encoded is once encoded. Catches an embedding made otherwise in forward than in encode."""
    net, cond = network(kind), COND[kind]
    with torch.no_grad():
        said = net.encode(cond)
        assert said.is_floating_point()
        assert net.encode(said) is said
        assert torch.equal(net(X, TIMESTEP, said), net(X, TIMESTEP, cond))
    assert kind not in ENCODED or said.shape == ENCODED[kind]
    assert not cond.is_floating_point() or said is cond


@pytest.mark.parametrize("kind", KINDS)
def test_each_image_has_its_own_condition(kind: str) -> None:
    """max-abs <= 1e-5 in float32. Catches a condition that is ignored, or that mixes between images."""
    net, cond = network(kind), COND[kind]
    x, timestep = X[:1].expand(2, -1, -1, -1), torch.zeros(2)
    with torch.no_grad():
        answer, swapped = net(x, timestep, cond), net(x, timestep, cond.flip(0))
    assert (answer[0] - answer[1]).abs().max() > 1e-3
    assert (answer - swapped.flip(0)).abs().max() <= 1e-5


def test_what_a_network_knows_is_said_by_its_attributes() -> None:
    """Exact. Catches a count that includes the label which says nothing."""
    known = {kind: (net.classes, net.vocabulary, net.length) for kind in ("", *KINDS) for net in [network(kind)]}
    assert known == {
        "": (0, 0, 0),
        "label, added": (10, 0, 0),
        "label, context": (10, 0, 0),
        "tokens": (0, 20, 5),
        "context": (0, 0, 5),
        "context of any length": (0, 0, 0),
    }


def test_an_unconditional_network_does_not_look_at_cond() -> None:
    """Exact. Catches encode raising where nothing has to be encoded."""
    net, label = network(), torch.tensor([3, 99])
    assert net.encode(label) is label
    assert torch.equal(net(X, TIMESTEP, label), net(X, TIMESTEP))


@pytest.mark.parametrize("kind", KINDS)
def test_a_conditional_network_without_a_condition_refuses(kind: str) -> None:
    with pytest.raises(InputError, match="this network is conditional: it needs"):
        network(kind)(X, TIMESTEP)


WRONG: list[tuple[str, Tensor, str]] = [
    ("label, added", torch.tensor([3, 11]), r"labels go from 0 to 10 \(10 is the null label\), not 11"),
    ("label, context", torch.tensor([3, -1]), "labels go from 0 to 10 .*, not -1"),
    ("label, context", torch.zeros(2, 3, dtype=torch.long), r"takes labels Int\[B\], not int64\[2, 3\]"),
    ("label, context", torch.zeros(2, 2, 8), r"takes Float\[B,1,8\] as it is, not Float\[2, 2, 8\]"),
    ("label, added", torch.zeros(2, 8), r"takes Float\[B,32\] as it is, not Float\[2, 8\]"),
    ("tokens", torch.full((2, 5), 20), r"tokens go from 0 to 19 \(0 is padding\), not 20"),
    ("tokens", torch.zeros(2, 4, dtype=torch.long), r"tokens Int\[B,5\], not Int\[2, 4\]"),
    ("tokens", torch.zeros(2, dtype=torch.long), r"tokens Int\[B,L\], not int64\[2\]"),
    ("context", torch.zeros(2, 4, 8), r"takes Float\[B,5,8\] as it is, not Float\[2, 4, 8\]"),
    ("context of any length", torch.zeros(2, 4, 7), r"takes Float\[B,L,8\] as it is, not Float\[2, 4, 7\]"),
    ("context of any length", torch.zeros(2, 8), r"takes Float\[B,L,8\] as it is, not Float\[2, 8\]"),
    ("context", torch.tensor([3, 4]), r"takes a context Float\[B,L,8\]"),
]


@pytest.mark.parametrize(("kind", "cond", "named"), WRONG, ids=[f"{kind}-{i}" for i, (kind, _, _) in enumerate(WRONG)])
def test_a_condition_that_does_not_fit_is_refused_by_name(kind: str, cond: Tensor, named: str) -> None:
    """Both by encode and by forward. Catches torch's own words, and a shape that happens to broadcast."""
    net = network(kind)
    for call in (lambda: net.encode(cond), lambda: net(X, TIMESTEP, cond)):
        with pytest.raises(InputError, match=named):
            call()


@pytest.mark.parametrize("kind", KINDS)
def test_shapes_are_known_without_memory(kind: str) -> None:
    """On the meta device, where a recipe checks its network. Catches a check that needs the numbers themselves."""
    with torch.device("meta"):
        net = network_on_meta(kind)
        cond = torch.empty_like(COND[kind], device="meta")
        assert net(torch.empty(2, 3, 8, 8), torch.empty(2), cond).shape == (2, 3, 8, 8)
        assert net.encode(cond).is_floating_point()


def network_on_meta(kind: str) -> UNet:
    options = {"resolution": 8, "channels": 3, "width": 8, "multipliers": [1, 2], "blocks": 1, "attention": [2]}
    built: UNet = MODELS.build("ldm-unet", **options, heads=2, groups=4, **KINDS[kind])
    return built


def test_the_text_transformer_is_pytorchs_pre_norm_encoder() -> None:
    """max-abs <= 1e-5 in float32 with the same weights, all random. Catches post-norm, tanh GELU, a missing last norm,
    positions that are not added, and a mask."""
    ours = TextTransformer(vocabulary=20, length=5, width=8, layers=2, heads=2).eval()
    randomize(ours, seed=4)
    layer = torch.nn.TransformerEncoderLayer(8, 2, 32, 0.0, "gelu", batch_first=True, norm_first=True)
    peer = torch.nn.TransformerEncoder(layer, 2, torch.nn.LayerNorm(8), enable_nested_tensor=False).eval()
    with torch.no_grad():
        for name, parameter in peer.named_parameters():
            parameter.copy_(_ours(name, ours))
        tokens = COND["tokens"]
        expected = peer(ours.token.weight[tokens] + ours.position)
        assert (ours(tokens) - expected).abs().max() <= 1e-5


def _ours(name: str, ours: TextTransformer) -> Tensor:
    words = {"self_attn.out_proj": "attention.out", "linear1": "expand", "linear2": "contract", "layers.": "blocks."}
    for theirs, mine in words.items():
        name = name.replace(theirs, mine)
    if "in_proj_weight" in name:
        stem = name.replace("self_attn.in_proj_weight", "attention")
        return torch.cat([ours.get_parameter(f"{stem}.{part}.weight") for part in "qkv"])
    return torch.zeros(24) if "in_proj_bias" in name else ours.get_parameter(name)


def test_the_text_transformer_is_trained_along() -> None:
    """Every parameter gets a gradient. Catches an encoder that is run without one."""
    net = network("tokens").train()
    net(X, TIMESTEP, COND["tokens"]).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in net.parameters())
