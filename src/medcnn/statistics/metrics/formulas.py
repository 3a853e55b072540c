"""The formulas: each answers one value a resample [R], nan where the score is not defined.

Influences say how each row moves a score, for intervals without resampling.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.statistics.metrics.rows import Bins, Bools, Floats, Ints, Rows, Sample, ratio

Kernel = Callable[[Sample], Floats]
Influence = Callable[[Rows], Sequence[Floats]]
Floor = Callable[[Rows, Ints], float]
"""A variance that the score has at least, from rows and their patients [n]."""
LEAST_SPECIFICITY = 0.9
"""Of the partial AUC, and at which sensitivity is told."""


LEAST_SENSITIVITY = 0.9
"""At which specificity is told."""


EPS = float(np.finfo(np.float64).eps)


def auroc(sample: Sample) -> Floats:
    """Chance that a positive row is ranked above a negative one; a tie counts half. [R] in [0, 1].

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
    return _centred(placed, target, ~target)


def auroc_floor(rows: Rows, groups: Ints) -> float:
    """Variance of the AUROC if every image were a patient of its own. Images of one patient never
    say more, but few positives often seem to agree better than they do.

    Source: Hanley and McNeil 1982, Radiology 143(1).
    """
    p, n = int(rows.target.sum()), int((~rows.target).sum())
    area = float(auroc(Sample.once(rows))[0])
    spread = (p - 1) * (area / (2 - area) - area**2) + (n - 1) * (
        2 * area**2 / (1 + area) - area**2
    )
    return (area * (1 - area) + spread) / (p * n)


def partial_auc(sample: Sample) -> Floats:
    """Area under the ROC curve where specificity is 0.9 or more, standardised so that guessing is
    0.5 and perfection 1. [R], seldom below 0.

    Source: McClish 1989, Medical Decision Making 9(3); equals scikit-learn's `max_fpr`.
    """
    c, most = sample.curve, 1 - LEAST_SPECIFICITY
    edge = most * c.negatives
    mean = start = np.maximum(edge - c.above, 0)
    if c.false is not c.above:
        # positives tied with negatives lie evenly along the slope that joins the two thresholds
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
    # a row that a resample left out may have nothing at or above it; its weight is 0 anyway
    precision = np.divide(c.true, called, out=np.zeros_like(called), where=called > 0)
    total = np.where(c.negatives > 0, c.positives, 0)[:, 0]
    return ratio(np.einsum("rl,rl->r", precision, c.gained), total)


def sensitivity_at_specificity(sample: Sample) -> Floats:
    """Largest sensitivity of a threshold whose specificity is 0.9 or more. [R] in [0, 1].

    Thresholds are those of this very sample: it says what the ranking allows, not what a threshold
    fixed beforehand reaches. Source: Pepe 2003, Statistical Evaluation of Medical Tests, ch. 4.
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
    """Share of rows whose decision is right. [R] in [0, 1]."""
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
    """Correlation of outcome and decision. [R] in [-1, 1]; nan where either is always the same.

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
    """The part of the Brier score that calibration could take away; 0 is best. [R] in [0, 1].

    Over 15 bins of equal width. Reliability - resolution + uncertainty is the Brier score where all
    probabilities of a bin are equal. Source: Murphy 1973, Journal of Applied Meteorology 12(4).
    """
    return np.asarray((reliability_terms(sample) ** 2).sum(axis=1))


def reliability_terms(sample: Sample) -> Floats:
    b = sample.equal_width
    return _over_root(b.probability - b.positive, b)


def brier_resolution(sample: Sample) -> Floats:
    """How far the shares of positives in the bins lie apart; the more, the better. [R] in [0, 1/4].

    Source: Murphy 1973, Journal of Applied Meteorology 12(4).
    """
    b = sample.equal_width
    share = ratio(b.positive.sum(axis=1, keepdims=True), b.total)
    return np.asarray((_over_root(b.positive - b.count * share, b) ** 2).sum(axis=1))


