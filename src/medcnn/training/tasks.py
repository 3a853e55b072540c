"""What training needs to know besides images: the labels, the loss, and the score to choose by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from medcnn.config import Choice
from medcnn.data.labels import LabelSpace
from medcnn.statistics.metrics import table as metrics
from medcnn.system.errors import UsageError
from medcnn.training.losses import AUTO, LOSSES, SumAndCount, check_kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Composition, no subclasses.

    Attributes:
        loss: logits and targets [B, K] -> sum over what was assessed, and how much that was.
        score: name in METRICS by which the best epoch is chosen on validation.
    """

    labels: LabelSpace
    loss: Callable[..., SumAndCount]
    score: str

    @property
    def higher_is_better(self) -> bool:
        return bool(metrics.METRICS[self.score].higher_is_better)


def task_of(labels: LabelSpace, loss: Choice, score: str) -> Task:
    """Raises UsageError where the loss or the score makes no sense for these labels."""
    name = AUTO[labels.kind] if loss.name == "auto" else loss.name
    function = LOSSES.bind(name, loss.options)
    check_kind(name, labels.kind)
    score = metrics.DEFAULT_SCORE[labels.kind] if score == "auto" else score
    metric = metrics.METRICS.choose(score)
    if labels.kind not in metric.kinds:
        raise UsageError(f"trainer.score={score} is not defined for {labels.kind} labels.")
    if metric.higher_is_better is None:
        raise UsageError(f"trainer.score={score}: neither high nor low is better, so no epoch is.")
    return Task(labels=labels, loss=function, score=score)
