"""Reader studies: what a sample of readers and one of cases say about all readers and cases.

Each difference is one number per reader: with help minus without, or the model minus the reader.
Their mean varies with the readers, and with the cases that all of them read. For two conditions
this is the method of Obuchowski and Rockette (1995, Communications in Statistics - Simulation and
Computation 24(2)) with the degrees of freedom of Hillis (2007, Statistics in Medicine 26(3)); for a
model against readers, its form for one condition. benchmarks/readers.py simulates how often it is
wrong, docs/readers.md has the table.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.statistics.differences import Difference, Pairing, adjusted, two_sided
from medcnn.statistics.estimates import Estimate
from medcnn.statistics.intervals import (
    NO_SPREAD,
    Floats,
    Ints,
    group_numbers,
    how_many,
    spread_of_parts,
    students,
    too_few,
)
from medcnn.statistics.metrics.formulas import auroc_influence
from medcnn.statistics.metrics.rows import Rows
from medcnn.system.errors import DataError

ENDPOINTS = ("auroc", "sensitivity", "specificity")
ALIKE = "all readers differ by the same amount, whichever patient is left out"
SAME = "all readers have the same value, whichever patient is left out"


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """Every reader of a condition has read every case.

    Attributes:
        truth: which cases have the finding. [N]
        groups: patient of each case. [N]
        scores: condition -> reader -> rating of each case, higher for the finding [N]; empty
            without ratings.
        calls: the same with 1 for a case called positive, 0 for others.
        model: the condition whose only reader is the model, or "".
    """

    truth: NDArray[np.bool_]
    groups: tuple[str, ...]
    scores: Mapping[str, Mapping[str, Floats]]
    calls: Mapping[str, Mapping[str, Floats]]
    model: str = ""

    @property
    def conditions(self) -> list[str]:
        """Those of human readers, in their order."""
        return [c for c in self.scores or self.calls if c != self.model]

    @property
    def endpoints(self) -> list[str]:
        """Those of `ENDPOINTS` that the readings allow."""
        return [e for e in ENDPOINTS if self.of(e)]

    def of(self, endpoint: str) -> Mapping[str, Mapping[str, Floats]]:
        """The readings that an endpoint is computed from."""
        return self.scores if endpoint == "auroc" else self.calls


def figures(
    endpoint: str, truth: NDArray[np.bool_], readings: Floats, groups: Ints
) -> tuple[Floats, Floats]:
    """The endpoint of each reading [M, N], and the covariance of these values over cases [M, M].

    By the jackknife, leaving out one patient at a time. Source: Obuchowski and Rockette 1995.
    """
    size = int(groups.max()) + 1
    counts = [np.bincount(groups[side], minlength=size) for side in (truth, ~truth)]
    values, left = [], []
    for row in readings:
        if endpoint == "auroc":
            value, without = _auroc(row, truth, groups, counts)
        else:
            side = truth if endpoint == "sensitivity" else ~truth
            hit = (row > 0) == truth
            count = counts[0] if endpoint == "sensitivity" else counts[1]
            hits = np.bincount(groups[side], weights=hit[side], minlength=size)
            value = hits.sum() / count.sum()
            without = (hits.sum() - hits) / (count.sum() - count)
        values.append(value)
        left.append(without)
    off = np.array(left) - np.mean(left, axis=1, keepdims=True)
    return np.array(values), (size - 1) / size * off @ off.T


def _auroc(
    scores: Floats, truth: NDArray[np.bool_], groups: Ints, counts: Sequence[NDArray[Any]]
) -> tuple[float, Floats]:
    """The AUROC, and those without each patient. [G]"""
    size = len(counts[0])
    above = scores[truth][:, None] - scores[~truth]
    wins = (above > 0) + 0.5 * (above == 0)
    of_pairs = groups[truth][:, None] == groups[~truth]
    lost = np.bincount(groups[truth], weights=wins.sum(axis=1), minlength=size)
    lost += np.bincount(groups[~truth], weights=wins.sum(axis=0), minlength=size)
    twice = np.broadcast_to(groups[truth][:, None], wins.shape)[of_pairs]
    lost -= np.bincount(twice, weights=wins[of_pairs], minlength=size)
    left = (counts[0].sum() - counts[0]) * (counts[1].sum() - counts[1])
    return float(wins.mean()), (wins.sum() - lost) / left


def random_readers(values: Floats, covariance: Floats) -> tuple[float, float, float]:
    """The mean of one number per reader, its standard error and degrees of freedom.

    Args:
        values: of two or more readers. [J]
        covariance: of these over cases. [J, J]

    Source: Hillis 2007; for the difference of two conditions it equals the test of Obuchowski and
    Rockette with ddf_H, since the mean square of differences is twice that of the interaction.
    """
    number = len(values)
    between = float(values.var(ddof=1))
    apart = ~np.eye(number, dtype=np.bool_)
    shared = number * max(float(covariance[apart].mean()), 0.0)
    error = math.sqrt((between + shared) / number)
    freedom = math.inf if between == 0 else (between + shared) ** 2 / (between**2 / (number - 1))
    return float(values.mean()), error, min(freedom, 1e9)


def one_reader(
    endpoint: str, truth: NDArray[np.bool_], reading: Floats, groups: Ints
) -> tuple[Floats, float]:
    """Noise of a reading over patients [G] and its degrees of freedom: DeLong's for the AUROC."""
    if endpoint == "auroc":
        at = np.arange(len(truth))
        rows = Rows(target=truth, probability=reading, decision=reading > 0, at=at, size=len(at))
        parts = auroc_influence(rows)
    else:
        side = truth if endpoint == "sensitivity" else ~truth
        hit = ((reading > 0) == truth).astype(np.float64)
        parts = [np.where(side, hit - hit[side].mean(), np.nan) / side.sum()]
    spread = spread_of_parts(parts, groups, int(groups.max()) + 1)
    return spread.noise, spread.freedom