def brier_uncertainty(sample: Sample) -> Floats:
    """Variance of the outcome: the Brier score of always saying the prevalence. [R] in [0, 1/4]."""
    share = sample.mean(sample.rows.target)
    return share * (1 - share)


def log_loss(sample: Sample) -> Floats:
    """Mean negative log-likelihood of the outcome, in nats; of a table that of the
    right class. [R], 0 or more.

    Source: Good 1952, JRSS B 14(1). Probabilities are kept 2.2e-16 away from 0, as scikit-learn
    does, so that one sure mistake costs 36 and not infinity.
    """
    return sample.mean(surprise(sample.rows))


def ece(sample: Sample) -> Floats:
    """Distance of mean probability and share of positives, averaged over bins. [R] in [0, 1].

    15 bins of equal width, weighted by their rows; one label against the rest, so that the macro
    mean is the classwise error. Source: Naeini et al. 2015, AAAI; Kull et al. 2019, NeurIPS.
    """
    return np.asarray(np.abs(calibration_gaps(sample)).sum(axis=1))


def calibration_gaps(sample: Sample) -> Floats:
    """Mean probability less share of positives in each bin, times the bin's share of rows.
    [R, NUM_BINS] in [-1, 1]."""
    b = sample.equal_width
    return ratio(b.probability - b.positive, b.total)


def ece_equal_mass(sample: Sample) -> Floats:
    """As `ece`, over 15 bins of as equally many rows as ties allow; the bins of the rows
    themselves are those of every resample."""
    return np.asarray(np.abs(equal_mass_gaps(sample)).sum(axis=1))


def equal_mass_gaps(sample: Sample) -> Floats:
    b = sample.binned(sample.rows.equal_mass)
    return ratio(b.probability - b.positive, b.total)


def calibration_slope(sample: Sample) -> Floats:
    """Slope of the log odds of the outcome on those of the probability; 1 is best, below 1 the
    model is too sure. [R]; nan where a threshold separates the classes: it has no end then.

    Source: Cox 1958, Biometrika 45(3/4); Van Calster et al. 2016, J Clin Epidemiol 74.
    """
    return _recalibrated(sample)[1]


def calibration_intercept(sample: Sample) -> Floats:
    """Log odds to add to every probability until their mean is the prevalence; 0 is best, below 0
    the model says too much. [R]; nan with one class only.

    Source: Cox 1958, Biometrika 45(3/4); calibration in the large, the slope kept at 1.
    """
    target, offset = sample.rows.target, _log_odds(sample.rows)
    positives = sample.sums(sample.rows.placed(target))
    weights = sample.weights[:, sample.rows.at]
    low, high = np.full(len(positives), -60.0), np.full(len(positives), 60.0)
    found = np.zeros(len(positives))
    for _ in range(100):  # the sum of probabilities grows with the intercept
        p = _sigmoid(offset + found[:, None])
        short = positives - _weighted(weights, p)
        low, high = np.where(short > 0, found, low), np.where(short > 0, high, found)
        # Newton's step where it stays between the ends, else their middle
        step = found + ratio(short, _weighted(weights, p * (1 - p)))
        step = np.where((step > low) & (step < high), step, (low + high) / 2)
        moved, found = np.abs(step - found).max(initial=0.0), step
        if moved < 1e-12:
            break
    both = (positives > 0) & (positives < sample.total)
    return np.where(both, found, np.nan)


def slope_influence(rows: Rows) -> Sequence[Floats]:
    """Of the maximum-likelihood slope; source: Liang and Zeger 1986, Biometrika 73(1)."""
    z = _log_odds(rows)
    intercept, slope = (float(v[0]) for v in _recalibrated(Sample.once(rows)))
    p = _sigmoid(intercept + slope * z)
    w = p * (1 - p)
    away = z - (w @ z) / w.sum()
    return [away * (rows.target - p) / (w @ away**2)]


