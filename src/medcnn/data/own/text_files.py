"""Text tables: CSV with commas, semicolons or tabs, plain or in gzip. Lines are read one by one, so
that what is refused never fills memory."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import BinaryIO, cast

from medcnn.data.own import bounds
from medcnn.data.own.encodings import check_encoding, encoding_of
from medcnn.system.errors import DataError

MARKS = ",;\t|"
LINES_LOOKED_AT = 200


def text_rows(path: Path, encoding: str | None = None) -> bounds.Cells:
    """The line where each row begins, and its cells.

    Args:
        encoding: Python's name; None detects it.

    Raises:
        UsageError: no such encoding.
        DataError: not text, not in that encoding, too large, or an unclosed quote.
    """
    try:
        known = check_encoding(encoding) if encoding else encoding_of(path, lambda: _opened(path))
        with _opened(path) as file:
            text = io.TextIOWrapper(file, encoding=known, newline="")
            yield from _rows(path, bounds.lines(path, text))
    except UnicodeDecodeError as error:
        said = f"data.encoding={encoding}" if encoding else "its first lines"
        raise DataError(
            f"{path} does not have the encoding of {said}: {error.reason} "
            f"(0x{error.object[error.start]:02x})."
        ) from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is a damaged gzip file: {error}.") from error


def _opened(path: Path) -> BinaryIO:
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return cast(BinaryIO, gzip.open(path) if packed else path.open("rb"))


def _delimiter(first: list[str]) -> str:
    """The mark that occurs in most lines: a title may have another. If two do, as where all rows
    have decimal commas, the one that most lines have in the same number."""
    outside = "".join("".join(first).split('"')[::2]).splitlines()  # of quotes

    def likely(mark: str) -> tuple[int, int, int]:
        counts = Counter(n for line in outside if (n := line.count(mark)))
        alike = max(((lines, n) for n, lines in counts.items()), default=(0, 0))
        return (counts.total(), *alike)

    return max(MARKS, key=likely)


def _rows(path: Path, lines: Iterator[str]) -> bounds.Cells:
    first: list[str] = []
    for line in lines:
        first.append(line)
        if len(first) == LINES_LOOKED_AT or sum(map(len, first)) > bounds.MAX_LINE:
            break
    reader = csv.reader(chain(first, lines), delimiter=_delimiter(first), strict=True)
    line_number = 1
    try:
        for cells in reader:
            bounds.refuse_columns(path, line_number, len(cells))
            yield line_number, cells  # a cell may span lines; a row counts where it begins
            line_number = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: cannot be read as a table: {error}.") from error
