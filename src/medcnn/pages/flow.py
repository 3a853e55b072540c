"""Counts from the rows and files of the source to the judged images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medcnn.data.manifest import OTHER_FILES
from medcnn.pages.format import count, counted
from medcnn.statistics.predictions import Predictions

LOST = {
    "unreadable": "could not be read",
    "quarantined": "in quarantine",
    "unused": "could not be used",
}
"""Why images are not used; older runs only record how many predictions are missing."""


def used(stored: Mapping[str, Any]) -> dict[str, int]:
    """Split -> number of used images; empty for older runs, which did not record what was lost."""
    missing = stored.get("lost")
    if missing is None:
        return {}
    return {
        name: split.get("images", 0) - sum(missing.get(name, {}).values())
        for name, split in (stored.get("dataset") or {}).items()
    }


def flow(
    stored: Mapping[str, Any], predictions: Mapping[str, Predictions], group_noun: str
) -> dict[str, Any] | None:
    """The boxes for the page; None without splits.

    Args:
        stored: `report` of `run.json`.
    """
    counts, excluded = stored.get("dataset"), stored.get("excluded", {})
    if not counts:
        return None
    unused = {n: {"unused": len(p.unreadable)} for n, p in predictions.items()}
    missing = stored.get("lost") or unused
    listed = sum(split["images"] for split in counts.values())
    files = {why: n for why, n in excluded.items() if why in OTHER_FILES}
    left_out = {why: n for why, n in excluded.items() if why not in OTHER_FILES}
    all_lost = {what: sum(m.get(what, 0) for m in missing.values()) for what in LOST}
    rows = stored.get("rows_left_out", {})
    return {
        "before": [
            *(f"{counted(n, 'row')} left out: {why}" for why, n in rows.items()),
            *(f"{counted(n, 'other file')}: {why}" for why, n in files.items()),
        ],
        "found": count(listed + sum(left_out.values())),
        "excluded": [(reason, count(n)) for reason, n in left_out.items()],
        "lost": [(LOST[what], count(n)) for what, n in all_lost.items() if n],
        "used": count(listed - sum(all_lost.values())),
        "splits": [
            {"name": name, "lines": _lines(split, missing.get(name, {}), predictions.get(name), of)}
            for name, split in counts.items()
            for of in [group_noun if group_noun != "image" and "groups" in split else ""]
        ],
    }


def _lines(
    split: Mapping[str, int], missing: Mapping[str, int], seen: Predictions | None, of: str
) -> list[str]:
    """The lines in the box of a split."""
    images = split["images"]
    whose = f" of {counted(split['groups'], of)}" if of else ""
    unused = sum(missing.values())
    return [
        f"{counted(images, 'image')}{whose}",
        *(f"{missing[what]:,} {words}" for what, words in LOST.items() if missing.get(what)),
        *([f"{images - unused:,} used"] if unused else []),
        *([f"{len(seen.image_ids):,} scored"] if seen else []),
    ]
