"""Two models within each subgroup: whether the better one is worse for some."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from medcnn.data.labels import Kind
from medcnn.statistics.comparing import compare
from medcnn.statistics.differences import Difference, Pairing, adjusted
from medcnn.statistics.groupings import in_order
from medcnn.statistics.metrics.table import METRICS, Assessed, Scope
from medcnn.statistics.predictions import Predictions
from medcnn.statistics.score_parts import patients_behind
from medcnn.statistics.subgroups import FEWEST_SHOWN

WITHIN_GROUPS = ("auroc", "sensitivity", "specificity")
OF_GRADES = ("quadratic_weighted_kappa", "cut_sensitivity", "cut_specificity")


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupDifferences:
    """The differences of two models on the images of one group; none if it is too small."""

    by: str
    name: str
    images: int
    patients: int
    differences: tuple[Difference, ...]


def by_group(
    predictions: Mapping[str, Predictions],
    groupings: Mapping[str, Sequence[str]],
    *,
    resamples: int,
    seed: int,
) -> dict[str, list[GroupDifferences]]:
    """Other model -> its overall differences to the first in every group; all are one family.

    Args:
        predictions: `comparing.aligned`, the reference first.
        groupings: name -> group of each image [N].
    """
    (_, reference), *others = predictions.items()
    found: dict[str, list[GroupDifferences]] = {name: [] for name, _ in others}
    pairings: dict[str, Pairing] = {}
    for by, groups in groupings.items():
        for name in in_order(groups):
            rows = np.flatnonzero(np.array(groups) == name)
            own = _large_enough(reference.only(rows))
            for other, p in others:
                there = replace(p.only(rows), targets=own.targets)
                kept = tuple(_differences(own, there, resamples, seed))
                pairings[f"{other}\n{len(found[other])}"] = Pairing(
                    differences=kept, discordances=()
                )
                found[other].append(
                    GroupDifferences(
                        by=by,
                        name=name,
                        images=len(rows),
                        patients=len(set(own.groups)),
                        differences=kept,
                    )
                )
    tested = adjusted({key: pairing for key, pairing in pairings.items() if pairing.differences})
    for key, pairing in tested.items():
        other, at = key.split("\n")
        found[other][int(at)] = replace(found[other][int(at)], differences=pairing.differences)
    return found


def _differences(
    one: Predictions, two: Predictions, resamples: int, seed: int
) -> Iterator[Difference]:
    if np.isnan(one.targets).all():
        return
    names = OF_GRADES if one.labels.kind is Kind.ORDINAL else WITHIN_GROUPS
    found = compare(one, two, names, resamples=resamples, seed=seed)
    yield from (d for d in found.differences if d.label is None)


def _large_enough(predictions: Predictions) -> Predictions:
    """Without labels that too few patients of this group have, or lack; grades are judged all
    together."""
    assessed, groups = Assessed(predictions=predictions), np.array(predictions.groups)
    numbers = np.unique(groups, return_inverse=True)[1]
    metric = METRICS["auroc"]
    if predictions.labels.kind is Kind.ORDINAL:
        (rows,) = assessed.of(Scope.TABLE)
        small = [len(np.unique(numbers[rows.at])) < FEWEST_SHOWN] * predictions.targets.shape[1]
    else:
        small = [
            len(patients_behind(metric, rows, numbers[rows.at])) < FEWEST_SHOWN
            for rows in assessed.of(Scope.LABEL)
        ]
    targets = predictions.targets.copy()
    targets[:, np.array(small)] = np.nan
    return replace(predictions, targets=targets)
