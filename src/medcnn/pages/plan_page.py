"""The output of `medcnn plan`, and what a checklist says about a plan."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medcnn.pages.facts import Statement, say
from medcnn.pages.format import counted, short
from medcnn.pages.page import rendered
from medcnn.statistics.planning import AIMS, Need


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """`made` is the time, in the form of `run.json`; `settings` are those of the command."""

    made: str
    settings: Mapping[str, Any]
    needs: Sequence[Need]

    @property
    def largest(self) -> Need:
        return max(self.needs, key=lambda need: need.patients)

    def has(self, *aims: str) -> bool:
        return bool({need.aim for need in self.needs} & set(aims))


def name_of(need: Need) -> str:
    name = AIMS.get(need.aim, AIMS[need.of])
    return f"{name}: not inferior" if need.aim == "not inferior" else name


def _the(need: Need) -> str:
    """`the calibration slope`, `the test of the AUROC`."""
    name = AIMS.get(need.aim, AIMS[need.of])
    the = f"the {name if name.isupper() else name[0].lower() + name[1:]}"
    return f"the test of {the}" if need.aim == "not inferior" else the


def _verdict(p: Planned) -> str:
    most, share = p.largest, 100 * p.settings["prevalence"]
    return (
        f"The study needs {counted(most.patients, 'patient')}, {most.with_condition:,} of them "
        f"with the condition if its prevalence is {share:g} %."
    )


def _clustered(p: Planned) -> str:
    m, icc = p.settings["images_per_patient"], p.settings["icc"]
    return (
        f"Each patient has {m:g} images, with a correlation of {icc:g}: "
        f"{1 + (m - 1) * icc:.3g} of them tell as much as one image of another patient."
    )


def _test(p: Planned) -> str:
    s = p.settings
    return (
        f"The test is one-sided at 2.5 % and has a power of {100 * s['power']:g} % if both models "
        f"are equally good and the correlation of their scores is {s['correlation']:g}; with a "
        "lower one, it needs more patients."
    )


PLAN: dict[str, Statement[Planned]] = {
    "verdict": Statement(_verdict, lambda p: bool(p.needs)),
    "largest": Statement(
        lambda p: f"The largest of these {len(p.needs)} sizes is for {_the(p.largest)}.",
        lambda p: len(p.needs) > 1,
    ),
    "one image": Statement(
        "One image per patient is assumed.", lambda p: p.settings["images_per_patient"] == 1
    ),
    "clustered": Statement(_clustered, lambda p: p.settings["images_per_patient"] > 1),
    "unusable": Statement(
        lambda p: f"{100 * p.settings['unusable']:g} % of these patients may turn out unusable.",
        lambda p: p.settings["unusable"] > 0,
    ),
    "test": Statement(_test, lambda p: p.has("not inferior")),
    "slope": Statement(
        "The size for the calibration slope assumes that the log-odds are normal in each class "
        "with the same spread; a model whose probabilities vary less needs more.",
        lambda p: p.has("slope") and not p.settings["logits"],
    ),
    "guesses": Statement(
        "These sizes rest on expected values, which a pilot or an earlier study must bear out. "
        "They hold for a test set on which no model or threshold was chosen.",
        lambda p: bool(p.needs),
    ),
}


def sentences_of(planned: Planned) -> list[str]:
    """The statements that hold."""
    return [words for s in PLAN.values() if (words := s.words(planned))]


def row(need: Need) -> tuple[str, ...]:
    """What, expected, wanted; patients, with the condition, images."""
    wanted = f"margin {need.wanted:g}" if need.aim == "not inferior" else f"± {need.wanted:g}"
    counts = (f"{n:,}" for n in (need.patients, need.with_condition, need.images))
    return name_of(need), short(need.expected), wanted, *counts


HEAD = ("Aim", "expected", "wanted", "patients", "with it", "images")


def table_lines(planned: Planned) -> Iterator[str]:
    """For a terminal, in lines of at most 100 columns."""
    for cells in (HEAD, *map(row, planned.needs)):
        yield f"{cells[0]:<38}" + "".join(f"{cell:>12}" for cell in cells[1:])
    yield ""
    yield from textwrap.wrap(say(PLAN, planned, "verdict", "largest"), 100)


def plan_page(planned: Planned) -> str:
    """One self-contained HTML page."""
    most = planned.largest
    return rendered(
        "plan.html.j2",
        title="Plan of a study",
        task=f"{counted(most.patients, 'patient')} with {counted(most.images, 'image')}",
        warnings=(),
        sentences=sentences_of(planned),
        rows=[row(need) for need in planned.needs],
        settings={k: "none" if v is None else str(v) for k, v in planned.settings.items()},
        made=planned.made,
    )


Run = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A plan in the `run.json` of a run whose `split` is judged."""

    plan: Mapping[str, Any]
    run: Run
    split: str

    @property
    def first(self) -> str:
        """When results could first be seen, or "" if that is not known."""
        looks = self.run.get("test_looks") or ()
        evaluated = self.run.get("started") if self.run.get("trained_on") else ""
        return str(looks[0].get("when") if looks else evaluated or "")

    @property
    def there(self) -> str:
        """What the split has, or ""."""
        stored = self.run.get("report") or {}
        split = (stored.get("dataset") or {}).get(self.split) or {}
        if "groups" in split:
            return counted(split["groups"], stored.get("group_noun") or "group")
        return counted(split["images"], "image") if "images" in split else ""


def _sized(k: Kept) -> str:
    aims = "; ".join(name_of(Need(**need)) for need in k.plan["needs"])
    return (
        f"medcnn plan, {k.plan['made'][:10]}: {counted(k.plan['patients'], 'patient')} for {aims}."
    )


SIZED: dict[str, Statement[Kept]] = {
    "planned": Statement(_sized, lambda k: bool(k.plan)),
    "before": Statement(
        "The plan is older than the first look at the results.",
        lambda k: bool(k.plan and k.first) and k.plan["made"] < k.first,
    ),
    "after": Statement(
        "The plan was made after the first look at the results.",
        lambda k: bool(k.plan and k.first) and k.plan["made"] >= k.first,
    ),
    "there": Statement(
        lambda k: f"The {k.split} split has {k.there}.", lambda k: bool(k.plan and k.there)
    ),
}


def sample_size(run: Run, split: str) -> str:
    """What a checklist says about the plan in `run.json`, or "" without one."""
    kept = Kept(plan=run.get("plan") or {}, run=run, split=split)
    return say(SIZED, kept, *SIZED)
