"""Inception score (Salimans et al. 2016): exp of the mean divergence of p(class | image) from its average over the images."""

import statistics

import torch
from torch import Tensor

from replication.metrics.metric import OF_SAMPLES, Material, Measurement, Metric, with_interval
from replication.registry import METRICS


@METRICS.register("is")
class InceptionScore(Metric):
    """IS: how sure a classifier is of each image, and how evenly of all classes (Salimans et al. 2016).

    Of torch-fidelity's ten splits, whose standard deviation is `is_std`, as papers print it.
    """

    name, label, direction, needs = "is", "IS", "higher", ("sample_logits",)
    form, position, by_factor, paper_form, depends, splits = "{:.2f}", 3, True, ".2f", OF_SAMPLES, 10

    def compute(self, material: Material, logits: list[Tensor]) -> Measurement:
        from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, KEY_METRIC_ISC_STD, isc_features_to_metric

        scores = [isc_features_to_metric(part) for part in logits]
        point, std = (statistics.fmean(s[key] for s in scores) for key in (KEY_METRIC_ISC_MEAN, KEY_METRIC_ISC_STD))
        draws = material.draws
        replicates = draws.mean(inception_score(part, draws.of_seed(index)[1]) for index, part in enumerate(logits))
        return with_interval("is", point, replicates, {"is_std": std})


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
