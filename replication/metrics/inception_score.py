"""Inception score of resamples: exp of the mean divergence of p(class | image) from its average.

Salimans et al. 2016; the average p(class) is taken over the same images.
"""

import torch
from torch import Tensor


def resampled_is(logits: Tensor, counts: Tensor) -> Tensor:
    """Score of each resample of logits [N,K], over all images at once; counts [R,N] -> [R] float64.

    Splits only shift the score by a bias, which centring removes; the printed score has them (torch-fidelity's 10).
    """
    log_p = logits.double().log_softmax(1)
    p, n = log_p.exp(), len(logits)
    marginal = counts @ p / n  # [R,K]
    # mean_i sum_k p_ik log q_k = sum_k q_k log q_k, so neither term needs an [R,N,K] array
    divergence = counts @ (p * log_p).sum(1) / n - torch.xlogy(marginal, marginal).sum(1)
    return divergence.exp()
