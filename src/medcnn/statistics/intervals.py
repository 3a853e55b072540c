"""95 % intervals that treat patients, not images, as independent.

Images of one patient resemble each other. Treating them as independent makes intervals too narrow,
much so if patients have many images. `benchmarks/coverage.py` simulates how often each interval
contains the truth; docs/metrics.md has the table.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.statistics.estimates import Interval
from medcnn.system.errors import UsageError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LEVEL = 0.95
TAIL = (1 - LEVEL) / 2
MOST_UNDEFINED = 0.05
FEWEST = 5
"""Fewest patients for any interval; a score may need more."""
ALIKE = 0.5
"""Weight of the variance that a share would have if all images of a patient were alike; if larger,
it is averaged with the share's own."""
NO_SPREAD = 1e-12
ROUNDING = 1e-6
"""Resamples are summed in single precision; smaller relative differences count as equal."""
ALL_ALIKE = "the value is the same in every resample"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How a score varies from one set of patients to another.

    Attributes:
        variance: of the score.
        freedom: degrees of freedom of that variance.
        noise: [m] influence of groups on the score, or deviations of its resamples; the noise of
            two scores of the same images is correlated like the scores.
    """

    variance: float
    freedom: float
    noise: Floats


def group_numbers(groups: Sequence[str]) -> tuple[Ints, int]:
    """Number of each row's group [N] by first appearance, and the number of groups.

    Not by name, since pseudonyms would make the draws depend on a secret key. Predictions are in
    the order of their manifest, which is the same on every machine."""
    names, first, found = np.unique(
        np.asarray(groups, dtype=np.str_), return_index=True, return_inverse=True
    )
    rank = np.argsort(np.argsort(first))
    return rank[found].astype(np.int64), len(names)


def different(groups: Ints) -> Ints:
    """The distinct numbers."""
    return np.flatnonzero(np.bincount(groups))


def how_many(groups: Ints) -> int:
    """The number of distinct numbers."""
    return len(different(groups))


def too_few(behind: int, needs: int = FEWEST) -> str:
    """Why there are too few patients for an interval, or ""."""
    groups = "1 group" if behind == 1 else f"{behind} groups"
    return f"based on only {groups}" if behind < needs else ""


def resampling_weights(groups: Sequence[str], resamples: int, seed: int) -> NDArray[np.uint16]:
    """How often each row is in each resample [R, N]: as often as its group was drawn.

    Raises:
        UsageError: fewer than one resample.

    Source: Field and Welsh 2007, JRSS B 69(3), the cluster bootstrap.
    """
    if resamples < 1:
        raise UsageError(f"resamples must be 1 or more, found {resamples}; a usual number is 1000.")
    numbers, count = group_numbers(groups)
    draw = np.random.default_rng(seed)
    drawn = np.empty((count, resamples), dtype=np.uint16)
    for r in range(resamples):
        drawn[:, r] = np.bincount(draw.integers(count, size=count), minlength=count)
    # all resamples of a row are adjacent in memory, since sums select rows
    alone = count == len(numbers)  # groups are numbered in order of appearance
    return drawn.T if alone else drawn[numbers].T


def freedom_of(size: NDArray[Any]) -> float:
    """Degrees of freedom of a variance over groups of these sizes [G], empty ones left out.

    Few large groups decide it, however many small ones stand beside them: each group's square has
    the expectation that it has where all images of a patient are alike. Groups of equal size have
    one degree less than there are.

    Sources: Satterthwaite 1946, Biometrics Bulletin 2(6); Bell and McCaffrey 2002, Survey
    Methodology 28(2).
    """
    square = np.asarray(size, dtype=np.float64) ** 2
    return max(1.0, float(square.sum() ** 2 / max(1e-9, (square**2).sum())) - 1)


def spread_of_parts(parts: Sequence[Floats], groups: Ints, num_groups: int) -> Spread:
    """Spread of a score from the influence of its rows, leaving out one group at a time.

    Args:
        parts: each [n], a separate mean, such as over positive or negative rows; nan for rows
            outside it (an influence may be exactly 0).

    Sources: the jackknife of a ratio over clusters, Kish and Frankel 1974, JRSS B 36(1); for the
    AUROC, Obuchowski 1997, Biometrics 53(2); degrees of freedom of a sum, Satterthwaite 1946,
    Biometrics Bulletin 2(6).
    """
    left, own, freedoms = [], [], []
    for part in parts:
        size = np.bincount(groups, weights=~np.isnan(part), minlength=num_groups)
        share = size / max(1.0, size.sum())
        behind = max(2, int((size > 0).sum()))
        freedoms.append(freedom_of(size))
        # the part's mean without the group
        pushed = np.bincount(groups, weights=np.nan_to_num(part), minlength=num_groups)
        left.append(pushed / (1 - share).clip(0.1) * math.sqrt(1 - 1 / behind))
        own.append(float((left[-1] ** 2).sum()))
    noise = np.sum(left, axis=0)
    squared = sum(v**2 / f for v, f in zip(own, freedoms, strict=True))
    freedom = sum(own) ** 2 / squared if squared > 0 else 1.0
    return Spread(variance=float((noise**2).sum()), freedom=freedom, noise=noise)


def spread_of_draws(drawn: Floats, size: NDArray[Any]) -> Spread:
    """Spread of a score from its resamples [R], nan if undefined.

    Args:
        size: images of each group on the rarer side. [G]

    The variance of resamples of g groups is too small by (g - 1) / g. Source: Hesterberg 2015,
    American Statistician 69(4).
    """
    defined = drawn[~np.isnan(drawn)]
    variance = float(np.var(defined)) if len(defined) else math.nan
    if len(defined) and np.ptp(defined) <= ROUNDING * np.abs(defined).max():
        variance = 0.0
    g = max(2, len(size))
    noise = drawn - (defined.mean() if len(defined) else 0)
    return Spread(variance=variance * g / (g - 1), freedom=freedom_of(size), noise=noise)


def variance_interval(share: Interval) -> Interval:
    """Interval of p (1 - p) from the interval of the share p."""
    ends = sorted(p * (1 - p) for p in (share.low, share.high))
    within = share.low <= 0.5 <= share.high
    return Interval(low=ends[0], high=0.25 if within else ends[1], reason=share.reason)


def interval_around(
    value: float, spread: Spread, bounds: tuple[float, float], behind: int, tail: float = TAIL
) -> Interval:
    """Interval of a score from its variance, within its bounds.

    Between two bounds it is Wilson's interval of a share, for the number of independent draws with
    this variance, with Student's t instead of the normal quantile. It is asymmetric near a bound,
    and for few groups more accurate than percentiles of resamples. For scores bounded only by 0 it
    is Student's t of the logarithm; without bounds, of the score itself. These two need as many
    degrees of freedom as FEWEST groups of equal size have.

    Sources: Wilson 1927, JASA 22; effective number of draws: Korn and Graubard 1998, Survey
    Methodology 24(2).
    """
    if behind < 2:
        return Interval(reason="fewer than 2 groups")
    low, high = bounds
    if math.isfinite(high):
        share = (value - low) / (high - low)
        if share <= NO_SPREAD or share >= 1 - NO_SPREAD:
            found = unanimous_interval(float(round(share)), behind, tail)
            return Interval(
                low=low + (high - low) * found.low, high=low + (high - low) * found.high
            )
    if not spread.variance > NO_SPREAD**2:
        # zero width would claim certainty, but there are only too few data
        return Interval(reason=ALL_ALIKE)
    t = students(spread.freedom, tail)
    if math.isfinite(high):
        variance = spread.variance / (high - low) ** 2
        below, above = _wilson(share, share * (1 - share) / variance, t)
        return Interval(
            low=float(low + (high - low) * below), high=float(low + (high - low) * above)
        )
    reach = t * math.sqrt(spread.variance)
    if math.isfinite(low):
        return Interval(low=value * math.exp(-reach / value), high=value * math.exp(reach / value))
    return Interval(low=value - reach, high=value + reach)


@cache
def students(freedom: float, tail: float = TAIL) -> float:
    """Quantile of Student's t for the interval; fewer than 1 degree of freedom counts as 1."""
    from scipy.special import stdtrit  # slow to import, and a report does not need it

    return float(stdtrit(max(1.0, freedom), 1 - tail))


