"""From the rows and files of the source to the images that are judged: counts of what they say."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from medcnn.data.manifest import OTHER_FILES
from medcnn.pages.digits import plural
from medcnn.statistics.predictions import Predictions

QUARANTINED = re.compile(r"blank:|BurnedInAnnotation")
"""Reasons of the audit why an image that can be read must not be used."""


def lost(reasons: Sequence[str]) -> dict[str, int]:
    """How many images could not be read, and how many were put in quarantine.

    Args:
        reasons: one for each image of a split that is not used.
    """
    quarantined = sum(bool(QUARANTINED.match(reason)) for reason in reasons)
    return {"unreadable": len(reasons) - quarantined, "quarantined": quarantined}


def used(told: Mapping[str, Any]) -> dict[str, int]:
    """Split -> images that are used; of older runs, which do not say what was lost, nothing."""
    missing = told.get("lost")
    if missing is None:
        return {}
    return {
        name: split.get("images", 0) - sum(missing.get(name, {}).values())
        for name, split in (told.get("dataset") or {}).items()
    }


def flow(
    counts: Mapping[str, Mapping[str, int]],
    excluded: Mapping[str, int],
    rows_left_out: Mapping[str, int],
    missing: Mapping[str, Mapping[str, int]] | None,
    predictions: Mapping[str, Predictions],
    group_noun: str,
) -> dict[str, Any] | None:
    """What the page draws; None where there are no splits.

    Args:
        counts: `Manifest.counts()`.
        excluded, rows_left_out: of `Manifest`: reason -> how many.
        missing: split -> what `lost` says of it; None where nobody counted.
    """
    if not counts:
        return None
    missing = missing or {
        name: lost([reason for _, reason in p.unreadable]) for name, p in predictions.items()
    }
    files = {why: n for why, n in excluded.items() if why in OTHER_FILES}
    left_out = {why: n for why, n in excluded.items() if why not in OTHER_FILES}
    listed = sum(split["images"] for split in counts.values())
    images = listed + sum(left_out.values())
    boxes = {name: _split(name, s, missing, predictions, group_noun) for name, s in counts.items()}
    unused = sum(sum(m.values()) for m in missing.values())
    return {
        "before": [
            *_counted(rows_left_out, "row", " left out"),
            *_counted(files, "other file", ""),
        ],
        "found": f"{images:,}",
        "excluded": [(reason, f"{count:,}") for reason, count in left_out.items()],
        "lost": [
            (what, f"{count:,}")
            for what in ("unreadable", "quarantined")
            if (count := sum(m.get(what, 0) for m in missing.values()))
        ],
        "used": f"{listed - unused:,}",
        "splits": list(boxes.values()),
    }


def _counted(found: Mapping[str, int], noun: str, what: str) -> list[str]:
    return [f"{plural(count, noun)}{what}: {reason}" for reason, count in found.items()]


def _split(
    name: str,
    split: Mapping[str, int],
    missing: Mapping[str, Mapping[str, int]],
    predictions: Mapping[str, Predictions],
    group_noun: str,
) -> dict[str, Any]:
    known, seen = missing.get(name, {}), predictions.get(name)
    of = (
        f" of {plural(split['groups'], group_noun)}"
        if group_noun != "image" and "groups" in split
        else ""
    )
    lines = [f"{plural(split['images'], 'image')}{of}"]
    words = {"unreadable": "could not be read", "quarantined": "in quarantine"}
    lines += [f"{known[what]:,} {said}" for what, said in words.items() if known.get(what)]
    unused = sum(known.values())
    if unused:
        lines.append(f"{split['images'] - unused:,} used")
    if seen is not None:
        lines.append(f"{len(seen.image_ids):,} scored")
    return {"name": name, "lines": lines}
