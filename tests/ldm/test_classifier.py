"""ADM's classifiers: the published sizes, the official layout and arithmetic, and what is refused."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from ldm.test_published_weights import INNER, PLACES, with_one_convolution_for_qkv
from torch import Tensor

from replication.check.models import randomize
from replication.ldm.classifier import NoisyClassifier
from replication.registry import CLASSIFIERS
from replication.types import InputError

OPTIONS: dict[str, Any] = {
    "resolution": 8, "channels": 3, "classes": 5, "width": 8, "multipliers": [1, 2], "blocks": 2, "attention": [2],
    "head_channels": 8, "groups": 4,
}  # fmt: skip
HEADS = 2


def tiny(weights: Path | str = "none") -> NoisyClassifier:
    made: NoisyClassifier = CLASSIFIERS.build("adm-classifier", weights=str(weights), **OPTIONS)
    return made


def trained() -> NoisyClassifier:
    network = tiny().to_empty(device="cpu").eval()
    randomize(network, seed=1)
    return network


def official(network: NoisyClassifier) -> dict[str, Tensor]:
    """The tensors under the names, and in the shapes, of guided-diffusion's files."""
    weights = {}
    places = {**PLACES, "downsample.0.": "input_blocks.3.0."}
    for name, tensor in network.state_dict().items():
        if name.startswith("pool."):
            words = {"pool.positions": "positional_embedding", "pool.qkv": "qkv_proj", "pool.out": "c_proj"}
            ours, theirs = next(pair for pair in words.items() if name.startswith(pair[0]))
            weights[f"out.2.{theirs}{name.removeprefix(ours)}"] = (
                tensor[..., None] if name.endswith("weight") else tensor
            )
            continue
        ours, theirs = next(pair for pair in places.items() if name.startswith(pair[0]))
        rest = name.removeprefix(ours)
        for inner, other in ({} if "attention" in ours else INNER).items():
            if inner in rest:
                rest = rest.replace(inner, other, 1)
                break
        weights[theirs + rest] = tensor
    return with_one_convolution_for_qkv(weights, HEADS)


@pytest.mark.parametrize(("side", "count"), [(64, 65_438_568), (128, 42_568_040), (256, 54_096_360), (512, 54_448_360)])
def test_parameters_are_those_of_the_official_code(side: int, count: int) -> None:
    """As its create_classifier has them. Catches: another depth, width, pool or level of attention."""
    classifier = CLASSIFIERS.build(f"adm-classifier-{side}")
    assert sum(p.numel() for p in classifier.parameters()) == count
    assert all(p.is_meta for p in classifier.parameters())


def test_an_official_file_is_read(tmp_path: Path) -> None:
    """Exact. Catches: the pool's projections or the head's norm without a place, and heads mixed up."""
    network = trained()
    torch.save(official(network), tmp_path / "c.pt")
    read = tiny(tmp_path / "c.pt").with_weights
    assert all(torch.equal(read.state_dict()[name], tensor) for name, tensor in network.state_dict().items())
    x, t = torch.randn(2, 3, 8, 8), torch.tensor([4.0, 700.0])
    assert torch.equal(read(x, t), network(x, t))
    assert read(x, t).shape == (2, 5)


def test_the_pool_is_the_official_one() -> None:
    """max-abs 1e-5, against its sums written out: [q k v] over channels, heads within each, the first of all positions.

    Catches: queries of every position averaged, positions left out, heads across q, k and v.
    """
    pool = trained().pool
    x = torch.randn(2, 16, 4, 4)
    flat = torch.cat([x.flatten(2).mean(2, keepdim=True), x.flatten(2)], dim=2) + pool.positions
    qkv = torch.einsum("oc,bcn->bon", pool.qkv.weight, flat) + pool.qkv.bias[:, None]
    q, k, v = (part.unflatten(1, (HEADS, 8)) for part in qkv.split(16, dim=1))
    scores = torch.einsum("bhcn,bhcm->bhnm", q, k) / 8**0.5
    mixed = torch.einsum("bhnm,bhcm->bhcn", scores.softmax(-1), v).flatten(1, 2)[:, :, 0]
    assert (pool(x) - F.linear(mixed, pool.out.weight, pool.out.bias)).abs().max() <= 1e-5


def test_the_gradient_is_that_of_the_logits() -> None:
    """Within 1 %, by differences in float64. Catches: activations computed in place, which a gradient cannot pass."""
    network = trained().double().requires_grad_(False)
    x, t = torch.randn(1, 3, 8, 8, dtype=torch.float64), torch.tensor([40.0], dtype=torch.float64)
    moved = torch.randn_like(x)
    with torch.no_grad(), torch.enable_grad():
        seen = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(network(seen, t)[0, 3], seen)
    difference = (network(x + 1e-5 * moved, t) - network(x - 1e-5 * moved, t))[0, 3] / 2e-5
    assert float((gradient * moved).sum()) == pytest.approx(float(difference), rel=0.01)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"weights = 'none': no such file, and not fetched; `replicate weights fetch none`"
    ):
        tiny().ensure()
    weights = official(trained())
    lacking = {name: tensor for name, tensor in weights.items() if name != "out.2.c_proj.bias"}
    odd = {**weights, "out.2.extra": torch.zeros(1)}
    wrong = {**weights, "out.2.positional_embedding": torch.zeros(16, 10)}
    for content, message in ((lacking, "nothing there for 'pool.out.bias'"), (odd, "'out.2.extra' has no place"), (wrong, "has shape")):  # fmt: skip
        torch.save(content, tmp_path / "c.pt")
        with pytest.raises(InputError, match=rf"classifier weights .*c.pt: .*{message}"):
            _ = tiny(tmp_path / "c.pt").with_weights


def test_a_key_holds_the_weights_content(tmp_path: Path) -> None:
    """Catches: a path in a key, and other weights under one key."""

    def identity(path: Path) -> dict[str, Any]:
        return CLASSIFIERS.identity("adm-classifier", {**OPTIONS, "weights": str(path)})

    network = trained()
    for name in ("a.pt", "b.pt"):
        torch.save(official(network), tmp_path / name)
    other = {**official(network), "out.2.c_proj.bias": torch.ones(5)}
    torch.save(other, tmp_path / "c.pt")
    assert identity(tmp_path / "none")["options"]["weights"] == "not here"
    (tmp_path / "b.pt").write_bytes((tmp_path / "a.pt").read_bytes())
    assert identity(tmp_path / "a.pt") == identity(tmp_path / "b.pt") != identity(tmp_path / "c.pt")
