"""How much worse answers for corrupted images are than those for the same images as they are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from medcnn.statistics.comparing import drawn_differences, tested
from medcnn.statistics.differences import SURE, Difference, holm
from medcnn.statistics.estimates import Estimate
from medcnn.statistics.evaluation import Score
from medcnn.statistics.intervals import group_numbers, resampling_weights
from medcnn.statistics.metrics.table import Assessed, Sample, metric_for
from medcnn.statistics.predictions import Predictions
from medcnn.statistics.scores import evaluate
from medcnn.statistics.shares import share_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Grade:
    """Images of one kind of corruption in one grade.

    Attributes:
        score: of these images.
        change: from the images as they are.
        flips: share of images whose decision differs from that for the image as it is.
    """

    score: Score
    change: Difference
    flips: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of corruption.

    Attributes:
        change: mean over its grades, with `p_holm` over all kinds.
    """

    name: str
    grades: tuple[Grade, ...]
    change: Difference

    @property
    def lowers(self) -> bool:
        """Whether it makes the score worse by more than chance."""
        c = self.change
        return c.p_holm < SURE and c.difference * c.better < 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Robustness:
    """Attributes:
    clean: the score of the images as they are.
    kinds: in the order given.
    mean: over all grades of all kinds that are corruptions; None if there are none.
    """

    clean: Score
    kinds: tuple[Kind, ...]
    mean: Difference | None


def robustness(
    clean: Predictions,
    spoilt: Mapping[str, Sequence[Predictions]],
    score: str,
    *,
    moves: Sequence[str] = (),
    resamples: int = 1000,
    seed: int = 0,
) -> Robustness:
    """Scores, paired differences and changed decisions.

    Args:
        spoilt: kind -> answers to the same images in each grade, the mildest first.
        score: in `METRICS`, overall.
        moves: kinds that are not corruptions and do not count in the mean.

    The interval of a mean is from the noise of patients in it, so that differences of the same
    images correlate as they do (`comparing`).

    Raises:
        UsageError: no such score, or not for this kind of label.
    """
    every = [p for grades in spoilt.values() for p in grades]
    places = dict(zip(spoilt, _places(spoilt), strict=True))
    damage = [i for kind, at in places.items() if kind not in moves for i in at]
    wanted = [*([i] for i in range(len(every))), *places.values(), *([damage] if damage else [])]
    changes = _changes(clean, every, score, wanted, resamples, seed)
    groups, decided = group_numbers(clean.groups)[0], clean.decisions

    def grade(at: int) -> Grade:
        return Grade(
            score=evaluate(every[at], resamples=resamples, seed=seed, names=(score,)).find(score),
            change=changes[at],
            flips=share_of((every[at].decisions != decided).any(axis=1), groups),
        )

    means = changes[len(every) :][: len(places)]
    adjusted = holm([d.p for d in means])
    return Robustness(
        clean=evaluate(clean, resamples=resamples, seed=seed, names=(score,)).find(score),
        kinds=tuple(
            Kind(name=kind, grades=tuple(map(grade, places[kind])), change=replace(mean, p_holm=p))
            for kind, mean, p in zip(spoilt, means, adjusted, strict=True)
        ),
        mean=changes[-1] if damage else None,
    )


def _places(spoilt: Mapping[str, Sequence[Predictions]]) -> list[list[int]]:
    ends = np.cumsum([len(grades) for grades in spoilt.values()]).tolist()
    return [[*range(a, b)] for a, b in zip([0, *ends], ends, strict=False)]


def _changes(
    clean: Predictions,
    others: Sequence[Predictions],
    score: str,
    wanted: Sequence[Sequence[int]],
    resamples: int,
    seed: int,
) -> list[Difference]:
    """The mean difference of each set of `others`."""
    labels, metric = clean.labels, metric_for(score, clean.labels.kind)
    scope, kernel = metric.scope(labels), metric.kernel(labels)
    own = Assessed(predictions=clean).of(scope)
    rows = [
        pair for p in others for pair in zip(own, Assessed(predictions=p).of(scope), strict=True)
    ]
    groups, count = group_numbers(clean.groups)
    weights = resampling_weights(clean.groups, resamples, seed)
    drawn = drawn_differences(rows, {score: kernel}, weights, count, groups)[score]
    values = np.array([[kernel(Sample.once(r))[0] for r in two] for two in rows])
    found, unused = [], np.full((1, len(own)), math.nan)  # no answers are exchanged
    for places in wanted:
        at = [[i * len(own) + k for i in places] for k in range(len(own))]
        # grades show the same images: their mean has the degrees of freedom of one of them
        noise = [
            (np.mean([drawn[i][0] for i in of], axis=0), min(drawn[i][1] for i in of)) for of in at
        ]
        chosen = [rows[k] for k in range(len(own))], values[at].mean(axis=1), noise
        mean = next(tested(score, metric, *chosen, unused, groups, (), metric.span(labels)))
        found.append(replace(mean, p_permuted=math.nan))
    return found
