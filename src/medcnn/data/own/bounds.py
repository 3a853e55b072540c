"""Limits for tables. A file of a few kB can unpack to gigabytes, so everything is counted while it
is read, and nothing is kept in memory before it has been counted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from medcnn.system.errors import DataError

Cells = Iterator[tuple[int, list[str]]]
"""Line number, as an editor or Excel shows it, and the cells of each row."""

# The largest table of a public set has 0.4 million rows, 55 columns and 250 MB (ISIC 2024).
MAX_TEXT_BYTES, MAX_ROWS, MAX_COLUMNS, MAX_CELLS = 400_000_000, 2_000_000, 4_096, 30_000_000
MAX_LINE = 1 << 20
"""Characters of one line of a text file."""
MAX_LINES = 2 * MAX_ROWS
"""Lines of a text file, including blank ones and those within cells."""
MAX_CELL = 131_072
"""Characters of one cell, the limit of Python's csv; Excel allows 32,767."""
FEWER = "leave out the columns and rows that are not needed."


def refuse_text(path: Path, size: int) -> None:
    """Raises DataError if a table contains too much text."""
    if size > MAX_TEXT_BYTES:
        raise DataError(
            f"{path} contains more than {MAX_TEXT_BYTES // 10**6} MB of text, the limit for "
            f"tables; {FEWER}"
        )


def refuse_rows(path: Path, rows: int, columns: int = 1) -> None:
    """Raises DataError if a table has too many rows or cells."""
    if rows > MAX_ROWS:
        raise DataError(f"{path} has more than {MAX_ROWS} rows, the limit for tables; {FEWER}")
    if rows * columns > MAX_CELLS:
        raise DataError(
            f"{path} has more than {MAX_CELLS:,} cells ({columns:,} columns), the limit for "
            f"tables; {FEWER}"
        )


def refuse_columns(path: Path, line: int, columns: int) -> None:
    """Raises DataError if a row has too many cells."""
    if columns > MAX_COLUMNS:
        raise DataError(
            f"{path}:{line}: {columns:,} columns, more than the limit of {MAX_COLUMNS:,}; {FEWER}"
        )


def refuse_cell(path: Path, line: int, size: int) -> None:
    """Raises DataError if a cell contains too much."""
    if size > MAX_CELL:
        raise DataError(f"{path}:{line}: a cell has more than {MAX_CELL:,} characters, the limit.")


def lines(path: Path, file: TextIO) -> Iterator[str]:
    """The lines of a text with their ends; raises DataError for one that is too long, before it is
    fully in memory."""
    number = 0
    while line := file.readline(MAX_LINE + 1):
        number += 1
        if number > MAX_LINES:
            raise DataError(
                f"{path} has more than {MAX_LINES:,} lines, the limit for tables; {FEWER}"
            )
        if len(line) > MAX_LINE:
            raise DataError(
                f"{path}:{number}: a line has more than {MAX_LINE:,} characters, the limit for "
                "tables."
            )
        yield line
