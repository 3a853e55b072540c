"""What `medcnn inspect` says about a network, each sentence with its condition."""

from __future__ import annotations

import math
from dataclasses import dataclass

from medcnn.pages.anatomy import Anatomy, Layer, cross, seen
from medcnn.pages.facts import Statement
from medcnn.pages.format import counted, percent


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """A network, and the lesion it should find.

    Attributes:
        lesion_px: its width in pixels of the network's image; 0 if none was given.
        lesion_mm: its width as given; 0 if it was given in pixels.
    """

    anatomy: Anatomy
    lesion_px: float = 0.0
    lesion_mm: float = 0.0


def _losses(of: Looked) -> list[str]:
    """Layers that leave out pixels at the border."""
    found = []
    for layer in of.anatomy.layers:
        if any(layer.unread) and layer.kernel:
            rows, columns = layer.unread
            what = [counted(rows, "row")] * bool(rows) + [counted(columns, "column")] * bool(
                columns
            )
            found.append(
                f"{layer.name} ({layer.kind} {cross(layer.kernel)}, stride {layer.stride[0]}) "
                f"leaves out the last {' and '.join(what)} of its {cross(layer.given[1:])} map"
            )
    return found


def _lesion(of: Looked) -> str:
    px = f"{of.lesion_px:.3g} px"
    size = f"{of.lesion_mm:g} mm ({px} in the network's image)" if of.lesion_mm else px
    first = of.anatomy.first_at_once(of.lesion_px)
    if first is None:
        return f"No layer is known to see a lesion of {size} whole at one position."
    return (
        f"A lesion of {size} is first seen whole at one position by {first.name} ({first.kind}), "
        f"which sees {seen(first.sees_px)}."
    )


def _step(of: Looked) -> float:
    """How far apart positions of the last map lie in the image; 0 if unknown."""
    last = of.anatomy.last_map
    return max(last.jump_px) if last and last.jump_px else 0.0


NOTES: dict[str, Statement[Looked]] = {
    "border": Statement(
        lambda of: f"Pixels at the border are not read: {'; '.join(_losses(of))}.",
        lambda of: bool(_losses(of)),
    ),
    "vanishes": Statement(
        lambda of: (
            f"From {getattr(of.anatomy.vanishes, 'name', '')} on, the map has one position, so "
            "where in the image something was is lost there."
            + (
                f" An image of at least {of.anatomy.roomy_px} px "
                f"(data.size_px={of.anatomy.roomy_px}) leaves more than one."
                if of.anatomy.roomy_px
                else ""
            )
        ),
        lambda of: of.anatomy.vanishes is not None,
    ),
    "lesion": Statement(_lesion, lambda of: of.lesion_px > 0),
    "lesion between": Statement(
        lambda of: (
            f"Positions of the last map are {_step(of):.3g} px apart, so that lesion is "
            f"{percent(of.lesion_px / _step(of), 0)} % of a step wide: at best, the last map can "
            "say that it is there, but hardly where. A larger data.size_px makes it wider."
        ),
        lambda of: 0 < of.lesion_px < _step(of),
    ),
    "lesion lost": Statement(
        lambda of: (
            f"A lesion of {of.lesion_mm:g} mm is {of.lesion_px:.2g} px wide there: anything under "
            "two pixels may not be visible at all."
        ),
        lambda of: of.lesion_mm > 0 and of.lesion_px < 2,
    ),
    "unknown": Statement(
        lambda of: (
            "Which part of the image a position depends on is not known after "
            f"{getattr(_untraced(of), 'name', '')} ({getattr(_untraced(of), 'kind', '')})."
        ),
        lambda of: _untraced(of) is not None,
    ),
    "everywhere": Statement(
        lambda of: (
            f"From {getattr(_whole(of), 'name', '')} on, every position depends on the whole image."
        ),
        lambda of: _whole(of) is not None,
    ),
}


def _untraced(of: Looked) -> Layer | None:
    return next((la for la in of.anatomy.layers if la.sees_px is None and la.given), None)


def _whole(of: Looked) -> Layer | None:
    """The first layer at which every position depends on the whole image, though it has several."""
    return next(
        (la for la in of.anatomy.layers if la.sees_px and math.isinf(max(la.sees_px))), None
    )


# How to read the tables of a network.
READING: dict[str, Statement[Anatomy]] = {
    "memory": Statement(
        "Memory is that of the outputs for one image in 32-bit floats, which training keeps for "
        "the backward pass.",
        lambda of: of.size_bytes > 0,
    ),
    "sees": Statement(
        "What a position sees is the part of the image that can change it at all, up to and beyond "
        "the border; what does change it lies mostly in the middle of that part.",
        lambda of: any(la.jump_px for la in of.layers),
    ),
    "arithmetic": Statement(
        "Multiply-adds are those of convolutions, fully connected layers and attention.",
        lambda of: of.macs > 0,
    ),
}


def notes_of(of: Looked) -> list[str]:
    return [words for note in NOTES.values() if (words := note.words(of))]
