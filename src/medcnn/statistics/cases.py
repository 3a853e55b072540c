"""Which images a gallery of maps shows: a few sure hits, misses, false alarms and least certain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medcnn.statistics.decisions import certainty
from medcnn.statistics.predictions import Predictions

EACH = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One image of a gallery.

    Attributes:
        kind: sure hit, miss, false alarm or least certain.
        row: of the predictions.
        output: the class whose map is shown.
        probability: of that class.
    """

    kind: str
    row: int
    output: int
    probability: float


def cases_of(predictions: Predictions) -> list[Case]:
    """At most EACH of a kind, each image once.

    A hit is a class that is there and was called, a miss one that is there and was not, a false
    alarm one that was called and is not there. Hits and false alarms begin with the most probable,
    misses with the least probable. Classes take turns until they have none left.
    """
    truth, decided = predictions.targets == 1, predictions.decisions
    absent, p = predictions.targets == 0, predictions.probabilities
    kinds = (
        ("sure hit", truth & decided, -p),
        ("miss", truth & ~decided, p),
        ("false alarm", absent & decided, -p),
    )
    chosen: list[Case] = []
    taken: set[int] = set()

    def take(kind: str, pairs: list[tuple[int, int]]) -> None:
        left = EACH
        for row, output in pairs:
            if left and row not in taken:
                taken.add(row)
                left -= 1
                case = Case(kind=kind, row=row, output=output, probability=float(p[row, output]))
                chosen.append(case)

    for kind, where, order in kinds:
        take(kind, _in_turn(where, order))
    assessed = np.flatnonzero(~np.isnan(predictions.targets).all(axis=1))
    sure = certainty(predictions.labels, p)
    unsure = assessed[np.argsort(sure[assessed], kind="stable")].tolist()
    near = np.abs(p - 0.5) if not predictions.labels.exclusive else -p
    take("least certain", [(row, int(near[row].argmin())) for row in unsure])
    return chosen


def _in_turn(where: NDArray[np.bool_], order: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Row and output of each place, first the best of every output, then the second best ..."""
    turns = []
    for output in range(where.shape[1]):
        rows = np.flatnonzero(where[:, output])
        best = rows[np.argsort(order[rows, output], kind="stable")]
        turns += [(turn, order[row, output], row, output) for turn, row in enumerate(best.tolist())]
    return [(row, output) for _, _, row, output in sorted(turns)]
