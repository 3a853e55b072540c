"""Results of the readout on a split: 2x2 tables of operating points with predictive values,
coverage of prediction sets, and the gain from referring the least certain images to a human."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.data.labels import Kind
from medcnn.statistics.benefit import BenefitCurve, Worth, curves, worths
from medcnn.statistics.decisions import certainty
from medcnn.statistics.estimates import Estimate
from medcnn.statistics.grades import GradesResult, judged_grades
from medcnn.statistics.intervals import group_numbers
from medcnn.statistics.operating import OperatingPoint
from medcnn.statistics.predictions import Predictions
from medcnn.statistics.shares import predictive_estimates, share_by_patient, share_of, two_by_two
from medcnn.statistics.strangeness import VERDICTS
from medcnn.system.errors import UsageError
from medcnn.system.files import without_nan

REFERRED_SHARES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class PointResult:
    """An operating point on one label.

    Attributes:
        reason: why the rule could not choose a threshold on validation, so that 0.5 is used; or "".
        prevalence: share of positives for which `ppv` and `npv` hold; that of the split unless the
            user gave one.
        ppv: share of true positives among all called positive.
        npv: share of true negatives among all called negative.
    """

    point: str
    label: str
    threshold: float
    reason: str
    found: int
    missed: int
    alarms: int
    cleared: int
    sensitivity: Estimate
    specificity: Estimate
    prevalence: float
    ppv: Estimate
    npv: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class SetsResult:
    """Prediction sets: how often they contain the truth, and how informative they are.

    Attributes:
        label: class or finding; None for all images.
        per: unit of the guarantee `wanted`: `patient` (then `by_patient` should reach it) or
            `image` (then `coverage` should).
        coverage: share of images whose set contains the truth.
        by_patient: mean of that share over patients.
        mean_size: mean number of answers in a set.
        single: share of sets with exactly one answer.
        empty: number of empty sets.
    """

    label: str | None
    wanted: float
    per: str
    coverage: Estimate
    by_patient: Estimate
    mean_size: float
    single: float
    empty: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferralResult:
    """The images that remain if those below a certainty are referred to a human.

    Attributes:
        share: of referred images. Images of equal certainty are treated alike, so it may be less
            than requested.
        error: share of wrong decisions among the remaining images.
    """

    share: float
    certainty: float
    left: int
    error: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundResult:
    """The effect on a split of the bound that `predict` uses for referral.

    Attributes:
        asked: share of validation images that it refers.
        certainty: images below it are referred.
        referred: share of images referred here.
        error: share of wrong decisions among the remaining images.
    """

    asked: float
    certainty: float
    referred: Estimate
    error: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class LookResult:
    """How often images of a split get a verdict of `strangeness`.

    Attributes:
        rate: how often at most by mistake, for images of new patients like those in validation.
        patients: number of those in validation that the bound comes from.
        bound: strangeness above which an image gets it.
        images: number of those that get it.
        by_patient: mean over patients of the share of their images beyond the bound, also if they
            get a more serious verdict.
    """

    verdict: str
    rate: float
    patients: int
    bound: float
    images: int
    by_patient: Estimate

    @property
    def too_often(self) -> bool:
        """Whether the share is above the stated rate by more than chance: that of these patients,
        and that of those in validation, which the bound comes from."""
        found, spread = self.by_patient, math.sqrt(self.rate * (1 - self.rate) / self.patients)
        return found.value - math.hypot(found.value - found.low, 1.96 * spread) > self.rate


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadoutEvaluation:
    """Attributes:
    looks: for the verdicts on how unusual images look; empty if there are none.
    grades: for operating points that cut the mean grade.
    bound: None without `readout.refer_share`.
    curve: (share of images kept, error among them), most certain first, at most 200 points.
    aurc: area under that curve; smaller is better (Geifman and El-Yaniv 2017, NeurIPS).
    worths: net benefit, number needed to screen and cost of each point.
    benefit: the decision curve of each label.
    """

    points: tuple[PointResult, ...]
    grades: tuple[GradesResult, ...]
    sets: tuple[SetsResult, ...]
    referral: tuple[ReferralResult, ...]
    bound: BoundResult | None
    curve: tuple[tuple[float, float], ...]
    aurc: float
    looks: tuple[LookResult, ...] = ()
    worths: tuple[Worth, ...] = ()
    benefit: tuple[BenefitCurve, ...] = ()

    def to_json(self) -> dict[str, Any]:
        fields = asdict(replace(self, benefit=()))
        fields["benefit"] = [curve.to_json() for curve in self.benefit]
        plain: dict[str, Any] = without_nan(fields)
        return plain


def evaluate_readout(
    predictions: Predictions, prevalence: float | Mapping[str, float] | None = None
) -> ReadoutEvaluation:
    """Tables for everything that was fitted on validation.

    Args:
        prevalence: expected share of positives in use, for all labels or by label.

    Raises:
        UsageError: a prevalence for an unknown label.
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
        _judged(predictions, p, numbers, point, k, shares.get(outputs[k]))
        for point in predictions.readout.points
        if not point.grades
        for k in range(len(outputs))
    ]
    referral, bound, curve, aurc = _referral(predictions, p, numbers)
    return ReadoutEvaluation(
        points=tuple(points),
        grades=tuple(judged_grades(predictions, p) for p in predictions.readout.points if p.grades),
        sets=tuple(_sets(predictions, numbers)),
        referral=referral,
        bound=bound,
        curve=curve,
        aurc=aurc,
        looks=tuple(_looks(predictions, numbers)),
        worths=tuple(worths(predictions, {(r.point, r.label): r.ppv for r in points}, prevalence)),
        benefit=tuple(curves(predictions, prevalence)),
    )


