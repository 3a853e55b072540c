"""Every score in one table; each formula takes resampling weights, so that intervals are cheap.

A kernel sees the assessed rows of one label (or of a whole table, where classes exclude each
other) and weights [R, n]: how often each row stands in each of R resamples. It answers one value
a resample, nan where the score is not defined. No row is ever copied to resample it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.choices import choose
from medcnn.errors import UsageError
from medcnn.labels import Kind, LabelSpace
from medcnn.predictions import Predictions

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

NUM_BINS = 15
"""Equal-width probability bins of the calibration error and of the reliability diagram."""

CHUNK_CELLS = 4_000_000
"""Weights are widened to float64 in pieces of at most this many cells (32 MB)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Assessed rows only: arrays [n] for one label against the rest, [n, K] for a whole table."""

    target: Bools
    probability: Floats
    decision: Bools


Kernel = Callable[[Rows, Floats], Floats]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One score.

    Attributes:
        title: as the report calls it.
        label: kernel for one label; used once per class (one-vs-rest) where `table` is None.
        table: kernel for all classes at once, where exactly one of them is right.
        kinds: of labels for which the score means something.
        share_of: for a share of rows: which rows [n] are its denominator, given the target.
        signed: for a sum of absolute values: its terms [R, T] with their signs. Resampled absolute
            values are too large, so the interval is made from these.
    """

    title: str
    label: Kernel | None = None
    table: Kernel | None = None
    kinds: frozenset[Kind] = frozenset(Kind)
    higher_is_better: bool = True
    share_of: Callable[[Bools], Bools] | None = None
    signed: Kernel | None = None

    def per_label(self, labels: LabelSpace) -> bool:
        """True where each label has its own value, False where the table has one."""
        return self.table is None or not labels.exclusive


def auroc(rows: Rows, weights: Floats) -> Floats:
    """Chance that a positive row is ranked above a negative one; a tie counts half. [R] in [0, 1].

    Source: Hanley and McNeil 1982, Radiology 143(1), the Mann-Whitney form.
    """
    negative, w_negative = _by_probability(rows, weights, ~rows.target)
    positive, w_positive = _by_probability(rows, weights, rows.target)
    below = _running(w_negative)
    won = below[:, np.searchsorted(negative, positive, "left")]
    won += below[:, np.searchsorted(negative, positive, "right")]
    ranked = np.einsum("rp,rp->r", won, w_positive) / 2
    return _ratio(ranked, w_positive.sum(axis=1) * below[:, -1])


def average_precision(rows: Rows, weights: Floats) -> Floats:
    """Precision at the threshold of each positive row, averaged over positive rows. [R] in [0, 1].

    Equals the area under the precision-recall steps without interpolation; rows of equal
    probability share one threshold. Source: Davis and Goadrich 2006, ICML.
    """
    negative, w_negative = _by_probability(rows, weights, ~rows.target)
    positive, w_positive = _by_probability(rows, weights, rows.target)
    below_n, below_p = _running(w_negative), _running(w_positive)
    true = below_p[:, -1:] - below_p[:, np.searchsorted(positive, positive, "left")]
    false = below_n[:, -1:] - below_n[:, np.searchsorted(negative, positive, "left")]
    called = true + false
    # a row that a resample left out may have nothing at or above it; its weight is 0 anyway
    precision = np.divide(true, called, out=np.zeros_like(true), where=called > 0)
    total = np.where(below_n[:, -1] > 0, below_p[:, -1], 0)
    return _ratio(np.einsum("rp,rp->r", precision, w_positive), total)


def accuracy(rows: Rows, weights: Floats) -> Floats:
    """Share of rows whose decision is right. [R] in [0, 1]."""
    return _mean(rows.decision == rows.target, weights)


def sensitivity(rows: Rows, weights: Floats) -> Floats:
    """Share of positive rows that are called positive. [R] in [0, 1].

    Source: Yerushalmy 1947, Public Health Reports 62(40), for sensitivity and specificity.
    """
    return _ratio(weights @ (rows.target & rows.decision), weights @ rows.target)


def specificity(rows: Rows, weights: Floats) -> Floats:
    """Share of negative rows that are called negative. [R] in [0, 1]."""
    return _ratio(weights @ ~(rows.target | rows.decision), weights @ ~rows.target)


def balanced_accuracy(rows: Rows, weights: Floats) -> Floats:
    """Mean of sensitivity and specificity. [R] in [0, 1].

    Source: Brodersen et al. 2010, ICPR.
    """
    return (sensitivity(rows, weights) + specificity(rows, weights)) / 2


def f1(rows: Rows, weights: Floats) -> Floats:
    """Harmonic mean of precision and sensitivity. [R] in [0, 1]; nan without a positive row.

    Source: van Rijsbergen 1979, Information Retrieval, chapter 7.
    """
    both = 2 * (weights @ (rows.target & rows.decision))
    positives = weights @ rows.target
    return _ratio(both, np.where(positives > 0, positives + weights @ rows.decision, 0))


