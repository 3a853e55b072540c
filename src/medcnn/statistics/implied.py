"""The shares of labels that a model's answers imply, seen through its confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.statistics.intervals import Floats

MOST_CONDITION = 1e3
"""Of a confusion matrix that can be inverted."""


def tables(outputs: int, exclusive: bool) -> list[list[int]]:
    """Columns that are solved together: exclusive classes all at once, as how often one is called
    by mistake depends on which others there are; otherwise each label on its own."""
    every = list(range(outputs))
    return [every] if exclusive else [[k] for k in every]


def implied_shares(
    truth: tuple[Floats, Floats, NDArray[np.int64]],
    answers: Floats,
    weights: Sequence[NDArray[Any]],
    draw: np.random.Generator | None = None,
) -> Floats:
    """Estimated shares [R, labels] if only they changed; nan where the confusion matrix cannot be
    inverted.

    Args:
        truth: targets and decisions [N, labels] of the images that the confusion matrix is made of,
            nan if unknown, and their patients [N]; one label is taken with its absence.
        answers: decisions [M, labels] whose shares are asked for; nan if unknown.
        weights: how often each image of both counts, [R, N] and [R, M].
        draw: where patients of `truth` are resampled. Each label there gets one patient more, whose
            answer is drawn: a few patients who are all called right look the same in every
            resample, though the next may not be.

    Sources: black box shift estimation, Lipton, Wang and Smola 2018, ICML; for one label Rogan and
    Gladen 1978, Am J Epidemiol 107(1).
    """
    target, said, patients = truth
    if target.shape[1] == 1:
        target, said, answers = (np.hstack([v, 1 - v]) for v in (target, said, answers))
    labels = target.shape[1]
    known = np.isfinite(target).all(axis=1) & np.isfinite(said).all(axis=1)
    pairs = said[known, :, None] * target[known, None, :]
    own = weights[0][:, known].astype(np.float64)
    cells = (own @ pairs.reshape(-1, labels * labels)).reshape(-1, labels, labels)
    if draw is not None:
        images = known.sum() / max(1, len(np.unique(patients[known])))
        answer = draw.integers(labels, size=(len(cells), 1, labels))
        more = np.arange(labels)[:, None] == answer
        cells += images * more * (cells.sum(axis=1, keepdims=True) > 0)
    cells = cells / np.maximum(cells.sum(axis=1, keepdims=True), 1e-12)  # answers, given the truth
    read = np.isfinite(answers).all(axis=1)
    given = weights[1][:, read].astype(np.float64) @ answers[read]
    total = given.sum(axis=1, keepdims=True)
    given = given / np.where(total > 0, total, np.nan)
    found = np.full(given.shape, np.nan)
    usable = np.linalg.cond(cells) < MOST_CONDITION
    if usable.any():
        found[usable] = np.linalg.solve(cells[usable], given[usable][..., None])[..., 0]
    return found
