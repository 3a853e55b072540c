"""The formulas: each returns one value per resample [R], nan if the score is undefined.

Influences are the effect of each row on a score, for intervals without resampling.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.statistics.metrics.influences import (
    centred,
    grade_error,
    occurring,
    right,
    squared,
    surprise,
)
from medcnn.statistics.metrics.rows import Bins, Floats, Ints, Rows, Sample, ratio

"""A lower bound of the score's variance, from rows and their patients [n]."""
LEAST_SPECIFICITY = 0.9
"""For the partial AUC, and for sensitivity at a specificity."""


LEAST_SENSITIVITY = 0.9
"""For specificity at a sensitivity."""


def auroc(sample: Sample) -> Floats:
    """Probability that a positive row ranks above a negative one; ties count half. [R] in [0, 1].

    Source: Hanley and McNeil 1982, Radiology 143(1), the Mann-Whitney form.
    """
    c = sample.curve
    lost = np.einsum("rl,rl->r", c.gained, c.above + c.false) / 2
    pairs = (c.positives * c.negatives)[:, 0]
    return ratio(pairs - lost, pairs)


def auroc_influence(rows: Rows) -> Sequence[Floats]:
    """Placement of each positive row among the negatives, and of each negative among the positives.

    Source: DeLong, DeLong and Clarke-Pearson 1988, Biometrics 44(3).
    """
    p, target = rows.probability, rows.target

    def beaten(by: Floats, others: Floats) -> Floats:
        others = np.sort(others)
        halves = np.searchsorted(others, by, "left") + np.searchsorted(others, by, "right")
        return np.asarray(halves / (2 * max(1, len(others))))

    placed = np.where(target, beaten(p, p[~target]), 1 - beaten(p, p[target]))
    return centred(placed, target, ~target)


def auroc_floor(rows: Rows, groups: Ints) -> float:
    """Variance of the AUROC if every image were from another patient. Images of one patient never
    tell more, but few positives often agree by chance.

    Source: Hanley and McNeil 1982, Radiology 143(1).
    """
    p, n = int(rows.target.sum()), int((~rows.target).sum())
    area = float(auroc(Sample.once(rows))[0])
    spread = (p - 1) * (area / (2 - area) - area**2) + (n - 1) * (
        2 * area**2 / (1 + area) - area**2
    )
    return (area * (1 - area) + spread) / (p * n)


def partial_auc(sample: Sample) -> Floats:
    """Area under the ROC curve for specificity of 0.9 or more, standardised so that guessing is 0.5
    and perfection 1. [R], rarely below 0.

    Source: McClish 1989, Medical Decision Making 9(3); equals scikit-learn's `max_fpr`.
    """
    c, most = sample.curve, 1 - LEAST_SPECIFICITY
    edge = most * c.negatives
    mean = start = np.maximum(edge - c.above, 0)
    if c.false is not c.above:
        # positives tied with negatives are spread evenly along the slope between two thresholds
        slope, end = c.false - c.above, np.maximum(edge - c.false, 0)
        mean = np.divide(start**2 - end**2, 2 * slope, out=start.copy(), where=slope > 0)
    area = ratio(np.einsum("rl,rl->r", c.gained, mean), (c.positives * c.negatives)[:, 0])
    return np.asarray((1 + (area - most**2 / 2) / (most - most**2 / 2)) / 2)


def average_precision(sample: Sample) -> Floats:
    """Precision at the threshold of each positive row, averaged over positive rows. [R] in [0, 1].

    Equals the area under the precision-recall steps without interpolation; rows of equal
    probability share one threshold. Source: Davis and Goadrich 2006, ICML.
    """
    c = sample.curve
    called = c.true + c.false
    # a row not in a resample may have nothing at or above it; its weight is 0 anyway
    precision = np.divide(c.true, called, out=np.zeros_like(called), where=called > 0)
    total = np.where(c.negatives > 0, c.positives, 0)[:, 0]
    return ratio(np.einsum("rl,rl->r", precision, c.gained), total)