def slope_floor(rows: Rows, groups: Ints) -> float:
    """Of the slope, as `mean_floor`: if outcomes fell as often as the fitted line says."""
    z = _log_odds(rows)
    intercept, slope = (float(v[0]) for v in _recalibrated(Sample.once(rows)))
    p = _sigmoid(intercept + slope * z)
    w = p * (1 - p)
    away = z - (w @ z) / w.sum()
    return _line_floor(away * np.sqrt(w), groups, float(w @ away**2))


def intercept_influence(rows: Rows) -> Sequence[Floats]:
    """Of the maximum-likelihood intercept, as `slope_influence`."""
    p = _sigmoid(_log_odds(rows) + float(calibration_intercept(Sample.once(rows))[0]))
    return [(rows.target - p) / (p * (1 - p)).sum()]


def intercept_floor(rows: Rows, groups: Ints) -> float:
    """Of the intercept, as `slope_floor`."""
    p = _sigmoid(_log_odds(rows) + float(calibration_intercept(Sample.once(rows))[0]))
    return _line_floor(np.sqrt(p * (1 - p)), groups, float((p * (1 - p)).sum()))


def _line_floor(spread: Floats, groups: Ints, information: float) -> float:
    return float((np.bincount(groups, weights=spread) ** 2).sum()) / information**2


def table_accuracy(sample: Sample) -> Floats:
    """Share of rows whose decision is the right class. [R] in [0, 1]."""
    return sample.mean(right(sample.rows))


def table_balanced_accuracy(sample: Sample) -> Floats:
    """Mean sensitivity over the classes that occur. [R] in [0, 1].

    A resample that lacks one of them is nan: a mean over other classes is another quantity.
    """
    target, hits = _occurring(sample.rows)
    if target.shape[1] < 2:
        return np.full(len(sample.weights), np.nan)
    return np.asarray(
        ratio(*(sample.sums(sample.rows.placed(c)) for c in (hits, target))).mean(axis=1)
    )


def table_mcc(sample: Sample) -> Floats:
    """Correlation of true and decided class over all classes. [R] in [-1, 1].

    Source: Gorodkin 2004, Computational Biology and Chemistry 28(5-6).
    """
    truth, decided = (sample.sums(placed) for placed in sample.rows.sides)
    total = sample.total
    covered = sample.sums(sample.rows.placed(right(sample.rows))) * total
    covered = covered - (truth * decided).sum(axis=1)
    spread = (total**2 - (truth**2).sum(axis=1)) * (total**2 - (decided**2).sum(axis=1))
    return ratio(covered, np.sqrt(np.maximum(spread, 0)))


def quadratic_weighted_kappa(sample: Sample) -> Floats:
    """Agreement of grades beyond chance, a miss by d grades costing d squared. [R] in [-1, 1].

    nan where truth and decision are one and the same grade throughout: nothing could disagree.
    Source: Cohen 1968, Psychological Bulletin 70(4).
    """
    truth, decided = (sample.sums(placed) for placed in sample.rows.sides)
    grades = np.arange(truth.shape[1])
    cost = (grades[:, None] - grades) ** 2.0
    by_chance = np.einsum("rk,kl,rl->r", truth, cost, decided)
    apart = sample.sums(sample.rows.placed(grade_error(sample.rows) ** 2))
    return 1 - ratio(apart * sample.total, by_chance)


def mean_absolute_grade_error(sample: Sample) -> Floats:
    """By how many grades the decision misses the true one, on average. [R], 0 to K - 1.

    Source: Baccianella, Esuli and Sebastiani 2009, ISDA.
    """
    return sample.mean(grade_error(sample.rows))


