"""What `medcnn monitor` says: the page, and the sentences in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from medcnn.pages.facts import Statement, say
from medcnn.pages.format import counted, estimate, number, p_text, percent, short
from medcnn.pages.page import rendered
from medcnn.statistics.monitoring import FEWEST_PATIENTS, MOST_IMAGES, Change, Prevalence, Size


@dataclass(frozen=True, slots=True, kw_only=True)
class Monitored:
    """A table of predictions compared with validation, or with another table.

    Attributes:
        reference: what it is compared with, such as `validation`.
        images: compared, of both tables, those of the reference first.
        patients: of both tables.
        grouped: whether a table's patients are known; if not, each image counts as one.
        same_model: whether both tables say which checkpoint made them.
        alarm: how often a page may name a change if there is none.
    """

    title: str
    reference: str
    images: tuple[int, int]
    patients: tuple[int, int]
    grouped: tuple[bool, bool]
    same_model: bool
    alarm: float
    changes: Sequence[Change]
    prevalences: Sequence[Prevalence] = ()

    @property
    def called(self) -> list[Change]:
        """Those to look at, the farthest first."""
        found = [change for change in self.changes if change.calls(self.alarm)]
        return sorted(found, key=lambda change: -change.distance)

    @property
    def small(self) -> list[Change]:
        """Beyond chance, but too small to matter."""
        named = {change.question for change in self.called}
        return [c for c in self.changes if c.p <= self.alarm and c.question not in named]

    @property
    def enough(self) -> bool:
        return min(self.patients) >= FEWEST_PATIENTS


def value(change: Change, of: float) -> str:
    """`12.0 %` for a share, otherwise the mean."""
    return short(of) if change.size is Size.SPREAD else f"{percent(of)} %"


def _verdict(m: Monitored) -> str:
    listed = "; ".join(
        f"{c.question} from {value(c, c.before)} to {value(c, c.now)}" for c in m.called[:3]
    )
    more = f"; and {len(m.called) - 3} more" if len(m.called) > 3 else ""
    return (
        f"Look into it: {len(m.called)} of {counted(len(m.changes), 'question')} are answered "
        f"differently than in {m.reference}, by more than chance ({listed}{more})."
    )


def _calm(m: Monitored) -> str:
    spread = [c.shows_from for c in m.changes if c.size is Size.SPREAD and c.shows_from < 1]
    seen = (
        f" Here, a distance of up to {number(max(spread), 2)} between distributions may be chance."
        if spread
        else ""
    )
    return (
        f"No reason to look: none of {counted(len(m.changes), 'question')} is answered differently "
        f"than in {m.reference} by more than chance and enough to matter.{seen}"
    )


SAYS: dict[str, Statement[Monitored]] = {
    "research": Statement("Not a medical device.", lambda m: bool(m.changes)),
    "look": Statement(_verdict, lambda m: m.enough and bool(m.called)),
    "calm": Statement(_calm, lambda m: m.enough and bool(m.changes) and not m.called),
    "few": Statement(
        lambda m: (
            f"Too few to tell: {m.patients[0]:,} patients in {m.reference} and {m.patients[1]:,} "
            f"now; {FEWEST_PATIENTS} of each are needed."
        ),
        lambda m: not m.enough,
    ),
    "small": Statement(
        lambda m: (
            f"Beyond chance, but too small to matter: {', '.join(c.question for c in m.small)}."
        ),
        lambda m: m.enough and bool(m.small),
    ),
    "promise": Statement(
        lambda m: (
            f"If nothing has changed, at most {short(100 * m.alarm)} % of such pages name "
            "anything: p is adjusted for all questions together, by exchanging patients between "
            "the two tables. Each patient counts once. Twelve such pages a year are twelve chances "
            "of a false alarm."
        ),
        lambda m: m.enough and bool(m.changes),
    ),
    "thinned": Statement(
        f"At most {MOST_IMAGES:,} images of a table are compared, of as many patients as possible.",
        lambda m: m.enough and bool(m.changes) and max(m.images) >= MOST_IMAGES,
    ),
    "each alone": Statement(
        "The new table does not say which images belong to one patient, so each counts as a "
        "patient of its own. If patients have several images, there are more false alarms: give "
        "patient=.",
        lambda m: not m.grouped[1],
    ),
    "each alone before": Statement(
        lambda m: (
            f"The table of {m.reference} does not say which images belong to one patient, so each "
            "counts as a patient of its own. If patients have several images, there are more false "
            "alarms."
        ),
        lambda m: not m.grouped[0],
    ),
    "other model": Statement(
        "At least one of the tables does not say which checkpoint made it, so a difference may be "
        "one between two models.",
        lambda m: not m.same_model,
    ),
    "prevalence": Statement(
        lambda m: (
            "Estimated from how often each label is called, with the confusion matrix of "
            f"{m.reference} (black box shift estimation; for a label that excludes no other, Rogan "
            "and Gladen). It holds if only prevalence changed. Labels that the model barely "
            "distinguishes have no row."
        ),
        lambda m: bool(m.prevalences),
    ),
    "no truth": Statement(
        "A change says that something is different, not that the model is worse: only labels of "
        "new images can tell that.",
        lambda m: m.enough and bool(m.called),
    ),
}


def sentences(monitored: Monitored) -> list[str]:
    """What the terminal and the top of the page say."""
    names = ("few", "look", "calm", "no truth", "small", "other model", "each alone")
    return [text for name in (*names, "each alone before") if (text := say(SAYS, monitored, name))]


def monitor_page(monitored: Monitored) -> str:
    (before, now), reference = monitored.images, monitored.reference
    rows = [
        (
            c.question,
            value(c, c.before),
            value(c, c.now),
            c.images,
            number(c.distance, 2),
            p_text(c.p),
            number(c.shows_from, 2) if c.shows_from < 1 else "",
            "look" if c.calls(monitored.alarm) else "",
        )
        for c in monitored.changes
    ]
    shown = [
        (e.label, f"{percent(e.before)} %", *estimate(e.now, e.low, e.high, percent, " %"))
        for e in monitored.prevalences
    ]
    return rendered(
        "monitor.html.j2",
        title=monitored.title,
        task=f"{counted(now, 'image')} compared with {counted(before, 'image')} of {reference}",
        reference=reference[:1].upper() + reference[1:],
        warnings=(),
        sentences=sentences(monitored) if monitored.enough else [say(SAYS, monitored, "few")],
        rows=rows if monitored.enough else [],
        prevalences=shown if monitored.enough else [],
        say=partial(say, SAYS, monitored),
    )