def sensitivity_at_specificity(sample: Sample) -> Floats:
    """Largest sensitivity of a threshold whose specificity is 0.9 or more. [R] in [0, 1].

    Thresholds are from the sample itself, so this is what the ranking allows, not what a threshold
    fixed beforehand would reach. Source: Pepe 2003, Statistical Evaluation of Medical Tests, ch. 4.
    """
    c = sample.curve
    allowed = c.false <= (1 - LEAST_SPECIFICITY) * c.negatives * (1 + 1e-6)
    total = np.where(c.negatives > 0, c.positives, 0)[:, 0]
    return ratio(np.einsum("rl,rl->r", c.gained, allowed), total)


def specificity_at_sensitivity(sample: Sample) -> Floats:
    """Largest specificity of a threshold whose sensitivity is 0.9 or more. [R] in [0, 1]."""
    c = sample.curve
    if not c.true.shape[1]:
        return np.full(len(sample.weights), np.nan)
    first = (c.true >= LEAST_SENSITIVITY * c.positives * (1 - 1e-6)).argmax(axis=1)
    alarms = np.take_along_axis(c.false, first[:, None], axis=1)
    total = np.where(c.positives > 0, c.negatives, 0)
    return ratio(c.negatives - alarms, total)[:, 0]


def accuracy(sample: Sample) -> Floats:
    """Share of rows with the right decision. [R] in [0, 1]."""
    found, _, _, cleared = sample.cells
    return ratio(found + cleared, sample.total)


def sensitivity(sample: Sample) -> Floats:
    """Share of positive rows that are called positive. [R] in [0, 1].

    Source: Yerushalmy 1947, Public Health Reports 62(40), for sensitivity and specificity.
    """
    found, missed, _, _ = sample.cells
    return ratio(found, found + missed)


def specificity(sample: Sample) -> Floats:
    """Share of negative rows that are called negative. [R] in [0, 1]."""
    _, _, alarms, cleared = sample.cells
    return ratio(cleared, cleared + alarms)


def balanced_accuracy(sample: Sample) -> Floats:
    """Mean of sensitivity and specificity. [R] in [0, 1].

    Source: Brodersen et al. 2010, ICPR.
    """
    return (sensitivity(sample) + specificity(sample)) / 2


def f1(sample: Sample) -> Floats:
    """Harmonic mean of precision and sensitivity. [R] in [0, 1]; nan without a positive row.

    Source: van Rijsbergen 1979, Information Retrieval, chapter 7.
    """
    found, missed, alarms, _ = sample.cells
    return ratio(2 * found, np.where(found + missed > 0, 2 * found + missed + alarms, 0))


def mcc(sample: Sample) -> Floats:
    """Correlation of outcome and decision. [R] in [-1, 1]; nan if either is constant.

    Source: Matthews 1975, Biochimica et Biophysica Acta 405(2).
    """
    found, missed, alarms, cleared = sample.cells
    sides = (found + missed) * (found + alarms) * (cleared + missed) * (cleared + alarms)
    return ratio(found * cleared - missed * alarms, np.sqrt(sides))


def brier(sample: Sample) -> Floats:
    """Mean squared distance of probability and outcome. [R] in [0, 1].

    Source: Brier 1950, Monthly Weather Review 78(1), for one event; his score over K exclusive
    classes is the sum over them, K times our macro mean.
    """
    return sample.mean(squared(sample.rows))


def brier_reliability(sample: Sample) -> Floats:
    """The part of the Brier score that calibration could remove; 0 is best. [R] in [0, 1].

    Over 15 bins of equal width. Reliability - resolution + uncertainty is the Brier score if all
    probabilities in each bin are equal. Source: Murphy 1973, Journal of Applied Meteorology 12(4).
    """
    return np.asarray((reliability_terms(sample) ** 2).sum(axis=1))


def reliability_terms(sample: Sample) -> Floats:
    b = sample.equal_width
    return _over_root(b.probability - b.positive, b)


def brier_resolution(sample: Sample) -> Floats:
    """Variance of the share of positives between bins; more is better. [R] in [0, 1/4].

    Source: Murphy 1973, Journal of Applied Meteorology 12(4).
    """
    b = sample.equal_width
    share = ratio(b.positive.sum(axis=1, keepdims=True), b.total)
    return np.asarray((_over_root(b.positive - b.count * share, b) ** 2).sum(axis=1))


def brier_uncertainty(sample: Sample) -> Floats:
    """Variance of the outcome: the Brier score of a constant prediction. [R] in [0, 1/4]."""
    share = sample.mean(sample.rows.target)
    return share * (1 - share)


