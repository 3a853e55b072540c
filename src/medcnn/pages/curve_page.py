"""`learning_curve.html`: what more labels would be worth."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from medcnn.data.manifest import NO_PATIENT
from medcnn.pages import svg
from medcnn.pages.facts import Statement, say
from medcnn.pages.format import count, counted, number
from medcnn.pages.page import rendered
from medcnn.pages.svg import Axis, Chart
from medcnn.statistics.intervals import Floats
from medcnn.statistics.learning_curve import FARTHEST, LearningCurve, Needed, Reach
from medcnn.statistics.metrics.table import METRICS

SHOWN = 48
"""Points of a drawn line."""
NEXT = 2
"""How many scores are asked for if none is given: the next hundredths above the best so far."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One way to make a model, at every size.

    Attributes:
        asked: scores to reach; if empty, a little more than now.
    """

    name: str
    curve: LearningCurve
    asked: tuple[float, ...] = ()

    @cached_property
    def needed(self) -> tuple[Needed, ...]:
        best = max(float(self.curve.at(self.curve.largest)), float(self.curve.scores[-1].mean()))
        now = math.floor(best * 100) + 1
        following = tuple(t / 100 for t in range(now, min(now + NEXT, 100)))
        return tuple(self.curve.needed(t) for t in self.asked or following)


@dataclass(frozen=True, kw_only=True)
class Curves:
    """A finished learning curve.

    Attributes:
        images: patients trained on -> their images, for the first seed.
        tested: images of the test split that every model judged, of `tested_groups`.
        same: what trainings of all sizes have in common: steps or epochs.
    """

    arms: tuple[Arm, ...]
    score: str
    backbone: str
    source: str
    group_noun: str
    images: Mapping[int, int]
    tested: int
    tested_groups: int
    same: str

    @property
    def title(self) -> str:
        return METRICS[self.score].title

    @property
    def grouped(self) -> bool:
        return self.group_noun != "image"

    @property
    def trained(self) -> bool:
        return any(arm.name != "probe" for arm in self.arms)

    def of(self, patients: float) -> str:
        """`1,080 patients`, to three digits, as an estimate has no more."""
        return counted(round(float(f"{patients:.3g}")), self.group_noun)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A score that an arm should reach."""

    found: Curves
    arm: Arm
    needed: Needed

    @property
    def start(self) -> str:
        return f"{_named(self.found, self.arm)}{self.found.title} {self.needed.target:g}"

    @property
    def end(self) -> str:
        return self.found.of(self.arm.curve.farthest)


def _named(found: Curves, arm: Arm) -> str:
    return f"{arm.name}: " if len(found.arms) > 1 else ""


def _interval(a: Asked) -> str:
    low, high = a.needed.low, a.needed.high
    smallest = f"fewer than {a.found.of(float(a.arm.curve.sizes[0]))}"
    start = smallest if low == 0 else a.found.of(low)
    return f"{start} to {f'more than {a.end}' if math.isinf(high) else a.found.of(high)}"


def _open(a: Asked) -> str:
    """What the interval adds if the best curve does not reach the score."""
    if math.isnan(a.needed.low):
        return f" No other curve that fits the runs reaches it either, up to {a.end}."
    start = a.needed.low or float(a.arm.curve.sizes[0])
    return f" Other curves that fit the runs reach it from {a.found.of(start)} on."


NEEDED: dict[str, Statement[Asked]] = {
    "found": Statement(
        lambda a: (
            f"{a.start} needs about {a.found.of(a.needed.patients)} to train on (95 % interval "
            f"{_interval(a)})."
        ),
        lambda a: a.needed.reach is Reach.FOUND,
    ),
    "below": Statement(
        lambda a: (
            f"{a.start} is reached with fewer than the smallest size, "
            f"{a.found.of(float(a.arm.curve.sizes[0]))}."
        ),
        lambda a: a.needed.reach is Reach.BELOW,
    ),
    "beyond": Statement(
        lambda a: (
            f"{a.start} needs more than {a.end}, {FARTHEST} times the largest size that was run; "
            f"the curve is not followed any farther.{_open(a)}"
        ),
        lambda a: a.needed.reach is Reach.BEYOND,
    ),
    "never": Statement(
        lambda a: (
            f"{a.start} is not reached by the best curve with any number of labels: it levels off "
            f"at {number(a.arm.curve.plateau)}.{_open(a)}"
        ),
        lambda a: a.needed.reach is Reach.NEVER,
    ),
}


