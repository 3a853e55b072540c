"""A loss for labels that are much rarer than their absence."""

from __future__ import annotations

import torch
from torch import Tensor

from medcnn.training.losses import INDEPENDENT, Counts, Loss, SumAndCount


def tversky(
    logits: Tensor, targets: Tensor, counts: Counts, *, alpha: float = 0.3, beta: float = 0.7
) -> SumAndCount:
    """One minus the Tversky index of each image (Salehi et al. 2017, MLMI), plus one in numerator
    and denominator, so that an image without any finding has an index too.

    Args:
        logits: [B, K].
        targets: [B, K] in 0..1, nan for "not assessed".
        counts: of the training split; not needed here.
        alpha: weight of false alarms, from 0.
        beta: weight of missed findings, from 0.

    Returns:
        The sum over images with an assessed label, and how many these are: sums, since batches are
        taken in parts and shared between processes.
    """
    assessed = ~targets.isnan()
    target = targets.nan_to_num(0.0).float()
    probability = torch.sigmoid(logits.float()) * assessed
    found = (probability * target).sum(dim=1)
    alarms = (probability * (1 - target)).sum(dim=1)
    missed = ((1 - probability) * target).sum(dim=1)
    index = (found + 1) / (found + alpha * alarms + beta * missed + 1)
    images = assessed.any(dim=1)
    return ((1 - index) * images).sum(), images.sum()


TVERSKY = Loss(tversky, INDEPENDENT)
