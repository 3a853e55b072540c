"""`external.html`: whether a model performs at another hospital as it did at home."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import NormalDist

from medcnn.pages.facts import Statement, say
from medcnn.pages.figures import recalibration_chart
from medcnn.pages.format import (
    counted,
    estimate,
    number,
    of_hundred,
    p_text,
    percent,
    short,
    signed,
    whose,
)
from medcnn.pages.hospital_facts import Shift
from medcnn.pages.page import rendered
from medcnn.pages.shifted import SHIFTED
from medcnn.pages.svg import Chart
from medcnn.statistics.differences import Difference
from medcnn.statistics.estimates import Estimate
from medcnn.statistics.evaluation import Evaluation, Score
from medcnn.statistics.intervals import TAIL
from medcnn.statistics.metrics.table import METRICS
from medcnn.statistics.recalibration import Recalibrated, Way
from medcnn.statistics.transport import Cut, Prevalence

MAIN = "auroc"
LOSES, KEEPS, GAINS, UNSURE = "loses", "keeps", "gains", "unsure"


@dataclass(frozen=True, kw_only=True)
class External:
    """The content of the page.

    Attributes:
        images, groups: judged at home and here.
        differences: here minus home, first the means over labels.
        alone: the evaluations at home and here.
        intercept: of calibration here, a mean over labels; None for exclusive classes, whose
            probabilities add up to 1 and so cannot all be too high.
        grades: whether operating points cut the mean grade; `cuts` has none of these.
    """

    source: str
    group_noun: str
    margin: float
    images: tuple[int, int]
    groups: tuple[int, int]
    differences: tuple[Difference, ...]
    alone: Sequence[Evaluation]
    intercept: Score | None
    cuts: tuple[Cut, ...]
    prevalences: tuple[Prevalence, ...]
    recalibrated: tuple[Recalibrated, ...]
    shift: Shift
    grades: bool = False

    def own(self, d: Difference) -> list[Estimate]:
        """The score at home and here, with the intervals of their evaluations; without one if that
        is a mean over other labels."""
        known = [e.find(d.score, d.label) for e in self.alone]
        return [
            s if math.isclose(s.value, v, abs_tol=1e-6) else Estimate(value=v, count=0, groups=0)
            for s, v in zip(known, (d.reference, d.other), strict=True)
        ]

    def of(self, score: str) -> Difference | None:
        return next((d for d in self.differences if d.score == score and d.label is None), None)

    @property
    def verdict(self) -> str:
        """What the interval of the difference in AUROC says."""
        d = self.of(MAIN)
        if d is None or math.isnan(d.low):
            return UNSURE
        if d.high < 0:
            return LOSES
        if d.low > 0:
            return GAINS
        return KEEPS if d.low > -self.margin else UNSURE

    @property
    def judged(self) -> list[tuple[Cut, str]]:
        """Stored thresholds and which of their changes have an interval."""
        each = [(cut, share) for cut in self.cuts for share in cut.changes]
        return [(cut, share) for cut, share in each if not math.isnan(cut.changes[share].low)]

    @property
    def moved_most(self) -> tuple[Cut, str] | None:
        """The stored threshold whose sensitivity or specificity changed most for what is known of
        it."""
        return max(self.judged, key=lambda of: _half_widths(of[0].changes[of[1]], 0), default=None)

    def moves(self, change: Estimate) -> bool:
        """Whether a threshold does something else here, beside all other changes."""
        return not math.isnan(change.low) and _beyond(change, 0, len(self.judged))

    @property
    def final(self) -> list[Recalibrated]:
        """The last row of each label: with nearly all cases."""
        return list({r.label: r for r in self.recalibrated}.values())

    @property
    def moved(self) -> Prevalence | None:
        """The label whose prevalence changed most."""
        known = [p for p in self.prevalences if not math.isnan(p.here + p.there)]
        return max(known, key=lambda p: abs(p.here - p.there), default=None)

    @property
    def unexplained(self) -> list[Prevalence]:
        """Labels whose share here is not what the model's answers would imply if only prevalences
        had changed."""
        known = [p for p in self.prevalences if not math.isnan(p.estimated.low + p.here)]
        return [p for p in known if _beyond(p.estimated, p.here, len(known))]


def _half_widths(e: Estimate, value: float) -> float:
    """How far `value` is from the estimate, in distances to that end of its interval."""
    end = e.high if value > e.value else e.low
    if value == e.value:
        return 0.0
    return abs(value - e.value) / abs(end - e.value) if end != e.value else math.inf


def _beyond(e: Estimate, value: float, of: int) -> bool:
    """Whether `value` is outside of the interval, as one of many: all of them together raise a
    false alarm in 5 of 100 hospitals (Bonferroni)."""
    normal = NormalDist()
    wider = normal.inv_cdf(1 - TAIL / of) / normal.inv_cdf(1 - TAIL)
    return _half_widths(e, value) > wider


def _main(f: External) -> str:
    d = f.of(MAIN)
    assert d
    change, interval = estimate(d.difference, d.low, d.high, signed)
    return (
        f"{METRICS[MAIN].title} {number(d.other)} here, {number(d.reference)} at home (difference "
        f"{change}; {f'95 % interval {interval}' if interval else whose(d.note, f.group_noun)})"
    )


def _calibration(f: External) -> str:
    s = f.intercept
    assert s
    value, interval = estimate(s.value, s.low, s.high, signed)
    way = "too low" if s.value > 0 else "too high"
    return (
        f"The probabilities are {way} here on average: to be right, their log odds would have to "
        f"change by {value} (95 % interval {interval})."
    )


def _wrong(f: External) -> bool | None:
    """Whether the mean of the probabilities is wrong here; None if that cannot be said."""
    s = f.intercept
    return None if s is None or math.isnan(s.low) else not s.low <= 0 <= s.high


def _recalibration(f: External) -> str:
    parts = [
        f"{r.label}: {max(r.ways, key=lambda w: r.ways[w])}, Brier score from "
        f"{number(r.brier[0])} to {number(r.brier[1])} and calibration error from "
        f"{number(r.ece[0])} to {number(r.ece[1])}"
        for r in f.final
        if max(r.ways, key=lambda w: r.ways[w]) is not Way.NONE
    ]
    return f"With all cases, recalibration is shown to be needed ({'; '.join(parts[:3])})."


def _recalibrates(f: External) -> bool:
    return any(max(r.ways, key=lambda w: r.ways[w]) is not Way.NONE for r in f.final)


def _cut(f: External) -> str:
    assert f.moved_most
    (c, share), of = f.moved_most, len(f.judged)
    e = c.changes[share]
    does, do, side = {
        "sensitivity": ("finds", "find", "positives"),
        "specificity": ("clears", "clear", "negatives"),
    }[share]
    words = f"{does} {'fewer' if e.value < 0 else 'more'}"
    if not f.moves(e):
        words = f"is not shown to {do} fewer or more"
    change, interval = estimate(e.value, e.low, e.high, signed)
    alone = f" for this one alone of {of} changes" if of > 1 else ""
    own = f" (difference {change}; 95 % interval{alone} {interval})"
    both = [
        f"{name} {number(getattr(c.here, name).value)} against "
        f"{number(getattr(c.there, name).value)}{own if name == share else ''}"
        for name in sorted(c.changes, key=lambda name: name != share)
    ]
    return (
        f"The stored threshold for {c.here.label} {words} of the {side} here than at home: "
        f"{', '.join(both)}."
    )


def _prevalence(f: External) -> str:
    p = f.moved
    assert p
    return (
        f"The prevalence of {p.label} is {of_hundred(p.here)} of 100 images here and "
        f"{of_hundred(p.there)} at home, so predictive values differ even if sensitivity and "
        "specificity do not."
    )


def _unexplained(f: External) -> str:
    p = f.unexplained[0]
    low, high = (percent(v, 0) for v in (p.estimated.low, p.estimated.high))
    return (
        f"More than prevalences changed: judging by the model's answers alone, {low} to {high} of "
        f"100 images would show {p.label} here, but {of_hundred(p.here)} do."
    )


def _apart(f: External) -> bool:
    return f.shift.apart is not None and f.shift.apart.low > 0.5


def _features_apart(f: External) -> bool:
    return f.shift.features is not None and f.shift.features.low > 0.5


SUMMARY: dict[str, Statement[External]] = {
    LOSES: Statement(
        lambda f: f"The model is worse here: {_main(f)}.", lambda f: f.verdict == LOSES
    ),
    KEEPS: Statement(
        lambda f: f"The model is no worse here than at home, to within {f.margin:g}: {_main(f)}.",
        lambda f: f.verdict == KEEPS,
    ),
    GAINS: Statement(
        lambda f: f"The model is better here than at home: {_main(f)}.",
        lambda f: f.verdict == GAINS,
    ),
    UNSURE: Statement(
        lambda f: f"Whether the model is as good here as at home cannot be said: {_main(f)}.",
        lambda f: f.verdict == UNSURE and f.of(MAIN) is not None,
    ),
    "nothing shared": Statement(
        "No label has images with and without it both here and at home, so the two cannot be "
        "compared.",
        lambda f: f.of(MAIN) is None,
    ),
    "told apart": Statement(
        "The two sources can be told apart by brightness, colour and layout alone. So a difference "
        "in scores may come as much from how images are made as from the patients, and images of "
        "both in one training or test set would reward a model for recognising the source.",
        _apart,
    ),
    "features apart": Statement(
        "The model's own features distinguish the two hospitals, though brightness, colour and "
        "layout alone are not shown to. So these images differ from those it was tested on at "
        "home.",
        lambda f: _features_apart(f) and not _apart(f),
    ),
    "wrong mean": Statement(_calibration, lambda f: _wrong(f) is True),
    "right mean": Statement(
        "The probabilities are not shown to be too high or too low here on average.",
        lambda f: _wrong(f) is False,
    ),
    "recalibrate": Statement(_recalibration, _recalibrates),
    "leave": Statement(
        "No recalibration is shown to be needed: the closed test keeps the probabilities.",
        lambda f: bool(f.recalibrated) and not _recalibrates(f),
    ),
    "few to recalibrate": Statement(
        lambda f: (
            f"Recalibration was not tried: it needs ten {f.group_noun}s with a label and ten "
            "without, and one with images of both kinds counts in part for each."
        ),
        lambda f: not f.recalibrated,
    ),
    "threshold": Statement(_cut, lambda f: bool(f.judged)),
    "prevalence": Statement(
        _prevalence, lambda f: f.moved is not None and abs(f.moved.here - f.moved.there) >= 0.05
    ),
    "unexplained": Statement(_unexplained, lambda f: bool(f.unexplained)),
}

DETAILS: dict[str, Statement[External]] = {
    "research": Statement("Not a medical device.", lambda f: True),
    "means": Statement(
        lambda f: (
            "Differences are here minus home. The two hospitals have different "
            f"{f.group_noun}s, so their variances add up; {f.group_noun}s were resampled, each "
            "with all images. Only labels that both have count. A difference may come from other "
            "cases (milder, rarer) as well as from a model that works less well on the same ones."
        ),
        lambda f: bool(f.differences),
    ),
    "closed": Statement(
        "A closed test picks the smallest of four changes that fits as well as the largest: none, "
        "an intercept, intercept and slope, or a refit on the logits of all outputs. It was tried "
        "on the stated number of labelled cases (20 draws; the last row in ten parts) and judged "
        "on the others; nothing was judged on cases it was fitted to.",
        lambda f: bool(f.recalibrated),
    ),
    "few events": Statement(
        "Fewer than 100 images have the label in some rows; a validation of probabilities needs "
        "more (Collins 2016).",
        lambda f: any(r.events < 100 for r in f.final),
    ),
    "changes": Statement(
        lambda f: (
            "Changes are here minus home, each with its own 95 % interval. Lower and higher are "
            f"those that are shown beside all {len(f.judged)} of the table (Bonferroni)."
        ),
        lambda f: len(f.judged) > 1,
    ),
    "grades": Statement(
        "Operating points that cut the mean grade are not compared here: the reports of both "
        "hospitals have the sensitivity and specificity of each cut.",
        lambda f: f.grades,
    ),
    "same": Statement(
        "The last two columns show the threshold that would be as sensitive here as the stored one "
        "is at home, and its specificity. It was found on these same images: choose it on others.",
        lambda f: bool(f.cuts),
    ),
    "bbse": Statement(
        "The estimate uses the confusion matrix at home and the answers here, but no labels from "
        "here; it is right if only prevalences changed (black box shift estimation). Where some "
        "images here are labelled, it is of these.",
        lambda f: bool(f.prevalences),
    ),
}


def sentences_of(found: External) -> list[str]:
    """The sentences at the top, the most important first."""
    return [words for s in SUMMARY.values() if (words := s.words(found))]


def external_page(found: External, title: str, notes: Sequence[str]) -> str:
    """One self-contained HTML page."""
    (home, here), (home_groups, here_groups) = found.images, found.groups
    noun = found.group_noun
    counts = f"{counted(here, 'image')} here, {home:,} at home"
    if noun != "image":
        counts += f" ({counted(here_groups, noun)} and {home_groups:,})"
    return rendered(
        "external.html.j2",
        {
            "number": number,
            "p_text": p_text,
            "signed": signed,
            "short": short,
            "pair": lambda d: estimate(d.difference, d.low, d.high, signed),
            "share": _share,
            "change": lambda e: _share(e, signed),
            "hundreds": lambda e: _share(e, of_hundred),
            "of_hundred": lambda v: "n/a" if math.isnan(v) else of_hundred(v),
        },
        title=title,
        task=counts,
        warnings=notes,
        sentences=sentences_of(found),
        found=found,
        charts=charts(found),
        metrics=METRICS,
        ways=lambda r: ", ".join(f"{w} {of_hundred(s)} %" for w, s in r.ways.items()),
        say=lambda *names: say(DETAILS, found, *names),
        shifted=lambda *names: say(SHIFTED, found, *names),
        whose=partial(whose, noun=noun),
    )


def charts(found: External) -> list[Chart]:
    """The Brier score of each label by the number of cases recalibrated with."""
    rows = {r.label: [of for of in found.recalibrated if of.label == r.label] for r in found.final}
    return [recalibration_chart(label, of) for label, of in rows.items() if len(of) > 1]


def _share(e: Estimate, write: Callable[[float], str] = number) -> str:
    value, interval = estimate(e.value, e.low, e.high, write)
    return f"{value} ({interval})" if interval else value
