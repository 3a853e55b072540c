"""Readers' calls image by image: their points beside the model's ROC curve, on the images that they
read, and the table with the model's own calls that `medcnn readers` accepts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medcnn.statistics.curves import OneLabel, one_label
from medcnn.statistics.intervals import group_numbers, resampling_weights, too_few
from medcnn.statistics.predictions import Predictions
from medcnn.statistics.reader_points import Box, ReaderPoint
from medcnn.statistics.shares import TwoByTwo, two_by_two
from medcnn.system.errors import UsageError
from medcnn.system.files import quoted

RESAMPLES = 1000
# Of patients without the finding. With fewer, the threshold of the model follows them: with 15, p
# was 0.05 or less in up to 10 % of studies of equal skill (benchmarks/reader_calls.py).
FEWEST_WITHOUT = 25
HEAD = ("case", "reader", "condition", "truth", "call", "patient")


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """What one reader said about a class: image id -> whether it was called positive."""

    reader: str
    label: str
    calls: Mapping[str, bool]


def point(given: Calls, predictions: Predictions) -> ReaderPoint:
    """The reader as a point, and the model at the reader's specificity on the same images.

    p is the share of resamples of patients in which the model finds no more than the reader. The
    model's threshold is chosen in each resample, since the reader's specificity varies, too. None
    with fewer than FEWEST_WITHOUT patients without the finding.

    Args:
        predictions: have every image that was read, and the class.

    Raises:
        UsageError: the images that the reader read lack one kind, or are of too few patients.
    """
    label, called, groups = _seen(given, predictions)
    if not label.both_classes:
        raise UsageError(
            f"{given.reader}: {'all' if label.target.any() else 'none'} of the images read show "
            f"'{given.label}'; sensitivity and specificity need images of both kinds."
        )
    if few := too_few(len(set(groups))):
        raise UsageError(f"{given.reader}: the comparison would be {few}.")
    once = np.ones((1, len(groups)), np.uint16)
    weights = np.concatenate([once, resampling_weights(groups, RESAMPLES, seed=0)])
    model, reader = _found(label, called, weights)
    without = {group for group, ill in zip(groups, label.target, strict=True) if not ill}
    # the images as they are count as one of the resamples, so that p is never 0
    p = float((model <= reader)[1:].sum() + 1) / (RESAMPLES + 1)
    return ReaderPoint(
        label=given.label,
        who=given.reader,
        sensitivity=float(called[label.target].mean()),
        specificity=float((~called[~label.target]).mean()),
        positives=int(label.target.sum()),
        negatives=int((~label.target).sum()),
        images=f"{len(label.target):,} images of {predictions.split}",
        same_images=True,
        paired=(int(model[0]), p if len(without) >= FEWEST_WITHOUT else None),
        intervals=_intervals(two_by_two(label.target, called, group_numbers(groups)[0])),
    )


def _intervals(counts: TwoByTwo) -> Box | None:
    shares = counts["sensitivity"], counts["specificity"]
    sens, spec = ((share.low, share.high) for share in shares)
    return None if any(np.isnan(share.low) for share in shares) else (sens, spec)


def _seen(
    given: Calls, predictions: Predictions
) -> tuple[OneLabel, NDArray[np.bool_], tuple[str, ...]]:
    """The model on the images that a reader read and whose label is known, the calls and the
    patients. [n]"""
    at = {image: row for row, image in enumerate(predictions.image_ids)}
    k = predictions.labels.outputs.index(given.label)
    rows = np.array([at[image] for image in given.calls])
    known = ~np.isnan(predictions.targets[rows, k])
    read = predictions.only(rows[known])
    return one_label(read, k), np.array([*given.calls.values()])[known], read.groups


def _found(
    label: OneLabel, called: NDArray[np.bool_], weights: NDArray[np.uint16]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many images with the finding the model finds with as few false alarms as the reader, and
    how many the reader finds, in each resample. [R]

    Args:
        weights: how often each image is in each resample. [R, n]
    """
    order = np.argsort(-label.probability, kind="stable")
    ill = label.target[order]
    ends = np.flatnonzero(np.append(np.diff(label.probability[order]) != 0, True))
    found = []
    for part in np.array_split(weights[:, order].astype(np.int64), RESAMPLES // 50):
        alarms = (part * (~ill & called[order])).sum(axis=1)
        true, false = (np.cumsum(part * side, axis=1)[:, ends] for side in (ill, ~ill))
        # the lowest threshold that is allowed; 0 for none
        at = (false <= alarms[:, None]).sum(axis=1)
        found.append(np.take_along_axis(np.pad(true, ((0, 0), (1, 0))), at[:, None], axis=1)[:, 0])
    return np.concatenate(found), weights[:, label.target & called].sum(axis=1, dtype=np.int64)


def study_rows(readers: Sequence[Calls], predictions: Predictions) -> Iterator[list[str]]:
    """The table of `medcnn readers` for one class, with `HEAD`: the calls of the readers and of the
    model, at its own threshold, on the images that every reader read and whose label is known."""
    k = predictions.labels.outputs.index(readers[0].label)
    decisions, target = predictions.decisions[:, k], predictions.targets[:, k]
    for row, image in enumerate(predictions.image_ids):
        if np.isnan(target[row]) or any(image not in one.calls for one in readers):
            continue
        said = [(one.reader, "readers", one.calls[image]) for one in readers]
        for reader, condition, call in [*said, ("model", "model", decisions[row])]:
            cells = [f"{int(target[row] == 1)}", f"{int(call)}"]
            patient = quoted(predictions.groups[row])
            yield [quoted(image), reader, condition, *cells, patient]