def _wilson(share: Any, draws: Any, t: float) -> tuple[Any, Any]:
    centre = (share + t**2 / (2 * draws)) / (1 + t**2 / draws)
    spread = np.maximum(0.0, share * (1 - share)) / draws + t**2 / (4 * draws**2)
    half = t / (1 + t**2 / draws) * np.sqrt(spread)
    return np.maximum(centre - half, 0.0), np.minimum(centre + half, 1.0)


def lower_bounds(hit_up_to: Ints, groups: Ints, cuts: int, confidence: float) -> Floats:
    """One-sided lower bound of the share of rows hit by each of the cuts 0 to `cuts`. [cuts + 1]

    The lower end of `share_and_noise`, for all cuts at once: sums of squares over groups change by
    one row between cuts.

    Args:
        hit_up_to: last cut that hits each row [n]; every row is hit by cut 0.
        groups: of each row [n].
    """
    _, at, size = np.unique(groups, return_inverse=True, return_counts=True)
    behind, n = len(size), len(at)
    if behind < 2:
        return np.zeros(cuts + 1)
    # rows in the order in which they are lost, and how many of their group remained before
    order = np.argsort(hit_up_to, kind="stable")
    own = at[order]
    together = np.argsort(own, kind="stable")
    left = np.empty(n)
    left[together] = np.concatenate([np.arange(m, 0, -1) for m in size])
    heavy = (1 - 1 / behind) / (1 - size / n).clip(0.1) ** 2  # leaving out one group at a time
    lost = np.searchsorted(hit_up_to[order], np.arange(cuts + 1), "left")

    def after(total: float, steps: Floats) -> Floats:
        return np.asarray(total - np.concatenate([[0.0], np.cumsum(steps)])[lost])

    share = 1 - lost / n
    squares = after((heavy * size**2).sum(), heavy[own] * (2 * left - 1))
    crossed = after((heavy * size**2).sum(), heavy[own] * size[own])
    variance = (squares - 2 * share * crossed + share**2 * (heavy * size**2).sum()) / n**2
    mixed = share * (1 - share)
    alike = mixed * (size**2).sum() / n**2
    variance = np.maximum(np.maximum(variance, mixed / n), (variance + ALIKE * alike) / 2)
    bound = (1 - confidence) ** (1 / behind)
    with np.errstate(divide="ignore", invalid="ignore"):
        low, _ = _wilson(share, mixed / variance, students(freedom_of(size), 1 - confidence))
    return np.where(lost == 0, bound, np.where(lost == n, 0.0, low))


