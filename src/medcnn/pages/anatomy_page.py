"""The page of `medcnn inspect`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from medcnn.pages.anatomy import TOTALS, Anatomy, Layer, by_kind, cells, large, totals
from medcnn.pages.anatomy_notes import READING, Looked, notes_of
from medcnn.pages.facts import say
from medcnn.pages.family import FAMILY, Member, chart, head
from medcnn.pages.family import cells as cells_of
from medcnn.pages.format import counted
from medcnn.pages.page import rendered

MEASURED = ("parameters", "macs", "size_bytes")


def page(
    looked: Sequence[Looked],
    outputs: Sequence[int],
    members: Sequence[Member] = (),
    score: str = "",
) -> str:
    """The page in HTML.

    Args:
        outputs: how many the last layers have.
        members: the networks that were trained.
        score: the one they were judged by.
    """
    networks = [of.anatomy for of in looked]
    names = ", ".join(of.name for of in networks)
    sizes = ", ".join(dict.fromkeys(f"{of.size_px} × {of.size_px} px" for of in networks))
    return rendered(
        "inspect.html.j2",
        {"large": large, "bar": _bar},
        title=names,
        task=f"One image of {sizes}, {' or '.join(counted(n, 'output') for n in outputs)}",
        warnings=(),
        head=[TOTALS[0], *(f"#{name}" for name in TOTALS[1:])],
        totals=[totals(of) for of in networks],
        ends={n: max((getattr(of, n) for of in networks), default=0) for n in MEASURED},
        networks=[_section(of) for of in looked],
        say=partial(say, READING, networks[0]),
        family=[cells_of(of) for of in members],
        family_head=["network", *(f"#{name}" for name in head(score)[1:])],
        family_says=say(FAMILY, members, *FAMILY),
        chart=chart(members, score) if members else None,
        measured=MEASURED,
        several=len(networks) > 1,
    )


def _section(of: Looked) -> dict[str, Any]:
    layers = [layer for layer in of.anatomy.layers if layer.weighs]
    return {
        "of": of.anatomy,
        "notes": notes_of(of),
        "kinds": by_kind(of.anatomy),
        "rows": [_row(of.anatomy, layers, layer) for layer in layers],
    }


def _row(of: Anatomy, layers: list[Layer], layer: Layer) -> dict[str, Any]:
    name, kind, window, made, *numbers, sees, jump = cells(layer)
    ends = (max((getattr(la, n) for la in layers), default=0) for n in MEASURED)
    bars = [_bar(getattr(layer, n), end) for n, end in zip(MEASURED, ends, strict=True)]
    return {
        "name": name,
        "kind": kind,
        "window": window,
        "formula": layer.formula(),
        "made": made,
        "numbers": list(zip(numbers, bars, strict=True)),
        "sees": sees,
        "jump": jump,
    }


def _bar(value: float, end: float) -> float:
    """How much of a bar stays empty, in percent."""
    return round(100 - 100 * value / end, 2) if end else 100.0
