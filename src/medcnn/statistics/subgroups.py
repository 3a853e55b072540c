"""Scores of subgroups of patients, and the gap of each group to all others.

A gap is never taken from the best group to the worst, which chance alone makes large. All gaps of a
split have one simultaneous band: they are drawn together, and if no group differs, at most 5 % of
data sets show any gap whose interval excludes 0. docs/metrics.md has the simulation.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.data.labels import Kind
from medcnn.statistics.differences import holm, two_sided
from medcnn.statistics.estimates import Interval
from medcnn.statistics.evaluation import Average, Score
from medcnn.statistics.groupings import in_order
from medcnn.statistics.intervals import (
    LEVEL,
    TAIL,
    Floats,
    Ints,
    group_numbers,
    how_many,
    mean_interval,
    resampling_weights,
    students,
    too_few,
)
from medcnn.statistics.metrics.table import METRICS, Assessed, Bools, Rows, Scope
from medcnn.statistics.predictions import Predictions
from medcnn.statistics.score_parts import Part, parts_of, why_undefined
from medcnn.system.errors import listed
from medcnn.system.files import without_nan

FEWEST_SHOWN = 10
"""Fewest patients on the rarer side of a score, in the group and in the rest; below, no number."""
POWER = 0.8
BLOCK = 64
"""Resamples at once, which bounds memory for many patients."""
USUAL = ("auroc", "sensitivity", "specificity", "calibration_intercept")
RANKS = frozenset({"auroc", "cut_auroc"})
"""Scores that rank images against each other, which those of different models must not be."""
OF_GRADES = ("quadratic_weighted_kappa", "cut_auroc", "cut_sensitivity", "cut_specificity")
NO_MEAN = frozenset({"calibration_intercept"})
"""Classes' intercepts of the same image pull against each other, so their mean says nothing."""
FAR = 1e9
"""Degrees of freedom of the normal distribution, for practical purposes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupScore:
    """A score of a group, and its gap to the rest.

    Attributes:
        score: of the group, with its own 95 % interval; without a value if the group is too small.
        rest: the score of all other images.
        gap: group minus rest; low, high: simultaneous 95 % band.
        smallest: the gap that a group of this size shows in 80 % of samples.
        p_holm: of no gap, adjusted for all gaps of the split.
        note: why there is no gap or no band, or "".
    """

    score: Score
    rest: float = math.nan
    gap: float = math.nan
    low: float = math.nan
    high: float = math.nan
    smallest: float = math.nan
    p_holm: float = math.nan
    note: str = ""

    @property
    def alarm(self) -> bool:
        """Whether the band excludes that there is no gap."""
        return self.low > 0 or self.high < 0

    def to_json(self) -> dict[str, Any]:
        own = {n: getattr(self, n) for n in ("rest", "gap", "smallest")}
        own |= {"gap_low": self.low, "gap_high": self.high, "gap_note": self.note}
        own["gap_p_holm"] = self.p_holm
        return {**self.score.to_json(), **without_nan(own)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One group of a grouping, such as the women."""

    by: str
    name: str
    images: int
    patients: int
    scores: tuple[GroupScore, ...]

    def find(self, name: str, label: str | None = None) -> GroupScore:
        """Raises KeyError if this kind of label has no such score here."""
        for found in self.scores:
            if (found.score.name, found.score.label) == (name, label):
                return found
        raise KeyError((name, label))


@dataclass(frozen=True, slots=True, kw_only=True)
class Subgroups:
    """All groups of a split.

    Attributes:
        gaps: number of gaps that share the band.
        level: of each gap on its own, such that all hold together in 95 % of samples.
    """

    groups: tuple[Group, ...] = ()
    gaps: int = 0
    level: float = LEVEL

    def by(self) -> dict[str, list[Group]]:
        """Grouping -> its groups, in order."""
        found: dict[str, list[Group]] = {}
        for group in self.groups:
            found.setdefault(group.by, []).append(group)
        return found

    def to_json(self) -> dict[str, Any]:
        groups = [
            {"by": g.by, "group": g.name, "images": g.images, "patients": g.patients}
            | {"scores": [s.to_json() for s in g.scores]}
            for g in self.groups
        ]
        return {"gaps": self.gaps, "level_of_each": self.level, "groups": groups}