def _value(found: Curves, arm: Arm) -> str:
    curve = arm.curve
    low, high = (float(v[0]) for v in curve.interval(np.array([curve.largest])))
    first, last = (float(curve.scores[at].mean()) for at in (0, -1))
    start, end = (found.of(float(curve.sizes[at])) for at in (0, -1))
    return (
        f"{_named(found, arm)}{found.title} is {number(last)} with {end} to train on and "
        f"{number(first)} with {start} (means of {curve.seeds} runs; with {end}, the 95 % interval "
        f"of the curve for new {found.group_noun}s is {number(low)} to {number(high)})."
    )


ARM: dict[str, Statement[tuple[Curves, Arm]]] = {
    "value": Statement(lambda of: _value(*of), lambda of: True),
    "poor fit": Statement(
        lambda of: (
            f"{_named(*of)}The runs lie farther from a power law than chance explains, so "
            "intervals were widened; do not rely on the curve beyond the sizes that were run."
        ),
        lambda of: of[1].curve.poor,
    ),
}

SAYS: dict[str, Statement[Curves]] = {
    "research": Statement("Not a medical device.", lambda c: True),
    "band": Statement(
        lambda c: (
            "Dots are runs. The line is the fitted curve: the error is a plateau plus a power of "
            f"the number of {c.group_noun}s. The shaded band is a 95 % prediction band for the "
            f"score of one more model, trained on as many other {c.group_noun}s and used on new "
            "ones. Beyond the dashed line, the curve is extrapolated."
        ),
        lambda c: True,
    ),
    "test": Statement(
        lambda c: (
            f"All runs were tested on the same {counted(c.tested, 'image')}"
            + (
                f" of {counted(c.tested_groups, c.group_noun)}"
                if c.tested_groups < c.tested
                else ""
            )
            + ", which no training used. Intervals cover the choice of the "
            f"{c.group_noun}s tested and of those trained on."
        ),
        lambda c: True,
    ),
    "nested": Statement(
        lambda c: (
            f"Each size contains the {c.group_noun}s of the smaller ones and keeps the shares of "
            f"the labels; each seed draws other {c.group_noun}s. Validation stays whole at every "
            "size, and its labels are not counted."
        ),
        lambda c: True,
    ),
    "steps": Statement(
        "Training takes the same number of steps at every size, with the same settings; they were "
        "not tuned for each size.",
        lambda c: c.trained and c.same == "steps",
    ),
    "epochs": Statement(
        "Training takes the same number of epochs at every size, so small sizes take fewer steps: "
        "part of the rise may be due to longer training.",
        lambda c: c.trained and c.same == "epochs",
    ),
    "probe": Statement(
        "A probe is a logistic regression on features of the unchanged network; its penalty is "
        "chosen on validation at each size.",
        lambda c: any(arm.name == "probe" for arm in c.arms),
    ),
    "images": Statement(
        "The set does not say which images share a patient, so intervals may be too narrow.",
        lambda c: c.group_noun in NO_PATIENT,
    ),
}


def sentences_of(found: Curves) -> list[str]:
    """What was reached, then what would be needed."""
    return [*_reached(found), *_needed(found)]


def _reached(found: Curves) -> list[str]:
    return [say(ARM, (found, arm), "value", "poor fit") for arm in found.arms]


def _needed(found: Curves) -> list[str]:
    return [
        say(NEEDED, Asked(found=found, arm=arm, needed=needed), *NEEDED)
        for arm in found.arms
        for needed in arm.needed
    ]


