"""How little must be changed for a model's probabilities to be right at another hospital.

A closed test chooses among leaving them alone, adding an intercept, intercept and slope, and,
given ten patients with and without the label for each coefficient, a refit on the logits of all
outputs. The whole choice for all labels errs in about 5 of 100 hospitals where none is needed. It
is tried on n labelled cases and judged on others, so it shows what n labels buy.

Source: Vergouwe et al. 2017, Statistics in Medicine 36(28); Steyerberg et al. 2004, ibid. 23(16).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from medcnn.data.labels import Kind, LabelSpace
from medcnn.statistics.intervals import Floats, group_numbers
from medcnn.statistics.metrics.table import score
from medcnn.statistics.predictions import Predictions

ALPHA = 0.05
FEWEST = 10
"""Fewest patients with a label, and without, to try anything; one with both counts in the shares of
the images."""
SIZES = (50, 100, 200)
DRAWS, FOLDS, STEPS = 20, 10, 50
LARGEST = 30.0
"""Bound of a logit: separated classes would drive it to infinity."""


class Way(StrEnum):
    NONE = "none"
    INTERCEPT = "intercept"
    BOTH = "intercept and slope"
    REFIT = "refit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalibrated:
    """What recalibration with n labelled cases does for others.

    Attributes:
        cases: number to fit on; `events` of them, on average, have the label.
        ways: way -> how often the closed test chose it, in shares.
        brier, ece: of the other images: as the model is, and recalibrated.
    """

    label: str
    cases: int
    events: float
    ways: Mapping[Way, float]
    brier: tuple[float, float]
    ece: tuple[float, float]


def logistic(x: Floats, y: Floats, weights: Floats, offset: Floats) -> tuple[Floats, float]:
    """Coefficients [P] with the highest likelihood, and its logarithm.

    Args:
        x: [N, P]; y: [N] 0 or 1; weights: [N] of the images; offset: [N] added to the logit.

    Source: Newton's method with halved steps; equals statsmodels' GLM with offset (tested).
    """

    def likelihood(b: Floats) -> float:
        z = np.clip(offset + x @ b, -LARGEST, LARGEST)
        return float((weights * (y * z - np.logaddexp(0, z))).sum())

    found = np.zeros(x.shape[1])
    value = likelihood(found)
    for _ in range(STEPS):
        p = 1 / (1 + np.exp(-np.clip(offset + x @ found, -LARGEST, LARGEST)))
        slope = x.T @ (weights * (y - p))
        bend = (x * (weights * p * (1 - p))[:, None]).T @ x + 1e-9 * np.eye(x.shape[1])
        step = np.linalg.lstsq(bend, slope, rcond=None)[0]
        while (moved := likelihood(found + step)) < value and np.abs(step).max(initial=0) > 1e-10:
            step = step / 2
        if moved <= value + 1e-12:
            break
        found, value = found + step, moved
    return found, value


def closed_test(
    offset: Floats, logits: Floats, y: Floats, weights: Floats, alpha: float = ALPHA
) -> tuple[Way, Floats]:
    """The least change that the largest model does not beat, and its coefficients for `changed`.

    Args:
        offset: log odds of the model's probabilities [N].
        logits: of all outputs [N, K]; where K = 1 there is nothing to refit.
        y: 0 or 1 [N]; weights: of the images [N], which count cases: 1 over those of their patient.
        alpha: how often it may change a label that needs none.
    """
    from scipy.special import chdtrc

    ones = np.ones((len(y), 1))
    nothing = np.zeros(len(y))
    plans = {
        Way.NONE: (ones[:, :0], offset),
        Way.INTERCEPT: (ones, offset),
        Way.BOTH: (np.hstack([ones, offset[:, None]]), nothing),
    }
    # with fewer cases a coefficient, the likelihood ratio rejects far more often than it says, and
    # several images of one patient count as one case
    if logits.shape[1] > 1 and _rarer(y, weights) >= FEWEST * (1 + logits.shape[1]):
        plans[Way.REFIT] = (np.hstack([ones, logits]), nothing)
    fitted = {way: logistic(x, y, weights, o) for way, (x, o) in plans.items()}
    # exclusive classes have one logit more than they need
    free = {way: int(np.linalg.matrix_rank(x)) for way, (x, _) in plans.items() if x.shape[1]}
    free[Way.NONE] = 0
    *smaller, largest = plans
    for way in smaller:
        gain = 2 * (fitted[largest][1] - fitted[way][1])
        if chdtrc(max(1, free[largest] - free[way]), max(gain, 0.0)) >= alpha:
            return way, fitted[way][0]
    return largest, fitted[largest][0]


def _rarer(y: Floats, weights: Floats) -> float:
    """Cases on the side that has fewer; they may be fractions."""
    return float(min(weights @ y, weights @ (1 - y))) + 1e-9


def changed(way: Way, coefficients: Floats, offset: Floats, logits: Floats) -> Floats:
    """Log odds [N] after recalibration."""
    if way is Way.NONE:
        return offset
    if way is Way.INTERCEPT:
        return np.asarray(offset + coefficients[0])
    if way is Way.BOTH:
        return np.asarray(coefficients[0] + coefficients[1] * offset)
    return np.asarray(coefficients[0] + logits @ coefficients[1:])


def recalibrations(predictions: Predictions, *, seed: int = 0) -> list[Recalibrated]:
    """For each label with enough images, a row for each number of cases; the last with all but a
    tenth of the patients, each of whom is judged once."""
    found = [
        (k, one) for k in range(len(predictions.labels.outputs)) if (one := _known(predictions, k))
    ]
    alpha = ALPHA / max(1, len(found))  # Bonferroni, since the page names any label that needs it
    return [
        row
        for k, one in found
        for row in _of_label(predictions, k, one, alpha, np.random.default_rng((seed, k)))
    ]


class _Known(NamedTuple):
    """Rows whose label is known, the label, and patients as numbers and weights [n]."""

    rows: NDArray[np.int64]
    y: Floats
    groups: NDArray[np.int64]
    weights: Floats


def _known(predictions: Predictions, k: int) -> _Known | None:
    """None if too few patients have the label or have not."""
    rows = np.flatnonzero(~np.isnan(predictions.targets[:, k]))
    y = (predictions.targets[rows, k] > 0.5).astype(np.float64)
    groups, _ = group_numbers([predictions.groups[i] for i in rows])
    weights = 1 / np.bincount(groups)[groups]
    enough = _rarer(y, weights) >= FEWEST
    return _Known(rows, y, groups, weights) if enough else None


def _of_label(
    predictions: Predictions, k: int, of: _Known, alpha: float, rng: np.random.Generator
) -> list[Recalibrated]:
    known, y, groups, weights = of
    name, count = predictions.labels.outputs[k], int(groups.max()) + 1
    p = predictions.probabilities[known, k].clip(1e-9, 1 - 1e-9)
    offset = np.log(p / (1 - p))
    logits = predictions.logits[known].astype(np.float64)

    def tried(fit: NDArray[np.bool_], judge: NDArray[np.bool_]) -> tuple[Way, Floats]:
        way, found = closed_test(offset[fit], logits[fit], y[fit], weights[fit], alpha)
        return way, changed(way, found, offset[judge], logits[judge])

    rows = []
    for size in (n for n in SIZES if n <= len(y) / 2):
        ways, events, scores = Counter[Way](), [], []
        for _ in range(DRAWS):
            fit = _drawn(groups, count, size, rng)
            way, after = tried(fit, ~fit)
            ways[way] += 1
            events.append(float(y[fit].sum()))
            scores.append([_scores(z, y[~fit]) for z in (offset[~fit], after)])
        rows.append(_row(name, size, events, ways, np.array(scores)))
    fold = rng.permutation(count)[groups] % FOLDS
    ways, events, whole = Counter[Way](), [], offset.copy()
    for part in range(FOLDS):
        fit = fold != part
        way, whole[~fit] = tried(fit, ~fit)
        ways[way] += 1
        events.append(float(y[fit].sum()))
    judged = np.array([[_scores(z, y) for z in (offset, whole)]])
    rows.append(_row(name, round(len(y) * (1 - 1 / FOLDS)), events, ways, judged))
    return rows


def _row(
    label: str, cases: int, events: Sequence[float], ways: Counter[Way], scores: Floats
) -> Recalibrated:
    (before, after) = np.nanmean(scores, axis=0)
    return Recalibrated(
        label=label,
        cases=cases,
        events=float(np.mean(events)),
        ways={way: ways[way] / ways.total() for way in Way if ways[way]},
        brier=(float(before[0]), float(after[0])),
        ece=(float(before[1]), float(after[1])),
    )


def _drawn(
    groups: NDArray[np.int64], count: int, cases: int, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Images of patients drawn until there are `cases`."""
    order = rng.permutation(count)
    sizes = np.bincount(groups, minlength=count)[order]
    taken = order[: int(np.searchsorted(np.cumsum(sizes), cases)) + 1]
    return np.asarray(np.isin(groups, taken))


ALONE = LabelSpace(kind=Kind.BINARY, names=("no", "yes"))


def _scores(z: Floats, y: Floats) -> tuple[float, float]:
    """Brier score and calibration error of log odds [N]."""
    names = tuple(map(str, range(len(y))))
    judged = Predictions(
        labels=ALONE,
        split="all",
        image_ids=names,
        groups=names,
        targets=y[:, None].astype(np.float32),
        logits=z[:, None].astype(np.float32),
    )
    return score(judged, "brier"), score(judged, "ece")
