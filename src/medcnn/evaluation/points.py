"""What the readout leads to on a split: 2x2 tables of operating points with their predictive
values, coverage of prediction sets, and what is gained by leaving the least certain images to a
human."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.errors import UsageError
from medcnn.evaluation.intervals import Interval, group_numbers, share_interval
from medcnn.labels import Kind
from medcnn.predictions import Predictions
from medcnn.readout import certainty

REFERRED_SHARES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A share of `of` images with its 95 % interval; nan where there is none of them, or no
    interval for a `reason`."""

    value: float
    low: float
    high: float
    of: int
    reason: str = ""

    @classmethod
    def among(cls, hits: NDArray[np.bool_], groups: NDArray[np.int64]) -> Share:
        found = share_interval(hits, groups)
        value = float(hits.mean()) if len(hits) else math.nan
        return cls(value=value, low=found.low, high=found.high, of=len(hits), reason=found.reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class PointResult:
    """An operating point on one label.

    Attributes:
        prevalence: share of positives among those for whom `ppv` and `npv` are told; of the split
            itself where the user gave none.
        ppv: how many of those who are called positive are so.
        npv: how many of those who are called negative are so.
    """

    point: str
    label: str
    threshold: float
    found: int
    missed: int
    alarms: int
    cleared: int
    sensitivity: Share
    specificity: Share
    prevalence: float
    ppv: Interval
    npv: Interval
    ppv_value: float
    npv_value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SetsResult:
    """Prediction sets: how often they hold the truth, and how much they say.

    Attributes:
        label: class or finding; None for all images.
        mean_size: answers in a set.
        single: share of the sets with exactly one answer.
    """

    label: str | None
    wanted: float
    coverage: Share
    mean_size: float
    single: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferralResult:
    """The images that are left when those below a certainty go to a human.

    Attributes:
        share: of the images that are referred. Images of equal certainty stay or go together, so
            that it may be less than was asked for.
        error: share of wrong decisions among the images that are left.
    """

    share: float
    certainty: float
    left: int
    error: Share


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundResult:
    """What the bound that `predict` refers by does on a split.

    Attributes:
        asked: share of the images of validation that it refers.
        certainty: below which an image is referred.
        referred: share of these images.
        error: share of wrong decisions among the images that are left.
    """

    asked: float
    certainty: float
    referred: Share
    error: Share


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadoutEvaluation:
    """Attributes:
    bound: None where `readout.refer_share` was not asked for.
    curve: (share of images kept, error among them), most certain first, at most 200 points.
    aurc: area under that curve; smaller is better (Geifman and El-Yaniv 2017, NeurIPS).
    """

    points: tuple[PointResult, ...]
    sets: tuple[SetsResult, ...]
    referral: tuple[ReferralResult, ...]
    bound: BoundResult | None
    curve: tuple[tuple[float, float], ...]
    aurc: float

    def to_json(self) -> dict[str, Any]:
        plain: dict[str, Any] = _without_nan(asdict(self))
        return plain


def evaluate_readout(
    predictions: Predictions, prevalence: float | Mapping[str, float] | None = None
) -> ReadoutEvaluation:
    """Tables of everything that was fitted on validation.

    Args:
        prevalence: share of positives where the model will be used, for every label or by label.

    Raises:
        UsageError: a prevalence for a label that the model does not know.
    """
    outputs = predictions.labels.outputs
    if isinstance(prevalence, Mapping) and (unknown := sorted(set(prevalence) - set(outputs))):
        raise UsageError(
            f"prevalence names {', '.join(unknown)}; the labels are {', '.join(outputs)}."
        )
    numbers, _ = group_numbers(predictions.groups)
    shares = prevalence if isinstance(prevalence, Mapping) else dict.fromkeys(outputs, prevalence)
    p = predictions.probabilities
    points = [
        _point(predictions, p, numbers, point.name, k, threshold, shares.get(outputs[k]))
        for point in predictions.readout.points
        if not point.grades
        for k, threshold in enumerate(point.thresholds)
    ]
    referral, bound, curve, aurc = _referral(predictions, p, numbers)
    return ReadoutEvaluation(
        points=tuple(points),
        sets=tuple(_sets(predictions, numbers)),
        referral=referral,
        bound=bound,
        curve=curve,
        aurc=aurc,
    )


def _point(
    predictions: Predictions,
    p: NDArray[np.float64],
    groups: NDArray[np.int64],
    name: str,
    k: int,
    threshold: float,
    prevalence: float | None,
) -> PointResult:
    target = predictions.targets[:, k]
    known = ~np.isnan(target)
    positive, called = target[known] == 1, p[known, k] >= threshold
    patients = groups[known]
    found, missed = int((positive & called).sum()), int((positive & ~called).sum())
    alarms, cleared = int((~positive & called).sum()), int((~positive & ~called).sum())
    sensitivity = Share.among(called[positive], patients[positive])
    specificity = Share.among(~called[~positive], patients[~positive])
    if prevalence is None:
        ppv = Share.among(positive[called], patients[called])
        npv = Share.among(~positive[~called], patients[~called])
        at = float(positive.mean()) if len(positive) else math.nan
        values = (ppv.value, npv.value)
        spans = tuple(Interval(low=s.low, high=s.high) for s in (ppv, npv))
    else:
        at = prevalence
        values = predictive_values(sensitivity.value, specificity.value, at)
        spans = predictive_intervals(sensitivity, specificity, at)
    return PointResult(
        point=name,
        label=predictions.labels.outputs[k],
        threshold=threshold,
        found=found,
        missed=missed,
        alarms=alarms,
        cleared=cleared,
        sensitivity=sensitivity,
        specificity=specificity,
        prevalence=at,
        ppv=spans[0],
        npv=spans[1],
        ppv_value=values[0],
        npv_value=values[1],
    )


def predictive_values(sens: float, spec: float, prevalence: float) -> tuple[float, float]:
    """PPV and NPV by Bayes' theorem; nan where nobody is called so."""
    true, false = sens * prevalence, (1 - spec) * (1 - prevalence)
    cleared, missed = spec * (1 - prevalence), (1 - sens) * prevalence
    ppv = true / (true + false) if true + false > 0 else math.nan
    npv = cleared / (cleared + missed) if cleared + missed > 0 else math.nan
    return ppv, npv


def predictive_intervals(sens: Share, spec: Share, prevalence: float) -> tuple[Interval, Interval]:
    """Of PPV and NPV at a known prevalence: sensitivity and specificity come from different
    images, so the distances of their own bounds from the values add up in square on the scale of
    the log odds (the method of variance estimates recovery: Zou and Donner 2008, Stat Med 27)."""

    def recovered(
        top: float, top_low: float, top_high: float, low: float, low_low: float, low_high: float
    ) -> Interval:
        """Interval of odds = `at` * top / low."""
        if math.isnan(top_low + low_low):
            return Interval(reason="sensitivity or specificity has none")
        if top == low == 0:
            return Interval(reason="nobody is called so")
        if low == 0:  # infinite odds: only the lower end is left to find
            return Interval(low=1 - 1 / (1 + at * _least(top, top_low) / low_high), high=1.0)
        if top == 0:
            return Interval(low=0.0, high=1 / (1 + _least(low, low_low) / top_high / at))
        with np.errstate(divide="ignore"):
            a, a1, a2 = np.log([top, top_low, top_high])
            b, b1, b2 = np.log([low, low_low, low_high])
        down = math.hypot(a - a1, b2 - b)
        up = math.hypot(a2 - a, b - b1)
        odds = (a - b - down, a - b + up)
        start = math.log(at)
        return Interval(low=_logistic(odds[0] + start), high=_logistic(odds[1] + start))

    at = prevalence / (1 - prevalence)
    ppv = recovered(sens.value, sens.low, sens.high, 1 - spec.value, 1 - spec.high, 1 - spec.low)
    at = 1 / at
    npv = recovered(spec.value, spec.low, spec.high, 1 - sens.value, 1 - sens.high, 1 - sens.low)
    return ppv, npv


def _least(value: float, low: float) -> float:
    """What divided by the upper end of a share that was found to be 0 is the lower end of the
    ratio: the same recovery for a ratio (Donner and Zou 2012, Stat Methods Med Res 21(4))."""
    return math.sqrt(value**2 - (value - low) ** 2)


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0


def _sets(predictions: Predictions, groups: NDArray[np.int64]) -> list[SetsResult]:
    sets, conformal = predictions.sets, predictions.readout.conformal
    if sets is None or conformal is None:
        return []
    labels, targets = predictions.labels, predictions.targets

    def result(label: str | None, truth: NDArray[Any], own: NDArray[Any], of: Any) -> SetsResult:
        sizes = own.sum(axis=1)
        return SetsResult(
            label=label,
            wanted=conformal.coverage,
            coverage=Share.among((own & truth).any(axis=1), of),
            mean_size=float(sizes.mean()) if len(sizes) else math.nan,
            single=float((sizes == 1).mean()) if len(sizes) else math.nan,
        )

    if labels.exclusive:
        known = ~np.isnan(targets).any(axis=1)
        truth, own, of = targets[known] == 1, sets[known], groups[known]
        rows = [result(None, truth, own, of)]
        for k, name in enumerate(labels.outputs):
            its = truth[:, k]
            rows.append(result(name, truth[its], own[its], of[its]))
        return rows
    rows = []
    for k, name in enumerate(labels.outputs):
        known = ~np.isnan(targets[:, k])
        yes = targets[known, k] == 1
        truth, own, of = np.stack([~yes, yes], axis=1), sets[known, k], groups[known]
        rows.append(result(name, truth, own, of))
        if labels.kind is Kind.BINARY:
            rows[0] = result(None, truth, own, of)
            for side, its in ((labels.names[0], ~yes), (labels.names[1], yes)):
                rows.append(result(side, truth[its], own[its], of[its]))
    return rows


def _referral(
    predictions: Predictions, p: NDArray[np.float64], groups: NDArray[np.int64]
) -> tuple[tuple[ReferralResult, ...], BoundResult | None, tuple[tuple[float, float], ...], float]:
    """By the certainty of the whole image, where classes exclude each other or there is one; a
    multilabel image is wrong where any assessed finding is."""
    assessed = ~np.isnan(predictions.targets)
    known = assessed.any(axis=1)
    truth, decided = predictions.targets[known] == 1, predictions.decisions[known]
    wrong = ((truth != decided) & assessed[known]).any(axis=1)
    sure, patients = certainty(predictions.labels, p[known]), groups[known]
    n = len(wrong)
    if n == 0:
        return (), None, (), math.nan
    order = np.argsort(-sure, kind="stable")
    # images of equal certainty cannot be told apart: each carries the mean of their errors
    _, at = np.unique(-sure[order], return_inverse=True)
    shared = np.bincount(at, weights=wrong[order]) / np.bincount(at)
    risk = np.cumsum(shared[at]) / np.arange(1, n + 1)
    shown = np.unique(np.linspace(0, n - 1, min(n, 200)).round().astype(int))
    curve = tuple(((i + 1) / n, float(risk[i])) for i in shown)
    kept = [n - round(share * n) for share in REFERRED_SHARES]
    bounds = dict.fromkeys(float(sure[order[k - 1]]) for k in kept if k)
    rows = []
    for least in bounds:
        left = sure >= least
        rows.append(
            ReferralResult(
                share=float((~left).mean()),
                certainty=least,
                left=int(left.sum()),
                error=Share.among(wrong[left], patients[left]),
            )
        )
    bound, fitted = None, predictions.readout.referral
    if fitted is not None:
        left = sure >= fitted.certainty
        bound = BoundResult(
            asked=fitted.share,
            certainty=fitted.certainty,
            referred=Share.among(~left, patients),
            error=Share.among(wrong[left], patients[left]),
        )
    return tuple(rows), bound, curve, float(risk.mean())


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_nan(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