def share_floor(kernel: Kernel, part: float) -> Floor:
    """`part` of the variance that a share of this size would have, of as many images as patients
    stand on the rarer side.

    For scores that are means over positives of numbers between 0 and 1: near 1 their resamples
    seldom hold the few positives that are ranked low, so that they agree too well.
    """

    def floor(rows: Rows, groups: Ints) -> float:
        value = float(kernel(Sample.once(rows))[0])
        behind = min(len(np.unique(groups[side])) for side in (rows.target, ~rows.target))
        return part * value * (1 - value) / max(1, behind)

    return floor


def mean_floor(losses: Callable[[Rows], Floats]) -> Floor:
    """Of the mean of a loss: its variance if outcomes fell as often as the probabilities say, and
    all images of a patient alike.

    A sure mistake is rare and costs most. Where few patients happen to show none, their losses seem
    to agree, and an interval made of them alone holds the truth in 0.7 to 0.9 of such samples.

    Args:
        losses: [n, K] what each image would cost if it were of each class.
    """

    def floor(rows: Rows, groups: Ints) -> float:
        p, loss = _two_sided(rows.probability), losses(rows)
        expected = (p * loss).sum(axis=1)
        spread = np.sqrt(np.maximum(0, (p * loss**2).sum(axis=1) - expected**2))
        within = np.bincount(groups, weights=spread)
        between = np.bincount(groups, weights=expected - expected.mean())
        return float((within**2 + between**2).sum()) / len(groups) ** 2

    return floor


def _two_sided(probability: Floats) -> Floats:
    """[n, K] of a table as it is, of one label [n] its two sides, absent and present."""
    if probability.ndim > 1:
        return probability
    return np.stack([1 - probability, probability], axis=1)


def squared_losses(rows: Rows) -> Floats:
    return np.stack([rows.probability**2, (1 - rows.probability) ** 2], axis=1)


def surprises(rows: Rows) -> Floats:
    return np.asarray(-np.log(np.maximum(_two_sided(rows.probability), EPS)))


def grade_errors(rows: Rows) -> Floats:
    decided = rows.decision.argmax(axis=1)[:, None]
    missed = np.abs(decided - np.arange(rows.decision.shape[1]))
    return np.asarray(missed, dtype=np.float64)


def mean_influence(value: Callable[[Rows], NDArray[Any]]) -> Influence:
    """Of the mean of a value [n] of each row."""
    return lambda rows: _centred(value(rows), np.ones(len(rows.at), dtype=np.bool_))


def _centred(value: NDArray[Any], *sides: Bools) -> list[Floats]:
    """Per side: the value of its rows less their mean, over their number; nan elsewhere. [n]"""
    return [
        np.where(s, value - value[s].mean() if s.any() else 0, np.nan) / max(1, s.sum())
        for s in sides
    ]


def every(rows: Rows) -> Sequence[Bools]:
    return [np.ones(len(rows.at), dtype=np.bool_)]


def positives(rows: Rows) -> Sequence[Bools]:
    return [rows.target]


def negatives(rows: Rows) -> Sequence[Bools]:
    return [~rows.target]


def classes(rows: Rows) -> Sequence[Bools]:
    """Of a table each class that occurs, else positives and negatives."""
    if rows.target.ndim == 1:
        return [rows.target, ~rows.target]
    return list(_occurring(rows)[0].T)


def right(rows: Rows) -> Bools:
    """Which rows [n] are decided rightly."""
    if rows.target.ndim > 1:
        return np.asarray((rows.decision & rows.target).any(axis=1))
    return np.asarray(rows.decision == rows.target)


def _occurring(rows: Rows) -> tuple[Bools, Bools]:
    occurs = rows.target.any(axis=0)
    return rows.target[:, occurs], (rows.target & rows.decision)[:, occurs]


def grade_error(rows: Rows) -> Floats:
    missed = rows.target.argmax(axis=1) - rows.decision.argmax(axis=1)
    return np.asarray(np.abs(missed), dtype=np.float64)


def squared(rows: Rows) -> Floats:
    return np.asarray((rows.probability - rows.target) ** 2)


