"""What `medcnn compare` says: the page, the table in the terminal, and the words for a verdict."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from medcnn.pages.page import rendered
from medcnn.statistics.comparing import Difference, Discordance, Pairing
from medcnn.statistics.metrics.table import METRICS
from medcnn.statistics.predictions import Predictions

SURE = 0.05
SIDES = {"answers": "all answers", "positives": "with it", "negatives": "without it"}


def verdict(d: Difference, margin: float | None) -> str:
    """What may be said of the other model, after adjustment for all that was tested."""
    said = ""
    if d.p_holm < SURE:
        good = d.difference * d.better > 0
        said = ("better" if good else "worse") if d.better else "different"
    if margin is None or said in ("better", "worse"):
        return said
    shown = d.not_inferior(margin)
    return "" if shown is None else "not inferior" if shown else "inferiority not excluded"


def signed(value: float) -> str:
    """`+0.012`; what is rounded to nothing has no sign."""
    text = f"{value:+.3f}"
    return "0.000" if text in ("-0.000", "+0.000") else text.replace("+nan", "n/a")


def number(value: float) -> str:
    return "n/a" if math.isnan(value) else f"{value:.3f}"


def p_text(p: float) -> str:
    return "<0.001" if p < 0.001 else number(p)


def told_table(first: str, other: str, pairing: Pairing, margin: float | None) -> Iterator[str]:
    """Lines of at most 100 columns: the overall differences, for a terminal."""
    yield f"{other} against {first}"
    names = [n if len(n) <= 10 else f"{n[:9]}…" for n in (first, other)]
    yield f"  {'':<27}{names[0]:>10} {names[1]:>10}  {'difference (95 %)':<24} {'p':>6} {'Holm':>6}"
    for d in pairing.differences:
        if d.label is None:
            interval = "" if math.isnan(d.low) else f" ({signed(d.low)} {signed(d.high)})"
            title, shown = METRICS[d.score].title, f"{signed(d.difference)}{interval}"
            yield (
                f"  {title[:26]:<27}{number(d.reference):>10} {number(d.other):>10}  {shown:<24}"
                f" {p_text(d.p):>6} {p_text(d.p_holm):>6} {_short(verdict(d, margin))}"
            ).rstrip()
    if margin is not None:
        yield f"  not inf.: not worse by {margin:g}; unsure: that is not excluded"


def _short(said: str) -> str:
    return {"inferiority not excluded": "unsure", "not inferior": "not inf."}.get(said, said)


def comparison_page(
    first: str,
    predictions: Mapping[str, Predictions],
    pairings: Mapping[str, Pairing],
    settings: Mapping[str, Sequence[str]],
    notes: Sequence[str],
    *,
    margin: float | None,
    group_noun: str,
) -> str:
    """One self-contained HTML page.

    Args:
        first: name of the reference; `predictions` holds it and the others, aligned.
        settings: those in which the runs differ -> what each says.
    """
    reference = predictions[first]
    images, groups = len(reference.image_ids), len(set(reference.groups))
    return rendered(
        "comparison.html.j2",
        first=first,
        names=list(predictions),
        task=f"{reference.split} split: {images:,} images"
        + (f" of {groups:,} {group_noun}s" if groups < images else ""),
        sentences=[_sentence(first, name, p, margin) for name, p in pairings.items()],
        margin=margin,
        pairs=[
            {
                "name": name,
                "overall": _differences([d for d in p.differences if d.label is None], margin),
                "labels": _differences([d for d in p.differences if d.label is not None], margin),
                "discordances": [_discordance(d) for d in p.discordances],
            }
            for name, p in pairings.items()
        ],
        settings=settings,
        notes=notes,
        group_noun=group_noun,
        tests=sum(not math.isnan(d.p) for p in pairings.values() for d in p.differences),
    )


def _sentence(first: str, name: str, pairing: Pairing, margin: float | None) -> str:
    """The first score in words."""
    d = next(d for d in pairing.differences if d.label is None)
    title = METRICS[d.score].title
    opening = f"{title} of {name} is {number(d.other)}, of {first} {number(d.reference)}"
    if math.isnan(d.low):
        return f"{opening}; how sure this difference is cannot be told ({d.note})."
    ends = f"(95 % interval {signed(d.low)} to {signed(d.high)})"
    surely = f"the difference is {signed(d.difference)} {ends}"
    said = verdict(d, margin)
    meaning = {
        "better": f"So {name} is better on patients like these",
        "worse": f"So {name} is worse on patients like these",
        "different": "More than chance would give",
        "not inferior": f"So {name} is not inferior by the margin of {margin}",
        "inferiority not excluded": f"That {name} is worse by more than {margin} is not excluded",
        "": "That could be chance: these images do not tell the two apart",
    }[said]
    return f"{opening}: {surely}. {meaning}."


def _differences(found: Sequence[Difference], margin: float | None) -> list[dict[str, Any]]:
    """Rows of a table; bars of one table share a scale around 0."""
    ends = [abs(v) for d in found for v in (d.low, d.high) if not math.isnan(v)]
    reach = max(ends, default=1.0) or 1.0

    def place(value: float) -> str:
        return f"{50 + 50 * value / reach:.1f}"

    return [
        {
            "title": METRICS[d.score].title,
            "label": d.label or "",
            "direction": {1: "higher is better", -1: "lower is better", 0: ""}[d.better],
            "values": [number(d.reference), number(d.other)],
            "difference": signed(d.difference),
            "interval": "" if math.isnan(d.low) else f"{signed(d.low)} to {signed(d.high)}",
            "bar": None if math.isnan(d.low) else tuple(map(place, (d.low, d.high, d.difference))),
            "ps": [p_text(p) for p in (d.p, d.p_holm, d.p_permuted)],
            "verdict": verdict(d, margin),
            "note": d.note,
        }
        for d in found
    ]


def _discordance(d: Discordance) -> dict[str, Any]:
    counts = (d.count, d.only_reference, d.only_other)
    return {
        "label": d.label or "",
        "side": SIDES[d.side],
        "counts": [f"{n:,}" for n in counts],
        "ps": [p_text(d.p), p_text(d.p_holm)],
    }
