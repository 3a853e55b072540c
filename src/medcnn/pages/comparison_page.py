"""The output of `medcnn compare`: page, table in the terminal, and words for verdicts."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

from medcnn.pages.facts import Facts, Statement, say
from medcnn.pages.format import counted, estimate, number, p_text, signed, whose
from medcnn.pages.page import rendered
from medcnn.pages.statements import STATEMENTS
from medcnn.statistics.differences import WITHIN, Difference, Pairing
from medcnn.statistics.group_differences import GroupDifferences
from medcnn.statistics.metrics.table import METRICS
from medcnn.statistics.predictions import Predictions

SHORT = {"inferiority not excluded": "unsure", "not inferior": "not inf.", WITHIN: "within"}
SHORT_MEANS = {
    "not inf.": "is not worse by {:g}",
    "unsure": "may be worse by {:g}",
    "within": "is worse, but by less than {:g}",
}
SIDES = {"answers": "all answers", "positives": "with it", "negatives": "without it"}


def table_lines(first: str, other: str, pairing: Pairing, group_noun: str) -> Iterator[str]:
    """The overall differences for a terminal, in lines of at most 100 columns."""
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
                f" {p:>6} {holm:>6} {SHORT.get(d.verdict, d.verdict)}"
            ).rstrip()
    yield from _reasons(pairing, group_noun)
    for d in pairing.differences:
        if d.margin is not None and d.verdict in SHORT:
            meaning = SHORT_MEANS[SHORT[d.verdict]].format(d.margin)
            p = f" (p by Holm {p_text(d.p_inferior_holm)})"
            yield f"  {SHORT[d.verdict]}: {METRICS[d.score].title} {meaning}{p}"


def group_lines(groups: Sequence[GroupDifferences]) -> Iterator[str]:
    """The subgroups in which the models differ, for a terminal."""
    for g in groups:
        for d in g.differences:
            if d.verdict:
                difference, interval = estimate(d.difference, d.low, d.high, signed)
                said = f"{g.by} {g.name}: {METRICS[d.score].title} {difference} ({interval}), "
                said += f"{d.verdict}, p by Holm {p_text(d.p_holm)}"
                yield from textwrap.wrap(said, 96, initial_indent="  ", subsequent_indent="    ")


def _reasons(pairing: Pairing, group_noun: str) -> Iterator[str]:
    """Why intervals and tests are missing, or what a mean leaves out; each reason once."""
    titles: dict[str, list[str]] = {}
    for d in pairing.differences:
        if d.label is None and d.note:
            titles.setdefault(whose(d.note, group_noun), []).append(METRICS[d.score].title)
    for note, scores in titles.items():
        said = f"{', '.join(scores)}: {note}"
        yield from textwrap.wrap(said, 100, initial_indent="  ", subsequent_indent="    ")


def comparison_page(
    first: str,
    predictions: Mapping[str, Predictions],
    pairings: Mapping[str, Pairing],
    settings: Mapping[str, Sequence[str]],
    notes: Sequence[str],
    *,
    group_noun: str,
    subgroups: Mapping[str, Sequence[GroupDifferences]] = MappingProxyType({}),
    unknown: Sequence[str] = (),
) -> str:
    """One self-contained HTML page.

    Args:
        first: name of the reference; `predictions` contains it and the others, aligned.
        settings: those that differ between runs -> the values.
        subgroups: other model -> its differences in each subgroup.
        unknown: runs whose settings are not known.
    """
    reference = predictions[first]
    images, groups = len(reference.image_ids), len(set(reference.groups))
    found = [d for p in pairings.values() for d in p.differences]
    judged = next((d for d in found if d.margin is not None), None)
    within = [d for of in subgroups.values() for g in of for d in g.differences]
    facts = Facts(
        group_noun=group_noun,
        sections=frozenset({"differences"} if found else ()),
        margin=judged.margin if judged else None,
        margin_of=METRICS[judged.score].title if judged else "",
        methods=frozenset(d.method for d in found if not math.isnan(d.low)),
        tests=sum(not math.isnan(d.p) for d in found),
        mcnemar=sum(not math.isnan(d.p) for p in pairings.values() for d in p.discordances),
        differing_settings=len(settings),
        unknown_settings=tuple(unknown),
        gaps=sum(not math.isnan(d.p) for d in within),
        small_groups=any(not g.differences for of in subgroups.values() for g in of),
    )
    return rendered(
        "comparison.html.j2",
        FILTERS,
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
        pairs=pairings,
        settings=settings,
        sides=SIDES,
        groups={name: subgroups.get(name, ()) for name in pairings},
        group_columns=[METRICS[n].title for n in dict.fromkeys(d.score for d in within)],
        noun=group_noun,
        metrics=METRICS,
        say=partial(say, STATEMENTS, facts),
        whose=partial(whose, noun=group_noun),
    )


class Compared:
    """A model against the reference: the result of the main score, and counts of the others.

    Attributes:
        main: the difference in the first score, `title`.
        sure: whether it has an interval.
        judged: number of scores with a better side; `better`, `worse`: in how many of them it is.
    """

    def __init__(self, first: str, name: str, pairing: Pairing, group_noun: str) -> None:
        self.first, self.name, self.group_noun = first, name, group_noun
        overall = [d for d in pairing.differences if d.label is None]
        self.main, self.several = overall[0], len(overall) > 1
        self.title, self.sure = METRICS[self.main.score].title, not math.isnan(self.main.low)
        self.judged = sum(bool(d.better) for d in overall)
        self.better = sum(d.verdict == "better" for d in overall)
        self.worse = sum(d.verdict in ("worse", WITHIN) for d in overall)


def _values(c: Compared) -> str:
    d = c.main
    return f"{c.title} is {number(d.other)} for {c.name} and {number(d.reference)} for {c.first}"


def _difference(c: Compared) -> str:
    d = c.main
    difference, interval = estimate(d.difference, d.low, d.high, signed)
    return f"{_values(c)}: the difference is {difference} (95 % interval {interval})."


def _unsure(c: Compared) -> str:
    why = f" ({whose(c.main.note, c.group_noun)})" if c.main.note else ""
    return f"{_values(c)}; the uncertainty of this difference is not known{why}."


def _meaning(verdict: str, says: Callable[[Compared], str] | str) -> Statement[Compared]:
    return Statement(says, lambda c: c.sure and c.main.verdict == verdict)


def _margin(c: Compared) -> str:
    return "" if c.main.margin is None else f"{c.main.margin:g}"


def _side(c: Compared, side: str) -> str:
    return f"So {c.name} has the {side} {c.title} on images like these"


def _counted(c: Compared) -> str:
    rest = c.judged - c.better - c.worse
    return (
        f"Of {c.judged} scores compared, it is better in {c.better} and worse in {c.worse}; {rest} "
        f"{'shows' if rest == 1 else 'show'} no significant difference."
    )


COMPARED: dict[str, Statement[Compared]] = {
    "difference": Statement(_difference, lambda c: c.sure),
    "unsure": Statement(_unsure, lambda c: not c.sure),
    "better": _meaning("better", lambda c: f"{_side(c, 'better')}."),
    "worse": _meaning("worse", lambda c: f"{_side(c, 'worse')}."),
    "within": _meaning(
        WITHIN,
        lambda c: (
            f"{_side(c, 'worse')}, but by less than the margin of {_margin(c)}: it is not inferior."
        ),
    ),
    "different": _meaning("different", "This is more than chance would explain."),
    "not inferior": _meaning(
        "not inferior",
        lambda c: f"In {c.title}, {c.name} is not inferior at the margin of {_margin(c)}.",
    ),
    "not excluded": _meaning(
        "inferiority not excluded", lambda c: f"Its {c.title} may be worse by {_margin(c)} or more."
    ),
    "chance": _meaning("", "This may be due to chance: these images do not show which is better."),
    "others": Statement(_counted, lambda c: c.several and bool(c.better + c.worse)),
    "no others": Statement(
        lambda c: f"None of the {c.judged} scores compared shows a significant difference.",
        lambda c: c.several and c.judged > 0 and not c.better + c.worse,
    ),
}


def bars(differences: Sequence[Difference]) -> list[list[str] | None]:
    """The ends of each interval and its value, in % of a bar centred on 0, the second end measured
    from the right; bars of one table share a scale."""
    known = [d for d in differences if not math.isnan(d.low)]
    reach = max((abs(v) for d in known for v in (d.low, d.high)), default=0.0) or 1.0
    return [
        [f"{50 + 50 * v / reach:.1f}" for v in (d.low, -d.high, d.difference)]
        if not math.isnan(d.low)
        else None
        for d in differences
    ]


def ps_of(d: Difference) -> dict[str, float]:
    """p, adjusted p, and p by exchange; nan without an interval."""
    ps = {"p": d.p, "p_holm": d.p_holm, "p_permuted": d.p_permuted}
    return dict.fromkeys(ps, math.nan) if math.isnan(d.low) else ps


FILTERS: dict[str, Callable[..., Any]] = {
    "number": number,
    "p_text": p_text,
    "ps_of": lambda d: ps_of(d).values(),
    "bars": bars,
    "estimate": lambda d: estimate(d.difference, d.low, d.high, signed),
}
