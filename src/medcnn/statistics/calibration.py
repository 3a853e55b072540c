"""Logits -> calibrated probabilities, by a map that is fitted on validation.

The logits themselves never change: a calibration is a name and a few numbers, stored in the
checkpoint and in the header of every table of predictions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.data.labels import Floats, Kind, LabelSpace
from medcnn.statistics.intervals import group_numbers
from medcnn.system.errors import listed
from medcnn.system.registry import Table

Numbers = Mapping[str, Any]

MOST_FOLD = 50.0
"""Bounds of slopes and temperatures: perfectly separated classes would drive them to infinity, and
probabilities to 0 and 1."""

FOLDS = 10
"""Folds of patients, for probabilities of validation by maps that have not seen them."""

PRIOR_SD = 0.5
"""Prior of the off-diagonal elements of the Dirichlet map, around 0: without it, K² numbers would
overfit a few hundred images; thousands of images outweigh it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """A fitted map: its name in `CALIBRATIONS`, and numbers for JSON.

    Attributes:
        note: why it is not the requested map, or why nothing could be fitted.
    """

    name: str
    numbers: Numbers
    note: str = ""

    def probabilities(self, labels: LabelSpace, logits: Floats) -> NDArray[np.float64]:
        """[N, K] in [0, 1] from logits [N, K]; rows add up to 1 if classes are exclusive."""
        return CALIBRATIONS[self.name].apply(labels, logits.astype(np.float64), self.numbers)


def fit_calibration(
    name: str, labels: LabelSpace, logits: Floats, targets: Floats
) -> Calibration | None:
    """Fit `name` on the validation split; None if it is `none` or nothing was assessed.

    If validation lacks one of several exclusive classes, a map with separate numbers per class
    would drive its probability to 0, where the log loss of the others is least. Then one
    temperature is fitted instead, with a note.

    Args:
        logits: [N, K].
        targets: [N, K], nan for "not assessed".
    """
    known = ~np.isnan(targets).all(axis=1)
    if name == "none" or not known.any():
        return None
    z, t = logits[known].astype(np.float64), targets[known].astype(np.float64)
    note, occurs = "", np.asarray((t > 0).any(axis=0))
    if labels.exclusive and occurs.sum() < 2:
        note = f"validation has only one class, so {name} left the probabilities unchanged"
    elif labels.exclusive and CALIBRATIONS[name].needs_all and not occurs.all():
        absent = [n for n, there in zip(labels.outputs, occurs, strict=True) if not there]
        note = (
            f"{name} needs images of every class in validation, which has none of "
            f"{listed(absent)}, so one temperature was fitted instead"
        )
    chosen = "temperature" if note else name
    return Calibration(name=chosen, numbers=CALIBRATIONS[chosen].fit(labels, z, t), note=note)


def cross_fitted(
    name: str, labels: LabelSpace, logits: Floats, targets: Floats, groups: Sequence[str]
) -> NDArray[np.float64]:
    """Probabilities [N, K] of each image by a map fitted without its patient.

    A map with several numbers fits its own images better than new ones. Anything that must hold for
    new patients must not be derived from them.

    Args:
        logits: [N, K].
        targets: [N, K], nan for "not assessed".
        groups: patient of each image [N].
    """
    found = labels.probabilities(logits.astype(np.float64))
    fold = _folds(targets, groups)
    for k in range(fold.max(initial=-1) + 1):
        own = fold == k
        fitted = fit_calibration(name, labels, logits[~own], targets[~own])
        if fitted is not None:
            found[own] = fitted.probabilities(labels, logits[own])
    return found


def _folds(targets: Floats, groups: Sequence[str]) -> NDArray[np.int64]:
    """Fold of each image [N], all images of a patient in one. Patients with the same labels are
    spread evenly over folds."""
    numbers, count = group_numbers(groups)
    shown = np.zeros((count, targets.shape[1]))
    np.maximum.at(shown, numbers, np.nan_to_num(targets))
    dealt = np.empty(count, dtype=np.int64)
    dealt[np.lexsort(shown.T)] = np.arange(count) % FOLDS
    return dealt[numbers]


def _scaled(labels: LabelSpace, logits: Floats, numbers: Numbers) -> NDArray[np.float64]:
    scaled = logits * np.asarray(numbers["slope"]) + np.asarray(numbers["intercept"])
    return labels.probabilities(scaled)


def _fit_scaling(
    labels: LabelSpace, logits: Floats, targets: Floats, *, shared: bool, shift: bool
) -> Numbers:
    """Slopes (and intercepts) with the least log loss.

    Args:
        shared: one slope for all outputs, else one per output.
        shift: also fit an intercept per output.
    """
    from scipy.optimize import minimize
    from scipy.special import expit, log_expit, log_softmax, softmax

    k = logits.shape[1]
    assessed = ~np.isnan(targets)
    target = np.nan_to_num(targets)
    if shift and not labels.exclusive:
        target = _cautious(target, assessed)

    def loss(x: Floats) -> tuple[float, Floats]:
        slope, intercept = x[:1] if shared else x[:k], x[-k:] if shift else np.zeros(k)
        z = slope * logits + intercept
        if labels.exclusive:
            value = -(target * log_softmax(z, axis=1)).sum()
            by_z = softmax(z, axis=1) - target
        else:
            value = -((target * log_expit(z) + (1 - target) * log_expit(-z)) * assessed).sum()
            by_z = (expit(z) - target) * assessed
        by_slope = (by_z * logits).sum(axis=0)
        gradient = [by_slope.sum(keepdims=True) if shared else by_slope]
        if shift:
            gradient.append(by_z.sum(axis=0))
        return float(value) / len(z), np.concatenate(gradient) / len(z)

    slopes = 1 if shared else k
    bounds = [(1 / MOST_FOLD, MOST_FOLD)] * slopes + [(None, None)] * (k if shift else 0)
    start = np.concatenate([np.ones(slopes), np.zeros(k if shift else 0)])
    x = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    slope = np.broadcast_to(x[:slopes], (k,)).copy()
    intercept = x[slopes:] if shift else np.zeros(k)
    # labels with only one answer in validation keep their probabilities
    one_sided = _one_sided(labels, targets)
    slope[one_sided], intercept[one_sided] = 1.0, 0.0
    return {"slope": slope.tolist(), "intercept": intercept.tolist()}


