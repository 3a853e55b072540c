"""The assessed rows of a score, and how often each is in each resample.

Rows are not copied for resampling: weights [R, N] say how often each prediction counts, and sums
that several scores share are computed once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.statistics.predictions import Predictions

Floats = NDArray[np.float64]


Bools = NDArray[np.bool_]


Ints = NDArray[np.int64]


NUM_BINS = 15
"""Bins of the calibration error and the reliability diagram."""


BLOCK_CELLS = 2_000_000
"""Weights are converted to floats in blocks of at most this many cells: 8 MB."""


class Scope(StrEnum):
    """What one value of a score covers."""

    LABEL = "label"
    TABLE = "table"
    CUT = "cut"


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Only assessed rows: arrays [n] for one label against the rest, [n, K] for a whole table.

    `at` [n] is the index of each row's prediction, of `size` N; several may share an image.
    """

    target: Bools
    probability: Floats
    decision: Bools
    at: Ints
    size: int

    def only(self, keep: Bools) -> Rows:
        """The rows of the predictions in `keep` [N]."""
        own = keep[self.at]
        found = {n: getattr(self, n)[own] for n in ("target", "probability", "decision", "at")}
        return Rows(**found, size=self.size)

    def placed(self, values: NDArray[Any]) -> Floats:
        """Sum over the rows of each prediction of values [n] or [n, M]. [N] or [N, M]"""
        found = np.zeros((self.size, *values.shape[1:]))
        # column by column: counting is many times faster than adding at each index
        for column in np.ndindex(*values.shape[1:]):
            at = (slice(None), *column)
            found[at] = np.bincount(self.at, weights=values[at], minlength=self.size)
        return found

    @cached_property
    def images(self) -> Bools:
        """Which of the predictions have a row. [N]"""
        return np.bincount(self.at, minlength=self.size) > 0

    @cached_property
    def ranks(self) -> Ranks:
        return Ranks.of(self)

    @cached_property
    def cells(self) -> Floats:
        """Found, missed, false alarms and cleared. [N, 4]"""
        t, d = self.target, self.decision
        return self.placed(np.stack([t & d, t & ~d, ~t & d, ~(t | d)], axis=1))

    @cached_property
    def positives(self) -> Floats:
        return self.placed(self.target)

    @cached_property
    def sides(self) -> tuple[Floats, Floats]:
        """For a table: true and predicted class, each [N, K]."""
        return self.placed(self.target), self.placed(self.decision)

    @cached_property
    def equal_width(self) -> Floats:
        return self._binned(probability_bin(self.probability))

    @cached_property
    def equal_mass(self) -> Floats:
        """Bins of as equal size as ties allow. Source: Nguyen and O'Connor 2015, EMNLP."""
        inner = np.linspace(0, 1, NUM_BINS + 1)[1:-1]
        edges = np.quantile(self.probability, inner, method="lower") if len(self.at) else inner
        return self._binned(np.searchsorted(np.unique(edges), self.probability, "right"))

    def _binned(self, bin_of_row: NDArray[Any]) -> Floats:
        """Rows, probability and positives in each bin. [N, 3 * NUM_BINS]"""
        cell, size = self.at * NUM_BINS + bin_of_row, self.size * NUM_BINS
        sums = (
            np.bincount(cell, weights=value, minlength=size).reshape(self.size, NUM_BINS)
            for value in (np.ones(len(self.at)), self.probability, self.target)
        )
        return np.concatenate(list(sums), axis=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranks:
    """Which predictions are at each of the L distinct probabilities of positive rows, descending.
    Multiplied by weights [N, R], each gives sums [L, R].

    A sparse product adds the weights of each row once; running sums over all sorted rows would also
    compute sums between thresholds.

    Attributes:
        gained: positives of exactly this probability. [L, N]
        above: negatives above it that are not above the one before. [L, N]
        tied: negatives of exactly this probability. [L, N]
    """

    gained: Any
    above: Any
    tied: Any

    @classmethod
    def of(cls, rows: Rows) -> Ranks:
        from scipy.sparse import csr_array  # slow to import, and a report does not need it

        falling = -rows.probability
        levels = np.unique(falling[rows.target])

        def placed(chosen: Ints, level: Ints) -> Any:
            shape = (len(levels), rows.size)
            ones = np.ones(len(chosen), dtype=np.float32)
            return csr_array((ones, (level, rows.at[chosen])), shape=shape)

        positive, negative = np.flatnonzero(rows.target), np.flatnonzero(~rows.target)
        # the first level at or below a negative, and the first below it
        reached = np.searchsorted(levels, falling[negative], "left")
        below = np.searchsorted(levels, falling[negative], "right")
        some, tied = below < len(levels), below > reached
        return cls(
            gained=placed(positive, np.searchsorted(levels, falling[positive])),
            above=placed(negative[some], below[some]),
            tied=placed(negative[tied], reached[tied]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Weights at the L descending thresholds of `Ranks`, each [R, L], and their totals [R, 1]."""

    gained: Floats
    """Positives of exactly this probability."""
    true: Floats
    """Positives called at this threshold."""
    above: Floats
    """Negatives of a higher probability."""
    false: Floats
    """Negatives called at this threshold."""
    positives: Floats
    negatives: Floats


@dataclass(frozen=True, kw_only=True)
class Bins:
    """Total weight [R, 1], and for each of B bins [R, B] its rows, their summed probability and
    their positives."""

    total: Floats
    count: Floats
    probability: Floats
    positive: Floats


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Rows, how often each of the N predictions is in each resample [R, N], and sums that several
    scores share."""

    rows: Rows
    weights: NDArray[Any]

    @classmethod
    def once(cls, rows: Rows) -> Sample:
        return cls(rows=rows, weights=np.ones((1, rows.size)))

    def sums(self, placed: NDArray[Any]) -> Floats:
        """Weighted sums of the result of `Rows.placed`: [R] or [R, M]."""
        placed = placed.astype(self.weights.dtype, copy=False)
        return np.asarray(self.weights @ placed, dtype=np.float64)

    def mean(self, values: NDArray[Any]) -> Floats:
        """Mean of values [n] of the rows. [R]"""
        return ratio(self.sums(self.rows.placed(values)), self.total)

    @cached_property
    def total(self) -> Floats:
        return self.sums(np.bincount(self.rows.at, minlength=self.rows.size))

    @cached_property
    def cells(self) -> tuple[Floats, Floats, Floats, Floats]:
        """Found, missed, false alarms, cleared: the 2 x 2 table, each [R]."""
        found, missed, alarms, cleared = self.sums(self.rows.cells).T
        return found, missed, alarms, cleared

    @cached_property
    def curve(self) -> Curve:
        ranks, each = self.rows.ranks, self.weights.T
        gained = ranks.gained @ each
        above = np.cumsum(ranks.above @ each, axis=0).T
        # in the precision of the weights: wider totals would widen every other array
        totals = (self.sums(self.rows.positives), self.total)
        positives, rows = (t.astype(self.weights.dtype)[:, None] for t in totals)
        return Curve(
            gained=gained.T,
            true=np.cumsum(gained, axis=0).T,
            above=above,
            false=above + (ranks.tied @ each).T if ranks.tied.nnz else above,
            positives=positives,
            negatives=rows - positives,
        )

    def binned(self, placed: Floats) -> Bins:
        count, probability, positive = np.split(self.sums(placed), 3, axis=1)
        total = self.total[:, None]
        return Bins(total=total, count=count, probability=probability, positive=positive)

    @cached_property
    def equal_width(self) -> Bins:
        return self.binned(self.rows.equal_width)


@dataclass(frozen=True, kw_only=True)
class Assessed:
    """The assessed rows, in each of the forms that scores use."""

    predictions: Predictions

    def __post_init__(self) -> None:
        target = self.predictions.targets
        assert np.isin(target[~np.isnan(target)], (0, 1)).all(), "evaluation accepts 0, 1 or nan"
        finite = np.isfinite(self.predictions.logits).all()
        assert finite, "a nan would be ranked as if it were a number"

    def of(self, scope: Scope) -> list[Rows]:
        if scope is Scope.LABEL:
            return self.labels
        return self.table if scope is Scope.TABLE else self.cuts

    @cached_property
    def _all(self) -> tuple[Bools, Floats, Bools, Bools]:
        p, target = self.predictions, self.predictions.targets
        return target == 1, p.probabilities, p.decisions, ~np.isnan(target)

    @cached_property
    def labels(self) -> list[Rows]:
        target, probability, decision, known = self._all
        return [
            Rows(
                target=target[at, k],
                probability=probability[at, k],
                decision=decision[at, k],
                at=at,
                size=len(target),
            )
            for k, at in enumerate(map(np.flatnonzero, known.T))
        ]

    @cached_property
    def table(self) -> list[Rows]:
        target, probability, decision, known = self._all
        at = np.flatnonzero(known.all(axis=1))
        return [
            Rows(
                target=target[at],
                probability=probability[at],
                decision=decision[at],
                at=at,
                size=len(target),
            )
        ]

    @cached_property
    def cuts(self) -> list[Rows]:
        """For each grade except the lowest: this grade or above, against the lower ones."""
        (rows,) = self.table

        def reached(cells: NDArray[Any]) -> NDArray[Any]:
            return np.flip(np.flip(cells, axis=1).cumsum(axis=1), axis=1)

        target, decision = reached(rows.target) > 0, reached(rows.decision) > 0
        probability = reached(rows.probability)
        return [
            Rows(
                target=target[:, k],
                probability=probability[:, k],
                decision=decision[:, k],
                at=rows.at,
                size=rows.size,
            )
            for k in range(1, target.shape[1])
        ]

    @cached_property
    def pooled(self) -> Rows:
        """All labels in one column, for micro averages."""
        parts = self.labels
        return Rows(
            **{
                name: np.concatenate([getattr(rows, name) for rows in parts])
                for name in ("target", "probability", "decision", "at")
            },
            size=len(self.predictions.targets),
        )


def samples(rows: Rows, weights: NDArray[Any]) -> Iterator[Sample]:
    """The rows with weights [R, N] of all predictions, in blocks of resamples.

    Blocks are float32: counts up to 2^24 are exact, and sums of other values are only used for
    spread.
    """
    step = max(1, BLOCK_CELLS // max(1, rows.size))
    for i in range(0, len(weights), step):
        yield Sample(rows=rows, weights=weights[i : i + step].astype(np.float32, order="F"))


def probability_bin(probability: Floats) -> Ints:
    """Bin 0 to 14 of each probability; a bin includes its lower edge, the last one also 1."""
    return np.minimum((probability * NUM_BINS).astype(np.int64), NUM_BINS - 1)


def ratio(part: NDArray[Any], whole: NDArray[Any]) -> Floats:
    """part / whole, nan if the whole is 0."""
    result: Floats = np.full(np.broadcast_shapes(part.shape, whole.shape), np.nan)
    np.divide(part, whole, out=result, where=whole > 0)
    return result