def brier(rows: Rows, weights: Floats) -> Floats:
    """Mean squared distance of probability and outcome. [R] in [0, 1].

    Source: Brier 1950, Monthly Weather Review 78(1), for one event; his score over K exclusive
    classes is the sum over them, K times our macro mean.
    """
    return _mean((rows.probability - rows.target) ** 2, weights)


def log_loss(rows: Rows, weights: Floats) -> Floats:
    """Mean negative log-likelihood of the outcome, in nats. [R], 0 or more.

    Source: Good 1952, JRSS B 14(1). Probabilities are kept 2.2e-16 away from 0, as scikit-learn
    does, so that one sure mistake costs 36 and not infinity.
    """
    given = np.where(rows.target, rows.probability, 1 - rows.probability)
    return _mean(-np.log(np.maximum(given, np.finfo(np.float64).eps)), weights)


def ece(rows: Rows, weights: Floats) -> Floats:
    """Distance of mean probability and share of positives, averaged over bins. [R] in [0, 1].

    15 bins of equal width, weighted by their rows; one label against the rest, so that the macro
    mean is the classwise error. Source: Naeini et al. 2015, AAAI; Kull et al. 2019, NeurIPS.
    """
    return np.asarray(np.abs(calibration_gaps(rows, weights)).sum(axis=1))


def calibration_gaps(rows: Rows, weights: Floats) -> Floats:
    """Mean probability less share of positives in each bin, times the bin's share of rows.
    [R, NUM_BINS] in [-1, 1]."""
    member = probability_bin(rows.probability)[:, None] == np.arange(NUM_BINS)
    gaps = weights @ (member * (rows.probability - rows.target)[:, None])
    return _ratio(gaps, np.broadcast_to(weights.sum(axis=1)[:, None], gaps.shape))


def table_accuracy(rows: Rows, weights: Floats) -> Floats:
    """Share of rows whose decision is the right class. [R] in [0, 1]."""
    return _mean(np.any(rows.decision & rows.target, axis=1), weights)


def table_balanced_accuracy(rows: Rows, weights: Floats) -> Floats:
    """Mean sensitivity over the classes that occur. [R] in [0, 1].

    A resample that lacks one of them is nan: a mean over other classes is another quantity.
    """
    occurs = rows.target.any(axis=0)
    target, right = rows.target[:, occurs], (rows.target & rows.decision)[:, occurs]
    if target.shape[1] < 2:
        return np.full(len(weights), np.nan)
    return np.asarray(_ratio(weights @ right, weights @ target).mean(axis=1))


def table_log_loss(rows: Rows, weights: Floats) -> Floats:
    """Mean negative log-probability of the right class, in nats, as `log_loss`. [R]."""
    given = (rows.probability * rows.target).sum(axis=1)
    return _mean(-np.log(np.maximum(given, np.finfo(np.float64).eps)), weights)


def quadratic_weighted_kappa(rows: Rows, weights: Floats) -> Floats:
    """Agreement of grades beyond chance, a miss by d grades costing d squared. [R] in [-1, 1].

    nan where truth and decision are one and the same grade throughout: nothing could disagree.
    Source: Cohen 1968, Psychological Bulletin 70(4).
    """
    grades = np.arange(rows.target.shape[1])
    cost = (grades[:, None] - grades) ** 2.0
    found = weights @ ((rows.target @ grades - rows.decision @ grades) ** 2.0)
    truth, decided = weights @ rows.target, weights @ rows.decision
    by_chance = np.einsum("rk,kl,rl->r", truth, cost, decided)
    return 1 - _ratio(found * weights.sum(axis=1), by_chance)


METRICS: dict[str, Metric] = {
    "accuracy": Metric(
        title="Accuracy", label=accuracy, table=table_accuracy, share_of=np.ones_like
    ),
    "auroc": Metric(title="AUROC", label=auroc),
    "average_precision": Metric(title="Average precision", label=average_precision),
    "balanced_accuracy": Metric(
        title="Balanced accuracy", label=balanced_accuracy, table=table_balanced_accuracy
    ),
    "brier": Metric(title="Brier score", label=brier, higher_is_better=False),
    "ece": Metric(
        title="Calibration error", label=ece, higher_is_better=False, signed=calibration_gaps
    ),
    "f1": Metric(title="F1", label=f1),
    "log_loss": Metric(
        title="Log loss", label=log_loss, table=table_log_loss, higher_is_better=False
    ),
    "quadratic_weighted_kappa": Metric(
        title="Quadratic weighted kappa",
        table=quadratic_weighted_kappa,
        kinds=frozenset({Kind.ORDINAL}),
    ),
    "sensitivity": Metric(title="Sensitivity", label=sensitivity, share_of=np.copy),
    "specificity": Metric(title="Specificity", label=specificity, share_of=np.logical_not),
}

