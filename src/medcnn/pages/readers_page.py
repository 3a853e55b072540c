"""The page of `medcnn readers`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from medcnn.pages import svg
from medcnn.pages.comparison_page import COMPARED, FILTERS, Compared
from medcnn.pages.facts import Statement, say
from medcnn.pages.format import counted, estimate, number, whose
from medcnn.pages.page import rendered
from medcnn.pages.svg import Axis, Chart, Frame
from medcnn.statistics.curves import OneLabel, roc, thinned
from medcnn.statistics.differences import Pairing
from medcnn.statistics.estimates import Estimate
from medcnn.statistics.metrics.table import METRICS
from medcnn.statistics.readers import Study

Levels = Mapping[str, Mapping[str, Estimate]]
Values = Mapping[str, Mapping[str, Mapping[str, float]]]
FEW = 5
"""Fewer readers than this leave few degrees of freedom."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """Counts of a study, its margin, and how many differences were tested."""

    readers: int
    model: str
    clustered: bool
    tests: int
    margin: float | None = None
    margin_of: str = ""


READERS: dict[str, Statement[Read]] = {
    "random": Statement(
        "Readers and cases are both treated as samples: intervals are for other readers like these "
        "with other cases like these.",
        lambda r: r.readers > 1,
    ),
    "alone": Statement(
        "There is one reader, so intervals are for this reader alone, with other cases.",
        lambda r: r.readers == 1,
    ),
    "few": Statement(
        lambda r: f"With {r.readers} readers, little is known about how readers vary.",
        lambda r: 1 < r.readers < FEW,
    ),
    "model": Statement(
        lambda r: (
            f"'{r.model}' is one model, not a sample, and is compared with "
            + ("each reader" if r.readers > 1 else "the reader")
            + " on the same cases."
        ),
        lambda r: bool(r.model),
    ),
    "patients": Statement(
        "Cases of one patient are left out together when the variance is computed.",
        lambda r: r.clustered,
    ),
    "holm": Statement(
        lambda r: f"Holm's p is adjusted for the {counted(r.tests, 'difference')} tested here.",
        lambda r: r.tests > 1,
    ),
    "margin": Statement(
        lambda r: f"The margin of {r.margin:g} is for the {r.margin_of}, one-sided at 2.5 %.",
        lambda r: r.margin is not None and r.tests > 0,
    ),
    "laboratory": Statement(
        "Readers who know that they are in a study, and cases chosen for it, differ from daily "
        "routine.",
        lambda r: r.readers > 0,
    ),
}


def readers_page(
    study: Study, pairings: Mapping[tuple[str, str], Pairing], levels: Levels, values: Values
) -> str:
    """One self-contained HTML page.

    Args:
        levels: condition -> endpoint -> mean over its readers; values: the same for each reader.
    """
    found = [d for p in pairings.values() for d in p.differences]
    judged = next((d for d in found if d.margin is not None), None)
    readings = study.scores or study.calls
    read = Read(
        readers=max(len(readings[c]) for c in study.conditions),
        model=study.model,
        clustered=len(set(study.groups)) < len(study.groups),
        tests=sum(not math.isnan(d.p) for d in found),
        margin=judged.margin if judged else None,
        margin_of=METRICS[judged.score].title if judged else "",
    )
    compared = [
        Compared(f"'{first}'", f"'{other}'", pairing, "patient")
        for (first, other), pairing in pairings.items()
    ]
    return rendered(
        "readers.html.j2",
        {**FILTERS, "level": lambda e: estimate(e.value, e.low, e.high)},
        title="Reader study",
        task=f"{counted(read.readers, 'reader')}, {counted(len(study.truth), 'case')}, "
        f"{int(study.truth.sum()):,} with the finding",
        warnings=(),
        sentences=[say(COMPARED, c, *COMPARED) for c in compared],
        notes=say(READERS, read, *READERS),
        pairs=[(first, other, p.differences) for (first, other), p in pairings.items()],
        levels=levels,
        values=values,
        metrics=METRICS,
        chart=_chart(study, values),
        whose=lambda note: whose(note, "patient"),
    )


def _chart(study: Study, values: Values) -> Chart | None:
    """Each reader's sensitivity and specificity, and the curve of the model; None without calls."""
    if not study.calls:
        return None
    frame = Frame(across=Axis(title="1 − specificity"), up=Axis(title="Sensitivity"))
    parts, rows = [], []
    for kind, condition in zip(("p1", "p2"), study.conditions, strict=False):
        found = values[condition]
        points = [
            (1 - found["specificity"][r], found["sensitivity"][r], f"{r}, {condition}")
            for r in found["sensitivity"]
        ]
        parts.append(svg.dots(frame, points, kind))
        rows += [(title, number(up), number(1 - across)) for across, up, title in points]
    if study.model and study.scores:
        (scores,) = study.scores[study.model].values()
        uncalled = np.zeros(len(scores), np.bool_)
        label = OneLabel(
            name=study.model, target=study.truth, probability=scores, decision=uncalled
        )
        parts.insert(0, svg.line(frame, *thinned(*roc(label), 100)))
    return Chart(
        name=f"{' (blue) and '.join(study.conditions[:2])}"
        + (" (orange)" if len(study.conditions) > 1 else ""),
        svg=svg.drawn("Readers", svg.axes(frame), svg.line(frame, (0, 1), (0, 1), "d"), *parts),
        head=("Reader", "sensitivity", "specificity"),
        rows=tuple(rows),
    )
