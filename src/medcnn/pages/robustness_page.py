"""`robustness.html`: curves over the grades of each corruption, and how often decisions change."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

from medcnn.pages import svg
from medcnn.pages.facts import Facts, Statement, say
from medcnn.pages.format import counted, estimate, number, p_text, percent, signed, whose
from medcnn.pages.page import rendered
from medcnn.pages.statements import STATEMENTS
from medcnn.pages.svg import Axis, Chart
from medcnn.statistics.differences import Difference
from medcnn.statistics.robustness import Kind, Robustness


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoilt:
    """How a kind is shown.

    Attributes:
        move: whether it only frames the image differently.
        pictures: of one image in each grade.
        unchanged: how many images each grade leaves exactly as they are.
    """

    title: str
    move: bool
    amounts: tuple[str, ...]
    unchanged: tuple[int, ...]
    pictures: tuple[Any, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Robust:
    """The content of the page.

    Attributes:
        title: of the score.
        images: number of those corrupted, and in the whole split.
        kinds: in the order of `found.kinds`.
        plain: the image of their pictures, as it is.
    """

    source: str
    split: str
    group_noun: str
    title: str
    images: tuple[int, int]
    groups: int
    size_px: int
    found: Robustness
    kinds: tuple[Spoilt, ...]
    plain: Any = None

    def each(self, *, moves: bool) -> list[tuple[Kind, Spoilt]]:
        both = zip(self.found.kinds, self.kinds, strict=True)
        return [(kind, shown) for kind, shown in both if shown.move is moves]

    @property
    def damage(self) -> list[tuple[Kind, Spoilt]]:
        return self.each(moves=False)

    @property
    def moves(self) -> list[tuple[Kind, Spoilt]]:
        return self.each(moves=True)

    @property
    def lower(self) -> list[tuple[Kind, Spoilt]]:
        """Corruptions that make the score worse, the worst first."""
        found = [(kind, shown) for kind, shown in self.damage if kind.lowers]
        return sorted(found, key=lambda of: of[0].change.difference * of[0].change.better)

    @property
    def unsteady(self) -> tuple[Kind, Spoilt]:
        """The corruption that changes most decisions in its fifth grade."""
        return max(self.damage, key=lambda of: of[0].grades[-1].flips.value)

    @property
    def idle(self) -> list[tuple[str, list[int]]]:
        """Kinds with grades (from 1) that leave every image as it is, and these grades."""
        all_of = [
            (s.title, [g for g, n in enumerate(s.unchanged, 1) if n == self.images[0]])
            for _, s in [*self.damage, *self.moves]
        ]
        return [(title, grades) for title, grades in all_of if grades]

    @property
    def tested(self) -> int:
        return sum(not math.isnan(kind.change.p) for kind, _ in self.damage)


def _change(d: Difference) -> str:
    value, interval = estimate(d.difference, d.low, d.high, signed)
    return f"{value}, 95 % interval {interval}" if interval else value


def _mean(r: Robust) -> str:
    mean = r.found.mean
    assert mean
    kinds = counted(len(r.damage), "kind")
    why = "" if not math.isnan(mean.low) else f"; no interval: {_why(mean, r)}"
    return (
        f"{r.title} is {number(mean.reference)} on the images as they are, and "
        f"{number(mean.other)} on average over {kinds} of corruption in five grades (difference "
        f"{_change(mean)}{why})."
    )


def _why(d: Difference, r: Robust) -> str:
    why = whose(d.note.rpartition(": ")[2], r.group_noun)
    # `comparing` writes this about two models; here it is one model on the same images
    return why.replace("the models agree on every image", "every image counts as it did")


def _within(title: str) -> str:
    """A title inside a sentence."""
    return title if title.startswith(("JPEG", "Gaussian")) else title[:1].lower() + title[1:]


def _worst(r: Robust) -> str:
    kind, shown = r.lower[0]
    last = kind.grades[-1].change
    rest = [_within(other.title) for _, other in r.lower[1:]]
    more = f" It is also worse with: {', '.join(rest)}." if rest else ""
    return (
        f"It suffers most from {_within(shown.title)}: {_change(kind.change)} on average over the "
        f"grades, and {signed(last.difference)} in the fifth.{more}"
    )


def _called(r: Robust) -> str:
    kind, shown = r.unsteady
    third, fifth = (kind.grades[at].flips for at in (MIDDLE, -1))
    value, interval = estimate(fifth.value, fifth.low, fifth.high, percent, " %")
    return (
        f"{shown.title} changes the largest share of decisions: {percent(third.value)} % in the "
        f"third grade and {value}{f' ({interval})' if interval else ''} in the fifth."
    )


def _flips(r: Robust) -> str:
    parts = []
    for kind, shown in r.moves:
        f, amount = kind.grades[MIDDLE].flips, shown.amounts[MIDDLE]
        value, interval = estimate(f.value, f.low, f.high, percent, " %")
        why = f" ({interval})" if interval else ""
        parts.append(f"{_within(shown.title)} by {amount} changes {value}{why}")
    any_flip = any(kind.grades[MIDDLE].flips.value > 0 for kind, _ in r.moves)
    although = ", although the image shows almost the same thing" if any_flip else ""
    return f"Of the decisions, {' and '.join(parts)}{although}."


def _idle(r: Robust) -> str:
    parts = [
        f"{_within(title)} ({'grade' if len(grades) == 1 else 'grades'} {_listed(grades)})"
        for title, grades in r.idle
    ]
    return (
        f"At {r.size_px} px, these change no pixel of any image and so say nothing about the "
        f"network: {', '.join(parts)}."
    )


def _listed(grades: Sequence[int]) -> str:
    *first, last = map(str, grades)
    return f"{', '.join(first)} and {last}" if first else last


def _untested(r: Robust) -> str:
    reasons = dict.fromkeys(_why(kind.change, r) for kind, _ in r.damage)
    return f"No kind of corruption could be tested: {'; '.join(reasons)}."


def _some(r: Robust) -> str:
    whole = f": whole {r.group_noun}s" if r.group_noun != "image" else ""
    were = "was" if r.images[0] == 1 else "were"
    return (
        f"Only {r.images[0]:,} of {r.images[1]:,} images {were} corrupted{whole}, drawn at random."
    )


MIDDLE = 2  # the third of the five grades

SAYS: dict[str, Statement[Robust]] = {
    "mean": Statement(_mean, lambda r: r.found.mean is not None),
    "worst": Statement(_worst, lambda r: bool(r.lower)),
    "none lower": Statement(
        "No kind of corruption that could be tested makes it worse by more than chance here. That "
        "does not show that none does.",
        lambda r: r.tested > 0 and not r.lower,
    ),
    "called": Statement(
        _called, lambda r: bool(r.damage) and r.unsteady[0].grades[-1].flips.value > 0
    ),
    "flips": Statement(_flips, lambda r: bool(r.moves)),
    "some": Statement(_some, lambda r: r.images[0] < r.images[1]),
    "idle": Statement(_idle, lambda r: bool(r.idle)),
    "untested": Statement(_untested, lambda r: bool(r.damage) and r.tested == 0),
    "paired": Statement(
        lambda r: (
            "Each difference is from the same images as they are, and its interval treats "
            f"{r.group_noun}s as independent. A kind is called worse if its mean over the grades "
            "is, at 5 % over all kinds together (Holm). Intervals of single grades hold "
            "individually."
        ),
        lambda r: r.tested > 0,
    ),
    "imitations": Statement(
        lambda r: (
            f"Corruptions are computed on the preprocessed image of {r.size_px} px that the "
            "network gets, with the kinds and amounts of MedMNIST-C; lengths in pixels are scaled "
            "from 224 px. They imitate cameras and files, and real ones may differ."
        ),
        lambda r: bool(r.damage),
    ),
    "framing": Statement(
        "Each image moves in one direction, drawn at random, by a whole number of pixels, at least "
        "one; each turns in one direction. A decision has changed if any of the image's labels is "
        "decided differently.",
        lambda r: bool(r.moves),
    ),
    "research": Statement("Not a medical device.", lambda r: bool(r.kinds)),
}


def sentences_of(r: Robust) -> list[str]:
    """What the terminal and the top of the page say."""
    names = ("mean", "worst", "none lower", "untested", "called", "flips", "idle", "some")
    return [text for name in names if (text := say(SAYS, r, name))]


def _rows(r: Robust) -> list[tuple[str, ...]]:
    """Per kind: its name, the score in each grade, the mean change, p, and the share of decisions
    changed in the first, third and fifth grade."""
    rows = []
    for kind, shown in [*r.damage, *r.moves]:
        c = kind.change
        value, interval = estimate(c.difference, c.low, c.high, signed)
        flips = [kind.grades[at].flips.value for at in (0, MIDDLE, -1)]
        scores = [number(grade.score.value) for grade in kind.grades]
        changed = [f"{percent(f)} %" for f in flips]
        rows.append((shown.title, *scores, value, interval, p_text(c.p_holm), *changed))
    return rows


def table_text(r: Robust) -> str:
    """The table for a terminal, at most 100 characters wide."""
    lines = [
        f"{'':<18}{r.title + ' in grade':>35}{'mean change':>28}{'decisions changed':>19}",
        f"{'':<18}{'1':>7}{'2':>7}{'3':>7}{'4':>7}{'5':>7}{'':>28}{'in grade 3':>19}",
    ]
    for name, *scores, value, interval, _, _, third, _ in _rows(r):
        between = f"{value} ({interval})" if interval else value
        lines.append(f"{name:<18}{''.join(f'{s:>7}' for s in scores)}{between:>28}{third:>19}")
    return "\n".join(lines)


def robustness_page(r: Robust, title: str, notes: list[str]) -> str:
    """One self-contained HTML page."""
    values = [v for kind in r.found.kinds for g in kind.grades for v in _ends(g.score)]
    up = svg.axis("", [*values, *_ends(r.found.clean)])
    return rendered(
        "robustness.html.j2",
        title=title,
        task=f"{counted(r.images[0], 'image')} of the {r.split} split"
        if r.split != "all"
        else counted(r.images[0], "image"),
        warnings=notes,
        sentences=sentences_of(r),
        rows=_rows(r),
        score=r.title,
        charts=[chart(r, kind, shown, up) for kind, shown in [*r.damage, *r.moves]],
        flips=[flip_chart(kind, shown) for kind, shown in r.moves],
        plain=[r.plain] if r.plain else [],
        strips=[(shown.title, shown.pictures) for _, shown in [*r.damage, *r.moves]],
        say=partial(say, SAYS, r),
        keep=say(STATEMENTS, Facts(shows_images=True), "images"),
    )


def _ends(of: Any) -> list[float]:
    return [of.value, of.low, of.high]


def chart(r: Robust, kind: Kind, shown: Spoilt, up: Axis) -> Chart:
    """The score over the grades, 0 for the images as they are; all kinds on one scale."""
    found = [r.found.clean, *(grade.score for grade in kind.grades)]
    return _curve(f"{shown.title}: {r.title}", found, ("as it is", *shown.amounts), up, number)


def flip_chart(kind: Kind, shown: Spoilt) -> Chart:
    """The share of changed decisions over the grades."""
    found = [grade.flips for grade in kind.grades]
    up = svg.axis("", [v for f in found for v in _ends(f)], zero=True)
    name = f"{shown.title}: share of decisions changed"
    return _curve(name, found, shown.amounts, up, number, first=1)


def _curve(
    name: str, found: Sequence[Any], amounts: Sequence[str], up: Axis, write: Any, first: int = 0
) -> Chart:
    at = [float(first + i) for i in range(len(found))]
    across = Axis(title="Grade", low=at[0], high=at[-1], ticks=tuple(at))
    frame = svg.frame(across, up)
    rows = []
    for amount, f in zip(amounts, found, strict=True):
        value, interval = estimate(f.value, f.low, f.high, write)
        rows.append((amount, value, interval))
    parts = [svg.axes(frame)]
    for (x0, a), (x1, b) in pairwise(zip(at, found, strict=True)):
        if not math.isnan(a.low + b.low):
            parts.append(svg.area(frame, (x0, x1), (a.low, b.low), (a.high, b.high), "w1"))
    parts.append(svg.line(frame, at, [f.value for f in found]))
    dots = [
        (x, f.value, f"{amount}: {value}" + (f" ({interval})" if interval else ""))
        for x, f, (amount, value, interval) in zip(at, found, rows, strict=True)
        if not math.isnan(f.value)
    ]
    parts.append(svg.dots(frame, dots))
    return Chart(
        name=name,
        svg=svg.drawn(name, *parts),
        head=("Amount", "value", "95 % interval"),
        rows=tuple(rows),
    )