def _looks(predictions: Predictions, groups: NDArray[np.int64]) -> Iterator[LookResult]:
    bounds, looks, named = predictions.readout.unusual, predictions.looks, predictions.verdicts
    if bounds is None or looks is None or named is None or predictions.folds:
        return
    for verdict, beyond in zip(VERDICTS, bounds.beyond(looks).T, strict=True):
        yield LookResult(
            verdict=verdict,
            rate=bounds.rates[verdict],
            patients=bounds.patients,
            bound=bounds.bounds[verdict],
            images=int((named == verdict).sum()),
            by_patient=share_by_patient(beyond, groups),
        )


def _judged(
    predictions: Predictions,
    p: NDArray[np.float64],
    groups: NDArray[np.int64],
    point: OperatingPoint,
    k: int,
    prevalence: float | None,
) -> PointResult:
    target = predictions.targets[:, k]
    known = ~np.isnan(target)
    positive, called = target[known] == 1, p[known, k] >= point.thresholds[k]
    patients = groups[known]
    counted = two_by_two(positive, called, patients)
    if prevalence is None:
        ppv = share_of(positive[called], patients[called])
        npv = share_of(~positive[~called], patients[~called])
        at = float(positive.mean()) if len(positive) else math.nan
    else:
        at = prevalence
        ppv, npv = predictive_estimates(counted["sensitivity"], counted["specificity"], at)
    return PointResult(
        point=point.name,
        label=predictions.labels.outputs[k],
        threshold=point.thresholds[k],
        reason=point.reason(k),
        **counted,
        prevalence=at,
        ppv=ppv,
        npv=npv,
    )


def _sets(predictions: Predictions, groups: NDArray[np.int64]) -> list[SetsResult]:
    sets, conformal = predictions.sets, predictions.readout.conformal
    if sets is None or conformal is None:
        return []
    labels, targets = predictions.labels, predictions.targets

    def result(label: str | None, truth: NDArray[Any], own: NDArray[Any], of: Any) -> SetsResult:
        sizes, held = own.sum(axis=1), (own & truth).any(axis=1)
        return SetsResult(
            label=label,
            wanted=conformal.coverage,
            per=conformal.per,
            coverage=share_of(held, of),
            by_patient=share_by_patient(held, of),
            mean_size=float(sizes.mean()) if len(sizes) else math.nan,
            single=float((sizes == 1).mean()) if len(sizes) else math.nan,
            empty=int((sizes == 0).sum()),
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
    """By the certainty of whole images; a multilabel one is wrong if any assessed finding is."""
    assessed = ~np.isnan(predictions.targets)
    known = assessed.any(axis=1)
    truth, decided = predictions.targets[known] == 1, predictions.decisions[known]
    wrong = ((truth != decided) & assessed[known]).any(axis=1)
    sure, patients = certainty(predictions.labels, p[known]), groups[known]
    n = len(wrong)
    if n == 0:
        return (), None, (), math.nan
    order = np.argsort(-sure, kind="stable")
    # images of equal certainty are treated alike: each has the mean of their errors
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
                error=share_of(wrong[left], patients[left]),
            )
        )
    bound, fitted = None, predictions.readout.referral
    if fitted is not None:
        left = sure >= fitted.certainty
        bound = BoundResult(
            asked=fitted.share,
            certainty=fitted.certainty,
            referred=share_of(~left, patients),
            error=share_of(wrong[left], patients[left]),
        )
    return tuple(rows), bound, curve, float(risk.mean())
