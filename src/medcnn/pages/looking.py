"""The page of `medcnn look`: filters, maps, and what becomes of an answer when the image moves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
    """An image moved in one way.

    Attributes:
        label: the answer for the image as it is.
        amounts: how far.
        probabilities: of that answer.
        same: whether the decision is that for the image as it is.
    """

    kind: str
    label: str
    amounts: tuple[float, ...]
    probabilities: tuple[float, ...]
    same: tuple[bool, ...]

    @property
    def tried(self) -> int:
        """How many of the `amounts` move the image."""
        still = 1.0 if self.kind == "scale" else 0.0
        return sum(amount != still for amount in self.amounts)

    @property
    def flips(self) -> int:
        return len(self.same) - sum(self.same)


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """An image that excites a channel.

    Attributes:
        uri: of its picture, with the part beside it.
        value: of the channel, at the position where it is highest.
        truth: classes of the image.
        part: what that position depends on, in words.
    """

    uri: str
    width: int
    height: int
    value: float
    truth: str
    image_id: str
    part: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Maps of one size.

    Attributes:
        maps: pictures of the channels that are shown.
        examples: of each of them, if other images were searched.
    """

    name: str
    maps: Sequence[Any]
    examples: Sequence[Sequence[Example]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Attributes:
    moves: of one image.
    correlations: of each filter of the first layer with the known kernel most like it.
    images: how many others were searched, `of` how many of their `split`.
    noun: whose images they are, one each: patient, lesion or image.
    watched: dead ReLUs and gradients by layer, as `training.watching` returns them.
    trouble: which of these keep a network from learning.
    """

    moves: tuple[Move, ...] = ()
    correlations: tuple[float, ...] = ()
    images: int = 0
    of: int = 0
    split: str = ""
    noun: str = "patient"
    watched: Mapping[str, float] = field(default_factory=dict)
    trouble: tuple[str, ...] = ()

    @property
    def tried(self) -> int:
        return sum(move.tried for move in self.moves)

    @property
    def flips(self) -> int:
        return sum(move.flips for move in self.moves)


LOOKING: dict[str, Statement[Seen]] = {
    "flips": Statement(
        lambda of: (
            f"The decision changes in {of.flips} of {of.tried} moved images "
            f"({percent(of.flips / of.tried, 0)} %): a photograph taken a moment later may get a "
            "different answer."
        ),
        lambda of: of.flips > 0,
    ),
    "steady": Statement(
        lambda of: f"The decision is the same in all {of.tried} moved images.",
        lambda of: of.tried > 0 and of.flips == 0,
    ),
    "alike": Statement(
        lambda of: (
            f"{sum(c >= 0.8 for c in of.correlations)} of {len(of.correlations)} filters have a "
            "correlation of 0.8 or more with a known kernel. Colours are averaged for that, and "
            "the best-fitting kernel is chosen among many, so small windows get high values by "
            "chance alone."
        ),
        lambda of: bool(of.correlations),
    ),
    "no filters": Statement(
        "The network has no convolution of at least 3×3 whose filters could be shown.",
        lambda of: of.tried > 0 and not of.correlations,
    ),
    "alone": Statement(
        "Only this image was looked at. With split=validation, or data.root= if the images have "
        "moved, the page also shows which images excite each channel, dead ReLUs and gradients.",
        lambda of: of.tried > 0 and not of.images,
    ),
    "examples": Statement(
        lambda of: (
            f"Below the maps: of {_searched(of)}, those that excite a channel most, each of a "
            f"different {of.noun}. The frame marks what the position with the highest value "
            "depends on, and is enlarged beside the image; its middle counts most. Without a "
            "frame, the position depends on the whole image, or on an unknown part of it."
        ),
        lambda of: of.images > 0,
    ),
    "watched": Statement(
        "For some of these images, with the training loss: the channels that a ReLU leaves at 0 "
        "everywhere in all of them, and the length of the gradient of each layer's weights "
        "relative to that of the weights. Layers are in the order of the network.",
        lambda of: bool(of.watched),
    ),
    "trouble": Statement(lambda of: f"{'; '.join(of.trouble)}.", lambda of: bool(of.trouble)),
    "no trouble": Statement(
        lambda of: (
            "Every layer gets a gradient"
            + (", and no ReLU leaves half of its channels at 0." if _relus(of) else ".")
        ),
        lambda of: bool(of.watched) and not of.trouble,
    ),
}


def _relus(of: Seen) -> bool:
    return any(name.startswith("dead/") for name in of.watched)


def _searched(of: Seen) -> str:
    split = "" if of.split == "all" else f" of the {of.split} split"
    return f"{of.images:,} images{split}" + (f", drawn from {of.of:,}" if of.of > of.images else "")


def page(
    seen: Seen, title: str, image: Sequence[Any], filters: Sequence[Any], stages: Sequence[Stage]
) -> str:
    """The page in HTML; pictures are those that the macro `strip` accepts."""
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
            (move.kind, str(move.tried), str(move.flips), number(min(move.probabilities)))
            for move in seen.moves
        ],
        layers=[made for kind in KINDS if (made := by_layer(seen.watched, kind)).rows],
        say=partial(say, LOOKING, seen),
        keep=say(STATEMENTS, Facts(shows_images=True), "images"),
    )


# What is known about layers: how the names begin -> title.
KINDS = {"dead": "share of dead channels", "gradient": "gradient / weights"}


def by_layer(watched: Mapping[str, float], kind: str) -> Chart:
    """A line through the layers, from the first to the last; layers at 0 are not on a log axis."""
    found = [(n.partition("/")[2], v) for n, v in watched.items() if n.startswith(f"{kind}/")]
    values, log = [v for _, v in found], kind == "gradient"
    up = svg.axis(KINDS[kind], values if log else [*values, 1.0], log=log, zero=not log)
    layers = svg.axis("layer", range(1, len(found) + 1))
    frame = svg.frame(layers, up)
    points = [(n, max(v, up.low), f"{name}: {v:.2g}") for n, (name, v) in enumerate(found, 1)]
    return Chart(
        name=KINDS[kind].capitalize(),
        svg=svg.drawn(
            KINDS[kind].capitalize(),
            svg.axes(frame),
            svg.line(frame, [p[0] for p in points], [p[1] for p in points]),
            svg.dots(frame, points, "p1"),
        ),
        head=("layer", KINDS[kind]),
        rows=tuple((name, f"{v:.2g}") for name, v in found),
    )


def chart(move: Move) -> Chart:
    """The probability over the amount; a dot marks a different decision."""
    frame = svg.frame(svg.axis(move.kind, move.amounts), Axis(title=f"P({move.label})"))
    points = list(zip(move.amounts, move.probabilities, move.same, strict=True))
    changed = [(a, p, f"{a:g}: {number(p)}, changed decision") for a, p, same in points if not same]
    return Chart(
        name=move.kind,
        svg=svg.drawn(
            f"Probability under {move.kind}",
            svg.axes(frame),
            svg.line(frame, move.amounts, move.probabilities),
            svg.dots(frame, changed, "p2"),
        ),
        head=(move.kind, "probability", "decision"),
        rows=tuple((f"{a:g}", number(p), "same" if same else "different") for a, p, same in points),
    )
