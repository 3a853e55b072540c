"""Decides which rows of a table to keep: not repeated, excluded or unlabelled ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from medcnn.data.own.people import one_name
from medcnn.data.own.sheets import Sheet
from medcnn.data.own.words import tidy
from medcnn.system.errors import UsageError, listed, private
from medcnn.system.privacy import as_names, as_pseudonyms


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Rows to keep, row -> why it is left out, and the number of repeated rows."""

    rows: list[int]
    reasons: dict[int, str]
    again: int


def kept_rows(sheet: Sheet, image: str, exclude: Mapping[str, Any], label: str | None) -> Kept:
    """Decide for each row. Reasons do not contain values, since any column may name a patient.

    Args:
        image: column that names the image.
        exclude: column -> value, or list of values, whose rows are left out.
        label: column that must not be blank; None if there is no such column.

    Raises:
        UsageError: no row has a value of `exclude`: a typo would keep unwanted rows.
    """
    # (cells, those for which a row is left out, why)
    tests = [
        (
            cells := sheet.rows.column(c),
            _unwanted(sheet, c, cells, values),
            f"{c} is in data.exclude",
        )
        for c, values in exclude.items()
    ]
    if label is not None:
        cells = sheet.rows.column(label)
        tests.append((cells, {cell for cell in set(cells) if not tidy(cell)}, f"no {label}"))
    rows: list[int] = []
    reasons: dict[int, str] = {}
    first: dict[str, int] = {}
    again = 0
    for i, name in enumerate(sheet.rows.column(image)):
        same = first.setdefault(name, i)
        if same != i and sheet.rows.equal(i, same):
            again += 1
        elif reason := next((why for cells, without, why in tests if cells[i] in without), ""):
            reasons[i] = reason
        else:
            rows.append(i)
    return Kept(rows=rows, reasons=reasons, again=again)


def _unwanted(sheet: Sheet, column: str, cells: list[str], values: Any) -> set[str]:
    """The cells of a column that `exclude` refers to."""
    # pages show the pseudonym of 12 where the table contains 12.0
    seen = {cell: {tidy(cell), one_name(cell)} for cell in set(cells)}
    there = {name for names in seen.values() for name in names}
    words = [str(v) for v in (values if isinstance(values, list | tuple) else [values])]
    words = as_names(words, there)
    if absent := [w for w in words if tidy(w) not in there]:
        foreign = any(w in as_pseudonyms([w]) for w in absent)
        found = [private(w) for w in sorted(set(map(tidy, seen)))]
        raise UsageError(
            f"data.exclude: {sheet.path} has no row whose {column} is "
            f"{listed([private(w) for w in absent])}. Found: {listed(found, 10)}."
            f"{_OTHER_KEY if foreign else ''}"
        )
    unwanted = set(map(tidy, words))
    return {cell for cell, names in seen.items() if names & unwanted}


_OTHER_KEY = (
    " A pseudonym can only be resolved with the key that made it: give the values to exclude as "
    "they are in the table."
)
