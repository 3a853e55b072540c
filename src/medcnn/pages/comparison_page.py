"""What `medcnn compare` says: the page, the table in the terminal, and the words for a verdict."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from medcnn.pages.digits import because, number, p_text, signed
from medcnn.pages.facts import Facts
from medcnn.pages.page import rendered
from medcnn.pages.statements import said
from medcnn.statistics.comparing import WITHIN, Difference, Discordance, Pairing
from medcnn.statistics.metrics.table import METRICS
from medcnn.statistics.predictions import Predictions

SIDES = {"answers": "all answers", "positives": "with it", "negatives": "without it"}


def told_table(first: str, other: str, pairing: Pairing, group_noun: str) -> Iterator[str]:
    """Lines of at most 100 columns: the overall differences, for a terminal."""
    yield f"{other} against {first}"
    names = [n if len(n) <= 10 else f"{n[:9]}…" for n in (first, other)]
    yield f"  {'':<27}{names[0]:>10} {names[1]:>10}  {'difference (95 %)':<24} {'p':>6} {'Holm':>6}"
    for d in pairing.differences:
        if d.label is None:
            interval = "" if math.isnan(d.low) else f" ({signed(d.low)} {signed(d.high)})"
            p, holm = (p_text(p) for p in list(ps_of(d).values())[:2])
            title, shown = METRICS[d.score].title, f"{signed(d.difference)}{interval}"
            yield (
                f"  {title[:26]:<27}{number(d.reference):>10} {number(d.other):>10}  {shown:<24}"
                f" {p:>6} {holm:>6} {_short(d.verdict)}"
            ).rstrip()
    yield from _reasons(pairing, group_noun)
    for d in pairing.differences:
        if d.margin is not None:
            title = METRICS[d.score].title
            meaning = {
                "not inf.": f"{title} is not worse by {d.margin:g}",
                "unsure": f"{title} may be worse by {d.margin:g}",
                "within": f"{title} is worse, but surely by less than {d.margin:g}",
            }
            if said := meaning.get(_short(d.verdict)):
                yield f"  {_short(d.verdict)}: {said}"


def _reasons(pairing: Pairing, group_noun: str) -> Iterator[str]:
    """Why intervals and tests are missing, or what a mean leaves out: each reason once."""
    titles: dict[str, list[str]] = {}
    for d in pairing.differences:
        if d.label is None and d.note:
            titles.setdefault(because(d.note, group_noun), []).append(METRICS[d.score].title)
    for note, scores in titles.items():
        said = f"{', '.join(scores)}: {note}"
        yield from textwrap.wrap(said, 100, initial_indent="  ", subsequent_indent="    ")


def _short(said: str) -> str:
    short = {
        "inferiority not excluded": "unsure",
        "not inferior": "not inf.",
        WITHIN: "within",
    }
    return short.get(said, said)


def comparison_page(
    first: str,
    predictions: Mapping[str, Predictions],
    pairings: Mapping[str, Pairing],
    settings: Mapping[str, Sequence[str]],
    notes: Sequence[str],
    *,
    group_noun: str,
) -> str:
    """One self-contained HTML page.

    Args:
        first: name of the reference; `predictions` holds it and the others, aligned.
        settings: those in which the runs differ -> what each says.
    """
    reference = predictions[first]
    images, groups = len(reference.image_ids), len(set(reference.groups))
    found = [d for p in pairings.values() for d in p.differences]
    judged = next((d for d in found if d.margin is not None), None)
    facts = Facts(
        group_noun=group_noun,
        sections=frozenset({"differences"} if found else ()),
        margin=judged.margin if judged else None,
        margin_of=METRICS[judged.score].title if judged else "",
        methods=frozenset(d.method for d in found if not math.isnan(d.low)),
        tests=sum(not math.isnan(d.p) for d in found),
        mcnemar=sum(not math.isnan(d.p) for p in pairings.values() for d in p.discordances),
        differing_settings=len(settings),
    )
    return rendered(
        "comparison.html.j2",
        first=first,
        names=list(predictions),
        task=f"{reference.split} split: {images:,} images"
        + (f" of {groups:,} {group_noun}s" if groups < images else ""),
        sentences=[because(_sentence(first, name, p), group_noun) for name, p in pairings.items()],
        pairs=[
            {
                "name": name,
                "overall": _differences([d for d in p.differences if d.label is None]),
                "labels": _differences([d for d in p.differences if d.label is not None]),
                "discordances": [_discordance(d) for d in p.discordances],
            }
            for name, p in pairings.items()
        ],
        settings=settings,
        notes=notes,
        group_noun=group_noun,
        say=lambda *names: " ".join(filter(None, (said(name, facts) for name in names))),
        because=partial(because, noun=group_noun),
    )


def _sentence(first: str, name: str, pairing: Pairing) -> str:
    """The first score in words, and how many of the others say the same."""
    overall = [d for d in pairing.differences if d.label is None]
    d = overall[0]
    title = METRICS[d.score].title
    opening = f"{title} of {name} is {number(d.other)}, of {first} {number(d.reference)}"
    if math.isnan(d.low):
        why = f" ({d.note})" if d.note else ""
        return f"{opening}; how sure this difference is cannot be said{why}.{_others(overall)}"
    ends = f"(95 % interval {signed(d.low)} to {signed(d.high)})"
    surely = f"the difference is {signed(d.difference)} {ends}"
    better = f"So {name} has the better {title} on images like these"
    worse = f"So {name} has the worse {title} on images like these"
    margin = "" if d.margin is None else f"{d.margin:g}"
    meaning = {
        "better": better,
        "worse": worse,
        WITHIN: f"{worse}, but by less than the margin of {margin}: it is not inferior",
        "different": "More than chance would give",
        "not inferior": f"In {title}, {name} is not inferior by the margin of {margin}",
        "inferiority not excluded": f"That its {title} is worse by {margin} or more is not "
        "excluded",
        "": "That could be chance: these images do not show which is better",
    }[d.verdict]
    return f"{opening}: {surely}. {meaning}.{_others(overall)}"


def _others(overall: Sequence[Difference]) -> str:
    """` Of 5 scores compared, ...`: what the other scores say, where there are others."""
    if len(overall) < 2:
        return ""
    verdicts = [d.verdict for d in overall if d.better]
    better = sum(v == "better" for v in verdicts)
    worse = sum(v in ("worse", WITHIN) for v in verdicts)
    rest = len(verdicts) - better - worse
    if not better + worse:
        return f" None of the {len(verdicts)} scores compared shows a sure difference."
    return (
        f" Of {len(verdicts)} scores compared it is better in {better} and worse in {worse}; "
        f"{rest} {'shows' if rest == 1 else 'show'} no sure difference."
    )


def ps_of(d: Difference) -> dict[str, float]:
    """p, adjusted p, and p by exchange; nan where there is no interval."""
    ps = {"p": d.p, "p_holm": d.p_holm, "p_permuted": d.p_permuted}
    return dict.fromkeys(ps, math.nan) if math.isnan(d.low) else ps


def _differences(found: Sequence[Difference]) -> list[dict[str, Any]]:
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
            "ps": [p_text(p) for p in ps_of(d).values()],
            "verdict": d.verdict,
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
