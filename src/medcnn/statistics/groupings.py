"""Attributes of images as groups of people: words as they are, numbers in bands."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from medcnn.statistics.predictions import ATTRIBUTE, Predictions
from medcnn.system.errors import UsageError, listed
from medcnn.system.files import plain
from medcnn.system.registry import nearest

Attributes = Mapping[str, Sequence[str]]
Asked = tuple[Mapping[str, Any], ...]

NOT_RECORDED, OTHER_VALUES = "not recorded", "other values"
UNKNOWN = frozenset({"", "unknown", "nan", "na", "n/a", "null", "missing", "not specified"})
MOST_GROUPS = 12
"""Values of an attribute that get a group each; numbers with more values are put in bands."""
FEWEST_PATIENTS = 5
"""A word of fewer patients may name a person, however many images they have: it is joined with
others."""
TOLD = 0.5
"""An attribute whose words cover a smaller share of the patients is an identifier, not a group."""
AGE = re.compile(r"(^|[_\W])age($|[_\W])", re.IGNORECASE)
AGE_EDGES = (20.0, 40.0, 60.0, 80.0)
TONE = "skin_tone_ita"
TONE_EDGES = (-30.0, 10.0, 28.0, 41.0, 55.0)
TONES = ("dark", "brown", "tan", "intermediate", "light", "very light")
"""Bands of the individual typology angle in degrees (Del Bino and Bernerd 2013, Br J Dermatol
169(s3))."""
OF_DICOM = re.compile(r"(\d{3})([DWMY])")
"""An age as DICOM writes it: `045Y` (PS3.5, 6.2)."""
OPEN = re.compile(r"(>=|<=|[<>≥≤])?\s*(.*?)\s*(\+)?", re.DOTALL)
NO_ENDS = (float("nan"), float("nan"))
DAYS = {"D": 1.0, "W": 7.0, "M": 30.4375, "Y": 365.25}


def chosen_subgroups(value: Any) -> Asked | None:
    """The meaning of the setting `subgroups`; None for `auto`: every attribute that makes groups,
    and nothing for `none`.

    Raises:
        UsageError: an entry that is neither a name nor a mapping of `by` and ascending `edges`.
    """
    if value in (None, "auto"):
        return None
    items = [value] if isinstance(value, str | Mapping) else list(value)
    items = [] if items == ["none"] else items
    found = []
    for item in items:
        one: Any = {"by": item} if isinstance(item, str) else item
        edges = one.get("edges", ()) if isinstance(one, Mapping) else None
        numbers = isinstance(edges, list | tuple) and all(
            isinstance(e, int | float) and not isinstance(e, bool) for e in edges
        )
        if not numbers or not isinstance(one.get("by"), str) or set(one) - {"by", "edges"}:
            raise UsageError(
                f"{item} should be the name of an attribute, several joined by +, or a mapping "
                "such as {by: age, edges: [18, 65]}."
            )
        if any(a >= b for a, b in pairwise(edges or ())):
            raise UsageError(f"{item}: edges should ascend.")
        found.append({"by": one["by"], **({"edges": tuple(map(float, edges))} if edges else {})})
    return tuple(found)


def check_subgroups(asked: Asked | None, names: Sequence[str]) -> None:
    """Raises UsageError with all attributes that the images do not have."""
    unknown = [n for one in asked or () for n in _parts(one["by"], names) if n not in names]
    if unknown:
        named = "; ".join(f"'{n}'{nearest(n, names)}" for n in unknown)
        known = listed(sorted(names)) or "none; list them in data.attributes"
        raise UsageError(f"subgroups: the images have no attribute {named} Attributes: {known}.")


def groupings(
    attributes: Attributes, patients: Sequence[str], asked: Asked | None = None
) -> dict[str, list[str]]:
    """Name of a grouping -> the group of each image [N].

    Args:
        attributes: name -> its text for each image, "" if missing.
        patients: the patient of each image [N].
        asked: see `chosen_subgroups`; names that no image has are left out.
    """
    found = {}
    every: Asked = tuple({"by": name} for name in attributes)
    for one in every if asked is None else asked:
        parts = _parts(one["by"], list(attributes))
        if any(name not in attributes for name in parts):
            continue
        edges = one.get("edges") if len(parts) == 1 else None
        made = [_grouped(name, attributes[name], patients, edges) for name in parts]
        if asked is None and (_identifies(made[0], patients) or len(set(made[0])) < 2):
            continue
        found[" and ".join(map(title_of, parts))] = [
            ", ".join(row) for row in zip(*made, strict=True)
        ]
    return found


def attributed(predictions: Predictions, folder: Path) -> Predictions:
    """With the attributes of the run's `manifest.csv`, which older predictions do not hold."""
    path = folder / "manifest.csv"
    if predictions.attributes or not path.is_file():
        return predictions
    with path.open(newline="", encoding="utf-8") as file:
        known = {plain(row["image_id"]): row for row in csv.DictReader(file)}
    rows = [known.get(image_id, {}) for image_id in predictions.image_ids]
    columns = sorted({c for row in rows for c in row if c.startswith(ATTRIBUTE)})
    return replace(
        predictions,
        attributes={
            c.removeprefix(ATTRIBUTE): tuple(plain(row.get(c) or "") for row in rows)
            for c in columns
        },
    )


