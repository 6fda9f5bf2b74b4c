"""What is kept beside a reference: the last of each kind, as long as the reference lives."""

import gc
import weakref

import pytest
import torch

from replication.metrics import frechet
from replication.metrics.features import Features, kept
from replication.metrics.metric import Material, evaluate


def test_the_last_of_each_kind_is_kept_as_long_as_the_reference() -> None:
    """Catches work that is done for each row, memory that grows with the kinds of rows, and what outlives its reference."""

    class Made:
        pass

    reference, done = torch.zeros(3), []

    def make() -> Made:
        done.append(Made())
        return done.pop()

    first = kept(reference, "a", make, 1)
    assert kept(reference, "a", make, 1) is first
    gone, other = weakref.ref(first), kept(reference, "b", make, 1)
    assert kept(reference, "a", make, 2) is not first
    del first
    gc.collect()
    assert gone() is None
    gone = weakref.ref(other)
    del other, reference
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("largest", [0, frechet.LARGEST])
def test_a_second_row_has_the_figures_of_a_first(largest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exact: after rows of other sizes, with and without room for what is kept. Catches a key that lacks what the work hangs on."""
    monkeypatch.setattr(frechet, "LARGEST", largest)

    def features(n: int, seed: int) -> Features:
        return Features(torch.randn(n, 3, generator=torch.Generator().manual_seed(seed)))

    def row(reference: Features, held_out: Features, n: int, seed: int) -> dict[str, float]:
        of = Material([features(n, 7)], reference, training=reference, held_out=held_out, resamples=20, seed=seed)
        return evaluate(of).columns

    shared, beside = features(90, 1), features(40, 2)
    for n, seed in ((60, 0), (80, 0), (60, 1), (60, 0)):
        assert row(shared, beside, n, seed) == row(features(90, 1), features(40, 2), n, seed)
