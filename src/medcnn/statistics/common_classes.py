"""Predictions of models with different classes, brought to the classes that they share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from medcnn.data.labels import Kind, LabelSpace
from medcnn.statistics.decisions import Readout
from medcnn.statistics.predictions import Predictions

LEAST = 1e-7
"""Least distance from 0 and 1 of a probability that becomes a logit again."""
ASKED = ("auroc", "average_precision", "brier")
"""Scores of classes asked one by one: they need no threshold, which one of several lacks."""


def common_labels(old: LabelSpace, new: LabelSpace) -> tuple[LabelSpace | None, bool]:
    """The labels on which both can be compared, in the order of `new`, None if they share none; and
    whether that turns classes that exclude each other into yes-or-no questions."""
    if old.kind is new.kind:
        alike = old.names == new.names
        if alike or (new.kind is Kind.MULTICLASS and set(old.names) == set(new.names)):
            return new, False
    shared = [n for n in new.names if n in old.names]
    if Kind.MULTILABEL in (old.kind, new.kind):
        shared = [n for n in shared if n in old.outputs and n in new.outputs]
    elif old.kind is new.kind is Kind.BINARY and set(old.names) == set(new.names):
        shared = [new.names[1]]  # the same question, asked the other way round
    if not shared:
        return None, False
    asked = old.kind is not Kind.MULTILABEL or new.kind is not Kind.MULTILABEL
    return LabelSpace(kind=Kind.MULTILABEL, names=tuple(shared)), asked


def in_common(predictions: Predictions, common: LabelSpace, *, asked: bool) -> Predictions:
    """The predictions on the classes `common`, with the decisions that they had; those of classes
    that are `asked` one by one have none."""
    own = predictions.labels
    if asked:
        return one_vs_rest(predictions, common.names)
    if own.names == common.names:
        return replace(predictions, labels=common)
    columns = [own.outputs.index(n) for n in common.outputs]
    p = predictions.probabilities[:, columns].clip(LEAST, 1 - LEAST)
    logits = np.log(p) if own.exclusive else np.log(p / (1 - p))
    points = () if own.exclusive else predictions.readout.points[:1]
    return replace(
        predictions,
        labels=common,
        targets=predictions.targets[:, columns],
        logits=logits.astype(np.float32),
        categories=(),
        readout=Readout(
            points=tuple(
                replace(
                    point,
                    thresholds=tuple(point.thresholds[k] for k in columns),
                    reasons=tuple(point.reason(k) for k in columns),
                )
                for point in points
            )
        ),
    )


def one_vs_rest(predictions: Predictions, names: Sequence[str]) -> Predictions:
    """The classes `names` as yes-or-no questions of their own, so that two models that share only
    some classes can be compared on those."""
    labels = predictions.labels
    probability, target = predictions.probabilities, predictions.targets
    if labels.kind is Kind.BINARY:
        probability, target = (
            np.hstack([1 - probability, probability]),
            np.hstack([1 - target, target]),
        )
    columns = [labels.names.index(n) for n in names]
    p = probability[:, columns].clip(LEAST, 1 - LEAST)
    return replace(
        predictions,
        labels=LabelSpace(kind=Kind.MULTILABEL, names=tuple(names)),
        targets=target[:, columns],
        logits=np.log(p / (1 - p)).astype(np.float32),
        categories=(),
        readout=Readout(),
    )
