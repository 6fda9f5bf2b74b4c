"""The CLIP score: by hand, its interval, and embeddings that do not fit."""

import pytest
import torch

from replication.metrics import Features, Material, evaluate
from replication.registry import METRICS
from replication.types import InputError


def material(images: list[torch.Tensor], prompts: list[torch.Tensor], resamples: int = 20) -> Material:
    """Beside features of as many generated images."""
    generator = torch.Generator().manual_seed(0)
    features = [Features(torch.randn(len(part), 4, generator=generator)) for part in images]
    real = Features(torch.randn(15, 4, generator=generator))
    return Material(features, real, image_embeddings=images, prompt_embeddings=prompts, resamples=resamples)


def test_by_hand() -> None:
    """Angles of 0, 60, 90 and 180 degrees, embeddings of any length: (100 + 50 + 0 + 0) / 4, three times over; another
    seed, all alike, scores 100. Catches: a cosine below 0 that counts, lengths that count, a factor of 2.5."""
    angles = torch.tensor([0.0, 60.0, 90.0, 180.0]).repeat(3).deg2rad()
    images = torch.stack([angles.cos(), angles.sin()], 1) * torch.arange(1.0, 13)[:, None]
    prompts = torch.tensor([[2.0, 0.0]]).expand(12, -1)
    found = evaluate(material([images, prompts[:10]], [prompts, prompts[:10]])).columns
    assert found["clip_score"] == pytest.approx((37.5 + 100) / 2, abs=1e-4)
    assert METRICS.build("clip_score").heading == "CLIP score (ViT-L/14)"


def test_its_error_is_that_of_a_mean() -> None:
    """One seed of 300 images: the deviation of their scores over the root of 300, within a tenth. Catches: an error of
    the reference's images, one that is not scaled by 100."""
    generator = torch.Generator().manual_seed(1)
    images, prompts = (torch.randn(300, 6, generator=generator) + 1 for _ in range(2))
    scores = 100 * torch.nn.functional.cosine_similarity(images, prompts).clamp(min=0)
    found = evaluate(material([images], [prompts], resamples=400)).columns
    assert found["clip_score"] == pytest.approx(scores.mean().item(), abs=1e-4)
    assert found["clip_score_se"] == pytest.approx(scores.std().item() / 300**0.5, rel=0.1)


@pytest.mark.parametrize(("rows", "width"), [(11, 6), (12, 5)])
def test_embeddings_that_do_not_fit_are_refused(rows: int, width: int) -> None:
    """A prompt too few, or one of another network. Catches: prompts that are broadcast or cut off."""
    with pytest.raises(InputError, match=rf"prompts \[\[12, 6\]\] and \[\[{rows}, {width}\]\] for \[12\] generated"):
        evaluate(material([torch.ones(12, 6)], [torch.ones(rows, width)]))


def test_rows_without_prompts_have_none() -> None:
    """Catches: a score of nothing."""
    without = material([torch.ones(12, 6)], [torch.ones(12, 6)])
    assert "clip_score" not in evaluate(Material(without.generated, without.reference, resamples=5)).columns