def _cautious(target: Floats, assessed: NDArray[np.bool_]) -> Floats:
    """Targets slightly inside 0 and 1, more so if there are few (Platt 1999, 2.2)."""
    positives = (target * assessed).sum(axis=0)
    negatives = assessed.sum(axis=0) - positives
    high, low = (positives + 1) / (positives + 2), 1 / (negatives + 2)
    return np.asarray(low + target * (high - low))


def _one_sided(labels: LabelSpace, targets: Floats) -> NDArray[np.bool_]:
    """Labels with only one answer in validation; for exclusive classes all or none."""
    if labels.exclusive:
        return np.full(targets.shape[1], (targets > 0).any(axis=0).sum() < 2)
    both = (targets < 1).any(axis=0) & (targets > 0).any(axis=0)
    return np.asarray(~both)


def _fit_isotonic(labels: LabelSpace, logits: Floats, targets: Floats) -> Numbers:
    """A piecewise linear, increasing map per output, each class against the rest (Zadrozny and
    Elkan 2002, KDD). It needs some hundred images with the label, and makes ties."""
    from sklearn.isotonic import IsotonicRegression

    knots = []
    for p, t in zip(labels.probabilities(logits).T, targets.T, strict=True):
        known = ~np.isnan(t)
        if not known.any() or t[known].max() == t[known].min():
            knots.append([[0.0, 1.0], [0.0, 1.0]])
            continue
        line = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(p[known], t[known])
        knots.append([line.X_thresholds_.tolist(), line.y_thresholds_.tolist()])
    return {"knots": knots}


def _apply_isotonic(labels: LabelSpace, logits: Floats, numbers: Numbers) -> NDArray[np.float64]:
    raw = labels.probabilities(logits)
    lines = numbers["knots"]
    p = np.stack([np.interp(c, x, y) for c, (x, y) in zip(raw.T, lines, strict=True)], axis=1)
    if not labels.exclusive:
        return p
    total = p.sum(axis=1, keepdims=True)
    return np.where(total > 0, p / np.where(total > 0, total, 1), raw)


def _fit_dirichlet(labels: LabelSpace, logits: Floats, targets: Floats) -> Numbers:
    """A linear map of the log probabilities (Kull et al. 2019, NeurIPS, "Beyond temperature
    scaling"), regularised towards a diagonal one."""
    from scipy.optimize import minimize
    from scipy.special import log_softmax, softmax

    k = logits.shape[1]
    rows = ~np.isnan(targets).any(axis=1)
    x, t = log_softmax(logits[rows], axis=1), targets[rows]
    off = ~np.eye(k, dtype=bool)
    pull = 1 / (2 * PRIOR_SD**2 * len(x))

    def loss(flat: Floats) -> tuple[float, Floats]:
        matrix, intercept = flat[: k * k].reshape(k, k), flat[k * k :]
        z = x @ matrix.T + intercept
        by_z = (softmax(z, axis=1) - t) / len(x)
        penalty = pull * ((matrix[off] ** 2).sum() + (intercept**2).sum())
        by_matrix = by_z.T @ x + 2 * pull * matrix * off
        by_intercept = by_z.sum(axis=0) + 2 * pull * intercept
        value = -(t * log_softmax(z, axis=1)).sum() / len(x) + penalty
        return float(value), np.concatenate([by_matrix.ravel(), by_intercept])

    start = np.concatenate([np.eye(k).ravel(), np.zeros(k)])
    bounds = [(-MOST_FOLD, MOST_FOLD)] * len(start)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    return {"matrix": found[: k * k].reshape(k, k).tolist(), "intercept": found[k * k :].tolist()}


def _apply_dirichlet(labels: LabelSpace, logits: Floats, numbers: Numbers) -> NDArray[np.float64]:
    from scipy.special import log_softmax

    z = log_softmax(logits, axis=1) @ np.asarray(numbers["matrix"]).T
    return labels.probabilities(z + np.asarray(numbers["intercept"]))


@dataclass(frozen=True, slots=True)
class Method:
    """Attributes:
    needs_all: whether every exclusive class must occur in validation.
    """

    fit: Callable[[LabelSpace, Floats, Floats], Numbers]
    apply: Callable[[LabelSpace, Floats, Numbers], NDArray[np.float64]] = _scaled
    kinds: frozenset[Kind] = frozenset(Kind)
    needs_all: bool = False


CALIBRATIONS = Table(
    "calibration",
    {
        # Guo et al. 2017, ICML, "On calibration of modern neural networks"
        "temperature": Method(partial(_fit_scaling, shared=True, shift=False)),
        "temperature_per_class": Method(
            partial(_fit_scaling, shared=False, shift=False), needs_all=True
        ),
        # Platt 1999; for exclusive classes, "vector scaling" of Guo et al. 2017
        "platt": Method(partial(_fit_scaling, shared=False, shift=True), needs_all=True),
        "isotonic": Method(_fit_isotonic, _apply_isotonic),
        "dirichlet": Method(
            _fit_dirichlet,
            _apply_dirichlet,
            frozenset({Kind.MULTICLASS, Kind.ORDINAL}),
            needs_all=True,
        ),
    },
)
