"""What training needs besides images: the labels, the loss, and the score that chooses an epoch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medcnn.config import Choice
from medcnn.data.labels import LabelSpace
from medcnn.statistics.metrics import table as metrics
from medcnn.system.errors import UsageError
from medcnn.training.class_counts import counts_of
from medcnn.training.loss_checks import check_kind, check_options
from medcnn.training.losses import AUTO, LOSSES, SumAndCount


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Composition, no subclasses.

    Attributes:
        loss: logits and targets [B, K], epoch from 0 -> sum over all assessed labels, and their
            number.
        paired: whether the loss needs all images of a batch at once.
        score: name in METRICS; validation chooses the best epoch by it.
    """

    labels: LabelSpace
    loss: Callable[..., SumAndCount]
    score: str
    paired: bool = False

    def total(self, outputs: Any, targets: Tensor, epoch: int) -> SumAndCount:
        """The loss of a classifier's outputs in training: logits, or a list of (weight, logits)
        that begins with its own and continues with those of auxiliary classifiers."""
        if isinstance(outputs, Tensor):
            return self.loss(outputs.float(), targets, epoch)
        losses = [(w, *self.loss(logits.float(), targets, epoch)) for w, logits in outputs]
        return torch.stack([w * loss_sum for w, loss_sum, _ in losses]).sum(), losses[0][2]

    @property
    def higher_is_better(self) -> bool:
        return bool(metrics.METRICS[self.score].higher_is_better)


def task_of(
    labels: LabelSpace,
    loss: Choice,
    score: str,
    targets: NDArray[np.floating[Any]],
    *,
    epochs: int,
    sampler: str = "shuffle",
) -> Task:
    """
    Args:
        targets: of the training split [N, K], nan for "not assessed"; class weights use them.
        epochs: of the whole run; `loss.defer` is a share of them.
        sampler: name in SAMPLERS, which may correct for rare classes too.

    Raises:
        UsageError: the loss or the score makes no sense for these labels.
    """
    name = AUTO[labels.kind] if loss.name == "auto" else loss.name
    check_options(name, loss.options, sampler)
    check_kind(name, labels.kind)
    counts = counts_of(targets, exclusive=labels.exclusive)
    score = metrics.DEFAULT_SCORE[labels.kind] if score == "auto" else score
    metric = metrics.METRICS.choose(score)
    if labels.kind not in metric.kinds:
        raise UsageError(f"trainer.score={score} is not defined for {labels.kind} labels.")
    if metric.higher_is_better is None:
        raise UsageError(
            f"trainer.score={score} cannot choose the best epoch: neither a high nor a low value "
            "is better."
        )
    bound: Callable[..., SumAndCount] = LOSSES.bind(name, loss.options)
    plain, begin = bound, 0
    if defer := loss.options.get("defer") if name in LOSSES.own else 0:
        plain = LOSSES.bind(name, {**loss.options, "weighting": "none"})
        begin = round(defer * epochs)

    def function(logits: Tensor, targets: Tensor, epoch: int) -> SumAndCount:
        return (plain if epoch < begin else bound)(logits, targets, counts)

    return Task(labels=labels, loss=function, score=score, paired=LOSSES[name].paired)
