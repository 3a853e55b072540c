"""`new_hospital.html`: what a hospital needs to decide whether to use the fine-tuned model."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from medcnn.pages.comparison_page import bars
from medcnn.pages.facts import Facts, Statement, say
from medcnn.pages.format import counted, estimate, moment, number, of_hundred, p_text, signed, whose
from medcnn.pages.hospital_facts import OLD, PROBE, RECALIBRATED, TUNED, NewHospital
from medcnn.pages.page import rendered
from medcnn.pages.shifted import SHIFTED, with_interval
from medcnn.pages.statements import STATEMENTS
from medcnn.statistics.acceptance import Condition, Verdict
from medcnn.statistics.differences import Difference
from medcnn.statistics.metrics.table import METRICS

ARM = {
    OLD: "as it is",
    RECALIBRATED: "the old model with refitted probabilities and thresholds",
    PROBE: "head trained on frozen features",
    TUNED: "the model of this run",
}


def side(d: Difference | None) -> str:
    """What the interval of a difference alone says: better, worse, not shown, or unsure."""
    if d is None or math.isnan(d.low) or not d.better:
        return "unsure"
    low, high = (d.low, d.high) if d.better > 0 else (-d.high, -d.low)
    return "better" if low > 0 else "worse" if high < 0 else "not shown"


def difference_text(d: Difference, noun: str) -> str:
    """`AUROC 0.912 against 0.843 (difference +0.069; 95 % interval +0.021 to +0.117)`."""
    difference, interval = estimate(d.difference, d.low, d.high, signed)
    why = f"95 % interval {interval}" if interval else whose(d.note, noun)
    values = f"{METRICS[d.score].title} {number(d.other)} against {number(d.reference)}"
    return f"{values} (difference {difference}; {why})" if math.isfinite(d.difference) else why


def _three(
    subject: str,
    of: Callable[[NewHospital], Difference | None],
    against: str,
    extra: Callable[[NewHospital], bool] = lambda _: True,
) -> Iterator[tuple[str, Statement[NewHospital]]]:
    """Statements about one comparison; its interval decides which one holds."""
    says = {
        "better": f"{subject} is better than {against}",
        "worse": f"{subject} is worse than {against}",
        "not shown": f"{subject} is not shown to differ from {against}",
        "unsure": f"Whether {subject[0].lower() + subject[1:]} is better than {against} cannot "
        "be said",
    }
    for which, words in says.items():

        def sentence(f: NewHospital, words: str = words) -> str:
            d = of(f)
            return f"{words}: {difference_text(d, f.group_noun)}." if d else ""

        def holds(f: NewHospital, which: str = which) -> bool:
            return extra(f) and of(f) is not None and side(of(f)) == which

        yield which, Statement(sentence, holds)


def _named(
    prefix: str, statements: Iterator[tuple[str, Statement[NewHospital]]]
) -> dict[str, Statement[NewHospital]]:
    return {f"{prefix}: {which}": statement for which, statement in statements}


SUMMARY: dict[str, Statement[NewHospital]] = {
    **_named("tuned", _three("The fine-tuned model", lambda f: f.of(TUNED), "the old one here")),
    "nothing shared": Statement(
        lambda f: (
            "The old model has none of the classes of these images "
            f"({', '.join(f.classes[:4])}{', ...' if f.classes[4:] else ''}), so the two cannot be "
            "compared: state in data.names which of its classes mean the same."
        ),
        lambda f: not f.shared and not f.lost,
    ),
    "lost": Statement(
        lambda f: (
            f"The old model has no finite result for {counted(f.lost, 'image')}, so the two cannot "
            "be compared."
        ),
        lambda f: f.lost > 0,
    ),
    "few": Statement(
        lambda f: (
            f"Only {counted(f.labelled, 'image')} here {'has' if f.labelled == 1 else 'have'} a "
            "label, fewer than 50: the test split is too small for a decision, whatever this page "
            "finds."
        ),
        lambda f: not f.enough,
    ),
    "old on all": Statement(
        lambda f: (
            f"The old model as it is, on all {f.old_on_all.count:,} labelled images here: "
            f"{f.title} {with_interval(f.old_on_all, f.group_noun)}."
            if f.old_on_all
            else ""
        ),
        lambda f: f.old_on_all is not None and not math.isnan(f.old_on_all.value),
    ),
    **_named(
        "recalibrated",
        _three(
            "The old model, recalibrated only,",
            lambda f: f.of(RECALIBRATED, "brier"),
            "the old one as it is",
        ),
    ),
    **_named(
        "probe",
        _three("A probe, with only its head trained,", lambda f: f.of(PROBE), "the old one"),
    ),
    **_named(
        "forgetting",
        _three("The fine-tuned model", lambda f: f.forgotten, "the old one on the old test split"),
    ),
    "forgetting unknown": Statement(
        lambda f: (
            "Whether the fine-tuned model got worse on the images of the old hospital is not "
            f"known: {f.no_old_test}."
        ),
        lambda f: bool(f.no_old_test),
    ),
}


def _conditions(f: NewHospital) -> tuple[Condition, ...]:
    return f.rule.conditions if f.rule else ()


def _counts(f: NewHospital) -> str:
    found = [c.verdict for c in _conditions(f)]
    parts = [f"{found.count(v)} {v}" for v in Verdict if v in found]
    return f"of {counted(len(found), 'condition')}, {', '.join(parts)}"


def _has_verdict(verdict: Verdict) -> Callable[[NewHospital], bool]:
    return lambda f: f.rule is not None and f.rule.verdict is verdict


def _times(f: NewHospital) -> str:
    assert f.rule
    return (
        f"recorded {moment(f.rule.recorded)}, training began {moment(f.rule.began)}, first look at "
        f"the test split {moment(f.rule.looked)}"
    )


DETAILS: dict[str, Statement[NewHospital]] = {
    **SHIFTED,
    "part": Statement(
        lambda f: f"Only the classes that both models have are compared: {', '.join(f.shared)}.",
        lambda f: 0 < len(f.shared) < len(f.classes),
    ),
    "how": Statement(
        lambda f: (
            "Each difference is from the old model as it is, on the same images, and its interval "
            f"is paired by {f.group_noun}. Whatever was chosen or fitted used validation."
        ),
        lambda f: bool(f.arms),
    ),
    "holm": Statement(
        "The first sentence is about one difference, chosen beforehand, and follows its interval. "
        "Holm's p allows for all differences on this page.",
        lambda f: bool(f.arms),
    ),
    "same as probe": Statement(
        "This run trained the head alone, so it is the probe.",
        lambda f: f.transfer == "linear_probe",
    ),
    "wise_ft": Statement(
        lambda f: (
            f"WiSE-FT: the fine-tuned model is {100 * f.wise_ft:.0f} % new and "
            f"{100 - 100 * f.wise_ft:.0f} % old weights."
            if f.wise_ft is not None
            else ""
        ),
        lambda f: f.wise_ft is not None,
    ),
    "rule: met": Statement(lambda f: f"The rule is met: {_counts(f)}.", _has_verdict(Verdict.MET)),
    "rule: not met": Statement(
        lambda f: f"The rule is not met: {_counts(f)}.", _has_verdict(Verdict.NOT_MET)
    ),
    "rule: unsure": Statement(
        lambda f: (
            f"Whether the rule is met cannot be said: {_counts(f)}. That is no reason to accept "
            "the model; more images may decide."
        ),
        _has_verdict(Verdict.UNSURE),
    ),
    "rule: means": Statement(
        "A condition is met if the interval rules out that the fine-tuned model is worse by the "
        "margin or more, and not met if the interval rules out that it is worse by less. With a "
        "margin of 0, it has to be better.",
        lambda f: f.rule is not None,
    ),
    "rule: older": Statement(
        lambda f: (
            f"run.json shows that the rule is older than the results: {_times(f)}. The SHA-256 of "
            f"the rule begins with {f.rule.digest[:16]}."
            if f.rule
            else ""
        ),
        lambda f: f.rule is not None and f.rule.older,
    ),
    "rule: younger": Statement(
        lambda f: f"run.json does not show that the rule is older than the results: {_times(f)}.",
        lambda f: f.rule is not None and not f.rule.older,
    ),
    "no rule": Statement(
        "No rule was written beforehand (accept), so this page has no verdict.",
        lambda f: f.rule is None,
    ),
}


def summary_of(found: NewHospital) -> list[str]:
    """The sentences at the top, the most important first."""
    return [words for s in SUMMARY.values() if (words := s.words(found))]


def hospital_page(found: NewHospital, title: str, notes: Sequence[str]) -> str:
    """One self-contained HTML page."""
    others = {
        METRICS[d.score].title: [
            next((e for e in p.differences if e.score == d.score), None)
            for p in found.arms.values()
        ]
        for p in found.arms.values()
        for d in p.differences
        if d.score != found.score
    }
    every = [d for p in found.arms.values() for d in p.differences]
    facts = Facts(
        group_noun=found.group_noun,
        sections=frozenset({"differences"}),
        methods=frozenset(d.method for d in every if not math.isnan(d.low)),
    )
    mains = {name: found.of(name) for name in found.arms}
    return rendered(
        "hospital.html.j2",
        {"number": number, "p_text": p_text, "bars": bars, "signed": signed, "pair": _pair},
        title=title,
        task=f"test split: {counted(found.images, 'image')}"
        + (f" of {counted(found.groups, found.group_noun)}" if found.groups < found.images else ""),
        warnings=notes,
        sentences=summary_of(found),
        found=found,
        mains={n: d for n, d in mains.items() if d and d.score == found.score},
        others=others,
        arm=ARM,
        old=OLD,
        side=side,
        prevalence={
            name: (_share(here), _share(there))
            for name, (there, here) in found.shift.prevalence.items()
        },
        metrics=METRICS,
        say=lambda *names: say(DETAILS, found, *names),
        footer=partial(say, STATEMENTS, facts)("compare: methods", "compare: research"),
        whose=partial(whose, noun=found.group_noun),
    )


def _pair(d: Difference) -> tuple[str, str]:
    return estimate(d.difference, d.low, d.high, signed)


def _share(of: tuple[float, int]) -> str:
    share, count = of
    return f"{of_hundred(share)} of 100 ({count:,} assessed)" if count else "not assessed"