def against(study: Study, endpoint: str, reference: str, other: str) -> Difference:
    """The other condition minus the reference. If one of them is the model, its one reading is
    compared with each reader.

    Raises:
        DataError: the two conditions have different readers.
    """
    first, second = study.of(endpoint)[reference], study.of(endpoint)[other]
    model = study.model in (reference, other)
    if not model and set(first) != set(second):
        raise DataError(
            f"'{reference}' and '{other}' have different readers, so readers cannot be compared "
            "with themselves. Studies in which each reader sees only one condition are not "
            "supported."
        )
    names = [*(second if reference == study.model else first)]
    both = [
        np.stack([values[n] if n in values else next(iter(values.values())) for n in names])
        for values in (first, second)
    ]
    groups, _ = group_numbers(study.groups)
    found, covariance = figures(endpoint, study.truth, np.concatenate(both), groups)
    number = len(names)
    values = found[number:] - found[:number]
    flip = np.concatenate([-np.eye(number), np.eye(number)], axis=1)
    result = Difference(
        score=endpoint,
        label=None,
        better=1,
        reference=float(found[:number].mean()),
        other=float(found[number:].mean()),
        method="obuchowski-rockette" if number > 1 else "delong",
        count=len(groups),
        groups=how_many(groups),
    )
    if number > 1:
        _, error, freedom = random_readers(values, flip @ covariance @ flip.T)
    else:
        (a, free), (b, freedom) = (
            one_reader(endpoint, study.truth, rows[0], groups) for rows in both
        )
        error, freedom = math.sqrt(float(((b - a) ** 2).sum())), min(free, freedom)
    return _tested(result, error, freedom, too_few(fewest(study, endpoint)))


def fewest(study: Study, endpoint: str) -> int:
    """Patients on the side, or on the rarer side, that an endpoint rests on."""
    sides = {"sensitivity": [study.truth], "specificity": [~study.truth]}
    groups, _ = group_numbers(study.groups)
    return min(how_many(groups[side]) for side in sides.get(endpoint, [study.truth, ~study.truth]))


def _tested(found: Difference, error: float, freedom: float, few: str) -> Difference:
    if few or not error > NO_SPREAD:
        return replace(found, note=f"interval not available: {few or ALIKE}")
    reach = students(freedom) * error
    return replace(
        found,
        low=max(found.difference - reach, -1.0),
        high=min(found.difference + reach, 1.0),
        p=two_sided(found.difference / error, freedom),
        error=error,
        freedom=freedom,
    )


def contrasts(study: Study, margin: float | None = None) -> dict[tuple[str, str], Pairing]:
    """(reference, other) -> the differences of each endpoint, adjusted over all of them by Holm.

    The first condition of readers is the reference of all others, and each is one of the model.

    Args:
        margin: how much worse the other may be in the first endpoint.

    Raises:
        DataError: conditions have different readers.
    """
    first, *others = study.conditions
    pairs = [(first, other) for other in others]
    pairs += [(condition, study.model) for condition in study.conditions if study.model]
    found = {
        pair: Pairing(
            differences=tuple(against(study, e, *pair) for e in study.endpoints), discordances=()
        )
        for pair in pairs
    }
    names = {str(at): pairing for at, pairing in enumerate(found.values())}
    return dict(zip(found, adjusted(names, margin).values(), strict=True))


def level(study: Study, endpoint: str, condition: str) -> Estimate:
    """The mean of a condition's readers with the interval for all readers and cases; of one reader,
    for all cases."""
    readings = np.stack(list(study.of(endpoint)[condition].values()))
    groups, _ = group_numbers(study.groups)
    values, covariance = figures(endpoint, study.truth, readings, groups)
    if len(values) > 1:
        mean, error, freedom = random_readers(values, covariance)
    else:
        noise, freedom = one_reader(endpoint, study.truth, readings[0], groups)
        mean, error = float(values[0]), math.sqrt(float((noise**2).sum()))
    few = too_few(fewest(study, endpoint))
    known = Estimate(value=mean, count=len(groups), groups=how_many(groups))
    if few or not error > NO_SPREAD:
        return replace(known, note=f"interval not available: {few or SAME}")
    reach = students(freedom) * error
    return replace(known, low=max(0.0, mean - reach), high=min(1.0, mean + reach))


def each_reader(study: Study, endpoint: str, condition: str) -> dict[str, float]:
    """Reader -> value."""
    readings = study.of(endpoint)[condition]
    groups, _ = group_numbers(study.groups)
    values, _ = figures(endpoint, study.truth, np.stack(list(readings.values())), groups)
    return dict(zip(readings, values.tolist(), strict=True))