def curve_page(found: Curves, notes: list[str]) -> str:
    """One self-contained HTML page."""
    return rendered(
        "curve.html.j2",
        title=f"Learning curve of {found.backbone} on {found.source}",
        task=f"{found.title} on the test split, by the {found.group_noun}s trained on",
        warnings=notes,
        reached=_reached(found),
        needed=_needed(found),
        chart=chart(found),
        columns=[
            f"{found.group_noun.capitalize()}s",
            *(["Images"] if found.grouped else []),
            f"{found.title} of each run",
            "Curve",
        ],
        rows=[row for arm in found.arms for row in _rows(found, arm)],
        say=lambda *names: say(SAYS, found, *names),
    )


def _rows(found: Curves, arm: Arm) -> Iterator[list[str]]:
    for scores, (n, images) in zip(arm.curve.scores.tolist(), found.images.items(), strict=True):
        # runs of all patients may be one and the same
        listed = ", ".join(map(number, dict.fromkeys(scores)))
        counts = [count(n), *([count(images)] if found.grouped else [])]
        yield [arm.name, *counts, listed, number(float(arm.curve.at(n)))]


def chart(found: Curves) -> Chart:
    """All arms on one figure, over a logarithmic axis of patients to FARTHEST times the most."""
    curves = [arm.curve for arm in found.arms]
    sizes, largest, farthest = curves[0].sizes, curves[0].largest, curves[0].farthest
    drawn = np.geomspace(float(sizes[0]), farthest, SHOWN)
    bands = [curve.band(drawn) for curve in curves]
    marks = [*sizes.tolist(), 2 * largest, farthest]
    while len(marks) > 6:
        marks = marks[::-1][::2][::-1]
    across = Axis(
        title=f"{found.group_noun.capitalize()}s trained on",
        low=float(sizes[0]),
        high=farthest,
        ticks=tuple(marks),
        log=True,
    )
    scores = np.concatenate([curve.scores.ravel() for curve in curves])
    ends = [*scores.tolist(), *(float(v) for low, _ in bands for v in low[-SHOWN // 2 :])]
    ends += [float(v) for _, high in bands for v in high]
    up = svg.axis(found.title, [max(v, 0.0) for v in ends])
    frame = svg.frame(across, up)
    parts = [svg.axes(frame), svg.line(frame, (largest, largest), (up.low, up.high), "d")]
    rows: list[tuple[str, ...]] = []
    for at, (arm, (low, high)) in enumerate(zip(found.arms, bands, strict=True), start=1):
        line = arm.curve.at(drawn)
        clipped: list[Floats] = [np.clip(v, up.low, up.high) for v in (low, high, line)]
        parts.append(svg.area(frame, drawn, clipped[0], clipped[1], f"w{at}"))
        parts.append(svg.line(frame, drawn, clipped[2], f"l{at}"))
        points = [
            (n, value, f"{arm.name}, {found.of(n)}: {number(value)}")
            for n, values in zip(sizes.tolist(), arm.curve.scores.tolist(), strict=True)
            for value in values
        ]
        parts.append(svg.dots(frame, points, f"p{at} s"))
        if len(found.arms) > 1:
            parts.append(
                svg.note(
                    frame.right, frame.bottom - 8 - 14 * (len(curves) - at), arm.name, f"e k{at}"
                )
            )
        for n in (*sizes.tolist(), 2 * largest, farthest):
            low_n, high_n = (float(v[0]) for v in arm.curve.band(np.array([n])))
            rows.append(
                (
                    arm.name,
                    f"{n:,.0f}",
                    number(float(arm.curve.at(n))),
                    f"{number(low_n)} to {number(high_n)}",
                )
            )
    return Chart(
        name=f"{found.title} by {found.group_noun}s trained on",
        svg=svg.drawn(f"{found.title} by {found.group_noun}s trained on", *parts),
        head=("Model", f"{found.group_noun.capitalize()}s", "curve", "prediction band"),
        rows=tuple(rows),
    )
