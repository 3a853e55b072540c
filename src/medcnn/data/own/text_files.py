"""Tables that are text: CSV with commas, semicolons or tabs, packed by gzip or not. Lines are read
one after the other, so that what is refused is never held."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import BinaryIO, cast

from medcnn.data.own import bounds
from medcnn.data.own.encodings import check_encoding, encoding_of
from medcnn.system.errors import DataError

MARKS = ",;\t|"
"""Between cells; where a line has as many of two, the first."""
LINES_LOOKED_AT = 1000
"""A title above the names of the columns may hold no comma, semicolon or tab."""


def text_rows(path: Path, encoding: str | None = None) -> bounds.Cells:
    """Line on which a row begins, and its cells.

    Args:
        encoding: as Python names it; None finds it out.

    Raises:
        UsageError: no such encoding.
        DataError: not text, not in that encoding, more than is read, or a quote that is not closed.
    """
    try:
        known = check_encoding(encoding) if encoding else encoding_of(path, lambda: _opened(path))
        with _opened(path) as file:
            text = io.TextIOWrapper(file, encoding=known, newline="")
            yield from _rows(path, bounds.lines(path, text))
    except UnicodeDecodeError as error:
        said = f"data.encoding={encoding}" if encoding else "what its beginning looks like"
        raise DataError(
            f"{path} is not in the encoding of {said}: {error.reason} "
            f"(0x{error.object[error.start]:02x})."
        ) from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is a damaged gzip file: {error}.") from error


def _opened(path: Path) -> BinaryIO:
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return cast(BinaryIO, gzip.open(path) if packed else path.open("rb"))


def _rows(path: Path, lines: Iterator[str]) -> bounds.Cells:
    first = []
    for line in lines:
        first.append(line)
        if any(mark in line for mark in MARKS) or len(first) == LINES_LOOKED_AT:
            break
    delimiter = max(MARKS, key=(first[-1] if first else "").count)
    reader = csv.reader(chain(first, lines), delimiter=delimiter, strict=True)
    line_number = 1
    try:
        for cells in reader:
            bounds.refuse_columns(path, line_number, len(cells))
            yield line_number, cells  # a cell may hold several lines; a row is where it begins
            line_number = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: not readable as a table: {error}.") from error
