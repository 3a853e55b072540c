"""What decisions are worth: net benefit, number needed to screen, and expected cost.

Source: Vickers and Elkin 2006, Med Decis Making 26(6), decision curves; at a threshold t, a false
alarm counts as much as t / (1 - t) found cases.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.statistics.estimates import Estimate, Interval
from medcnn.statistics.intervals import (
    Floats,
    Ints,
    group_numbers,
    how_many,
    share_and_noise,
    too_few,
)
from medcnn.statistics.predictions import Predictions
from medcnn.statistics.shares import share_of

Bools = NDArray[np.bool_]
Prevalence = float | Mapping[str, float] | None
GRID = tuple(
    round(float(t), 3)
    for t in (*np.arange(0.01, 0.1, 0.01), 0.1, 0.125, 0.15, 0.175, *np.arange(0.2, 0.96, 0.05))
)
"""Thresholds of a decision curve: closer where a missed case weighs much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenefitPoint:
    """Attributes:
    model: net benefit per image.
    over_all: model minus treating everyone; treating no one has 0.
    all: net benefit of treating everyone.
    """

    threshold: float
    model: Estimate
    over_all: Estimate
    all: float

    @property
    def useful(self) -> bool:
        """Whether both intervals rule out that treating everyone, or no one, is as good."""
        return self.model.low > 0 and self.over_all.low > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BenefitCurve:
    label: str
    prevalence: float
    points: tuple[BenefitPoint, ...]

    def to_json(self) -> dict[str, Any]:
        """One list per quantity, since a curve has many points."""
        fields: dict[str, Any] = {"label": self.label, "prevalence": self.prevalence}
        fields |= {name: [getattr(p, name) for p in self.points] for name in ("threshold", "all")}
        for name in ("model", "over_all"):
            found = [getattr(p, name) for p in self.points]
            fields |= {name: [e.value for e in found], f"{name}_low": [e.low for e in found]}
            fields[f"{name}_high"] = [e.high for e in found]
        return fields

    @property
    def useful(self) -> tuple[float, float] | None:
        """The longest run of thresholds at which the model is useful: its ends, or None."""
        best: list[float] = []
        run: list[float] = []
        for point in self.points:
            run = [*run, point.threshold] if point.useful else []
            best = max(best, run, key=len)
        return (best[0], best[-1]) if best else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    """A stored operating point on one label.

    Attributes:
        screened: images to be read for one case to be found.
        examined: images called positive for each of them that is right.
        costs: of a miss and of a false alarm, if an operating point is chosen by them.
        cost: expected cost per image, or None.
        cost_all, cost_none: of treating everyone, and no one.
    """

    point: str
    label: str
    benefit: BenefitPoint
    screened: Estimate
    examined: Estimate
    costs: tuple[float, float] | None = None
    cost: Estimate | None = None
    cost_all: float = math.nan
    cost_none: float = math.nan


@dataclass(frozen=True, kw_only=True)
class _Rows:
    """Assessed images of a label [n], and the prevalence that is meant; None: their own."""

    target: NDArray[np.bool_]
    probability: Floats
    groups: Ints
    given: float | None

    @property
    def prevalence(self) -> float:
        return float(self.target.mean()) if self.given is None else self.given

    def sum(self, hits: Bools, heavy: float, others: Bools, weight: float) -> Estimate:
        """`heavy` times the share of positive images in `hits` plus `weight` times that of negative
        ones in `others`, with its interval by patient.

        The two shares have good intervals of their own, also where one is almost 0; their
        distances are combined with their correlation (Zou and Donner 2008, Stat Med 27(10)).
        """
        target, groups, every = self.target, self.groups, int(self.groups.max()) + 1
        behind = min(how_many(groups[side]) for side in (target, ~target))
        if self.given is None:
            sides, scale = (np.ones_like(target), np.ones_like(target)), (1.0, 1.0)
            masks = (hits & target, others & ~target)
        else:
            sides, scale, masks = (target, ~target), (self.given, 1 - self.given), (hits, others)
        value, below, above, noises = 0.0, [], [], []
        for mask, side, factor in zip(
            masks, sides, (heavy * scale[0], weight * scale[1]), strict=True
        ):
            share, found, noise = share_and_noise(mask, side, groups, every)
            ends = sorted((factor * (share - found.low), factor * (share - found.high)))
            value += factor * share
            below.append(ends[1])
            above.append(-ends[0])
            noises.append(noise * factor)
        lengths = float(np.linalg.norm(noises[0]) * np.linalg.norm(noises[1]))
        alike = float(noises[0] @ noises[1]) / lengths if lengths > 0 else 0.0

        def reach(of: Sequence[float]) -> float:
            return math.sqrt(max(0.0, of[0] ** 2 + of[1] ** 2 + 2 * alike * of[0] * of[1]))

        interval = Interval(low=value - reach(below), high=value + reach(above))
        if few := too_few(behind):
            interval = Interval(reason=few)
        return Estimate.of(value, interval, count=len(target), groups=how_many(groups))

    def benefit(self, threshold: float) -> BenefitPoint:
        at = min(max(threshold, 1e-6), 1 - 1e-6)
        weight = at / (1 - at)
        called = self.probability >= threshold
        share = self.prevalence
        return BenefitPoint(
            threshold=threshold,
            model=self.sum(called, 1.0, called, -weight),
            over_all=self.sum(~called, -1.0, ~called, weight),
            all=share - (1 - share) * weight,
        )

    def screened(self, threshold: float) -> Estimate:
        called = self.probability >= threshold
        if self.given is None:
            return _inverse(share_of(self.target & called, self.groups), "no case is found")
        found = share_of(called[self.target], self.groups[self.target])
        return _inverse(_times(found, self.given), "no case is found")


