"""What `medcnn compare` says: the page, the table in the terminal, and the words for a verdict."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from medcnn.pages.facts import Facts, Statement, say
from medcnn.pages.format import count, counted, estimate, number, p_text, signed, whose
from medcnn.pages.page import rendered
from medcnn.pages.statements import STATEMENTS
from medcnn.statistics.comparing import WITHIN, Difference, Discordance, Pairing
from medcnn.statistics.metrics.table import METRICS
from medcnn.statistics.predictions import Predictions

SIDES = {"answers": "all answers", "positives": "with it", "negatives": "without it"}


def told_table(first: str, other: str, pairing: Pairing, group_noun: str) -> Iterator[str]:
    """Lines of at most 100 columns: the overall differences, for a terminal."""
    yield f"{other} against {first}"
    names = [n if len(n) <= 10 else f"{n[:9]}…" for n in (first, other)]
    yield f"  {'':<26}{names[0]:>10} {names[1]:>10}  {'difference (95 %)':<25} {'p':>6} {'Holm':>6}"
    for d in pairing.differences:
        if d.label is None:
            difference, interval = estimate(d.difference, d.low, d.high, signed)
            p, holm = (p_text(p) for p in list(ps_of(d).values())[:2])
            title = METRICS[d.score].title
            shown = f"{difference} ({interval})" if interval else difference
            yield (
                f"  {title[:25]:<26}{number(d.reference):>10} {number(d.other):>10}  {shown:<25}"
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
            titles.setdefault(whose(d.note, group_noun), []).append(METRICS[d.score].title)
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
        title=f"{first} and {', '.join(pairings)}",
        task=f"{reference.split} split: {counted(images, 'image')}"
        + (f" of {counted(groups, group_noun)}" if groups < images else ""),
        warnings=notes,
        first=first,
        names=list(predictions),
        sentences=[
            " ".join(filter(None, (s.words(compared) for s in COMPARED.values())))
            for name, p in pairings.items()
            for compared in [Compared(first, name, p, group_noun)]
        ],
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
        say=partial(say, STATEMENTS, facts),
        whose=partial(whose, noun=group_noun),
    )


@dataclass(frozen=True, slots=True)
class Compared:
    """A model against the reference."""

    first: str
    name: str
    pairing: Pairing
    group_noun: str

    @property
    def overall(self) -> list[Difference]:
        return [d for d in self.pairing.differences if d.label is None]

    @property
    def main(self) -> Difference:
        return self.overall[0]

    @property
    def title(self) -> str:
        return METRICS[self.main.score].title

    @property
    def sure(self) -> bool:
        return not math.isnan(self.main.low)

    @property
    def better(self) -> int:
        return sum(d.verdict == "better" for d in self.overall)

    @property
    def worse(self) -> int:
        return sum(d.verdict in ("worse", WITHIN) for d in self.overall)

    @property
    def judged(self) -> int:
        """Scores that have a better side."""
        return sum(bool(d.better) for d in self.overall)


def _values(c: Compared) -> str:
    d = c.main
    return f"{c.title} of {c.name} is {number(d.other)}, of {c.first} {number(d.reference)}"


def _difference(c: Compared) -> str:
    d = c.main
    difference, interval = estimate(d.difference, d.low, d.high, signed)
    return f"{_values(c)}: the difference is {difference} (95 % interval {interval})."


def _unsure(c: Compared) -> str:
    why = f" ({whose(c.main.note, c.group_noun)})" if c.main.note else ""
    return f"{_values(c)}; how sure this difference is cannot be said{why}."


def _meaning(verdict: str, says: Callable[[Compared], str] | str) -> Statement[Compared]:
    return Statement(says=says, holds=lambda c: c.sure and c.main.verdict == verdict)


def _margin(c: Compared) -> str:
    return "" if c.main.margin is None else f"{c.main.margin:g}"


def _side(c: Compared, side: str) -> str:
    return f"So {c.name} has the {side} {c.title} on images like these"


def _counted(c: Compared) -> str:
    rest = c.judged - c.better - c.worse
    return (
        f"Of {c.judged} scores compared it is better in {c.better} and worse in {c.worse}; {rest} "
        f"{'shows' if rest == 1 else 'show'} no sure difference."
    )


COMPARED: dict[str, Statement[Compared]] = {
    "difference": Statement(says=_difference, holds=lambda c: c.sure),
    "unsure": Statement(says=_unsure, holds=lambda c: not c.sure),
    "better": _meaning("better", lambda c: f"{_side(c, 'better')}."),
    "worse": _meaning("worse", lambda c: f"{_side(c, 'worse')}."),
    "within": _meaning(
        WITHIN,
        lambda c: (
            f"{_side(c, 'worse')}, but by less than the margin of {_margin(c)}: it is not inferior."
        ),
    ),
    "different": _meaning("different", "More than chance would give."),
    "not inferior": _meaning(
        "not inferior",
        lambda c: f"In {c.title}, {c.name} is not inferior by the margin of {_margin(c)}.",
    ),
    "not excluded": _meaning(
        "inferiority not excluded",
        lambda c: f"That its {c.title} is worse by {_margin(c)} or more is not excluded.",
    ),
    "chance": _meaning("", "That could be chance: these images do not show which is better."),
    "others": Statement(
        says=_counted, holds=lambda c: len(c.overall) > 1 and bool(c.better + c.worse)
    ),
    "no others": Statement(
        says=lambda c: f"None of the {c.judged} scores compared shows a sure difference.",
        holds=lambda c: len(c.overall) > 1 and c.judged > 0 and not c.better + c.worse,
    ),
}


def ps_of(d: Difference) -> dict[str, float]:
    """p, adjusted p, and p by exchange; nan where there is no interval."""
    ps = {"p": d.p, "p_holm": d.p_holm, "p_permuted": d.p_permuted}
    return dict.fromkeys(ps, math.nan) if math.isnan(d.low) else ps


def _differences(found: Sequence[Difference]) -> list[dict[str, Any]]:
    """Rows of a table; bars of one table share a scale around 0."""
    ends = [abs(v) for d in found for v in (d.low, d.high) if not math.isnan(v)]
    reach = max(ends, default=1.0) or 1.0

    def row(d: Difference) -> dict[str, Any]:
        difference, interval = estimate(d.difference, d.low, d.high, signed)
        ends = (d.low, -d.high, d.difference)
        return {
            "title": METRICS[d.score].title,
            "label": d.label or "",
            "direction": {1: "higher is better", -1: "lower is better", 0: ""}[d.better],
            "values": [number(d.reference), number(d.other)],
            "difference": difference,
            "interval": interval,
            "bar": [f"{50 + 50 * v / reach:.1f}" for v in ends] if interval else None,
            "ps": [p_text(p) for p in ps_of(d).values()],
            "verdict": d.verdict,
            "note": d.note,
        }

    return list(map(row, found))


def _discordance(d: Discordance) -> dict[str, Any]:
    counts = (d.count, d.only_reference, d.only_other)
    return {
        "label": d.label or "",
        "side": SIDES[d.side],
        "counts": [count(n) for n in counts],
        "ps": [p_text(d.p), p_text(d.p_holm)],
    }
