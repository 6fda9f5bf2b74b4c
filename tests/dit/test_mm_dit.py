"""MM-DiT: its joint block against diffusers', how it reads a text, and what it refuses."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from oracles.diffusers_dit import peer_joint_block
from replication.check.models import randomize
from replication.dit.mm_dit import JointBlock, MMDiT
from replication.registry import MODELS
from replication.types import InputError

SMALL: dict[str, Any] = {"depth": 2, "width": 32, "heads": 2, "patch": 2, "resolution": 8, "length": 5}
X = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
TIMESTEP = torch.tensor([3.5, 977.25])
TOKENS = torch.tensor([[3, 1, 4, 0, 0], [2, 7, 1, 8, 6]])


def small(seed: int | None = None, **options: Any) -> MMDiT:
    torch.manual_seed(0)
    network: MMDiT = MODELS.build("mm-dit", **{**SMALL, "vocabulary": 9, **options}).eval()
    if seed is not None:
        randomize(network, seed)
    return network


def said(network: nn.Module, cond: Tensor | None = TOKENS, timestep: Tensor = TIMESTEP) -> Tensor:
    with torch.no_grad():
        answer: Tensor = network(X, timestep, cond)
    return answer


@pytest.mark.parametrize("last", [False, True])
def test_the_joint_block_agrees_with_that_of_stable_diffusion_3(last: bool) -> None:
    """max-abs <= 1e-5 in float32, every weight random. Catches streams that share weights, a norm of q and k over the whole
    width, modulation in another order, and a text stream that goes on after the last block.
    """
    block = JointBlock(32, 2, qk_norm=True, last=last)
    randomize(block, seed=1)
    image, text, vector = torch.randn(2, 16, 32), torch.randn(2, 5, 32), torch.randn(2, 32)
    with torch.no_grad():
        expected_text, expected = peer_joint_block(block, 32, last)(image, text, vector)
        answer, answered_text = block(image, text, vector)
    assert (expected - image).std() > 0.1
    assert (answer - expected).abs().max() <= 1e-5
    if last:
        assert torch.equal(answered_text, text)
    else:
        assert (answered_text - expected_text).abs().max() <= 1e-5


def test_it_hears_time_words_and_their_order() -> None:
    """Catches a text that reaches the vector alone or the sequence alone, tokens without places, one image's text for all."""
    network = small(seed=2)
    answer = said(network)
    assert answer.shape == (2, 4, 8, 8)
    assert said(small(seed=2, learned_variance=True)).shape == (2, 8, 8, 8)
    for other in (TOKENS.roll(1, dims=1), TOKENS.flip(1), TOKENS.clamp(max=3)):
        changed = said(network, torch.cat([other[:1], TOKENS[1:]]))
        assert (changed - answer)[0].abs().max() > 1e-3
        assert (changed - answer)[1].abs().max() <= 1e-6
    assert (said(network, timestep=TIMESTEP.flip(0)) - answer).abs().max() > 1e-3
    for silenced in (network.pooled.second, network.blocks[0].text.qkv):  # type: ignore[union-attr]
        with torch.no_grad():
            kept = silenced.weight.clone()  # type: ignore[union-attr,operator]
            silenced.weight.zero_()  # type: ignore[union-attr,operator]
            assert (said(network) - answer).abs().max() > 1e-3
            silenced.weight.copy_(kept)  # type: ignore[union-attr,operator]


def test_padding_leaves_the_mean_alone() -> None:
    """max-abs <= 1e-6. Catches a mean over padding, and a division by zero where a text is nothing else."""
    embedder = small(seed=2).text
    words = embedder.table.weight.detach()  # type: ignore[union-attr]
    mean = embedder(torch.stack([TOKENS[0], torch.zeros(5, dtype=torch.int64)]))[:, -1]
    assert (mean[0] - (words[3] + words[1] + words[4]) / 3).abs().max() <= 1e-6  # type: ignore[index]
    assert not mean[1].any()


def test_given_context_is_projected_and_heard() -> None:
    """Catches context that is taken for tokens, and one image's for all."""
    network = small(seed=3, vocabulary=0, context=6)
    context = torch.randn(2, 5, 6)
    answer = said(network, context)
    assert (said(network, context.flip(0)) - answer).abs().max() > 1e-3
    assert not hasattr(network.text, "table")


def test_a_new_network_is_silent_and_its_gates_are_closed() -> None:
    """Exact. Catches either stream's modulation left at Xavier's law."""
    network = small()
    assert not said(network).any()
    image, text = torch.randn(2, 16, 32), torch.randn(2, 5, 32)
    answered = network.blocks[0](image, text, torch.randn(2, 32))
    assert torch.equal(answered[0], image)
    assert torch.equal(answered[1], text)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"context": 6}, "not vocabulary = 9 and context = 6"),
        ({"vocabulary": 0}, "not vocabulary = 0 and context = 0"),
        ({"patch": 3}, "patch = 3 does not divide"),
        ({"heads": 5}, "not a multiple of heads = 5"),
    ],
)
def test_sizes_that_do_not_fit_are_refused_by_name(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        small(**options)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_encoded_once_is_heard_like_the_tokens(dtype: torch.dtype) -> None:
    """Exact. Catches a mean over padding or over places, made after tokens are forgotten, and one image's text for all."""
    network = small(seed=4, qk_norm=False)  # torch has no fused RMSNorm of two dtypes, and says so
    encoded = network.encode(TOKENS)
    assert encoded.shape == (2, 6, 32)
    assert torch.equal(network.encode(encoded), encoded)
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        assert torch.equal(said(network, encoded), said(network))
        assert not torch.equal(said(network, encoded.flip(0)), said(network))
    with_context = small(seed=4, vocabulary=0, context=6)
    context = torch.randn(2, 5, 6)
    assert with_context.encode(context) is context
    assert (network.classes, network.vocabulary, network.length) == (0, 9, 5)
    assert (with_context.classes, with_context.vocabulary, with_context.length) == (0, 0, 5)


def test_tokens_are_read_once_and_checked_before_they_are() -> None:
    """Catches a table that is read at every step, and tokens out of range that only the CPU would refuse."""
    network, reads = small(seed=4), []
    network.text.register_forward_hook(lambda *_: reads.append(1))
    encoded = network.encode(TOKENS)
    for _ in range(3):
        said(network, encoded)
    assert len(reads) == 1
    with pytest.raises(InputError, match="tokens go from 0 to 8"):
        network.encode(TOKENS + 4)
    assert len(reads) == 1


def test_texts_that_do_not_fit_are_refused_by_name() -> None:
    network, with_context = small(), small(vocabulary=0, context=6)
    for cond, message in ((None, "needs the tokens of a text"), (TOKENS[:, :4], r"tokens Int\[B,5\], not Int\[2, 4\]"),
                          (torch.zeros(2, 5, 6), r"Float\[B,6,32\] as it is, not Float\[2, 5, 6\]"), (TOKENS + 4, r"tokens go from 0 to 8 \(0 is padding\), not 1[0-2]"),
                          (TOKENS - 1, "tokens go from 0 to 8 .*, not -1")):  # fmt: skip
        with pytest.raises(InputError, match=message):
            said(network, cond)
    with pytest.raises(InputError, match=r"takes a context Float\[B,L,6\], not torch.int64"):
        said(with_context, TOKENS)
    with pytest.raises(InputError, match=r"takes Float\[B,5,6\] as it is, not Float\[2, 4, 6\]"):
        said(with_context, torch.zeros(2, 4, 6))
