"""The page of `medcnn look`: filters, maps, and what becomes of an answer when the image moves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from medcnn.pages import svg
from medcnn.pages.facts import Facts, Statement, say
from medcnn.pages.format import counted, number, percent
from medcnn.pages.page import rendered
from medcnn.pages.statements import STATEMENTS
from medcnn.pages.svg import Axis, Chart


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """An image that is moved in one way.

    Attributes:
        label: the answer to the image as it is.
        amounts: how far.
        probabilities: of that answer.
        same: whether the decision is that of the image as it is.
    """

    kind: str
    label: str
    amounts: tuple[float, ...]
    probabilities: tuple[float, ...]
    same: tuple[bool, ...]

    @property
    def flips(self) -> int:
        return len(self.same) - sum(self.same)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Attributes:
    moves: of one image.
    correlations: of each filter of the first layer with the known kernel most like it.
    """

    moves: tuple[Move, ...] = ()
    correlations: tuple[float, ...] = ()

    @property
    def tried(self) -> int:
        return sum(len(move.same) for move in self.moves)

    @property
    def flips(self) -> int:
        return sum(move.flips for move in self.moves)


LOOKING: dict[str, Statement[Seen]] = {
    "flips": Statement(
        lambda of: (
            f"The decision changes in {of.flips} of {of.tried} moved images "
            f"({percent(of.flips / of.tried, 0)} %): a photograph taken a moment later may get "
            "another answer."
        ),
        lambda of: of.flips > 0,
    ),
    "steady": Statement(
        lambda of: f"The decision is the same in all {of.tried} moved images.",
        lambda of: of.tried > 0 and of.flips == 0,
    ),
    "alike": Statement(
        lambda of: (
            f"{sum(c >= 0.8 for c in of.correlations)} of {len(of.correlations)} filters "
            "correlate with a known kernel by 0.8 or more. Colours are averaged for that, and the "
            "kernel of the best fit is chosen among many, so that chance alone gives high values "
            "to small windows."
        ),
        lambda of: bool(of.correlations),
    ),
    "no filters": Statement(
        "The network has no convolution of at least 3×3 whose filters could be shown.",
        lambda of: of.tried > 0 and not of.correlations,
    ),
}


def page(
    seen: Seen,
    title: str,
    image: Sequence[Any],
    filters: Sequence[Any],
    stages: Sequence[tuple[str, Sequence[Any]]],
) -> str:
    """The page in HTML; pictures are those that the macro `strip` takes."""
    return rendered(
        "look.html.j2",
        title=title,
        task=f"One image, {counted(seen.tried, 'moved copy').replace('copys', 'copies')}",
        warnings=[],
        image=image,
        kernels=filters,
        stages=stages,
        charts=[chart(move) for move in seen.moves],
        rows=[
            (move.kind, str(len(move.same)), str(move.flips), number(min(move.probabilities)))
            for move in seen.moves
        ],
        say=partial(say, LOOKING, seen),
        keep=say(STATEMENTS, Facts(shows_images=True), "images"),
    )


def chart(move: Move) -> Chart:
    """The probability over the amount; a dot is where the decision is another."""
    frame = svg.frame(svg.axis(move.kind, move.amounts), Axis(title=f"P({move.label})"))
    points = list(zip(move.amounts, move.probabilities, move.same, strict=True))
    told = [(a, p, f"{a:g}: {number(p)}, another decision") for a, p, same in points if not same]
    return Chart(
        name=move.kind,
        svg=svg.drawn(
            f"Probability under {move.kind}",
            svg.axes(frame),
            svg.line(frame, move.amounts, move.probabilities),
            svg.dots(frame, told, "p2"),
        ),
        head=(move.kind, "probability", "decision"),
        rows=tuple((f"{a:g}", number(p), "same" if same else "another") for a, p, same in points),
    )
