"""The table of losses: one plain function each, found by name in LOSSES.

Every loss takes logits [B, K], targets [B, K] (shares of 1, nan for "not assessed") and the counts
of the training split. It returns the sum over all assessed labels and their number, so that
micro-batches and processes can be averaged exactly. Losses are computed in float32 from any input:
in float16, a sum over a batch overflows at 65,504. Options are keyword-only and come from
`configs/loss/`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from medcnn.data.labels import Kind
from medcnn.system.registry import Table
from medcnn.training import label_losses, ordinal_losses
from medcnn.training.class_counts import BETA, Weighting
from medcnn.training.class_counts import Counts as Counts  # plug-ins take both from here
from medcnn.training.label_losses import SumAndCount as SumAndCount


@dataclass(frozen=True, slots=True)
class Loss:
    """A row of LOSSES.

    Attributes:
        kinds: kinds of labels that it fits.
        paired: whether it compares the images of a batch with each other, so that a batch must go
            through the network as a whole.
    """

    function: Callable[..., SumAndCount]
    kinds: frozenset[Kind]
    paired: bool = False


def weighed(loss: Callable[..., SumAndCount]) -> Callable[..., SumAndCount]:
    """A loss with the common options of medcnn's losses in addition to its own.

    Args of the result:
        weighting: weights for rare classes, or for rare findings and their absence
            (`class_counts.weights_of`).
        beta: of `weighting=effective_number`.
        defer: share of the epochs without weighting, in [0, 0.99]; used by `tasks.task_of`.
        twice: allow more than one correction for rare classes; used by `loss_checks`.
    """

    def with_weights(
        logits: Tensor,
        targets: Tensor,
        counts: Counts,
        *,
        weighting: Weighting = "none",
        beta: float = BETA,
        defer: float = 0.0,
        twice: bool = False,
        **options: Any,
    ) -> SumAndCount:
        counts = replace(counts, weighting=weighting, beta=beta)
        if counts.exclusive:
            targets = targets * counts.class_weights(logits.device)
        return loss(logits, targets, counts, **options)

    own, common = (inspect.signature(f, eval_str=True).parameters for f in (loss, with_weights))
    together = [p for p in {**own, **common}.values() if p.kind is not p.VAR_KEYWORD]
    functools.update_wrapper(with_weights, loss)
    with_weights.__annotations__ = {p.name: p.annotation for p in together}
    with_weights.__signature__ = inspect.Signature(together)  # type: ignore[attr-defined]
    return with_weights


EXCLUSIVE = frozenset({Kind.MULTICLASS, Kind.ORDINAL})
INDEPENDENT = frozenset({Kind.BINARY, Kind.MULTILABEL})
ORDINAL = frozenset({Kind.ORDINAL})

LOSSES = Table(
    "loss",
    {
        "asymmetric": Loss(weighed(label_losses.asymmetric), INDEPENDENT),
        "auc_margin": Loss(label_losses.auc_margin, INDEPENDENT, paired=True),
        "binary_cross_entropy": Loss(weighed(label_losses.binary_cross_entropy), INDEPENDENT),
        "cross_entropy": Loss(weighed(label_losses.cross_entropy), EXCLUSIVE),
        "cumulative_cross_entropy": Loss(weighed(ordinal_losses.cumulative_cross_entropy), ORDINAL),
        "focal": Loss(weighed(label_losses.focal), frozenset(Kind)),
        "ldam": Loss(weighed(label_losses.ldam), EXCLUSIVE),
        "logit_adjusted": Loss(weighed(label_losses.logit_adjusted), EXCLUSIVE),
        "ordinal_cross_entropy": Loss(weighed(ordinal_losses.ordinal_cross_entropy), ORDINAL),
        "quadratic_kappa": Loss(weighed(ordinal_losses.quadratic_kappa), ORDINAL),
        "squared_grade": Loss(weighed(ordinal_losses.squared_grade), ORDINAL),
    },
    group="losses",
    kind=Loss,
    function=lambda loss: loss.function,
    limits={
        "smoothing": (0.0, 0.999),
        "softness": (0.0, 100.0),
        "gamma": (0.0, 20.0),
        "gamma_pos": (0.0, 20.0),
        "gamma_neg": (0.0, 20.0),
        "shift": (0.0, 0.5),
        "tau": (0.0, 10.0),
        "margin": (0.0, 10.0),
        "beta": (0.0, 0.9999999),
        "defer": (0.0, 0.99),
    },
    also=lambda: ("auto",),
)

AUTO = {
    Kind.BINARY: "binary_cross_entropy",
    Kind.MULTICLASS: "cross_entropy",
    Kind.MULTILABEL: "binary_cross_entropy",
    Kind.ORDINAL: "ordinal_cross_entropy",
}