def share_interval(hits: NDArray[np.bool_], groups: Ints) -> Interval:
    """Interval of a share of images [n], where those of one group [n] resemble each other."""
    _, at = np.unique(groups, return_inverse=True)
    return share_and_noise(hits, np.ones(len(hits), dtype=np.bool_), at)[1]


def share_and_noise(
    hits: NDArray[np.bool_],
    side: NDArray[np.bool_],
    groups: Ints,
    num_groups: int | None = None,
    tail: float = TAIL,
) -> tuple[float, Interval, Floats]:
    """The share of hits among the rows of one side [n], its interval, and noise as in `Spread`."""
    size = num_groups or int(groups.max(initial=0)) + 1
    behind = how_many(groups[side])
    if not behind:
        return math.nan, Interval(reason="fewer than 2 groups"), np.zeros(size)
    share = float(hits[side].mean())
    spread = spread_of_parts([np.where(side, hits - share, np.nan) / side.sum()], groups, size)
    # images of one patient never tell more than as many patients; and if all images of a patient
    # are alike, rare misses may be unseen by chance
    least = share * (1 - share) / int(side.sum())
    images = np.bincount(groups[side])
    alike = share * (1 - share) * float((images**2).sum()) / side.sum() ** 2
    variance = max(spread.variance, least, (spread.variance + ALIKE * alike) / 2)
    spread = replace(spread, freedom=freedom_of(images), variance=variance)
    return share, interval_around(share, spread, (0.0, 1.0), behind, tail), spread.noise