def curves(predictions: Predictions, prevalence: Prevalence = None) -> Iterator[BenefitCurve]:
    """The decision curve of each label that occurs and is absent; of classes one-vs-rest.

    Args:
        prevalence: in the intended setting, for all labels or by label; None: that of the images.
    """
    for k, label in enumerate(predictions.labels.outputs):
        if (rows := _rows(predictions, k, prevalence)) is not None:
            points = tuple(rows.benefit(t) for t in GRID)
            yield BenefitCurve(label=label, prevalence=rows.prevalence, points=points)


def worths(
    predictions: Predictions, ppv: Mapping[tuple[str, str], Estimate], prevalence: Prevalence = None
) -> Iterator[Worth]:
    """Every stored operating point on every label.

    Args:
        ppv: by point and label.
    """
    stored = [point for point in predictions.readout.points if not point.grades]
    costs = next((c for p in stored if (c := costs_of(p.name))), None)
    for point in stored:
        for k, label in enumerate(predictions.labels.outputs):
            if (rows := _rows(predictions, k, prevalence)) is None:
                continue
            at = point.thresholds[k]
            found = Worth(
                point=point.name,
                label=label,
                benefit=rows.benefit(at),
                screened=rows.screened(at),
                examined=_inverse(ppv[point.name, label], "no image is called so"),
            )
            if costs:
                miss, alarm = costs
                called, share = rows.probability >= at, rows.prevalence
                found = replace(
                    found,
                    costs=costs,
                    cost=rows.sum(~called, miss, called, alarm),
                    cost_all=alarm * (1 - share),
                    cost_none=miss * share,
                )
            yield found


def costs_of(point: str) -> tuple[float, float] | None:
    """Costs of a miss and a false alarm in the name of an operating point by costs."""
    name, *options = point.split()
    if name != "cost":
        return None
    given = dict(option.split("=") for option in options)
    return float(given["miss"]), float(given["false_alarm"])


def _rows(predictions: Predictions, k: int, prevalence: Prevalence) -> _Rows | None:
    column = predictions.targets[:, k]
    known = ~np.isnan(column)
    target = column[known] == 1
    if target.all() or not target.any():
        return None
    label = predictions.labels.outputs[k]
    given = prevalence.get(label) if isinstance(prevalence, Mapping) else prevalence
    return _Rows(
        target=target,
        probability=predictions.probabilities[known, k],
        groups=group_numbers(predictions.groups)[0][known],
        given=given,
    )


def _times(of: Estimate, factor: float) -> Estimate:
    return replace(of, value=of.value * factor, low=of.low * factor, high=of.high * factor)


def _inverse(share: Estimate, none: str) -> Estimate:
    """1 / share; its interval has no upper end if the share's reaches 0."""
    if not share.value > 0:
        return Estimate(count=share.count, groups=share.groups, note=none)
    high = 1 / share.low if share.low > 0 else math.inf
    known = not math.isnan(share.low)
    return replace(
        share,
        value=1 / share.value,
        low=1 / share.high if known else math.nan,
        high=high if known else math.nan,
    )
