"""How well the label can be predicted without the disease: from the way the file was made, the
columns of the table, the border of the image, or a thumbnail.

The same small learner answers for each, on patients that it has not seen. A high score for file,
columns or border means that a network can score well on this set by recognising the source of an
image (DeGrave, Janizek and Lee 2021, Nature Machine Intelligence 3:610; Maguolo and Nanni 2021,
Information Fusion 76:1, did it on borders of COVID-19 radiographs).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.audit.headers import MADE, SIZE
from medcnn.audit.thumbnails import COLOUR_PX, Looks
from medcnn.data.manifest import Manifest
from medcnn.statistics.estimates import Estimate
from medcnn.statistics.intervals import (
    group_numbers,
    percentile_interval,
    resampling_weights,
    unanimous_interval,
)
from medcnn.statistics.metrics import table as metrics

Floats = NDArray[np.float64]

BORDER_PX = 2
"""Of 32 pixels: the outer sixteenth on every side."""
MOST_IMAGES = 2000
"""The learner solves a system of this size; more images would change its answer little."""
FOLDS = 5
REPEATS = 3
"""Assignments of patients to folds, averaged: a single one changes an AUROC by about 0.02."""
RESAMPLES = 500
FEWEST_GROUPS = 8
"""A label that fewer patients have, or lack, is skipped."""
RIDGE = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortcut:
    """How well one source predicts labels.

    Attributes:
        source: file, columns, border or thumbnail.
        auroc: macro mean over the labels considered, one against the rest.
        best: the label that is predicted best, with its own AUROC.
    """

    source: str
    auroc: Estimate
    best: str
    best_auroc: Estimate


def shortcuts_of(manifest: Manifest, looks: Looks, seed: int = 0) -> list[Shortcut]:
    """One answer for each source with any information."""
    usable = [i for i, f in enumerate(looks.facts) if not f.bad]
    rows = np.array(usable, dtype=np.int64)
    if len(rows) > MOST_IMAGES:
        rows = np.sort(np.random.default_rng(seed).permutation(rows)[:MOST_IMAGES])
    groups = [manifest.records[i].own_group for i in rows]
    target = manifest.targets()[rows].astype(np.float64)
    asked = [k for k in range(target.shape[1]) if _asked(target[:, k], groups)]
    if not asked:
        return []
    weights = resampling_weights(groups, RESAMPLES, seed)
    folds = [_folds(groups, target[:, asked], seed + i) for i in range(REPEATS)]
    names = [manifest.labels.outputs[k] for k in asked]
    answers = []
    for source, features in _features(manifest, looks, rows).items():
        if features.shape[1] == 0:
            continue
        scores = np.mean([_out_of_fold(features, target[:, asked], f) for f in folds], axis=0)
        answers.append(_judged(source, names, target[:, asked], scores, weights, groups))
    return answers


def distinguished(features: Floats, second: NDArray[np.bool_], groups: Sequence[str]) -> Estimate:
    """How well a learner distinguishes two sets of images, by AUROC on patients that it has not
    seen; 0.5 if nothing does (a classifier two-sample test, Lopez-Paz and Oquab 2017, ICLR).

    Args:
        features: of the images of both [N, F], not all alike.
        second: which images are of the second set [N].
        groups: patient of each image [N]; no patient is in both sets.
    """
    target = second[:, None].astype(np.float64)
    folds = [_folds(groups, target, i) for i in range(REPEATS)]
    scores = np.mean([_out_of_fold(_varying(features), target, f) for f in folds], axis=0)
    weights = resampling_weights(groups, RESAMPLES, 0)
    return _judged("", [""], target, scores, weights, groups).auroc


def _asked(target: Floats, groups: Sequence[str]) -> bool:
    with_it = {g for g, t in zip(groups, target, strict=True) if t > 0.5}
    without = {g for g, t in zip(groups, target, strict=True) if t <= 0.5}
    return len(with_it) >= FEWEST_GROUPS and len(without - with_it) >= FEWEST_GROUPS


def _features(manifest: Manifest, looks: Looks, rows: NDArray[np.int64]) -> dict[str, Floats]:
    facts = [looks.facts[i].traits for i in rows]
    made: list[dict[str, str]] = []
    for traits in facts:
        kept = {k: v for k, v in traits.items() if k in MADE and k != SIZE}
        width, _, height = traits.get(SIZE, "").partition("x")
        if width.isdigit() and height.isdigit():
            w, h = np.log2([float(width), float(height)])
            kept |= {"area": f"{w + h}", "aspect": f"{w - h}"}
        made.append(kept)
    columns = [dict(manifest.records[i].attributes) for i in rows]
    colour = np.asarray(looks.colour[rows], dtype=np.float64)
    inner = slice(BORDER_PX, COLOUR_PX - BORDER_PX)
    ring = np.ones((COLOUR_PX, COLOUR_PX), dtype=bool)
    ring[inner, inner] = False
    return {
        "file": encoded(made),
        "columns": encoded(columns),
        "border": _varying(colour[:, ring].reshape(len(rows), -1)),
        "thumbnail": _varying(colour.reshape(len(rows), -1)),
    }


def encoded(table: Sequence[dict[str, str]]) -> Floats:
    """[N, F] from a table of texts: numbers with many values stay numbers; other values become one
    column each if five or more rows have them, and so do missing ones."""
    parts: list[Floats] = []
    for name in sorted({n for row in table for n in row}):
        cells = [row.get(name, "") for row in table]
        numbers = np.array([number_of(c) for c in cells])
        known = ~np.isnan(numbers)
        present = sum(c != "" for c in cells)
        if known.sum() >= 0.8 * max(1, present) and len(np.unique(numbers[known])) > 10:
            centre = float(np.median(numbers[known]))
            parts += [np.where(known, numbers, centre), (~known).astype(np.float64)]
        else:
            often = [v for v, n in Counter(cells).items() if n >= 5]
            parts += [np.array([c == v for c in cells], dtype=np.float64) for v in often]
    return _varying(np.stack(parts, axis=1)) if parts else np.zeros((len(table), 0))


def number_of(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return float("nan")


def _varying(features: Floats) -> Floats:
    """Standardised, without constant columns."""
    spread = features.std(axis=0)
    kept = spread > 1e-9
    return np.asarray((features[:, kept] - features[:, kept].mean(axis=0)) / spread[kept])


def _folds(groups: Sequence[str], target: Floats, seed: int) -> NDArray[np.int64]:
    """[N] in 0..4, all images of a group in one; groups with rare labels are assigned first."""
    numbers, count = group_numbers(groups)
    rarity = 1 / np.maximum(1, np.nansum(target, axis=0))
    weight = np.zeros(count)
    np.maximum.at(weight, numbers, (np.nan_to_num(target) * rarity).max(axis=1))
    order = np.lexsort((np.random.default_rng(seed).random(count), -weight))
    fold = np.empty(count, dtype=np.int64)
    fold[order] = np.arange(count) % FOLDS
    return fold[numbers]


def _out_of_fold(features: Floats, target: Floats, fold: NDArray[np.int64]) -> Floats:
    """[N, K] scores, each by a learner that saw no image of the same group.

    Regularised least squares with a Gaussian kernel as wide as the typical distance. Its scores
    rank as well as those of a support vector machine (Rifkin and Klautau 2004, JMLR 5:101) and
    solve a single system of equations. Labels that were not assessed count for neither side.
    """
    narrow = features.astype(np.float32)
    square = (narrow * narrow).sum(axis=1)
    distance = np.maximum(square[:, None] + square[None, :] - 2 * (narrow @ narrow.T), 0)
    typical = float(np.median(distance[:: max(1, len(distance) // 200)])) or 1.0
    kernel = np.exp(-distance / typical).astype(np.float32)
    scores = np.empty_like(target)
    for held_out in range(FOLDS):
        seen, new = fold != held_out, fold == held_out
        mean = np.nanmean(target[seen], axis=0)
        centred = np.nan_to_num(target[seen] - mean)
        system = kernel[np.ix_(seen, seen)] + RIDGE * np.eye(int(seen.sum()), dtype=np.float32)
        scores[new] = kernel[np.ix_(new, seen)] @ np.linalg.solve(system, centred)
    return scores


def _judged(
    source: str,
    names: Sequence[str],
    target: Floats,
    scores: Floats,
    weights: NDArray[Any],
    groups: Sequence[str],
) -> Shortcut:
    every = np.vstack([np.ones((1, len(target))), weights]).astype(np.float64)
    values = []
    for k in range(target.shape[1]):
        known = ~np.isnan(target[:, k])
        rows = metrics.Rows(
            target=target[known, k] > 0.5,
            probability=scores[known, k],
            decision=scores[known, k] > 0,
            at=np.flatnonzero(known),
            size=len(target),
        )
        values.append(metrics.auroc(metrics.Sample(rows=rows, weights=every)))
    per_label = np.stack(values, axis=1)
    best = int(np.nanargmax(per_label[0]))
    macro = np.nanmean(per_label, axis=1)
    return Shortcut(
        source=source,
        auroc=_estimate(macro, groups),
        best=names[best],
        best_auroc=_estimate(per_label[:, best], groups),
    )


def _estimate(values: Floats, groups: Sequence[str]) -> Estimate:
    """From a value and its resamples; if all are perfect, there is no spread."""
    behind = len(set(groups))
    perfect = values[0] > 1 - 1e-9
    interval = (
        unanimous_interval(1.0, behind) if perfect else percentile_interval(values[1:], behind)
    )
    return Estimate.of(float(values[0]), interval, count=len(groups), groups=behind)
