"""What the images of a patient (or eye, lesion, study) say together.

The rule that combines their probabilities is chosen on validation, like a threshold, and stored in
the checkpoint. Combined probabilities have thresholds of their own: the largest of five
probabilities is larger than one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.data.labels import Floats, Kind, LabelSpace
from medcnn.statistics.decisions import PatientReadout, ReadoutConfig, fit_readout
from medcnn.statistics.intervals import Ints, group_numbers
from medcnn.statistics.metrics.table import score
from medcnn.statistics.predictions import Predictions

CHOOSES = "auroc"
"""The score on validation by which a rule is chosen; it needs no threshold."""
LEAST = 1e-7
IMAGES = "number of images"
"""Beside the rules: the score of the mere number of images, with which two of them grow."""


def mean(p: Floats, of: Ints, count: int) -> NDArray[np.float64]:
    """Mean over the images of each unit. [G, K]"""
    images = np.bincount(of, minlength=count)[:, None]
    return _summed(p, of, count) / np.maximum(1, images)


def maximum(p: Floats, of: Ints, count: int) -> NDArray[np.float64]:
    """The largest: the image that shows most decides. [G, K]"""
    found = np.zeros((count, p.shape[1]))
    np.maximum.at(found, of, p)
    return found


def noisy_or(p: Floats, of: Ints, count: int) -> NDArray[np.float64]:
    """That any image shows it, if they were independent: 1 - product of (1 - p). [G, K]

    Source: Pearl 1988, Probabilistic Reasoning in Intelligent Systems, 4.3.2.
    """
    return -np.expm1(_summed(np.log1p(-np.minimum(p, 1 - 1e-15)), of, count))


def _summed(values: Floats, of: Ints, count: int) -> NDArray[np.float64]:
    columns = [np.bincount(of, weights=v, minlength=count) for v in values.T]
    return np.stack(columns, axis=1)


# The first is taken where several are equally good.
RULES: Mapping[str, Callable[[Floats, Ints, int], NDArray[np.float64]]] = {
    "mean": mean,
    "maximum": maximum,
    "noisy_or": noisy_or,
}


def combined(
    labels: LabelSpace, probabilities: Floats, of: Ints, count: int, rule: str
) -> NDArray[np.float64]:
    """Probabilities [G, K] of units from those of their images [N, K]; `of` [N] is the unit.

    Of grades, the probabilities of each grade or a higher one are combined, since the grade of a
    patient is the highest of any image. Rows of exclusive classes add up to 1 again.
    """
    if labels.kind is not Kind.ORDINAL:
        found = RULES[rule](probabilities, of, count)
        return found / found.sum(axis=1, keepdims=True) if labels.exclusive else found
    reached = np.flip(np.flip(probabilities, axis=1).cumsum(axis=1), axis=1).clip(0, 1)
    higher = RULES[rule](reached[:, 1:], of, count)
    ends = np.ones((count, 1)), np.zeros((count, 1))
    # no rule changes their order, but rounding may
    steps = -np.diff(np.hstack([ends[0], higher, ends[1]]), axis=1)
    return np.asarray(steps.clip(0))


def unit_targets(labels: LabelSpace, targets: Floats, of: Ints, count: int) -> Floats:
    """[G, K]: a finding is present if any image shows it, and absent if all that were assessed do
    not; the grade is the highest; a class is that of all images, and nan if they differ."""
    known = ~np.isnan(targets)
    assessed = _summed(known, of, count) > 0
    if labels.kind is Kind.ORDINAL:
        grade = np.where(known.all(axis=1), np.nan_to_num(targets).argmax(axis=1), -1)
        highest = np.full(count, -1)
        np.maximum.at(highest, of, grade)
        found = (highest[:, None] == np.arange(targets.shape[1])).astype(np.float32)
        return np.where(highest[:, None] >= 0, found, np.float32(np.nan))
    shown = _summed(np.nan_to_num(targets), of, count) > 0
    if labels.exclusive:
        assessed &= (shown.sum(axis=1) == 1)[:, None]
    return np.where(assessed, shown, np.nan).astype(np.float32)


def together(predictions: Predictions, unit: str, rule: str) -> Predictions:
    """One row per unit, in order of appearance, without a readout.

    Args:
        unit: attribute that divides the images of a patient, such as the eye; "" if none.
    """
    of, count = _units(predictions, unit)
    first = np.unique(of, return_index=True)[1]
    own = predictions.attributes[unit] if unit else ("",) * len(of)
    labels = predictions.labels
    p = combined(labels, predictions.probabilities, of, count, rule).clip(LEAST, 1 - LEAST)
    logits = np.log(p) if labels.exclusive else np.log(p) - np.log1p(-p)
    return Predictions(
        labels=labels,
        split=predictions.split,
        image_ids=tuple(f"{predictions.groups[i]} {own[i]}".removesuffix(" ") for i in first),
        groups=tuple(predictions.groups[i] for i in first),
        targets=unit_targets(labels, predictions.targets, of, count),
        logits=logits.astype(np.float32),
    )


def _units(predictions: Predictions, unit: str) -> tuple[Ints, int]:
    """Number of each row's unit [N], and the number of units."""
    of, count = group_numbers(predictions.groups)
    if not unit:
        return of, count
    # joined names would make patient "p 1" and eye 1 of patient "p" one unit
    own = group_numbers(predictions.attributes[unit])[0]
    return group_numbers([f"{group} {part}" for group, part in zip(of, own, strict=True)])


def fit_patients(config: ReadoutConfig, validation: Predictions) -> PatientReadout | None:
    """The rule with the best score on validation, and thresholds for what it combines; None if
    every unit has a single image."""
    unit = config.unit or ""
    of, count = _units(validation, unit)
    if count == len(of):
        return None
    tried: dict[str, Any] = {rule: together(validation, unit, rule) for rule in RULES}
    scores = {rule: score(p, CHOOSES) for rule, p in tried.items()}
    known = {rule: value for rule, value in scores.items() if not math.isnan(value)}
    # the first of equals: rounding must not choose
    best = next((r for r, v in known.items() if v > max(known.values()) - 1e-9), "mean")
    chosen: Predictions = tried[best]
    plain = replace(config, conformal=None, refer_share=None, unusual=None, unit=None)
    fitted = fit_readout(plain, chosen.labels, chosen.logits, chosen.targets, chosen.groups)
    if not chosen.labels.exclusive:
        images = np.bincount(of).astype(np.float32)
        alone = replace(chosen, logits=np.repeat(images[:, None], len(chosen.labels.outputs), 1))
        if not math.isnan(value := score(alone, CHOOSES)):
            known |= {IMAGES: value}
    return PatientReadout(
        rule=best, unit=unit, scores=known, units=len(chosen.image_ids), readout=fitted
    )


def by_patient(predictions: Predictions) -> Predictions | None:
    """The predictions of units with thresholds and rule of the checkpoint; None if it has none, or
    if the images have no such attribute."""
    chosen = predictions.readout.patients
    if (
        chosen is None
        or predictions.folds
        or (chosen.unit and chosen.unit not in predictions.attributes)
    ):
        return None
    return replace(together(predictions, chosen.unit, chosen.rule), readout=chosen.readout)
