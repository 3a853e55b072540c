"""The subgroups of a split, as texts for report, model card and the page of `compare`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from medcnn.pages.format import estimate, number, p_text, percent, signed
from medcnn.statistics.groupings import TONE, title_of
from medcnn.statistics.metrics.table import METRICS
from medcnn.statistics.subgroups import Group, GroupScore, Subgroups


def tables(found: Subgroups) -> list[dict[str, Any]]:
    """One table per grouping: groups in rows, overall scores in columns, and rows by class."""
    return [
        {
            "title": by[:1].upper() + by[1:],
            "columns": [METRICS[s.score.name].title for s in _overall(groups[0])],
            "shares": any(_share(g) for g in groups),
            "rows": [
                {
                    "name": g.name,
                    "images": g.images,
                    "patients": g.patients,
                    "share": _share(g),
                    "cells": [_cell(s) for s in _overall(g)],
                }
                for g in groups
            ],
            "by_class": _by_class(groups),
        }
        for by, groups in found.by().items()
    ]


def alarms(found: Subgroups) -> tuple[str, ...]:
    """The gaps whose band excludes 0, in words, widest first and each group once."""
    shown = [(g, s) for g in found.groups for s in g.scores if s.alarm]
    lines: dict[tuple[str, str], str] = {}
    for g, s in sorted(shown, key=lambda one: -abs(one[1].gap)):
        title = METRICS[s.score.name].title.lower().replace("auroc", "AUROC")
        of = f" of {s.score.label}" if s.score.label else ""
        lines.setdefault(
            (g.by, g.name),
            f"{g.by} {g.name}: {title}{of} {number(s.score.value)}, others {number(s.rest)}",
        )
    return tuple(lines.values())


def sections(found: Subgroups) -> set[str]:
    """Parts of the page that have content, for `Facts`."""
    there = {
        "subgroups": bool(found.groups),
        "skin tone": any(title_of(TONE) in g.by.split(" and ") for g in found.groups),
        "small groups": any(math.isnan(s.score.value) for g in found.groups for s in g.scores),
        "mean over labels": any(s.score.average for g in found.groups for s in g.scores),
    }
    return {name for name, holds in there.items() if holds}


def _overall(group: Group) -> list[GroupScore]:
    return [s for s in group.scores if s.score.label is None]


def _share(group: Group) -> str:
    """How often a binary group has the condition, in %."""
    of = group.scores[0].score
    if of.positives is None or of.label is not None or not of.count:
        return ""
    return f"{percent(of.positives / of.count)} %"


def _by_class(groups: Sequence[Group]) -> dict[str, Any]:
    """Rows by class, with every score that has a value to show."""
    names = list(dict.fromkeys(s.score.name for g in groups for s in g.scores if s.score.label))
    labels = list(dict.fromkeys(s.score.label for g in groups for s in g.scores if s.score.label))
    rows = []
    for label in labels:
        for g in groups:
            own = {s.score.name: s for s in g.scores if s.score.label == label}
            # a class that hardly occurs in the group shows only its specificity
            if not math.isnan(own[names[0]].score.value) or any(s.alarm for s in own.values()):
                first = next(iter(own.values())).score
                cells = [_cell(own[n]) for n in names]
                rows.append(
                    {
                        "label": label,
                        "name": g.name,
                        "positives": first.positives,
                        "count": first.count,
                        "cells": cells,
                    }
                )
    return {"columns": [METRICS[n].title for n in names], "rows": rows}


def _cell(of: GroupScore) -> dict[str, Any]:
    """Value and gap in words; `why` if one of them is missing."""
    s = of.score
    if math.isnan(s.value):
        return {
            "value": "",
            "interval": "",
            "gap": "",
            "alarm": False,
            "smallest": "",
            "p": "",
            "why": s.note,
        }
    value, interval = estimate(s.value, s.low, s.high)
    gap, band = estimate(of.gap, of.low, of.high, signed)
    known = not math.isnan(of.low)
    return {
        "value": value,
        "interval": interval,
        "gap": f"{gap} ({band})" if known else "",
        "alarm": of.alarm,
        "smallest": number(of.smallest) if known else "",
        "p": p_text(of.p_holm) if known else "",
        "why": "" if known else of.note,
    }
