"""Losses: one function each, found by name in LOSSES.

Every loss takes logits [B, K] and targets [B, K] (shares of 1, nan for "not assessed") and returns
the sum over what was assessed and how much that was, so that accumulated micro-batches and
processes can be averaged exactly. They are computed in float32, whatever comes in: in float16 a sum
over a batch overflows at 65,504. Options are keyword-only and come from `configs/loss/`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from medcnn.data.labels import Kind
from medcnn.system.errors import UsageError
from medcnn.system.registry import Table

SumAndCount = tuple[Tensor, Tensor]


def cross_entropy(logits: Tensor, targets: Tensor, *, smoothing: float = 0.0) -> SumAndCount:
    """Cross entropy against a distribution over classes.

    Args:
        smoothing: share of every target that is spread evenly over all classes, in [0, 1)
            (Szegedy et al. 2016, CVPR, section 7).
    """
    assessed = ~targets.isnan().any(dim=1)
    target = targets.nan_to_num(0.0)
    target = target * (1 - smoothing) + smoothing / logits.shape[1]
    per_image = -(target * F.log_softmax(logits.float(), dim=1)).sum(dim=1)
    return (per_image * assessed).sum(), assessed.sum()


def ordinal_cross_entropy(logits: Tensor, targets: Tensor, *, softness: float = 0.4) -> SumAndCount:
    """Cross entropy against grades that give some of their weight to their neighbours.

    Grade j gets a share of the target i that is proportional to exp(-|i - j| / softness)
    (Díaz and Marathe 2019, CVPR, "Soft labels for ordinal regression", with the absolute distance).

    Args:
        softness: in grades, in [0, 100]; 0 leaves the targets hard.
    """
    if softness > 0:
        grade = torch.arange(logits.shape[1], device=logits.device, dtype=torch.float32)
        share = torch.softmax(-(grade[:, None] - grade[None]).abs() / softness, dim=1)
        targets = targets.float() @ share
    return cross_entropy(logits, targets)


def binary_cross_entropy(logits: Tensor, targets: Tensor, *, smoothing: float = 0.0) -> SumAndCount:
    """A yes-or-no loss per label; labels that were not assessed count for nothing.

    Args:
        smoothing: targets are moved by half of this towards 0.5 each; in [0, 1).
    """
    assessed = ~targets.isnan()
    target = targets.nan_to_num(0.0) * (1 - smoothing) + smoothing / 2
    each = F.binary_cross_entropy_with_logits(logits.float(), target.float(), reduction="none")
    return (each * assessed).sum(), assessed.sum()


def focal(logits: Tensor, targets: Tensor, *, gamma: float = 2.0) -> SumAndCount:
    """Binary cross entropy that fades where the answer is already right (Lin et al. 2017, ICCV).

    Args:
        gamma: how fast it fades, in [0, 20]; 0 is plain binary cross entropy.
    """
    assessed = ~targets.isnan()
    target, logits = targets.nan_to_num(0.0).float(), logits.float()
    each = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    # The probability of being wrong, p (1 - t) + (1 - p) t, as a logarithm: beyond a logit of 17 it
    # rounds to 0 in float32, where a power below 1 has an infinite slope.
    log_wrong = torch.logaddexp(
        F.logsigmoid(logits) + (1 - target).log(), F.logsigmoid(-logits) + target.log()
    )
    return (each * (gamma * log_wrong).exp() * assessed).sum(), assessed.sum()


@dataclass(frozen=True, slots=True)
class Loss:
    """A row of LOSSES: the function, and the kinds of labels that it makes sense for."""

    function: Callable[..., SumAndCount]
    kinds: frozenset[Kind]


EXCLUSIVE = frozenset({Kind.MULTICLASS, Kind.ORDINAL})
INDEPENDENT = frozenset({Kind.BINARY, Kind.MULTILABEL})

LOSSES = Table(
    "loss",
    {
        "binary_cross_entropy": Loss(binary_cross_entropy, INDEPENDENT),
        "cross_entropy": Loss(cross_entropy, EXCLUSIVE),
        "focal": Loss(focal, INDEPENDENT),
        "ordinal_cross_entropy": Loss(ordinal_cross_entropy, frozenset({Kind.ORDINAL})),
    },
    group="losses",
    kind=Loss,
    function=lambda loss: loss.function,
    limits={"smoothing": (0.0, 0.999), "softness": (0.0, 100.0), "gamma": (0.0, 20.0)},
    also=lambda: ("auto",),
)

AUTO = {
    Kind.BINARY: "binary_cross_entropy",
    Kind.MULTICLASS: "cross_entropy",
    Kind.MULTILABEL: "binary_cross_entropy",
    Kind.ORDINAL: "ordinal_cross_entropy",
}


def check_kind(name: str, kind: Kind) -> None:
    """Raises UsageError where the loss `name` makes no sense for labels of this kind."""
    if kind not in LOSSES[name].kinds:
        fitting = ", ".join(n for n, loss in LOSSES.own.items() if kind in loss.kinds)
        raise UsageError(f"loss={name} does not fit {kind} labels; these do: {fitting}.")
