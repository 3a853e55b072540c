"""95 % intervals by drawing patients, not images, with replacement.

Images of one patient resemble each other. Drawing images as if they were independent makes
intervals too narrow, by much where patients have many images.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medcnn.errors import UsageError

LEVEL = 0.95
MOST_UNDEFINED = 0.05
FEW_GROUPS = 20
"""Below this many groups percentile intervals are known to be too narrow, so a note says it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """`reason` says why there is none; low and high are nan then."""

    low: float = math.nan
    high: float = math.nan
    reason: str = ""


def group_numbers(groups: Sequence[str]) -> tuple[NDArray[np.int64], int]:
    """Number of each row's group [N] by first appearance, and how many groups there are.

    Not by name: a pseudonym would make the draws depend on a secret key. Predictions stand in the
    order of their manifest, which is the same wherever they are made."""
    names, first, found = np.unique(
        np.asarray(groups, dtype=np.str_), return_index=True, return_inverse=True
    )
    rank = np.argsort(np.argsort(first))
    return rank[found].astype(np.int64), len(names)


def resampling_weights(groups: Sequence[str], resamples: int, seed: int) -> NDArray[np.uint16]:
    """How often each row stands in each resample [R, N]: as often as its group was drawn.

    Raises:
        UsageError: fewer than one resample.

    Source: Field and Welsh 2007, JRSS B 69(3), the cluster bootstrap.
    """
    if resamples < 1:
        raise UsageError(f"resamples must be 1 or more, found {resamples}; 1000 is usual.")
    numbers, count = group_numbers(groups)
    draw = np.random.default_rng(seed)
    weights = np.empty((resamples, len(numbers)), dtype=np.uint16)
    for row in weights:
        row[:] = np.bincount(draw.integers(count, size=count), minlength=count)[numbers]
    return weights


def percentile_interval(resampled: NDArray[np.float64], num_groups: int) -> Interval:
    """Middle 95 % of the resampled values.

    Args:
        resampled: [R], nan where a resample left the score undefined.
        num_groups: groups behind the score.

    Source: Efron 1979, Annals of Statistics 7(1).
    """
    if num_groups < 2:
        return Interval(reason="fewer than 2 groups")
    defined = resampled[~np.isnan(resampled)]
    undefined = 1 - len(defined) / len(resampled)
    if undefined > MOST_UNDEFINED:
        return Interval(reason=f"undefined in {undefined:.0%} of resamples: too few cases")
    if np.ptp(defined) < 1e-12:
        # an interval without width would claim certainty, where there is only too little data
        return Interval(reason=f"every resample gives {defined[0]:.3g}")
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(low=float(low), high=float(high))


def absolute_sum_interval(
    terms: NDArray[np.float64], resampled: NDArray[np.float64], num_groups: int
) -> Interval:
    """Interval of the true sum of absolute values, of which `terms` [T] are noisy estimates.

    Noise makes the sum of |terms| too large, and resampling adds the same noise once more. So the
    terms are scaled by s, resampled noise is added, and the interval holds every s for which the
    found sum is a usual outcome: a test that is inverted along one line. s = 0 says that the truth
    is 0. Coverage is simulated in docs/metrics.md.

    Args:
        resampled: [R, T], nan where a resample left the score undefined.
    """
    if num_groups < 2:
        return Interval(reason="fewer than 2 groups")
    noise = resampled[~np.isnan(resampled).any(axis=1)] - terms
    undefined = 1 - len(noise) / len(resampled)
    if undefined > MOST_UNDEFINED:
        return Interval(reason=f"undefined in {undefined:.0%} of resamples: too few cases")
    found = float(np.abs(terms).sum())
    if np.ptp(noise) < 1e-12:
        return Interval(reason=f"every resample gives {found:.3g}")
    tail = (1 - LEVEL) / 2

    def outcome(scale: float, quantile: float) -> float:
        return float(np.quantile(np.abs(scale * terms + noise).sum(axis=1), quantile))

    def crossing(quantile: float) -> float:
        """The scale at which a quantile of the outcomes, which grows with it, meets `found`."""
        low, high = 0.0, 8.0
        for _ in range(24):
            middle = (low + high) / 2
            below = outcome(middle, quantile) < found
            low, high = (middle, high) if below else (low, middle)
        return (low + high) / 2 if low > 0 else 0.0

    # a sum that is small even for noise alone still leaves room up to what was found
    return Interval(low=crossing(1 - tail) * found, high=max(crossing(tail), 1.0) * found)


def unanimous_interval(value: float, num_groups: int) -> Interval:
    """Exact interval of a share that is 0 or 1, where resampling can show no spread.

    Counts each group once, which is cautious: its images do not all bear independent witness.

    Source: Clopper and Pearson 1934, Biometrika 26(4), in the closed form of the extreme cases.
    """
    if num_groups < 2:
        return Interval(reason="fewer than 2 groups")
    bound = ((1 - LEVEL) / 2) ** (1 / num_groups)
    return Interval(low=bound, high=1.0) if value == 1 else Interval(low=0.0, high=1 - bound)


def share_interval(hits: NDArray[np.bool_], groups: NDArray[np.int64]) -> Interval:
    """Interval of a share of images, of which those of one group resemble each other.

    Wilson's interval of as many independent images as carry the same information: n divided by
    the design effect of the groups, at most n; where all images agree, as many as there are groups.

    Args:
        hits: [n].
        groups: number of each image's group [n].

    Sources: Wilson 1927, JASA 22; the ratio estimator of a share over clusters and its design
    effect: Kish 1965, Survey Sampling; Rao and Scott 1992, Biometrics 48.
    """
    n = len(hits)
    _, at = np.unique(groups, return_inverse=True)
    sizes = np.bincount(at)
    m = len(sizes)
    if m < 2:
        return Interval(reason="fewer than 2 groups")
    share = float(hits.mean())
    if share in (0, 1):
        return unanimous_interval(share, m)
    apart = np.bincount(at, weights=hits) - share * sizes
    variance = m / (m - 1) * float((apart**2).sum()) / n**2
    independent = min(n, share * (1 - share) / variance) if variance > 0 else m
    z = 1.959964
    centre = (share + z**2 / (2 * independent)) / (1 + z**2 / independent)
    half = (
        z
        / (1 + z**2 / independent)
        * math.sqrt(share * (1 - share) / independent + z**2 / (4 * independent**2))
    )
    return Interval(low=max(centre - half, 0.0), high=min(centre + half, 1.0))
