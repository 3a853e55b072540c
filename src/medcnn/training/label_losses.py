"""Losses for classes that exclude each other, and for labels that stand alone.

They are linear in the targets: the loss of an image that is 0.3 of one class and 0.7 of another is
0.3 of the one's and 0.7 of the other's. So mixup, weights and labels that were not assessed are
treated in two functions for all of them. What the arguments are stands in `losses.py`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from medcnn.training.class_counts import (
    BETA,
    Counts,
    Weighting,
    class_weights,
    constants,
    label_weights,
)

SumAndCount = tuple[Tensor, Tensor]

# Below this a probability counts as zero: the slope of its power would be infinite there.
TINY = 1e-12


def exclusive_sum(cost: Tensor, targets: Tensor) -> SumAndCount:
    """
    Args:
        cost: of each image if class k is the right one [B, K]; finite.
        targets: [B, K], perhaps weighted; nan for "not assessed".
    """
    assessed = ~targets.isnan().any(dim=1)
    per_image = (cost * targets.nan_to_num(0.0)).sum(dim=1)
    return (per_image * assessed).sum(), assessed.sum()


def independent_sum(
    absent: Tensor, present: Tensor, targets: Tensor, weights: tuple[Tensor, Tensor]
) -> SumAndCount:
    """
    Args:
        absent: cost of each label if it is absent [B, K]; finite.
        present: the same if it is present.
        targets: [B, K], nan for "not assessed".
        weights: of absent and present ones, [K] each.
    """
    target = targets.nan_to_num(0.0).float()
    each = weights[0] * (1 - target) * absent + weights[1] * target * present
    return _assessed(each, targets)


def _assessed(each: Tensor, targets: Tensor) -> SumAndCount:
    assessed = ~targets.isnan()
    return (each * assessed).sum(), assessed.sum()


def cross_entropy(
    logits: Tensor,
    targets: Tensor,
    counts: Counts,
    *,
    smoothing: float = 0.0,
    weighting: Weighting = "none",
    beta: float = BETA,
) -> SumAndCount:
    """Cross entropy against a distribution over classes.

    Args:
        smoothing: share of every target that is spread evenly over all classes, in [0, 1)
            (Szegedy et al. 2016, CVPR, section 7).
    """
    target = targets * class_weights(counts, weighting, beta, logits.device)
    target = target * (1 - smoothing) + smoothing * target.mean(dim=1, keepdim=True)
    return exclusive_sum(-F.log_softmax(logits.float(), dim=1), target)


def binary_cross_entropy(
    logits: Tensor,
    targets: Tensor,
    counts: Counts,
    *,
    smoothing: float = 0.0,
    weighting: Weighting = "none",
    beta: float = BETA,
) -> SumAndCount:
    """A yes-or-no loss per label.

    Args:
        smoothing: targets are moved by half of this towards 0.5 each; in [0, 1).
    """
    target = targets.nan_to_num(0.0).float() * (1 - smoothing) + smoothing / 2
    absent, present = label_weights(counts, weighting, beta, logits.device)
    each = F.binary_cross_entropy_with_logits(
        logits.float(), target, weight=absent, pos_weight=present / absent, reduction="none"
    )
    return _assessed(each, targets)


def focal(
    logits: Tensor,
    targets: Tensor,
    counts: Counts,
    *,
    gamma: float = 2.0,
    weighting: Weighting = "none",
    beta: float = BETA,
) -> SumAndCount:
    """Cross entropy that fades where the answer is already right (Lin et al. 2017, ICCV).

    By softmax where classes exclude each other, else by a sigmoid per label.

    Args:
        gamma: how fast it fades, in [0, 20]; 0 is plain cross entropy. The paper's alpha is
            `weighting` here.
    """
    logits = logits.float()
    if counts.exclusive:
        log_p = F.log_softmax(logits, dim=1)
        wrong = (-torch.expm1(log_p)).clamp(min=TINY)
        weighted = targets * class_weights(counts, weighting, beta, logits.device)
        return exclusive_sum(-log_p * wrong**gamma, weighted)
    yes, no = F.logsigmoid(logits), F.logsigmoid(-logits)
    weights = label_weights(counts, weighting, beta, logits.device)
    # powers as logarithms: beyond a logit of 17 the probability of being wrong rounds to 0
    absent, present = -no * (gamma * yes).exp(), -yes * (gamma * no).exp()
    return independent_sum(absent, present, targets, weights)


def asymmetric(
    logits: Tensor,
    targets: Tensor,
    counts: Counts,
    *,
    gamma_pos: float = 0.0,
    gamma_neg: float = 4.0,
    shift: float = 0.05,
    weighting: Weighting = "none",
    beta: float = BETA,
) -> SumAndCount:
    """Focal loss that fades faster for absent labels (Ridnik et al. 2021, ICCV).

    Args:
        gamma_pos: how fast it fades where the label is present, in [0, 20].
        gamma_neg: the same where it is absent.
        shift: absent labels with a probability below this cost nothing, in [0, 0.5].
    """
    logits = logits.float()
    yes, no = F.logsigmoid(logits), F.logsigmoid(-logits)
    shifted = (torch.sigmoid(logits) - shift).clamp(min=TINY)
    log_not = torch.logaddexp(no, torch.full_like(no, shift).log()).clamp(max=0.0)
    weights = label_weights(counts, weighting, beta, logits.device)
    absent, present = -log_not * shifted**gamma_neg, -yes * (gamma_pos * no).exp()
    return independent_sum(absent, present, targets, weights)


def logit_adjusted(
    logits: Tensor,
    targets: Tensor,
    counts: Counts,
    *,
    tau: float = 1.0,
    weighting: Weighting = "none",
    beta: float = BETA,
    twice: bool = False,
) -> SumAndCount:
    """Cross entropy of logits moved by how frequent each class is (Menon et al. 2021, ICLR).

    The logarithm of each class's share of the training split is added in the loss alone: what the
    network gives is meant for classes that are equally frequent.

    Args:
        tau: how much of the logarithm of the share is added, in [0, 10]; 0 is cross entropy.
        twice: allow weighting besides, which corrects the same imbalance again.
    """
    assert twice or weighting == "none", "check_options refuses it"
    total = sum(counts.found) or 1.0
    shares = tuple(max(n, 1.0) / total for n in counts.found)
    moved = logits.float() + tau * constants(shares, logits.device).log()
    weighted = targets * class_weights(counts, weighting, beta, logits.device)
    return exclusive_sum(-F.log_softmax(moved, dim=1), weighted)


def ldam(
    logits: Tensor,
    targets: Tensor,
    counts: Counts,
    *,
    margin: float = 0.5,
    weighting: Weighting = "none",
    beta: float = BETA,
    twice: bool = False,
) -> SumAndCount:
    """Cross entropy with a margin that is wider for rarer classes (Cao et al. 2019, NeurIPS).

    The margin falls with the fourth root of the count. The authors' code bounds the logits by
    normalised features and weights and scales them by 30. Our heads do not, so the margin is one
    of plain logits, which larger weights can outgrow.

    Args:
        margin: of the rarest class in the training split, in logits, in [0, 10]; 0 is cross
            entropy.
        twice: allow weighting besides, which corrects the same imbalance again.
    """
    assert twice or weighting == "none", "check_options refuses it"
    rarest = min((n for n in counts.found if n), default=1.0)
    margins = tuple(margin * (rarest / max(n, rarest)) ** 0.25 for n in counts.found)
    wide = constants(margins, logits.device)
    log_p = F.log_softmax(logits.float(), dim=1)
    # -log(e^(z_k - m) / (e^(z_k - m) + sum over the others of e^z)), for all k without [B, K, K]
    cost = torch.log1p(log_p.exp() * torch.expm1(-wide)) - log_p + wide
    return exclusive_sum(cost, targets * class_weights(counts, weighting, beta, logits.device))
