"""Whether maps of what decided mean anything: four checks of a handful of maps, without torch.

A map that does not depend on the weights, that points beside known lesions, that lies outside the
picture, or that another method contradicts, explains nothing (Adebayo et al. 2018, NeurIPS; Arun et
al. 2021, Radiology: Artificial Intelligence 3(6)).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

# Rank correlation: at most this for maps of the trained network and of a random one, at least this
# for maps by two methods.
MOST_BY_CHANCE, LEAST_AGREEMENT = 0.5, 0.3
# The pointing game is won if so many hits are less probable than this by chance.
LEVEL = 0.05
# Below this share of the area, there is no outside to speak of.
LEAST_OUTSIDE = 0.01
# Darker than this share of full scale, at the edge of the image, is outside.
BLACK = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check.

    Attributes:
        name: weights, pointing, outside or agreement.
        value: what was found.
        limit: what it is compared with.
        passed: whether the maps passed.
        maps: how many could be checked.
        detail: more of what was found: rank correlation by stage for weights, hits and hits
            expected by chance for pointing.
    """

    name: str
    value: float
    limit: float
    passed: bool
    maps: int
    detail: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def rank_correlation(left: Floats, right: Floats) -> float:
    """Spearman's rank correlation of two maps of one shape; 0 if one of them is uniform."""
    from scipy.stats import rankdata

    ranks = [rankdata(of.ravel()) for of in (left, right)]
    if min(np.ptp(rank) for rank in ranks) == 0:
        return 0.0
    return float(np.corrcoef(*ranks)[0, 1])


def weights_check(stages: Mapping[str, Sequence[float]]) -> Check:
    """Args:
    stages: what was randomised, from the top on -> rank correlation of each map with the one of the
        trained network; everything is random in the last.
    """
    means = {stage: float(np.mean(found)) for stage, found in stages.items()}
    last = list(means)[-1]
    return Check(
        name="weights",
        value=means[last],
        limit=MOST_BY_CHANCE,
        passed=abs(means[last]) <= MOST_BY_CHANCE,
        maps=len(stages[last]),
        detail=means,
    )


def agreement_check(found: Sequence[float]) -> Check:
    """Args:
    found: rank correlation of each map with that of the other method.
    """
    mean = float(np.mean(found))
    return Check(
        name="agreement",
        value=mean,
        limit=LEAST_AGREEMENT,
        passed=mean >= LEAST_AGREEMENT,
        maps=len(found),
        detail={},
    )


def pointing_check(hits: Sequence[bool], chances: Sequence[float]) -> Check | None:
    """Whether the highest value is in a lesion more often than a random position is; one-sided.

    Args:
        hits: of each map whose lesions are known.
        chances: share of the image that counts as a hit.

    Returns:
        None without maps. The value is the probability of as many hits by chance.
    """
    if not hits:
        return None
    p = tail(sum(hits), chances)
    return Check(
        name="pointing",
        value=p,
        limit=LEVEL,
        passed=p < LEVEL,
        maps=len(hits),
        detail={"hits": float(sum(hits)), "expected": float(sum(chances))},
    )


def tail(hits: int, chances: Sequence[float]) -> float:
    """The probability of `hits` or more successes of independent trials with these `chances`
    (Poisson binomial, by convolution); equals the binomial where they are equal."""
    of = np.ones(1)
    for chance in chances:
        of = np.convolve(of, [1 - chance, chance])
    return float(min(1.0, of[hits:].sum()))


def outside_check(found: Sequence[tuple[float, float]]) -> Check | None:
    """Whether the maps avoid what is outside the picture.

    Args:
        found: of each map, the share of its positive values outside, and that of the area.

    Returns:
        None if no image has an outside. The value is the share of the maps, the limit that of the
        area: a uniform map would have as much.
    """
    pairs = [(mass, area) for mass, area in found if area >= LEAST_OUTSIDE]
    if not pairs:
        return None
    mass, area = np.mean(pairs, axis=0).tolist()
    return Check(
        name="outside", value=mass, limit=area, passed=mass < area, maps=len(pairs), detail={}
    )


def outside_of(pixels: NDArray[Any]) -> NDArray[np.bool_]:
    """[H, W]: the black at the edge of an image [C, H, W], such as padding, or what is beyond the
    circle of a fundus photograph."""
    from scipy import ndimage

    black = pixels.max(axis=0) <= BLACK * np.iinfo(pixels.dtype).max
    parts, _ = ndimage.label(black)
    edge = np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]])
    return np.asarray(np.isin(parts, edge[edge > 0]))


def share_within(values: Floats, where: NDArray[np.bool_]) -> float:
    """The share of the positive values that is in `where`; 0 without any."""
    positive = values.clip(0)
    return float(positive[where].sum() / total) if (total := positive.sum()) else 0.0


def near(where: NDArray[np.bool_], reach_px: int) -> NDArray[np.bool_]:
    """`where`, and all that is at most `reach_px` rows and columns from it."""
    from scipy import ndimage

    if not reach_px:
        return where
    return np.asarray(ndimage.binary_dilation(where, np.ones((3, 3), bool), iterations=reach_px))
