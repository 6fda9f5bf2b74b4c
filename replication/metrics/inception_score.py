"""Inception score of resamples: exp of the mean divergence of p(class | image) from its average.

Salimans et al. 2016; the average p(class) is taken over the same images.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from replication.metrics.uncertainty import Draws


def inception_score(logits: Tensor, counts: Tensor) -> Tensor:
    """Score of each resample of logits [N,K], over all images at once; counts [R,N] -> [R] float64.

    Splits only shift the score by a bias, which centring removes; the printed score has them (torch-fidelity's 10).
    """
    log_p = logits.double().log_softmax(1)
    p, n = log_p.exp(), len(logits)
    marginal = counts @ p / n  # [R,K]
    # mean_i sum_k p_ik log q_k = sum_k q_k log q_k, so neither term needs an [R,N,K] array
    divergence = counts @ (p * log_p).sum(1) / n - torch.xlogy(marginal, marginal).sum(1)
    return divergence.exp()


def resampled_is(logits: Sequence[Tensor], draws: Draws) -> Tensor:
    """Mean score over the seeds in each resample -> [R]; logits [N,K] per seed. There is no reference in it."""
    return draws.mean(
        inception_score(part, draws.of_seed(index)[1].to(part.device)) for index, part in enumerate(logits)
    )
