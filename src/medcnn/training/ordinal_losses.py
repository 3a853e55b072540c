"""Losses that use the distance between grades. All start from the softmax over K grades.
`losses.py` explains the arguments; decision 21 says what was left out."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from medcnn.training.class_counts import Counts
from medcnn.training.label_losses import SumAndCount, exclusive_sum


def ordinal_cross_entropy(
    logits: Tensor, targets: Tensor, counts: Counts, *, softness: float = 0.4
) -> SumAndCount:
    """Cross entropy against targets that give some of their weight to neighbouring grades.

    Grade j gets a share of target i in proportion to exp(-|i - j| / softness) (Díaz and Marathe
    2019, CVPR, "Soft labels for ordinal regression", with the absolute distance).

    Args:
        softness: in grades, in [0, 100]; 0 leaves the targets hard.
    """
    target = targets.float()
    if softness > 0:
        grade = _grades(logits)
        share = torch.softmax(-(grade[:, None] - grade[None]).abs() / softness, dim=1)
        target = target @ share
    return exclusive_sum(-F.log_softmax(logits.float(), dim=1), target)


def cumulative_cross_entropy(logits: Tensor, targets: Tensor, counts: Counts) -> SumAndCount:
    """Cross entropy of each question "this grade or a higher one?" (CORAL, Cao et al. 2020).

    Pattern Recognition Letters 140. The loss sums over K - 1 questions. The answers are sums over
    the softmax, so they never contradict each other (decision 21).
    """
    log_p = F.log_softmax(logits.float(), dim=1)[:, None]
    grade = _grades(logits)
    reached = grade >= grade[1:, None]  # [K - 1 questions, K grades]
    yes = torch.where(reached, log_p, -torch.inf).logsumexp(dim=2, keepdim=True)
    no = torch.where(reached, -torch.inf, log_p).logsumexp(dim=2, keepdim=True)
    cost = -torch.where(reached, yes, no).sum(dim=1)
    return exclusive_sum(cost, targets)


def squared_grade(logits: Tensor, targets: Tensor, counts: Counts) -> SumAndCount:
    """Squared distance of the mean grade (under the probabilities) from the true one.

    Regression on grades with the outputs of a classifier. Only the mean matters: probabilities that
    spread around it cost nothing.
    """
    grade = _grades(logits)
    mean = (torch.softmax(logits.float(), dim=1) * grade).sum(dim=1, keepdim=True)
    cost = (mean - grade) ** 2
    return exclusive_sum(cost, targets)


def quadratic_kappa(logits: Tensor, targets: Tensor, counts: Counts) -> SumAndCount:
    """One minus the quadratic weighted kappa of probabilities (after de la Torre et al. 2018).

    Pattern Recognition Letters 105. The paper estimates the grades expected by chance from each
    batch and takes the logarithm of the result; neither is a sum over images (decision 21). Here
    both raters by chance follow the grades of the training split, so the loss is the expected
    squared distance divided by that of chance.
    """
    grade = _grades(logits)
    distance = (grade[:, None] - grade) ** 2
    cost = (torch.softmax(logits.float(), dim=1)[:, None] * distance).sum(dim=2)
    cost = cost / distance_by_chance(counts)
    return exclusive_sum(cost, targets)


def distance_by_chance(counts: Counts) -> float:
    """Expected squared distance of two grades drawn from the training split; 1 if it has only one
    grade."""
    total = sum(counts.found) or 1.0
    share = [n / total for n in counts.found]
    squares = sum(a * b * (i - j) ** 2 for i, a in enumerate(share) for j, b in enumerate(share))
    return squares or 1.0


def _grades(logits: Tensor) -> Tensor:
    """0 to K - 1."""
    return torch.arange(logits.shape[1], device=logits.device, dtype=torch.float32)
