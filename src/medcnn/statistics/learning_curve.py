"""How a score grows with the number of patients trained on, and how many a score needs.

The error of a model trained on n patients, 1 - score, is taken to be p + b n^-c: a plateau p that
no number of labels removes, and a power law above it. The truth that is estimated is the mean score
of such models in new patients, so two kinds of chance count: which patients were trained on, and
which were tested.

Source: power laws with a plateau, Hestness et al. 2017, arXiv 1712.00409; intervals by profile
likelihood, Venzon and Moolgavkar 1988, Applied Statistics 37(1).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import numpy as np

from medcnn.statistics.intervals import Floats, group_numbers, resampling_weights, students
from medcnn.statistics.metrics.table import score, values
from medcnn.statistics.predictions import Predictions
from medcnn.system.errors import DataError

FEWEST_SIZES, FEWEST_SEEDS = 5, 3
FARTHEST = 4
"""How many times the largest size the curve is followed."""
LEAST_DEFINED = 0.1
"""Share of resamples in which a score must be defined."""
STEEPEST = 2.0
POWERS = np.geomspace(0.02, STEEPEST, 32)
ZOOMS = 4
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
FLOOR = 1e-6
POOR = 0.01
RESAMPLES = 1000


class Reach(StrEnum):
    """What can be said about a score that somebody asks for."""

    FOUND = "found"
    BELOW = "below the smallest size"
    BEYOND = "beyond what is extrapolated"
    NEVER = "not reached"


@dataclass(frozen=True, slots=True, kw_only=True)
class Needed:
    """Patients to train on for a mean score of `target`.

    Attributes:
        patients: nan if `reach` is not FOUND.
        low, high: 95 % interval; 0 if it goes below the smallest size, infinite if it goes beyond
            FARTHEST times the largest; nan if no number in between is compatible.
    """

    target: float
    reach: Reach
    patients: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class LearningCurve:
    """Fitted to the scores of runs.

    Attributes:
        sizes: patients trained on, increasing [M].
        patients: number available to train on.
        scores: of each run on the test split, at most 1 [M, S]; a column is one order of the
            patients, each size holding the smaller ones.
        test: [M, M] covariance of the mean scores over test splits of other patients.
    """

    sizes: Floats
    patients: float
    scores: Floats
    test: Floats

    @property
    def seeds(self) -> int:
        return len(self.scores[0])

    @property
    def largest(self) -> float:
        return float(self.sizes[-1])

    @property
    def farthest(self) -> float:
        return FARTHEST * self.largest

    @cached_property
    def errors(self) -> Floats:
        return np.asarray(1 - self.scores.mean(axis=1))

    @cached_property
    def alone(self) -> Floats:
        """How many different runs there are of each size [M]: where all patients are taken, a
        probe of each seed is the same one."""
        same = np.ptp(self.scores, axis=1) == 0
        return np.where(same & (self.sizes == self.patients), 1.0, float(self.seeds))

    @cached_property
    def noise(self) -> tuple[float, float, float]:
        """v, k and q: one run over n other patients has the variance v n^-k, of which the share q
        is a mean of n terms of these patients, and the rest is chance of the run.

        By maximum likelihood from the differences between seeds. Two of them, with n of N patients
        each, share n / N of the first part, and nested sizes share it too.
        """
        there = self.alone > 1
        n, freedom = self.sizes[there], self.seeds - 1
        apart = self.scores[there] - self.scores[there].mean(axis=1, keepdims=True)
        within, between = self._shared(n)

        def fitted(k: float, q: float) -> tuple[float, float]:
            each = n ** (-k / 2)
            mixed = q * (within - between) + (1 - q + FLOOR) * np.eye(len(n))
            shape = np.outer(each, each) * mixed
            v = float((apart * np.linalg.solve(shape, apart)).sum()) / (freedom * len(n))
            v = max(v, FLOOR**2)
            return len(n) * math.log(v) + float(np.linalg.slogdet(shape)[1]), v

        tried = [(k, q) for k in np.linspace(0, 2, 21).tolist() for q in SHARES]
        k, q = min(tried, key=lambda of: fitted(*of)[0])
        return fitted(k, q)[1], k, q

    def _shared(self, n: Floats) -> tuple[Floats, Floats]:
        """Correlation [M, M] of means over nested patients, and over those of another order."""
        nested = np.sqrt(np.minimum.outer(n, n) / np.maximum.outer(n, n))
        return nested, np.sqrt(np.outer(n, n)) / self.patients

    def run_variance(self, n: Floats | float) -> Floats:
        """Of the score of one model trained on `n` other patients."""
        v, k, _ = self.noise
        return np.asarray(v * np.asarray(n, dtype=np.float64) ** -k)

    @cached_property
    def covariance(self) -> Floats:
        """Of the mean errors by size [M, M], over other patients to test and to train on."""
        q, error = self.noise[2], np.sqrt(self.run_variance(self.sizes))
        within, between = self._shared(self.sizes)
        shared = within / self.seeds + (1 - 1 / self.seeds) * between
        mixed = q * shared + (1 - q) * np.diag(1 / self.alone)
        found = self.test + np.outer(error, error) * mixed
        return np.asarray(found + np.eye(len(found)) * (1e-9 * np.trace(found) + 1e-16))

    @cached_property
    def precision(self) -> Floats:
        return np.asarray(np.linalg.inv(self.covariance), dtype=np.float64)

    def _given(self, n0: Floats, error: Floats, power: Floats) -> tuple[Floats, Floats]:
        """Misfit and plateau [G, A] of the best curve with each power [G, A] that has `error` [A]
        at `n0` [A]."""
        share = np.exp(-power[..., None] * np.log(self.sizes / n0[:, None]))
        rest, slope = self.errors - error[:, None] * share, 1 - share
        weighted = slope @ self.precision
        plateau = (weighted * rest).sum(-1) / np.maximum((weighted * slope).sum(-1), 1e-300)
        plateau = np.clip(plateau, 0, np.maximum(error, 0))
        left = rest - plateau[..., None] * slope
        return ((left @ self.precision) * left).sum(-1), plateau

    def _best(self, n0: Floats, error: Floats) -> tuple[Floats, Floats, Floats]:
        """Misfit, plateau and power [A] of the best curve through each point."""
        tried = np.repeat(POWERS[:, None], len(n0), axis=1)
        pick = np.arange(len(n0))
        for _ in range(ZOOMS):
            misfit, plateau = self._given(n0, error, tried)
            at, last = misfit.argmin(axis=0), len(tried) - 1
            found = misfit[at, pick], plateau[at, pick], tried[at, pick]
            low, high = tried[np.maximum(at - 1, 0), pick], tried[np.minimum(at + 1, last), pick]
            tried = np.linspace(low, high, 11)
        return found

    @cached_property
    def _found(self) -> tuple[float, float, float, float]:
        """Error at the largest size, plateau, power, misfit."""
        from scipy.optimize import minimize_scalar

        whole = np.array([self.largest])
        reach = 8 * math.sqrt(float(self.covariance[-1, -1])) + float(np.ptp(self.errors)) + 1e-6
        near = float(self.errors[-1])

        def misfit(error: float) -> float:
            return float(self._best(whole, np.array([error]))[0][0])

        ends = (max(0.0, near - reach), near + reach)
        error = float(
            minimize_scalar(misfit, bounds=ends, method="bounded", options={"xatol": 1e-9}).x
        )
        least, plateau, power = (float(v[0]) for v in self._best(whole, np.array([error])))
        return error, plateau, power, least

    @property
    def plateau(self) -> float:
        """The score that no number of patients exceeds, by the best curve."""
        return 1 - self._found[1]

    @property
    def power(self) -> float:
        return self._found[2]

    @property
    def freedom(self) -> float:
        return max(1.0, (len(self.sizes) - 1) * (self.seeds - 1) - 1)

    @property
    def misfit(self) -> float:
        """How much farther the points lie from the curve than chance explains; 1 as expected."""
        return self._found[3] / (len(self.sizes) - 3)

    @property
    def poor(self) -> bool:
        """Whether that is more than chance explains in one of a hundred curves."""
        from scipy.special import chdtrc

        return bool(chdtrc(len(self.sizes) - 3, self._found[3]) < POOR)

    @property
    def _allowed(self) -> float:
        """Misfit of curves within the interval."""
        widened = self.misfit if self.poor else 1.0
        return self._found[3] + students(self.freedom) ** 2 * widened

    def at(self, n: Floats | float) -> Floats:
        """Mean score of models trained on `n` patients, by the best curve."""
        error, plateau, power, _ = self._found
        n = np.asarray(n, dtype=np.float64)
        return np.asarray(1 - plateau - (error - plateau) * (n / self.largest) ** -power)

    def interval(self, n: Floats) -> tuple[Floats, Floats]:
        """95 % interval of the mean score at each of `n` [A]."""
        best = 1 - self.at(n)
        ends = []
        for far in (np.maximum(best, 0) + 1.0, np.zeros(len(n))):
            within, beyond = best.copy(), far
            for _ in range(25):
                middle = (within + beyond) / 2
                fits = self._best(n, middle)[0] <= self._allowed
                within, beyond = np.where(fits, middle, within), np.where(fits, beyond, middle)
            ends.append(1 - within)
        return ends[0], ends[1]

    def band(self, n: Floats) -> tuple[Floats, Floats]:
        """95 % prediction band at each of `n` [A]: where the score of one more model, trained on
        so many other patients, lies in new patients."""
        best, (low, high) = self.at(n), self.interval(n)
        own = students(self.freedom) ** 2 * self.run_variance(n)
        return best - np.sqrt((best - low) ** 2 + own), np.minimum(
            1.0, best + np.sqrt((high - best) ** 2 + own)
        )

    def needed(self, target: float) -> Needed:
        """Patients for a mean score of `target`, below 1."""
        smallest, (error, plateau, power, _) = float(self.sizes[0]), self._found
        above, left = error - plateau, 1 - target - plateau
        patients = math.nan
        if left <= 0 or above <= 0:
            reach = Reach.NEVER if left < 0 or target > float(self.at(smallest)) else Reach.BELOW
        else:
            patients = self.largest * (above / left) ** (1 / power)
            found = Reach.FOUND if patients <= self.farthest else Reach.BEYOND
            reach = Reach.BELOW if patients < smallest else found
        tried = np.geomspace(smallest, self.farthest, 400)
        if reach is Reach.FOUND:  # an interval may be narrower than the grid
            tried = np.sort(np.append(tried, patients))
        fits = self._best(tried, np.full(len(tried), 1 - target))[0] <= self._allowed
        low = high = math.nan
        if fits.any():
            low = 0.0 if fits[0] else float(tried[fits][0])
            high = math.inf if fits[-1] else float(tried[fits][-1])
        known = patients if reach is Reach.FOUND else math.nan
        return Needed(target=target, reach=reach, patients=known, low=low, high=high)


def learning_curve(
    sizes: Sequence[int],
    runs: Sequence[Sequence[Predictions]],
    name: str,
    *,
    patients: int,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> LearningCurve:
    """The curve of a score over runs that were tested on the same images.

    Args:
        sizes: patients trained on, increasing [M].
        runs: [M, S] predictions of the test split.
        name: of the score in `METRICS`; of several labels, the mean over those where it is defined.
        patients: that there are to train on.
        resamples: of test patients.

    Raises:
        DataError: as `resampled`.
    """
    scores = np.array([[score(p, name) for p in of] for of in runs])
    drawn = resampled(runs, name, resamples=resamples, seed=seed)
    _, count = group_numbers(runs[0][0].groups)
    test = np.cov(drawn) * count / max(1, count - 1)
    return LearningCurve(
        sizes=np.asarray(sizes, dtype=np.float64), patients=patients, scores=scores, test=test
    )


def resampled(
    runs: Sequence[Sequence[Predictions]], name: str, *, resamples: int = RESAMPLES, seed: int = 0
) -> Floats:
    """Mean score of each size in resamples of the test patients, [M, R] without undefined ones.

    Raises:
        DataError: the score is undefined in many of them, so its spread is not known.
    """
    weights = resampling_weights(runs[0][0].groups, resamples, seed)
    drawn = np.array(
        [np.mean([_mean(values(p, name, weights)) for p in of], axis=0) for of in runs]
    )
    defined = ~np.isnan(drawn).any(axis=0)
    if defined.mean() < LEAST_DEFINED:
        raise DataError(
            f"{name} is defined in only {defined.mean():.0%} of resamples of the test split, too "
            "few to tell how far chance moves it: a label has too few cases there. Give the test "
            "split more patients, or leave out the rarest labels."
        )
    return np.asarray(drawn[:, defined])


def _mean(found: Floats) -> Floats:
    """[R] from [R, labels]: of the labels that are defined in all images together; nan where a
    resample lacks one of these."""
    defined = ~np.isnan(found).all(axis=0)
    if not defined.any():
        return np.full(len(found), np.nan)
    return np.asarray(found[:, defined].mean(axis=1))
