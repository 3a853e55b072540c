"""Finds the names of the columns: below titles and legends, in one row or two."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from medcnn.data.own.image_files import IMAGE_SUFFIXES, ending
from medcnn.data.own.words import is_error_cell, tidy

MOST_LOOKED_AT = 60
"""The names must begin within this many non-blank rows."""
MOST_TITLES = 10
_NUMBER = re.compile(r"[-+\d.,]+(e[-+]?\d+)?", re.I)


def is_content(name: str) -> bool:
    """Whether this is a number, a file name or a mark, rather than the name of a column."""
    is_file = ending(name) in (*IMAGE_SUFFIXES, ".npz")
    return is_file or bool(_NUMBER.fullmatch(name)) or name in _MARKS or is_error_cell(name)


_MARKS = frozenset("xX✓✔✗✘?-")


def column_names(top: Sequence[Sequence[str]]) -> tuple[list[str], int, int]:
    """The names, the number of rows above them, and the number of rows they take.

    Args:
        top: the first non-blank rows, at least one, with stripped cells.
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
    """The number of rows above the names of the columns. Each has one cell, and below is a wider
    row that does not begin further left (as it would under `,label`, where the index has no name)
    and does not look like data (files, numbers)."""
    places = [_places(cells) for cells in top]
    wide = next((number for number, filled in enumerate(places) if len(filled) > 1), 0)
    if wide and any(is_content(cell) for cell in top[wide] if cell):
        return 0
    return wide if all(filled[0] <= places[wide][0] for filled in places[:wide]) else 0


def _fits(top: Sequence[Sequence[str]], first: int, deep: int) -> bool:
    """Whether no row below extends beyond the last name, and the names do not look like data. A
    legend is narrower than its table."""
    names = top[first]
    ends = [max(_places(row), default=-1) for row in top]
    last = max(ends[first : first + deep])
    if any(end > last for end in ends[first + deep :]):
        return False
    below = ends[first + deep :]
    if not below or first == 0:
        return bool(below)
    # most rows must be wider than the legend, or one row with an extra cell would name columns
    wider = sum(end > max(ends[:first]) for end in below)
    return 2 * wider > len(below) and not any(is_content(cell) for cell in names if cell)


def _depth(top: Sequence[Sequence[str]], first: int) -> int:
    """2 if the row below names parts of columns: blank under the first name, words under blanks,
    and no data."""
    if first + 2 >= len(top):
        return 1
    above, below = top[first], top[first + 1]
    named, parts = _places(above), _places(below)
    if not named or not parts or parts[0] <= named[0] or any(is_content(below[i]) for i in parts):
        return 1
    blank = [i for i in parts if i >= len(above) or not above[i]]
    # a third row must have something under the first name, or rows here have no first cell
    return 2 if blank and named[0] in _places(top[first + 2]) else 1


def _joined(above: Sequence[str], below: Sequence[str]) -> list[str]:
    """A part has its own name, prefixed by that of its group if another part has the same."""
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
