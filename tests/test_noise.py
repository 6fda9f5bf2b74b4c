"""Noise that belongs to images: Philox's published answers, the normal law, and independence of everything else."""

import pytest
import torch
from scipy import stats

from replication.noise import ImageNoise, philox, stream_seed

KNOWN = [  # Random123's known-answer vectors for philox4x32, 10 rounds: counter, key, answer
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def words(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN)
def test_philox_gives_the_published_answers(counter: str, key: str, answer: str) -> None:
    """Exact. Catches nine rounds, swapped multipliers, a signed shift, and a key bumped before its first use."""
    k0, k1 = words(key)
    got = philox([torch.tensor([c]) for c in words(counter)], (k0, k1))
    assert [int(word) for word in got] == words(answer)


def test_noise_is_standard_normal() -> None:
    """Kolmogorov-Smirnov p > 1e-3 and four moments within 5 standard errors. Catches log base 2 and half an angle."""
    x = ImageNoise(0, torch.arange(1000))(3, (1000, 1, 10, 20)).double().flatten()
    assert stats.kstest(x.numpy(), "norm").pvalue > 1e-3
    for power, moment, spread in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs(x.pow(power).mean() - moment) <= 5 * (spread / len(x)) ** 0.5


def test_elements_images_and_draws_are_uncorrelated() -> None:
    """Correlations within 5 standard errors. Catches sin and cos of one angle given to both pairs, and reused counters."""
    noise = ImageNoise(0, torch.arange(5000))
    first = noise(0, (5000, 1, 2, 4)).flatten(1)
    both = torch.cat([first, first.roll(1, 0), noise(1, (5000, 1, 2, 4)).flatten(1), first.square()], dim=1).double()
    correlation = torch.corrcoef(both.T) - torch.eye(both.shape[1])
    assert correlation.abs().max() <= 5 / 5000**0.5


def test_an_image_has_its_noise_in_any_batch() -> None:
    """Exact. Catches a generator that is advanced, and counters numbered within the batch."""
    shape, whole = (3, 5, 5), ImageNoise(7, torch.arange(64))
    all_at_once = whole(2, (64, *shape))
    for start, stop in ((0, 1), (13, 20), (63, 64)):
        part = ImageNoise(7, torch.arange(start, stop))
        assert torch.equal(part(2, (stop - start, *shape)), all_at_once[start:stop])
    backwards = ImageNoise(7, torch.arange(64).flip(0))
    assert torch.equal(backwards(2, (64, *shape)).flip(0), all_at_once)
    assert torch.equal(whole(2, (64, *shape)), all_at_once)  # asking changes nothing


def test_a_longer_image_begins_like_a_shorter_one_whatever_its_size() -> None:
    """Exact, for sizes that are no multiple of four. Catches words dropped anywhere but at the end."""
    noise = ImageNoise(1, torch.arange(2))
    long = noise(0, (2, 1, 1, 9)).flatten(1)
    for size in (1, 3, 4, 6):
        assert torch.equal(noise(0, (2, 1, 1, size)).flatten(1), long[:, :size])


def test_seed_image_and_draw_each_matter_beyond_32_bits() -> None:
    """Exact. Catches an index or a seed truncated to 32 bits, and a prior that is also some step's noise."""

    def one(seed: int, index: int, draw: int) -> float:
        return float(ImageNoise(seed, torch.tensor([index]))(draw, (1, 1, 1, 1)))

    numbers = [
        one(0, 0, 0),
        one(1, 0, 0),
        one(2**32, 0, 0),
        one(0, 1, 0),
        one(0, 2**32, 0),
        one(0, 0, 1),
        one(0, 0, 999),
    ]
    numbers.append(float(ImageNoise(0, torch.tensor([0])).prior((1, 1, 1, 1))))
    assert len(set(numbers)) == len(numbers)


def test_noise_for_another_number_of_images_is_an_error() -> None:
    with pytest.raises(ValueError, match="noise of 3 images, but it belongs to 2"):
        ImageNoise(0, torch.arange(2))(0, (3, 1, 1, 1))


def test_streams_do_not_overlap() -> None:
    """Catches parts that are joined without a separator: (1, 23) and (12, 3)."""
    seeds = [stream_seed(*parts) for parts in (("a", 1, 23), ("a", 12, 3), ("b", 1, 23), ("a", "1", 23), ("a", 1))]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
