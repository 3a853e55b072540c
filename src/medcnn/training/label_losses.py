"""Losses for exclusive classes and for independent labels.

They are linear in the targets: if an image is 0.3 of one class and 0.7 of another, its loss is 0.3
of the one loss plus 0.7 of the other. So two functions handle mixup, weights and labels that were
not assessed for all of them. `losses.py` explains the arguments.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from medcnn.training.class_counts import Counts, constants

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
    absent: Tensor, present: Tensor, targets: Tensor, counts: Counts
) -> SumAndCount:
    """
    Args:
        absent: cost of each label if it is absent [B, K]; finite.
        present: the same if it is present.
        targets: [B, K], nan for "not assessed".
    """
    weights = counts.label_weights(targets.device)
    target = targets.nan_to_num(0.0).float()
    each = weights[0] * (1 - target) * absent + weights[1] * target * present
    return _assessed(each, targets)


def _assessed(each: Tensor, targets: Tensor) -> SumAndCount:
    assessed = ~targets.isnan()
    return (each * assessed).sum(), assessed.sum()


def cross_entropy(
    logits: Tensor, targets: Tensor, counts: Counts, *, smoothing: float = 0.0
) -> SumAndCount:
    """Cross entropy against a distribution over classes.

    Args:
        smoothing: share of every target that is spread evenly over all classes, in [0, 1)
            (Szegedy et al. 2016, CVPR, section 7).
    """
    target = targets * (1 - smoothing) + smoothing * targets.mean(dim=1, keepdim=True)
    return exclusive_sum(-F.log_softmax(logits.float(), dim=1), target)


def binary_cross_entropy(
    logits: Tensor, targets: Tensor, counts: Counts, *, smoothing: float = 0.0
) -> SumAndCount:
    """A yes-or-no loss per label.

    Args:
        smoothing: targets are moved by half of this towards 0.5 each; in [0, 1).
    """
    target = targets.nan_to_num(0.0).float() * (1 - smoothing) + smoothing / 2
    absent, present = counts.label_weights(logits.device)
    each = F.binary_cross_entropy_with_logits(
        logits.float(), target, weight=absent, pos_weight=present / absent, reduction="none"
    )
    return _assessed(each, targets)


def focal(logits: Tensor, targets: Tensor, counts: Counts, *, gamma: float = 2.0) -> SumAndCount:
    """Cross entropy with less weight on answers that are already right (Lin et al. 2017, ICCV).

    Softmax for exclusive classes, else a sigmoid per label.

    Args:
        gamma: how fast the weight falls, in [0, 20]; 0 is plain cross entropy. The paper's alpha is
            `weighting` here.
    """
    logits = logits.float()
    if counts.exclusive:
        log_p = F.log_softmax(logits, dim=1)
        wrong = (-torch.expm1(log_p)).clamp(min=TINY)
        return exclusive_sum(-log_p * wrong**gamma, targets)
    yes, no = F.logsigmoid(logits), F.logsigmoid(-logits)
    # powers as logarithms: beyond a logit of 17 the probability of being wrong rounds to 0
    absent, present = -no * (gamma * yes).exp(), -yes * (gamma * no).exp()
    return independent_sum(absent, present, targets, counts)


def asymmetric(
    logits: Tensor,
    targets: Tensor,
    counts: Counts,
    *,
    gamma_pos: float = 0.0,
    gamma_neg: float = 4.0,
    shift: float = 0.05,
) -> SumAndCount:
    """Focal loss whose weight falls faster for absent labels (Ridnik et al. 2021, ICCV).

    Args:
        gamma_pos: how fast it falls if the label is present, in [0, 20].
        gamma_neg: the same if it is absent.
        shift: absent labels with a probability below this cost nothing, in [0, 0.5].
    """
    logits = logits.float()
    yes, no = F.logsigmoid(logits), F.logsigmoid(-logits)
    shifted = (torch.sigmoid(logits) - shift).clamp(min=TINY)
    log_not = torch.logaddexp(no, torch.full_like(no, shift).log()).clamp(max=0.0)
    absent, present = -log_not * shifted**gamma_neg, -yes * (gamma_pos * no).exp()
    return independent_sum(absent, present, targets, counts)


def auc_margin(
    logits: Tensor, targets: Tensor, counts: Counts, *, margin: float = 1.0
) -> SumAndCount:
    """Images with a label should have a higher probability than images without it, by a margin
    (Yuan et al. 2021, ICCV).

    The squared shortfall, averaged over all such pairs of a batch: a surrogate of AUROC. The paper
    trains two means and a multiplier together with the network, with their own optimizer. Here
    they take their best values for each batch, in closed form. A label that only one side of a
    batch has forms no pairs and does not count there.

    Args:
        margin: of probabilities, in [0, 10].
    """
    p, known = torch.sigmoid(logits.float()), (~targets.isnan()).float()
    with_it = targets.nan_to_num(0.0).float() * known
    without = known - with_it
    sides, spread = [], torch.zeros_like(p[0])
    for share in (with_it, without):
        size = share.sum(dim=0)
        mean = (share * p).sum(dim=0) / size.clamp(min=TINY)
        spread = spread + (share * (p - mean) ** 2).sum(dim=0) / size.clamp(min=TINY)
        sides.append((size, mean))
    (many, high), (few, low) = sides
    each = spread + (margin - high + low).clamp(min=0) ** 2
    count = known.sum(dim=0) * ((many > 0) & (few > 0))
    return (each * count).sum(), count.sum()


def logit_adjusted(
    logits: Tensor, targets: Tensor, counts: Counts, *, tau: float = 1.0
) -> SumAndCount:
    """Cross entropy of logits shifted by the frequency of each class (Menon et al. 2021, ICLR).

    The logarithm of each class's share of the training split is added only in the loss: the logits
    of the network are meant for equally frequent classes.

    Args:
        tau: how much of the logarithm of the share is added, in [0, 10]; 0 is cross entropy.
    """
    total = sum(counts.found) or 1.0
    shares = tuple(max(n, 1.0) / total for n in counts.found)
    moved = logits.float() + tau * constants(shares, logits.device).log()
    return exclusive_sum(-F.log_softmax(moved, dim=1), targets)


def ldam(logits: Tensor, targets: Tensor, counts: Counts, *, margin: float = 0.5) -> SumAndCount:
    """Cross entropy with a margin that is wider for rarer classes (Cao et al. 2019, NeurIPS).

    The margin falls with the fourth root of the count. The authors' code bounds the logits by
    normalised features and weights and scales them by 30. Our heads do not: the margin applies to
    plain logits, which larger weights can outgrow.

    Args:
        margin: of the rarest class in the training split, in logits, in [0, 10]; 0 is cross
            entropy.
    """
    rarest = min((n for n in counts.found if n), default=1.0)
    margins = tuple(margin * (rarest / max(n, rarest)) ** 0.25 for n in counts.found)
    wide = constants(margins, logits.device)
    log_p = F.log_softmax(logits.float(), dim=1)
    # -log(e^(z_k - m) / (e^(z_k - m) + sum over the others of e^z)), for all k without [B, K, K]
    cost = torch.log1p(log_p.exp() * torch.expm1(-wide)) - log_p + wide
    return exclusive_sum(cost, targets)