def surprise(rows: Rows) -> Floats:
    if rows.target.ndim > 1:
        given = (rows.probability * rows.target).sum(axis=1)
    else:
        given = np.where(rows.target, rows.probability, 1 - rows.probability)
    return np.asarray(-np.log(np.maximum(given, EPS)))


def _log_odds(rows: Rows) -> Floats:
    p = np.clip(rows.probability, EPS, 1 - EPS)
    return np.asarray(np.log(p / (1 - p)))


def _sigmoid(z: Floats) -> Floats:
    return 1 / (1 + np.exp(-np.clip(z, -500, 500)))


def _recalibrated(sample: Sample) -> tuple[Floats, Floats]:
    """Intercept and slope [R] of a logistic regression of the outcome on the log odds, by Newton's
    method; nan where no threshold has both classes on one side, for then there is no maximum."""
    z, target = _log_odds(sample.rows), sample.rows.target
    w = np.asarray(sample.weights[:, sample.rows.at], dtype=np.float64)
    centre = ratio(w @ z, sample.total)[:, None]
    centred = z - centre
    a, b = np.zeros((len(w), 1)), np.zeros((len(w), 1))
    overlap = _overlapping(w, z, target)
    for _ in range(50):
        p = _sigmoid(a + b * centred)
        off, v = w * (target - p), w * p * (1 - p)
        g0, g1 = off.sum(axis=1), (off * centred).sum(axis=1)
        h00, h01 = v.sum(axis=1), (v * centred).sum(axis=1)
        h11 = (v * centred**2).sum(axis=1)
        det = np.where(overlap, h00 * h11 - h01**2, np.nan)
        step_a = ratio(h11 * g0 - h01 * g1, det)[:, None]
        step_b = ratio(h00 * g1 - h01 * g0, det)[:, None]
        # a long step may leave the region where the likelihood is nearly a parabola
        shorter = 1 / np.maximum(1, np.maximum(np.abs(step_a), np.abs(step_b) * _scale(centred)))
        a, b = a + shorter * step_a, b + shorter * step_b
        moving = np.abs(step_a) + np.abs(step_b) * _scale(centred)
        if not np.nanmax(np.r_[0.0, moving[:, 0]]) > 1e-10:
            break
    # a number that the search was still moving away from is no estimate
    a, b = (np.where(moving < 1e-6, v, np.nan) for v in (a, b))
    return (a - b * centre)[:, 0], b[:, 0]


def _scale(centred: Floats) -> float:
    """A step of the slope moves the log odds by so much; a model that says nearly the same of
    every image has a slope of hundreds, which steps of 1 would never reach."""
    spread = float(np.std(centred)) if centred.size else 0.0
    return spread if spread > 0 else 1.0


def _overlapping(weights: Floats, z: Floats, target: Bools) -> Bools:
    """Whether some positive stands strictly below some negative and some strictly above. [R]"""

    def end(side: Bools, fold: Any, empty: float) -> Floats:
        return np.asarray(fold(np.where((weights > 0) & side, z, empty), axis=1, initial=empty))

    low_p, high_p = end(target, np.min, np.inf), end(target, np.max, -np.inf)
    low_n, high_n = end(~target, np.min, np.inf), end(~target, np.max, -np.inf)
    return np.asarray((low_p < high_n) & (low_n < high_p))


def _weighted(weights: NDArray[Any], cells: Floats) -> Floats:
    return np.asarray(np.einsum("rn,rn->r", weights, cells), dtype=np.float64)


def _over_root(part: Floats, bins: Bins) -> Floats:
    """Per bin, over the root of its rows and of all; 0 of an empty bin, nan of no rows at all."""
    empty = np.where(bins.total > 0, np.zeros_like(part), np.nan)
    return np.divide(part, np.sqrt(bins.count * bins.total), out=empty, where=bins.count > 0)