def subgroups(
    predictions: Predictions,
    groupings: Mapping[str, Sequence[str]],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> Subgroups:
    """The scores of every group of every grouping.

    Args:
        groupings: name -> group of each image [N], such as `groupings.groupings` makes.
        resamples: joint draws of patients, for the band.

    Of predictions out of fold, decisions and probabilities are counted together, each as its own
    model gave it; `RANKS` are left out.
    """
    if not groupings:
        return Subgroups()
    cells = [
        (by, name, np.array(groups) == name)
        for by, groups in groupings.items()
        for name in in_order(groups)
    ]
    numbers, count = group_numbers(predictions.groups)
    resamples += resamples == count  # their lengths distinguish the two kinds of noise
    drawn = resampling_weights(list(dict.fromkeys(predictions.groups)), resamples, seed)
    # only kappa is resampled image by image; all other scores have an influence of each patient
    resampled = predictions.labels.kind is Kind.ORDINAL
    weights = drawn[:, numbers] if resampled else drawn[:0, numbers]
    sides = _Sides(predictions, numbers, weights)
    found = [list(_judged(sides, keep, TAIL)) for _, _, keep in cells]
    noises = [p.noise for judged in found for p in judged if p.noise is not None]
    linear = [n for n in noises if len(n) == count]
    tail = _joint_tail([*_shaken(linear, drawn), *(n for n in noises if len(n) != count)])
    ps = iter(holm([_p(p) for judged in found for p in judged]))
    banded = found if not noises else [list(_judged(sides, keep, tail)) for _, _, keep in cells]
    return Subgroups(
        groups=tuple(
            Group(
                by=by,
                name=name,
                images=int(keep.sum()),
                patients=how_many(numbers[keep]),
                scores=tuple(
                    replace(
                        p.entry,
                        low=b.band.low,
                        high=b.band.high,
                        smallest=_smallest(b, tail),
                        p_holm=next(ps),
                    )
                    for p, b in zip(own, bands, strict=True)
                ),
            )
            for (by, name, keep), own, bands in zip(cells, found, banded, strict=True)
        ),
        gaps=len(noises),
        level=1 - 2 * tail,
    )


def _shaken(noises: Sequence[Floats], drawn: NDArray[Any]) -> Floats:
    """Deviations [T, R] of scores in resamples, from the noise [m] of each and how often patients
    were drawn [R, m]."""
    if not noises:
        return np.zeros((0, len(drawn)))
    of_patients = np.stack(noises, axis=1)
    blocks = (drawn[i : i + BLOCK].astype(np.float64) - 1 for i in range(0, len(drawn), BLOCK))
    return np.concatenate([block @ of_patients for block in blocks]).T


def _joint_tail(draws: Sequence[Floats]) -> float:
    """Share outside each side of each band such that all hold at once: the largest of all
    standardised draws [R] stays below its quantile in 95 % of resamples.

    Sources: Westfall and Young 1993, Resampling-Based Multiple Testing; Mandel and Betensky 2008,
    Computational Statistics and Data Analysis 52(4).
    """
    from scipy.special import ndtr  # slow to import

    if not draws:
        return TAIL
    every = np.nan_to_num(np.stack(draws))
    spread = every.std(axis=1, keepdims=True)
    largest = np.abs(every / np.where(spread > 0, spread, 1)).max(axis=0)
    found = float(ndtr(-np.quantile(largest, LEVEL)))
    # never wider than Bonferroni's, nor narrower than a single interval
    return min(TAIL, max(TAIL / len(draws), found))


@dataclass(frozen=True, kw_only=True)
class _Found:
    """A score of a group with its gap; noise [m] or [R] as in `Part`, None without a gap."""

    entry: GroupScore
    band: Interval
    noise: Floats | None = None


def _smallest(of: _Found, tail: float) -> float:
    """Half the band, which a gap of this size reaches in half of all samples, and as much more as
    power needs."""
    sure = students(FAR, tail)
    return (of.band.high - of.band.low) / 2 * (1 + students(FAR, 1 - POWER) / sure)


def _p(of: _Found) -> float:
    """Two-sided, of no gap: how far 0 is, measured by the interval of this gap on the side of 0."""
    gap = of.entry.gap
    reach = gap - of.band.low if gap > 0 else of.band.high - gap
    return two_sided(gap / reach * students(FAR), FAR) if reach > 0 else math.nan


class _Sides:
    """The rows of each score, to be cut into a group and the rest."""

    def __init__(self, predictions: Predictions, numbers: Ints, weights: NDArray[Any]) -> None:
        self.labels, self.numbers, self.weights = predictions.labels, numbers, weights
        assessed = Assessed(predictions=predictions)
        names: tuple[str, ...] = OF_GRADES if self.labels.kind is Kind.ORDINAL else USUAL
        if predictions.folds:
            names = tuple(n for n in names if n not in RANKS)
        self.every: list[tuple[dict[str, Any], list[Rows], tuple[str | None, ...]]] = []
        for scope in Scope:
            metrics = {n: METRICS[n] for n in names if METRICS[n].scope(self.labels) is scope}
            if metrics:
                rows = assessed.of(scope)
                own = self.labels.outputs[1:] if scope is Scope.CUT else self.labels.outputs
                single = scope is Scope.TABLE or self.labels.kind is Kind.BINARY
                self.every.append((metrics, rows, (None,) if single else own))


def _judged(sides: _Sides, keep: Bools, tail: float) -> Iterator[_Found]:
    """Each score of the images in `keep` [N], overall ones first."""
    for metrics, every, names in sides.every:
        both = [
            [
                parts_of(rows.only(side), metrics, sides.labels, sides.numbers, sides.weights, tail)
                for side in (keep, ~keep)
            ]
            for rows in every
        ]
        for name in metrics:
            own = [(group[name], rest[name]) for group, rest in both]
            if len(own) > 1 and name not in NO_MEAN:
                yield _mean(name, own, names, sides.numbers)
            for (group, rest), label in zip(own, names, strict=True):
                yield _one(name, label, group, rest)


def _one(name: str, label: str | None, group: Part, rest: Part) -> _Found:
    score = group.score(name, METRICS[name], label)
    if why := _too_small(name, group):
        return _Found(entry=GroupScore(score=_hidden(score, why)), band=Interval())
    if why := _too_small(name, rest):
        return _Found(entry=GroupScore(score=score, note=f"the rest: {why}"), band=Interval())
    return _gap(score, (group.value, rest.value), (group.interval, rest.interval), (group, rest))


def _too_small(name: str, part: Part) -> str:
    """Why this side shows no number, or ""."""
    if few := too_few(len(part.behind), FEWEST_SHOWN):
        return f"too small: {few}"
    return why_undefined(METRICS[name], part.rows) if math.isnan(part.value) else ""


def _hidden(score: Score, why: str) -> Score:
    nothing = Interval()
    return replace(
        score,
        value=math.nan,
        low=nothing.low,
        high=nothing.high,
        method="",
        note=why,
        no_interval="",
    )


def _gap(
    score: Score,
    values: tuple[float, float],
    intervals: tuple[Interval, Interval],
    parts: tuple[Part, Part] | tuple[_Mean, _Mean],
) -> _Found:
    """The difference of two scores, its interval from their own intervals and their correlation.

    Source: Zou and Donner 2008, Statistics in Medicine 27(10); a patient may be in both groups.
    """
    (own, other), (a, b) = values, intervals
    entry = GroupScore(score=score, rest=other, gap=own - other)
    if a.reason or b.reason:
        why = a.reason or f"the rest: {b.reason}"
        return _Found(entry=replace(entry, note=why), band=Interval())
    one, two = (p.noise for p in parts)
    lengths = np.linalg.norm(np.nan_to_num(one)) * np.linalg.norm(np.nan_to_num(two))
    alike = float(np.nan_to_num(one) @ np.nan_to_num(two) / lengths) if lengths > 0 else 0.0

    def reach(x: float, y: float) -> float:
        return math.sqrt(max(0.0, x**2 + y**2 - 2 * alike * x * y))

    low = own - other - reach(own - a.low, b.high - other)
    high = own - other + reach(a.high - own, other - b.low)
    return _Found(entry=entry, band=Interval(low=low, high=high), noise=one - two)


@dataclass(frozen=True, kw_only=True)
class _Mean:
    value: float
    interval: Interval
    noise: Floats

    @classmethod
    def of(cls, parts: Sequence[Part]) -> _Mean:
        values = np.array([p.value for p in parts])
        heavy = np.full(len(parts), 1 / len(parts))
        noise = np.stack([p.noise for p in parts])
        interval = mean_interval(values, [p.interval for p in parts], heavy, noise)
        return cls(value=float(values.mean()), interval=interval, noise=heavy @ noise)


def _mean(
    name: str, own: Sequence[tuple[Part, Part]], names: Sequence[str | None], numbers: Ints
) -> _Found:
    """The mean over the labels with enough patients on both sides: a mean over others would differ
    because the labels do. If there are none, the mean over those of the group, without a gap."""
    large = [not any(_too_small(name, p) for p in two) for two in own]
    compared = any(large)
    if not compared:
        large = [not _too_small(name, group) for group, _ in own]
    seen = np.any([group.rows.images for group, _ in own], axis=0)
    without = [str(n) for n, enough in zip(names, large, strict=True) if not enough]
    note = f"mean over {sum(large)} of {len(own)} labels"
    note += f", without {listed(without)}" if without else ""
    score = Score(
        name=name,
        label=None,
        average=Average.MACRO,
        positives=None,
        count=int(seen.sum()),
        groups=how_many(numbers[seen]),
        note=note,
    )
    if not any(large):
        hidden = _hidden(
            score, f"too small: every label is based on fewer than {FEWEST_SHOWN} groups"
        )
        return _Found(entry=GroupScore(score=hidden), band=Interval())
    pairs = [two for two, enough in zip(own, large, strict=True) if enough]
    group = _Mean.of([of for of, _ in pairs])
    found = group.interval
    entry = replace(
        score,
        value=group.value,
        low=found.low,
        high=found.high,
        method="" if found.reason else "mover",
        no_interval=found.reason,
    )
    if not compared:
        why = f"the rest: too small: every label is based on fewer than {FEWEST_SHOWN} groups"
        return _Found(entry=GroupScore(score=entry, note=why), band=Interval())
    rest = _Mean.of([others for _, others in pairs])
    return _gap(entry, (group.value, rest.value), (found, rest.interval), (group, rest))
