"""Every score in one table; each formula takes resampling weights, so that intervals are cheap.

A kernel sees a `Sample`: the assessed rows of one label (or of a whole table, where classes exclude
each other) and weights [R, n]: how often each row stands in each of R resamples. It answers one
value a resample, nan where the score is not defined. No row is ever copied to resample it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.choices import choose
from medcnn.errors import UsageError
from medcnn.labels import Kind, LabelSpace
from medcnn.predictions import Predictions

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

NUM_BINS = 15
"""Bins of the calibration error and of the reliability diagram."""
LEAST_SPECIFICITY = 0.9
"""Of the partial AUC, and at which sensitivity is told."""
LEAST_SENSITIVITY = 0.9
"""At which specificity is told."""
BLOCK_CELLS = 1_000_000
"""Weights are widened to floats in blocks of at most this many cells, which fit a cache."""
EPS = float(np.finfo(np.float64).eps)


class Scope(StrEnum):
    """What one value of a score is about."""

    LABEL = "label"
    TABLE = "table"
    CUT = "cut"


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Assessed rows only: arrays [n] for one label against the rest, [n, K] for a whole table.

    `at` [n] is where each row stands among the `size` predictions, N; several may share an image.
    """

    target: Bools
    probability: Floats
    decision: Bools
    at: Ints
    size: int

    def placed(self, values: NDArray[Any]) -> Floats:
        """Sum over the rows of each prediction of values [n] or [n, M]. [N] or [N, M]"""
        found = np.zeros((self.size, *values.shape[1:]))
        np.add.at(found, self.at, values)
        return found

    @cached_property
    def images(self) -> Bools:
        """Which of the predictions have a row. [N]"""
        return np.bincount(self.at, minlength=self.size) > 0

    @cached_property
    def ranks(self) -> Ranks:
        return Ranks.of(self)

    @cached_property
    def cells(self) -> Floats:
        """Found, missed, false alarms and cleared. [N, 4]"""
        t, d = self.target, self.decision
        return self.placed(np.stack([t & d, t & ~d, ~t & d, ~(t | d)], axis=1))

    @cached_property
    def positives(self) -> Floats:
        return self.placed(self.target)

    @cached_property
    def confusion(self) -> Floats:
        """Of a table: true class by decided class. [N, K * K]"""
        k = self.target.shape[1]
        cell = self.target.argmax(axis=1) * k + self.decision.argmax(axis=1)
        return self.placed(cell[:, None] == np.arange(k * k))

    @cached_property
    def equal_width(self) -> Floats:
        return self._binned(probability_bin(self.probability))

    @cached_property
    def equal_mass(self) -> Floats:
        """Each bin of as many rows as ties let it have. Source: Nguyen and O'Connor 2015, EMNLP."""
        inner = np.linspace(0, 1, NUM_BINS + 1)[1:-1]
        edges = np.quantile(self.probability, inner, method="lower") if len(self.at) else inner
        return self._binned(np.searchsorted(np.unique(edges), self.probability, "right"))

    def _binned(self, bin_of_row: NDArray[Any]) -> Floats:
        """Rows, probability and positives in each bin. [N, 3 * NUM_BINS]"""
        cells = np.zeros((self.size, 3 * NUM_BINS))
        ones = np.ones(len(self.at))
        for i, value in enumerate((ones, self.probability, self.target.astype(np.float64))):
            np.add.at(cells, (self.at, bin_of_row + i * NUM_BINS), value)
        return cells


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranks:
    """Positive and negative rows by falling probability, and for each of the L distinct
    probabilities of a positive row how many positives stand at or above it, and how many negatives
    above it and at or above it."""

    positive: Ints
    negative: Ints
    positive_reached: Ints
    negative_above: Ints
    negative_reached: Ints

    @classmethod
    def of(cls, rows: Rows) -> Ranks:
        def falling(chosen: Bools) -> tuple[Ints, Floats]:
            at = np.flatnonzero(chosen)
            at = at[np.argsort(-rows.probability[at], kind="stable")]
            return at, -rows.probability[at]

        positive, level = falling(rows.target)
        negative, other = falling(~rows.target)
        levels = np.unique(level)
        return cls(
            positive=positive,
            negative=negative,
            positive_reached=np.searchsorted(level, levels, "right"),
            negative_above=np.searchsorted(other, levels, "left"),
            negative_reached=np.searchsorted(other, levels, "right"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Weights at the L falling thresholds of `Ranks`, each [R, L], and their totals [R, 1]."""

    gained: Floats
    """Positives of exactly this probability."""
    true: Floats
    """Positives called at this threshold."""
    above: Floats
    """Negatives of a higher probability."""
    false: Floats
    """Negatives called at this threshold."""
    positives: Floats
    negatives: Floats


@dataclass(frozen=True, kw_only=True)
class Bins:
    """Weights [R, 1] of all rows, and of each of B bins [R, B] its rows, their summed probability
    and their positives."""

    total: Floats
    count: Floats
    probability: Floats
    positive: Floats


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Rows and how often each of the N predictions stands in each resample [R, N]; sums that
    several scores share."""

    rows: Rows
    weights: NDArray[Any]

    @classmethod
    def once(cls, rows: Rows) -> Sample:
        return cls(rows=rows, weights=np.ones((1, rows.size)))

    def sums(self, placed: NDArray[Any]) -> Floats:
        """Weighted sums of what `Rows.placed` gives: [R] or [R, M]."""
        placed = placed.astype(self.weights.dtype, copy=False)
        return np.asarray(self.weights @ placed, dtype=np.float64)

    def mean(self, values: NDArray[Any]) -> Floats:
        """Of values [n] of the rows. [R]"""
        return ratio(self.sums(self.rows.placed(values)), self.total)

    @cached_property
    def total(self) -> Floats:
        return self.sums(np.bincount(self.rows.at, minlength=self.rows.size))

    @cached_property
    def cells(self) -> tuple[Floats, Floats, Floats, Floats]:
        """Found, missed, false alarms, cleared: the 2 x 2 table, each [R]."""
        found, missed, alarms, cleared = self.sums(self.rows.cells).T
        return found, missed, alarms, cleared

    @cached_property
    def confusion(self) -> Floats:
        """Of a table: weight of each true class (row) and decided class (column). [R, K, K]"""
        k = self.rows.target.shape[1]
        return self.sums(self.rows.confusion).reshape(-1, k, k)

    @cached_property
    def curve(self) -> Curve:
        ranks = self.rows.ranks
        positive = _running(self.weights[:, self.rows.at[ranks.positive]])
        negative = _running(self.weights[:, self.rows.at[ranks.negative]])
        true = positive[:, ranks.positive_reached]
        above = negative[:, ranks.negative_above]
        tied = (ranks.negative_above != ranks.negative_reached).any()
        return Curve(
            gained=np.diff(true, axis=1, prepend=0),
            true=true,
            above=above,
            false=negative[:, ranks.negative_reached] if tied else above,
            positives=positive[:, -1:],
            negatives=negative[:, -1:],
        )

    def binned(self, placed: Floats) -> Bins:
        count, probability, positive = np.split(self.sums(placed), 3, axis=1)
        total = self.total[:, None]
        return Bins(total=total, count=count, probability=probability, positive=positive)

    @cached_property
    def equal_width(self) -> Bins:
        return self.binned(self.rows.equal_width)


Kernel = Callable[[Sample], Floats]
Influence = Callable[[Rows], Sequence[Floats]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One score.

    Attributes:
        title: as the report calls it.
        label: kernel for one label; used once per class (one-vs-rest) where `table` is None.
        table: kernel for all classes at once, where exactly one of them is right.
        cut: the label kernel is asked of each grade or worse, instead of each label.
        kinds: of labels for which the score means something.
        higher_is_better: None where neither is: no epoch can be chosen by it.
        bounds: of its values; its interval keeps within them.
        influence: of each row on the score, in parts [n] of which each is a mean of its own, nan
            for rows outside of it; the interval is made from it without resampling.
        floor: a variance that images of no patient in common would give; where the influence gives
            a smaller one, the mean of both is taken.
        signed: for a sum of absolute values, or of squares: its terms [R, T] with their signs.
            Noise makes such a sum too large, so the interval is a test of these, inverted.
        power: 1 for absolute values, 2 for squares.
        sides: for the share of rows that are decided rightly, or the mean of several such shares:
            the rows [n] of which each is a share.
        of_prevalence: it is p (1 - p) of the share p of positives.
        decided: it also rests on how many patients are called positive, and negative.
        unbiased: False where noise makes it larger, as it makes its resamples once more.
        needs: fewest patients on the rarer side for which the interval was found to hold; below,
            there is none (docs/metrics.md).
        undefined: why it may have no value though both classes occur.
    """

    title: str
    label: Kernel | None = None
    table: Kernel | None = None
    cut: bool = False
    kinds: frozenset[Kind] = frozenset(Kind)
    higher_is_better: bool | None = True
    bounds: tuple[float, float] = (0.0, 1.0)
    influence: Influence | None = None
    floor: Callable[[Rows], float] | None = None
    signed: Kernel | None = None
    power: int = 1
    sides: Callable[[Rows], Sequence[Bools]] | None = None
    of_prevalence: bool = False
    decided: bool = False
    unbiased: bool = True
    needs: int = 5
    undefined: str = "every image is decided alike"

    @property
    def method(self) -> str:
        """How its interval is made; docs/metrics.md tells of each."""
        if self.signed is not None:
            return "inverted test"
        if self.sides is not None or self.of_prevalence:
            return "wilson"
        if self.influence is None:
            return "bootstrap"
        if self.influence is auroc_influence:
            return "delong"
        return "linearised"

    def scope(self, labels: LabelSpace) -> Scope:
        if self.cut:
            return Scope.CUT
        return Scope.LABEL if self.table is None or not labels.exclusive else Scope.TABLE

    def kernel(self, labels: LabelSpace) -> Kernel:
        kernel = self.table if self.scope(labels) is Scope.TABLE else self.label
        assert kernel is not None, "a table has a kernel for every kind it names"
        return kernel


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


def auroc_floor(rows: Rows) -> float:
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
    start, end = np.maximum(edge - c.above, 0), np.maximum(edge - c.false, 0)
    # positives tied with negatives lie evenly along the slope that joins the two thresholds
    slope = c.false - c.above
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
    return sample.mean((sample.rows.probability - sample.rows.target) ** 2)


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
    """Mean negative log-likelihood of the outcome, in nats. [R], 0 or more.

    Source: Good 1952, JRSS B 14(1). Probabilities are kept 2.2e-16 away from 0, as scikit-learn
    does, so that one sure mistake costs 36 and not infinity.
    """
    return sample.mean(_surprise(sample.rows))


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
    for _ in range(60):  # the sum of probabilities grows with the intercept
        middle = (low + high) / 2
        expected = _weighted(weights, _sigmoid(offset + middle[:, None]))
        low, high = (
            np.where(expected < positives, middle, low),
            np.where(expected < positives, high, middle),
        )
    both = (positives > 0) & (positives < sample.total)
    return np.where(both, (low + high) / 2, np.nan)


def slope_influence(rows: Rows) -> Sequence[Floats]:
    """Of the maximum-likelihood slope; source: Liang and Zeger 1986, Biometrika 73(1)."""
    z = _log_odds(rows)
    intercept, slope = (float(v[0]) for v in _recalibrated(Sample.once(rows)))
    p = _sigmoid(intercept + slope * z)
    w = p * (1 - p)
    away = z - (w @ z) / w.sum()
    return [away * (rows.target - p) / (w @ away**2)]


def intercept_influence(rows: Rows) -> Sequence[Floats]:
    """Of the maximum-likelihood intercept, as `slope_influence`."""
    p = _sigmoid(_log_odds(rows) + float(calibration_intercept(Sample.once(rows))[0]))
    return [(rows.target - p) / (p * (1 - p)).sum()]


def table_accuracy(sample: Sample) -> Floats:
    """Share of rows whose decision is the right class. [R] in [0, 1]."""
    return sample.mean(_table_right(sample.rows))


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


def table_log_loss(sample: Sample) -> Floats:
    """Mean negative log-probability of the right class, in nats, as `log_loss`. [R]."""
    return sample.mean(_surprise(sample.rows))


def table_mcc(sample: Sample) -> Floats:
    """Correlation of true and decided class over all classes. [R] in [-1, 1].

    Source: Gorodkin 2004, Computational Biology and Chemistry 28(5-6).
    """
    found = sample.confusion
    truth, decided = found.sum(axis=2), found.sum(axis=1)
    total = sample.total
    covered = np.einsum("rkk->r", found) * total - (truth * decided).sum(axis=1)
    spread = (total**2 - (truth**2).sum(axis=1)) * (total**2 - (decided**2).sum(axis=1))
    return ratio(covered, np.sqrt(np.maximum(spread, 0)))


def quadratic_weighted_kappa(sample: Sample) -> Floats:
    """Agreement of grades beyond chance, a miss by d grades costing d squared. [R] in [-1, 1].

    nan where truth and decision are one and the same grade throughout: nothing could disagree.
    Source: Cohen 1968, Psychological Bulletin 70(4).
    """
    found = sample.confusion
    grades = np.arange(found.shape[1])
    cost = (grades[:, None] - grades) ** 2.0
    by_chance = np.einsum("rk,kl,rl->r", found.sum(axis=2), cost, found.sum(axis=1))
    return 1 - ratio((found * cost).sum(axis=(1, 2)) * sample.total, by_chance)


def mean_absolute_grade_error(sample: Sample) -> Floats:
    """By how many grades the decision misses the true one, on average. [R], 0 to K - 1.

    Source: Baccianella, Esuli and Sebastiani 2009, ISDA.
    """
    return sample.mean(_grade_error(sample.rows))


def _mean_influence(value: Callable[[Rows], NDArray[Any]]) -> Influence:
    """Of the mean of a value [n] of each row."""
    return lambda rows: _centred(value(rows), np.ones(len(rows.at), dtype=np.bool_))


def _centred(value: NDArray[Any], *sides: Bools) -> list[Floats]:
    """Per side: the value of its rows less their mean, over their number; nan elsewhere. [n]"""
    return [
        np.where(s, value - value[s].mean() if s.any() else 0, np.nan) / max(1, s.sum())
        for s in sides
    ]


def _every(rows: Rows) -> Sequence[Bools]:
    return [np.ones(len(rows.at), dtype=np.bool_)]


def _positives(rows: Rows) -> Sequence[Bools]:
    return [rows.target]


def _negatives(rows: Rows) -> Sequence[Bools]:
    return [~rows.target]


def _classes(rows: Rows) -> Sequence[Bools]:
    """Of a table each class that occurs, else positives and negatives."""
    if rows.target.ndim == 1:
        return [rows.target, ~rows.target]
    return list(_occurring(rows)[0].T)


def right(rows: Rows) -> Bools:
    """Which rows [n] are decided rightly."""
    return _table_right(rows) if rows.target.ndim > 1 else rows.decision == rows.target


def _table_right(rows: Rows) -> Bools:
    return np.asarray((rows.decision & rows.target).any(axis=1))


def _occurring(rows: Rows) -> tuple[Bools, Bools]:
    occurs = rows.target.any(axis=0)
    return rows.target[:, occurs], (rows.target & rows.decision)[:, occurs]


def _grade_error(rows: Rows) -> Floats:
    missed = rows.target.argmax(axis=1) - rows.decision.argmax(axis=1)
    return np.asarray(np.abs(missed), dtype=np.float64)


def _squared(rows: Rows) -> Floats:
    return np.asarray((rows.probability - rows.target) ** 2)


def _surprise(rows: Rows) -> Floats:
    if rows.target.ndim > 1:
        given = (rows.probability * rows.target).sum(axis=1)
    else:
        given = np.where(rows.target, rows.probability, 1 - rows.probability)
    return np.asarray(-np.log(np.maximum(given, EPS)))


ORDINAL = frozenset({Kind.ORDINAL})

METRICS: dict[str, Metric] = {
    "accuracy": Metric(
        title="Accuracy",
        label=accuracy,
        table=table_accuracy,
        sides=_every,
    ),
    "auroc": Metric(title="AUROC", label=auroc, influence=auroc_influence, floor=auroc_floor),
    "average_precision": Metric(title="Average precision", label=average_precision),
    "balanced_accuracy": Metric(
        title="Balanced accuracy",
        label=balanced_accuracy,
        table=table_balanced_accuracy,
        sides=_classes,
    ),
    "brier": Metric(
        title="Brier score",
        label=brier,
        higher_is_better=False,
        influence=_mean_influence(_squared),
    ),
    "brier_reliability": Metric(
        title="Brier reliability",
        label=brier_reliability,
        higher_is_better=False,
        signed=reliability_terms,
        needs=15,
        power=2,
    ),
    "brier_resolution": Metric(
        title="Brier resolution",
        label=brier_resolution,
        bounds=(0.0, 0.25),
        unbiased=False,
        needs=30,
    ),
    "brier_uncertainty": Metric(
        title="Brier uncertainty",
        label=brier_uncertainty,
        higher_is_better=None,
        bounds=(0.0, 0.25),
        of_prevalence=True,
    ),
    "calibration_intercept": Metric(
        title="Calibration intercept",
        label=calibration_intercept,
        higher_is_better=None,
        bounds=(-np.inf, np.inf),
        influence=intercept_influence,
    ),
    "calibration_slope": Metric(
        title="Calibration slope",
        label=calibration_slope,
        higher_is_better=None,
        bounds=(-np.inf, np.inf),
        influence=slope_influence,
        undefined="a threshold separates the classes",
    ),
    "cut_auroc": Metric(
        title="AUROC of this grade or above",
        label=auroc,
        cut=True,
        kinds=ORDINAL,
        influence=auroc_influence,
        floor=auroc_floor,
    ),
    "cut_sensitivity": Metric(
        title="Sensitivity for this grade or above",
        label=sensitivity,
        cut=True,
        kinds=ORDINAL,
        sides=_positives,
    ),
    "cut_specificity": Metric(
        title="Specificity for this grade or above",
        label=specificity,
        cut=True,
        kinds=ORDINAL,
        sides=_negatives,
    ),
    "ece": Metric(
        title="Calibration error", label=ece, higher_is_better=False, signed=calibration_gaps
    ),
    "ece_equal_mass": Metric(
        title="Calibration error, bins of equal mass",
        label=ece_equal_mass,
        higher_is_better=False,
        signed=equal_mass_gaps,
    ),
    "f1": Metric(title="F1", label=f1),
    "log_loss": Metric(
        title="Log loss",
        label=log_loss,
        table=table_log_loss,
        higher_is_better=False,
        bounds=(0.0, np.inf),
        influence=_mean_influence(_surprise),
    ),
    "mcc": Metric(
        title="Matthews correlation", label=mcc, table=table_mcc, bounds=(-1.0, 1.0), decided=True
    ),
    "mean_absolute_grade_error": Metric(
        title="Mean absolute grade error",
        table=mean_absolute_grade_error,
        kinds=ORDINAL,
        higher_is_better=False,
        bounds=(0.0, np.inf),
        influence=_mean_influence(_grade_error),
    ),
    "partial_auc": Metric(title="Partial AUC, specificity 0.9 to 1", label=partial_auc, needs=10),
    "quadratic_weighted_kappa": Metric(
        title="Quadratic weighted kappa",
        table=quadratic_weighted_kappa,
        kinds=ORDINAL,
        bounds=(-1.0, 1.0),
    ),
    "sensitivity": Metric(
        title="Sensitivity",
        label=sensitivity,
        sides=_positives,
    ),
    "sensitivity_at_specificity": Metric(
        title="Sensitivity at specificity 0.9", label=sensitivity_at_specificity
    ),
    "specificity": Metric(
        title="Specificity",
        label=specificity,
        sides=_negatives,
    ),
    "specificity_at_sensitivity": Metric(
        title="Specificity at sensitivity 0.9", label=specificity_at_sensitivity, needs=10
    ),
}

CHOOSING = {name: m for name, m in METRICS.items() if m.higher_is_better is not None}
"""The scores by which an epoch can be chosen."""

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


@dataclass(frozen=True, kw_only=True)
class Assessed:
    """The rows that count, in each way in which scores look at them."""

    predictions: Predictions

    def __post_init__(self) -> None:
        target = self.predictions.targets
        assert np.isin(target[~np.isnan(target)], (0, 1)).all(), "evaluation takes 0, 1 or nan"
        finite = np.isfinite(self.predictions.logits).all()
        assert finite, "a nan would be ranked as if it were a number"

    def of(self, scope: Scope) -> list[Rows]:
        if scope is Scope.LABEL:
            return self.labels
        return self.table if scope is Scope.TABLE else self.cuts

    @cached_property
    def _all(self) -> tuple[Bools, Floats, Bools, Bools]:
        p, target = self.predictions, self.predictions.targets
        return target == 1, p.probabilities, p.decisions, ~np.isnan(target)

    @cached_property
    def labels(self) -> list[Rows]:
        target, probability, decision, known = self._all
        return [
            Rows(
                target=target[at, k],
                probability=probability[at, k],
                decision=decision[at, k],
                at=at,
                size=len(target),
            )
            for k, at in enumerate(map(np.flatnonzero, known.T))
        ]

    @cached_property
    def table(self) -> list[Rows]:
        target, probability, decision, known = self._all
        at = np.flatnonzero(known.all(axis=1))
        return [
            Rows(
                target=target[at],
                probability=probability[at],
                decision=decision[at],
                at=at,
                size=len(target),
            )
        ]

    @cached_property
    def cuts(self) -> list[Rows]:
        """Each grade but the lowest: it or a higher one, against the lower ones."""
        (rows,) = self.table

        def reached(cells: NDArray[Any]) -> NDArray[Any]:
            return np.flip(np.flip(cells, axis=1).cumsum(axis=1), axis=1)

        target, decision = reached(rows.target) > 0, reached(rows.decision) > 0
        probability = reached(rows.probability)
        return [
            Rows(
                target=target[:, k],
                probability=probability[:, k],
                decision=decision[:, k],
                at=rows.at,
                size=rows.size,
            )
            for k in range(1, target.shape[1])
        ]

    @cached_property
    def pooled(self) -> Rows:
        """All labels in one column, for micro averages."""
        parts = self.labels
        return Rows(
            **{
                name: np.concatenate([getattr(rows, name) for rows in parts])
                for name in ("target", "probability", "decision", "at")
            },
            size=len(self.predictions.targets),
        )


def samples(rows: Rows, weights: NDArray[Any]) -> Iterator[Sample]:
    """The rows with weights [R, N] of all predictions, in blocks of resamples.

    Blocks hold float32: every count up to 2^24 is exact in it, and sums of other values are only
    ever a spread.
    """
    step = max(1, BLOCK_CELLS // max(1, len(rows.at)))
    for i in range(0, len(weights), step):
        yield Sample(rows=rows, weights=weights[i : i + step].astype(np.float32))


def values(predictions: Predictions, name: str, weights: NDArray[Any] | None = None) -> Floats:
    """The score in each resample.

    Args:
        weights: [R, N] how often each row stands in each resample; None means once, in one.

    Returns:
        [R, K] one column per label, [R, K - 1] one per cut between grades, or [R, 1] where the
        score is for the whole table; nan where it is not defined.

    Raises:
        UsageError: the score does not exist or is not defined for this kind of label.
    """
    metric, labels = metric_for(name, predictions.labels.kind), predictions.labels
    kernel, parts = (
        metric.kernel(labels),
        Assessed(predictions=predictions).of(metric.scope(labels)),
    )
    if weights is None:
        return np.stack([kernel(Sample.once(rows)) for rows in parts], axis=1)
    return np.stack(
        [np.concatenate([kernel(s) for s in samples(rows, weights)]) for rows in parts], axis=1
    )


def score(predictions: Predictions, name: str) -> float:
    """The overall value: of the table, or the unweighted mean over labels where it is defined.

    nan where it is defined for none. Raises as `values`.
    """
    found = values(predictions, name)[0]
    defined = found[~np.isnan(found)]
    return float(defined.mean()) if len(defined) else float("nan")


def probability_bin(probability: Floats) -> Ints:
    """Bin 0 to 14 of each probability; a bin holds its lower edge, the last one also 1."""
    return np.minimum((probability * NUM_BINS).astype(np.int64), NUM_BINS - 1)


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
        if not np.nanmax(np.abs(np.r_[0.0, step_a[:, 0], step_b[:, 0]])) > 1e-10:
            break
    return (a - b * centre)[:, 0], b[:, 0]


def _scale(centred: Floats) -> float:
    return max(1.0, float(np.std(centred)) if centred.size else 1.0)


def _overlapping(weights: Floats, z: Floats, target: Bools) -> Bools:
    """Whether some positive stands strictly below some negative and some strictly above. [R]"""

    def end(side: Bools, fold: Any, empty: float) -> Floats:
        return np.asarray(fold(np.where((weights > 0) & side, z, empty), axis=1, initial=empty))

    low_p, high_p = end(target, np.min, np.inf), end(target, np.max, -np.inf)
    low_n, high_n = end(~target, np.min, np.inf), end(~target, np.max, -np.inf)
    return np.asarray((low_p < high_n) & (low_n < high_p))


def _weighted(weights: NDArray[Any], cells: Floats) -> Floats:
    return np.asarray(np.einsum("rn,rn->r", weights, cells), dtype=np.float64)


def _running(weights: NDArray[Any]) -> NDArray[Any]:
    """Sum of the first i weights, for i = 0 to m. [R, m + 1]"""
    total = np.zeros((weights.shape[0], weights.shape[1] + 1), dtype=weights.dtype)
    np.cumsum(weights, axis=1, out=total[:, 1:])
    return total


def _over_root(part: Floats, bins: Bins) -> Floats:
    """Per bin, over the root of its rows and of all; 0 of an empty bin, nan of no rows at all."""
    empty = np.where(bins.total > 0, np.zeros_like(part), np.nan)
    return np.divide(part, np.sqrt(bins.count * bins.total), out=empty, where=bins.count > 0)


def ratio(part: NDArray[Any], whole: NDArray[Any]) -> Floats:
    """part / whole, nan where the whole is empty."""
    result: Floats = np.full(np.broadcast_shapes(part.shape, whole.shape), np.nan)
    np.divide(part, whole, out=result, where=whole > 0)
    return result