DEFAULT_SCORE: dict[Kind, str] = dict.fromkeys(Kind, "auroc")
"""The validation score that picks the best epoch: ranks well before any threshold is chosen."""


def metric_for(name: str, kind: Kind) -> Metric:
    """The entry of `METRICS`.

    Raises:
        UsageError: no such score, or it is not defined for this kind of label.
    """
    metric = choose(METRICS, name, "score")
    if kind not in metric.kinds:
        raise UsageError(
            f"score '{name}' is not defined for {kind} labels. Defined: "
            + ", ".join(n for n, m in METRICS.items() if kind in m.kinds)
            + "."
        )
    return metric


def assessed_rows(predictions: Predictions, metric: Metric) -> list[tuple[Bools, Rows]]:
    """Which rows [N] count and what stands in them: one pair per label, or one for the table."""
    target = predictions.targets
    known = ~np.isnan(target)
    assert np.isin(target[known], (0, 1)).all(), "evaluation takes targets 0, 1 or nan"
    assert np.isfinite(predictions.logits).all(), "a nan would be ranked as if it were a number"
    probability, decision = predictions.probabilities, predictions.decisions
    if not metric.per_label(predictions.labels):
        at = np.asarray(known.all(axis=1))
        return [
            (at, Rows(target=target[at] == 1, probability=probability[at], decision=decision[at]))
        ]
    return [
        (
            at,
            Rows(
                target=target[at, k] == 1, probability=probability[at, k], decision=decision[at, k]
            ),
        )
        for k, at in enumerate(known.T)
    ]


def values(predictions: Predictions, name: str, weights: NDArray[Any] | None = None) -> Floats:
    """The score in each resample.

    Args:
        weights: [R, N] how often each row stands in each resample; None means once, in one.

    Returns:
        [R, K] one column per label, or [R, 1] where the score is for the whole table; nan where
        it is not defined.

    Raises:
        UsageError: the score does not exist or is not defined for this kind of label.
    """
    metric = metric_for(name, predictions.labels.kind)
    kernel = metric.label if metric.per_label(predictions.labels) else metric.table
    assert kernel is not None, "a table has a kernel for every kind it names"
    return np.stack(_of_each(kernel, predictions, metric, weights), axis=1)


def signed_terms(
    predictions: Predictions, name: str, weights: NDArray[Any] | None = None
) -> list[Floats]:
    """The signed terms [R, T] of each label's score, for a score that is a sum of absolutes."""
    metric = metric_for(name, predictions.labels.kind)
    assert metric.signed is not None, f"{name} is no sum of absolute values"
    return _of_each(metric.signed, predictions, metric, weights)


def _of_each(
    kernel: Kernel, predictions: Predictions, metric: Metric, weights: NDArray[Any] | None
) -> list[Floats]:
    if weights is None:
        weights = np.ones((1, len(predictions.image_ids)))
    found = []
    for mask, rows in assessed_rows(predictions, metric):
        at = slice(None) if mask.all() else mask
        step = max(1, CHUNK_CELLS // max(1, len(mask)))
        pieces = [weights[i : i + step, at] for i in range(0, len(weights), step)]
        found.append(np.concatenate([kernel(rows, p.astype(np.float64)) for p in pieces]))
    return found


def score(predictions: Predictions, name: str) -> float:
    """The overall value: of the table, or the unweighted mean over labels where it is defined.

    nan where it is defined for none. Raises as `values`.
    """
    found = values(predictions, name)[0]
    defined = found[~np.isnan(found)]
    return float(defined.mean()) if len(defined) else float("nan")


def probability_bin(probability: Floats) -> NDArray[np.int64]:
    """Bin 0 to 14 of each probability; a bin holds its lower edge, the last one also 1."""
    return np.minimum((probability * NUM_BINS).astype(np.int64), NUM_BINS - 1)


def _by_probability(rows: Rows, weights: Floats, chosen: Bools) -> tuple[Floats, Floats]:
    """Probabilities of the chosen rows in ascending order [m], and their weights [R, m]."""
    at = np.flatnonzero(chosen)
    at = at[np.argsort(rows.probability[at], kind="stable")]
    return rows.probability[at], weights[:, at]


def _running(weights: Floats) -> Floats:
    """Sum of the first i weights, for i = 0 to m. [R, m + 1]."""
    total = np.zeros((weights.shape[0], weights.shape[1] + 1))
    np.cumsum(weights, axis=1, out=total[:, 1:])
    return total


def _mean(value: Any, weights: Floats) -> Floats:
    return _ratio(weights @ value, weights.sum(axis=1))


def _ratio(part: NDArray[Any], whole: NDArray[Any]) -> Floats:
    """part / whole, nan where the whole is empty."""
    result: Floats = np.full(part.shape, np.nan)
    np.divide(part, whole, out=result, where=whole > 0)
    return result