def title_of(name: str) -> str:
    """`skin tone` for the stored angle, otherwise the attribute's own name."""
    return "skin tone" if name == TONE else name


def in_order(groups: Sequence[str]) -> list[str]:
    """The different groups: bands ascending, others by number of images, missing ones last."""
    counts = Counter(groups)

    def rank(name: str) -> tuple[bool, bool, float, int, str]:
        number = re.search(r"-?\d+(\.\d+)?", name)
        band = bool(re.match(r"(under )?-?\d", name)) and number is not None
        tone = TONES.index(name) if name in TONES else -1
        low = float(number[0]) if band and number else float(tone)
        if name.startswith("under "):
            low = -np.inf
        ordered = band or tone >= 0
        last = name in (NOT_RECORDED, OTHER_VALUES)
        return last, not ordered, low if ordered else 0.0, -counts[name], name

    return sorted(counts, key=rank)


def _parts(by: str, names: Sequence[str]) -> list[str]:
    return [by] if by in names else by.split("+")


def _identifies(groups: Sequence[str], patients: Sequence[str]) -> bool:
    known = {(p, g) for p, g in zip(patients, groups, strict=True) if g != NOT_RECORDED}
    others = sum(g == OTHER_VALUES for _, g in known)
    return others > TOLD * len({p for p, _ in known})


def _grouped(
    name: str, cells: Sequence[str], patients: Sequence[str], edges: Sequence[float] | None
) -> list[str]:
    known = [c.strip().lower() not in UNKNOWN for c in cells]
    whole = AGE.search(name) is not None
    both = [_ends(c, whole) if k else NO_ENDS for c, k in zip(cells, known, strict=True)]
    ends = np.array(both).reshape(-1, 2)
    numbers = np.where(np.isfinite(ends[:, 0]), ends[:, 0], ends[:, 1])
    numeric = np.isfinite(numbers).sum() >= 0.8 * max(1, sum(known)) and any(known)
    if edges is None and numeric:
        edges = _edges(name, numbers)
    if edges:
        words = TONES if name == TONE and tuple(edges) == TONE_EDGES else _bands(edges)
        low, high = np.searchsorted(edges, np.nan_to_num(ends.T), side="right")
        told = np.isfinite(numbers) & (low == high)
        other = [OTHER_VALUES if k else NOT_RECORDED for k in known]
        return [words[i] if t else o for i, t, o in zip(low, told, other, strict=True)]
    words_of = [c.strip() if k else NOT_RECORDED for c, k in zip(cells, known, strict=True)]
    # once per patient, in a fixed order: of equals the first are kept
    pairs = dict.fromkeys(zip(patients, words_of, strict=True))
    often = Counter(w for _, w in pairs if w != NOT_RECORDED).most_common(MOST_GROUPS + 1)
    often = often if len(often) <= MOST_GROUPS else often[: MOST_GROUPS - 1]
    kept = {w for w, people in often if people >= FEWEST_PATIENTS}
    return [w if w in kept or w == NOT_RECORDED else OTHER_VALUES for w in words_of]


def _edges(name: str, numbers: Any) -> tuple[float, ...] | None:
    if name == TONE:
        return TONE_EDGES
    if AGE.search(name):
        return AGE_EDGES
    values = np.unique(numbers[np.isfinite(numbers)])
    if len(values) <= MOST_GROUPS:
        return None
    quartiles = np.quantile(numbers[np.isfinite(numbers)], [0.25, 0.5, 0.75], method="nearest")
    # rounded: an edge of many digits may be the record number of a patient
    return tuple(sorted({float(f"{q:.3g}") for q in quartiles}))


def _bands(edges: Sequence[float]) -> list[str]:
    between = [f"{a:g} to under {b:g}" for a, b in pairwise(edges)]
    return [f"under {edges[0]:g}", *between, f"{edges[-1]:g} or more"]


def _ends(cell: str, whole: bool) -> tuple[float, float]:
    """The least and the largest number that a cell may mean; twice the same unless it is open at
    one side, such as `90+` or `>89` of an age that was made less personal. NO_ENDS if it is no
    number.

    Args:
        whole: whether `>89` means 90 or more, as of completed years.

    Source: ages over 89 are "aggregated into a single category of age 90 or older" (HIPAA Safe
    Harbor, 45 CFR 164.514(b)(2)(i)(C)).
    """
    parts = OPEN.fullmatch(cell.strip())
    assert parts
    sign, text, more = parts.groups()
    number = _number(text)
    if not np.isfinite(number) or (sign and more):
        return NO_ENDS
    if more or sign in (">=", "≥"):
        return number, np.inf
    if sign in ("<=", "≤"):
        return -np.inf, number
    if sign == ">":
        return np.floor(number) + 1 if whole else np.nextafter(number, np.inf), np.inf
    if sign == "<":
        return -np.inf, np.ceil(number) - 1 if whole else np.nextafter(number, -np.inf)
    return number, number


def _number(cell: str) -> float:
    if of_dicom := OF_DICOM.fullmatch(cell.strip()):
        return int(of_dicom[1]) * DAYS[of_dicom[2]] / DAYS["Y"]
    try:
        return float(cell)
    except ValueError:
        return float("nan")
