"""Figures of repeats, such as the seeds of a training, drawn anew from the scatter that they show among themselves."""

import numpy as np


def fresh_repeats(
    values: np.ndarray, places: np.ndarray, generator: np.random.Generator, draws: int
) -> np.ndarray | None:
    """As many new figures at each place as there are, float64 [P,draws] of values [P]; None if no place has two.

    They are normal about the mean of their place. The variance is pooled over the places, its own error drawn with it
    (scaled inverse chi-squared), since two degrees of freedom at one place say little. Picking seeds with replacement in
    place of this would have less scatter than the seeds (2/3 of the variance for three of them), and equal copies, which
    ranks take for a closer order than any that was measured.
    """
    _, place, count = np.unique(places, return_inverse=True, return_counts=True)
    freedom = len(values) - len(count)
    if not freedom:
        return None
    mean = (np.bincount(place, values) / count)[place]
    variance = ((values - mean) ** 2).sum() / generator.chisquare(freedom, size=draws)
    return mean[:, None] + np.sqrt(variance) * generator.standard_normal((len(values), draws))
