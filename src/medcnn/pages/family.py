"""Networks trained on one set with one recipe: what each scores, and what it costs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from medcnn.pages import svg
from medcnn.pages.anatomy import Anatomy, large
from medcnn.pages.facts import Statement
from medcnn.pages.format import estimate, number
from medcnn.pages.svg import Chart


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A network with its runs, which differ by their seed alone.

    Attributes:
        scores: value, low and high of each run, over patients; nan if it has no interval.
        images_per_s: in the last epoch of each run that recorded it.
        peak_bytes: of each run that recorded it.
    """

    anatomy: Anatomy
    scores: tuple[tuple[float, float, float], ...]
    images_per_s: tuple[float, ...] = ()
    peak_bytes: tuple[int, ...] = ()

    @property
    def score(self) -> tuple[float, float, float]:
        """Mean of the values, of the low and of the high ends. Errors of runs on the same patients
        go together, so this interval is no narrower than that of the mean."""
        value, low, high = (fmean(ends) for ends in zip(*self.scores, strict=True))
        return value, low, high


def head(score: str) -> tuple[str, ...]:
    return (
        *("network", "runs", score, "95 % interval", "lowest and highest run", "parameters"),
        *("multiply-adds", "images/s", "peak memory"),
    )


def cells(of: Member) -> tuple[str, ...]:
    """A row under `head`."""
    value, interval = estimate(*of.score)
    values = [value for value, _, _ in of.scores]
    spread = f"{number(min(values))}, {number(max(values))}" if len(values) > 1 else ""
    return (
        of.anatomy.name,
        str(len(of.scores)),
        value,
        interval,
        spread,
        f"{of.anatomy.parameters:,}",
        large(of.anatomy.macs),
        f"{fmean(of.images_per_s):.3g}" if of.images_per_s else "not measured",
        f"{large(max(of.peak_bytes))}B" if of.peak_bytes else "not measured",
    )


def chart(members: Sequence[Member], score: str) -> Chart:
    """The score against the arithmetic, with intervals."""
    across = svg.axis("Multiply-adds, G", [of.anatomy.macs / 1e9 for of in members], log=True)
    ends = [end for of in members for end in of.score]
    frame = svg.frame(across, svg.axis(score, ends))
    parts, points = [svg.axes(frame)], []
    for of in members:
        x, (value, low, high) = of.anatomy.macs / 1e9, of.score
        if math.isfinite(low):
            parts.append(svg.line(frame, (x, x), (low, high)))
        points.append((x, value, f"{of.anatomy.name}: {' '.join(estimate(*of.score))}"))
        place = frame.at(x, value)
        right = place[0] > (frame.left + frame.right) / 2
        parts.append(
            svg.note(place[0] + (-7 if right else 7), place[1] - 6, of.anatomy.name, "e" * right)
        )
    return Chart(
        name=f"{score} against arithmetic",
        svg=svg.drawn(
            f"{score} of each network against its multiply-adds",
            *parts,
            svg.dots(frame, points, "p2"),
        ),
        head=("network", score, "interval", "multiply-adds"),
        rows=tuple(
            (of.anatomy.name, *estimate(*of.score), large(of.anatomy.macs)) for of in members
        ),
    )


FAMILY: dict[str, Statement[Sequence[Member]]] = {
    "seeds": Statement(
        "A score is the mean over the runs of a network; its interval is the mean of their "
        "intervals over patients, and no narrower than that of the mean.",
        lambda members: any(len(of.scores) > 1 for of in members),
    ),
    "one seed": Statement(
        "With one run of a network, nobody knows how far another seed would move its score.",
        lambda members: any(len(of.scores) == 1 for of in members),
    ),
    "speed": Statement(
        "Images per second are those of training in the last epoch, on the machine of the runs and "
        "alongside whatever else ran there.",
        lambda members: any(of.images_per_s for of in members),
    ),
    "memory": Statement(
        "Peak memory is that of the GPU if there was one, otherwise of the whole process.",
        lambda members: any(of.peak_bytes for of in members),
    ),
}
