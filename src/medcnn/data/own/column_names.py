"""Where the names of the columns stand: below titles and legends, in one row or in two."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from medcnn.data.own.words import is_error_cell, tidy

MOST_LOOKED_AT = 60
"""Rows, blank ones aside, among which the names must begin."""
MOST_TITLES = 10
_CONTENT = re.compile(r"[-+\d.,]+(e[-+]?\d+)?|.*\.(jpe?g|png|tiff?|bmp|dcm|dicom|npz)", re.I)


def is_content(name: str) -> bool:
    """A number, the name of a file, or a mark, which no column is called."""
    return _CONTENT.fullmatch(name) is not None or name in _MARKS or is_error_cell(name)


_MARKS = frozenset("xX✓✔✗✘?-")


def column_names(top: Sequence[Sequence[str]]) -> tuple[list[str], int, int]:
    """The names, how many rows stand above them, and how many rows they take.

    Args:
        top: the first rows that are not blank, their cells without blanks around them; at least
            one row.
    """
    first = _titles(top[: MOST_TITLES + 1])
    if not _fits(top, first, 1):
        below = range(first, len(top) - 1)
        first = next((n for n in below if _fits(top, n, _depth(top, n))), first)
    deep = _depth(top, first)
    names = [tidy(name) for name in top[first]]
    if deep == 2:
        names = _joined(names, [tidy(name) for name in top[first + 1]])
    return names, first, deep


def _places(cells: Sequence[str]) -> list[int]:
    return [i for i, cell in enumerate(cells) if cell]


def _titles(top: Sequence[Sequence[str]]) -> int:
    """How many rows stand above the names of the columns: of one cell each, with a wider row below
    that begins no further left (under `,label` rows begin further left: the index has no name) and
    is not data already, as files and numbers are."""
    places = [_places(cells) for cells in top]
    wide = next((number for number, filled in enumerate(places) if len(filled) > 1), 0)
    if wide and any(is_content(cell) for cell in top[wide] if cell):
        return 0
    return wide if all(filled[0] <= places[wide][0] for filled in places[:wide]) else 0


def _fits(top: Sequence[Sequence[str]], first: int, deep: int) -> bool:
    """Whether no row below has a cell beyond the last name, and the names are none of data. A
    legend is narrower than its table."""
    names = top[first]
    ends = [max(_places(row), default=-1) for row in top]
    last = max(ends[first : first + deep])
    if any(end > last for end in ends[first + deep :]):
        return False
    below = ends[first + deep :]
    if not below or first == 0:
        return bool(below)
    # most rows are wider than the legend, else a row with a cell too many would name the columns
    wider = sum(end > max(ends[:first]) for end in below)
    return 2 * wider > len(below) and not any(is_content(cell) for cell in names if cell)


def _depth(top: Sequence[Sequence[str]], first: int) -> int:
    """2 where the row below names parts of columns: nothing under the first name, words under what
    is blank above, and no data."""
    if first + 2 >= len(top):
        return 1
    above, below = top[first], top[first + 1]
    named, parts = _places(above), _places(below)
    if not named or not parts or parts[0] <= named[0] or any(is_content(below[i]) for i in parts):
        return 1
    blank = [i for i in parts if i >= len(above) or not above[i]]
    # a third row has something under the first name: else rows have no first cell here
    return 2 if blank and named[0] in _places(top[first + 2]) else 1


def _joined(above: Sequence[str], below: Sequence[str]) -> list[str]:
    """A part goes by its own name, or by that of its group too where another part has the same."""
    width = max(len(above), len(below))
    groups = [*above, *[""] * (width - len(above))]
    parts = [*below, *[""] * (width - len(below))]
    for (_, left), (i, group) in pairwise(enumerate(groups)):
        if not group and parts[i]:
            groups[i] = groups[i - 1] if parts[i - 1] else left
    named = [part or group for part, group in zip(parts, groups, strict=True)]
    return [
        f"{group} {part}" if part and group and named.count(name) > 1 else name
        for part, group, name in zip(parts, groups, named, strict=True)
    ]