def mean_interval(
    values: Floats,
    intervals: Sequence[Interval],
    weights: Floats,
    noise: Floats,
    shift: Floats | None = None,
) -> Interval:
    """Interval of a weighted mean of scores from their own intervals and correlations.

    The distance of each end from the mean is the length of the vector sum of the scores' distances.

    Args:
        values: [K]; weights: [K], sum 1; noise: [K, m] of `Spread`.
        shift: [m] effect of noise in the weights on the mean.

    Source: Zou and Donner 2008, Statistics in Medicine 27(10); variance estimates recovery.
    """
    missing = [i.reason for i in intervals if i.reason]
    if missing:
        return Interval(reason=missing[0])
    below = weights * (values - np.array([i.low for i in intervals]))
    above = weights * (np.array([i.high for i in intervals]) - values)
    if shift is not None:
        reach = students(1e9) * math.sqrt(float(np.nansum(shift**2)))
        noise = np.concatenate([noise, shift[None]])
        below, above = np.append(below, reach), np.append(above, reach)
    known = noise[:, ~np.isnan(noise).any(axis=0)]
    length = np.sqrt((known**2).sum(axis=1, keepdims=True))
    unit = np.divide(known, length, out=np.zeros_like(known), where=length > 0)
    alike = unit @ unit.T
    np.fill_diagonal(alike, 1)
    mean = float(weights @ values)
    low, high = (math.sqrt(max(0.0, float(d @ alike @ d))) for d in (below, above))
    return Interval(low=mean - low, high=mean + high)


def percentile_interval(resampled: Floats, num_groups: int, tail: float = TAIL) -> Interval:
    """Middle 95 % of the resampled values [R], nan for resamples without a defined score; or what
    lies within `tail` of both ends.

    Source: Efron 1979, Annals of Statistics 7(1).
    """
    if num_groups < 2:
        return Interval(reason="fewer than 2 groups")
    if reason := often_undefined(resampled):
        return Interval(reason=reason)
    defined = resampled[~np.isnan(resampled)]
    if np.ptp(defined) < NO_SPREAD:
        return Interval(reason=ALL_ALIKE)
    low, high = np.quantile(defined, [tail, 1 - tail])
    return Interval(low=float(low), high=float(high))


def often_undefined(resampled: Floats) -> str:
    """Why resamples [R] or [R, T] give no interval, or ""."""
    undefined = float(np.isnan(resampled.reshape(len(resampled), -1)).any(axis=1).mean())
    if undefined > MOST_UNDEFINED:
        return f"undefined in {undefined:.0%} of resamples: too few cases"
    return ""


def within(interval: Interval, bounds: tuple[float, float]) -> Interval:
    """The interval within the bounds of the score: the ends of an inverted test, or of a mean with
    uncertain weights, may be outside."""
    low, high = bounds
    return replace(interval, low=max(interval.low, low), high=min(interval.high, high))


def unanimous_interval(value: float, num_groups: int, tail: float = TAIL) -> Interval:
    """Exact interval of a share that is 0 or 1, for which there is no visible spread.

    Counts each group once, which is conservative, since its images are not independent.

    Source: Clopper and Pearson 1934, Biometrika 26(4), in the closed form of the extreme cases.
    """
    if num_groups < 2:
        return Interval(reason="fewer than 2 groups")
    bound = tail ** (1 / num_groups)
    return Interval(low=bound, high=1.0) if value == 1 else Interval(low=0.0, high=1 - bound)