def log_loss(sample: Sample) -> Floats:
    """Mean negative log-likelihood of the outcome, in nats; for a table, of the right class. [R],
    0 or more.

    Source: Good 1952, JRSS B 14(1). Probabilities are at least 2.2e-16, as in scikit-learn, so that
    one confident mistake costs 36 rather than infinity.
    """
    return sample.mean(surprise(sample.rows))


def ece(sample: Sample) -> Floats:
    """Distance of mean probability and share of positives, averaged over bins. [R] in [0, 1].

    15 bins of equal width, weighted by their rows; one label against the rest, so that the macro
    mean is the classwise error. Source: Naeini et al. 2015, AAAI; Kull et al. 2019, NeurIPS.
    """
    return np.asarray(np.abs(calibration_gaps(sample)).sum(axis=1))


def calibration_gaps(sample: Sample) -> Floats:
    """Mean probability minus share of positives in each bin, times the bin's share of rows.
    [R, NUM_BINS] in [-1, 1]."""
    b = sample.equal_width
    return ratio(b.probability - b.positive, b.total)


def ece_equal_mass(sample: Sample) -> Floats:
    """Like `ece`, over 15 bins with as equal numbers of rows as ties allow; every resample uses the
    bins of the original rows."""
    return np.asarray(np.abs(equal_mass_gaps(sample)).sum(axis=1))


def equal_mass_gaps(sample: Sample) -> Floats:
    b = sample.binned(sample.rows.equal_mass)
    return ratio(b.probability - b.positive, b.total)


def table_accuracy(sample: Sample) -> Floats:
    """Share of rows with the right class. [R] in [0, 1]."""
    return sample.mean(right(sample.rows))


def table_balanced_accuracy(sample: Sample) -> Floats:
    """Mean sensitivity over the classes that occur. [R] in [0, 1].

    A resample that lacks one of them is nan: a mean over fewer classes is another quantity.
    """
    target, hits = occurring(sample.rows)
    if target.shape[1] < 2:
        return np.full(len(sample.weights), np.nan)
    return np.asarray(
        ratio(*(sample.sums(sample.rows.placed(c)) for c in (hits, target))).mean(axis=1)
    )


def table_mcc(sample: Sample) -> Floats:
    """Correlation of true and predicted class over all classes. [R] in [-1, 1].

    Source: Gorodkin 2004, Computational Biology and Chemistry 28(5-6).
    """
    truth, decided = (sample.sums(placed) for placed in sample.rows.sides)
    total = sample.total
    covered = sample.sums(sample.rows.placed(right(sample.rows))) * total
    covered = covered - (truth * decided).sum(axis=1)
    spread = (total**2 - (truth**2).sum(axis=1)) * (total**2 - (decided**2).sum(axis=1))
    return ratio(covered, np.sqrt(np.maximum(spread, 0)))


def quadratic_weighted_kappa(sample: Sample) -> Floats:
    """Agreement of grades beyond chance; an error of d grades costs d squared. [R] in [-1, 1].

    nan if truth and decision are always the same single grade: nothing could disagree.
    Source: Cohen 1968, Psychological Bulletin 70(4).
    """
    truth, decided = (sample.sums(placed) for placed in sample.rows.sides)
    grades = np.arange(truth.shape[1])
    cost = (grades[:, None] - grades) ** 2.0
    by_chance = np.einsum("rk,kl,rl->r", truth, cost, decided)
    apart = sample.sums(sample.rows.placed(grade_error(sample.rows) ** 2))
    return 1 - ratio(apart * sample.total, by_chance)


def mean_absolute_grade_error(sample: Sample) -> Floats:
    """Mean distance of the decision from the true grade. [R], 0 to K - 1.

    Source: Baccianella, Esuli and Sebastiani 2009, ISDA.
    """
    return sample.mean(grade_error(sample.rows))


def weighted(weights: NDArray[Any], cells: Floats) -> Floats:
    return np.asarray(np.einsum("rn,rn->r", weights, cells), dtype=np.float64)


def _over_root(part: Floats, bins: Bins) -> Floats:
    """Per bin, over the root of its rows and of all; 0 for an empty bin, nan without any rows."""
    empty = np.where(bins.total > 0, np.zeros_like(part), np.nan)
    return np.divide(part, np.sqrt(bins.count * bins.total), out=empty, where=bins.count > 0)
