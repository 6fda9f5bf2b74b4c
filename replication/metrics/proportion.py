"""The interval of a proportion."""

import math

Z95 = 1.959964  # standard errors on either side of a 95 % interval


def wilson(successes: float, n: float, z: float = Z95) -> tuple[float, float]:
    """95 % interval of successes / n (Wilson 1927), which stays inside [0, 1] near none and all.

    n may be an effective number of images, p (1 - p) / se^2, where their outcomes do not count as independent.
    """
    p, shrink = successes / n, 1 + z * z / n
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return (p + z * z / (2 * n) - half) / shrink, (p + z * z / (2 * n) + half) / shrink
