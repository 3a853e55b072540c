"""A sheet: the rows of a CSV with the line on which each stands, and what is under a root."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, TypeVar

from medcnn.choices import nearest
from medcnn.errors import DataError, UsageError, listed, private

T = TypeVar("T")

if TYPE_CHECKING:
    from _csv import Reader


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """Rows as dicts of stripped text, and the line on which each begins."""

    path: Path
    columns: tuple[str, ...]
    rows: tuple[dict[str, str], ...]
    lines: tuple[int, ...]

    def line(self, row: int) -> str:
        return f"{self.path}:{self.lines[row]}"

    def require(self, columns: Iterable[str | None], settings: str) -> None:
        """Raises UsageError naming every column that is not there.

        Args:
            settings: which settings name them, for the message.
        """
        missing = [c for c in columns if c is not None and c not in self.columns]
        if missing:
            asked = ", ".join(f"'{c}'{nearest(c, self.columns).rstrip('.')}" for c in missing)
            raise UsageError(
                f"{self.path} has no column {asked}. Its columns: {', '.join(self.columns)}. "
                f"Columns are named by {settings}."
            )


def read_sheet(path: Path) -> Sheet:
    """Read a CSV with commas, semicolons or tabs, in UTF-8, UTF-16 (with its mark) or Latin-1.

    A row may end early, as spreadsheets leave trailing blanks away.

    Raises:
        UsageError: no such file.
        DataError: no rows, a column name that stands twice, a row that is too long, or a quote
            that is not closed, which would swallow the rows below it.
    """
    if not path.is_file():
        there = sorted(p.name for p in path.parent.glob("*.[ct]sv")) if path.parent.is_dir() else []
        found = f"; there are {listed(there)}" if there else ""
        raise UsageError(f"{path}: no such table{found}.")
    raw = path.read_bytes()
    if raw.startswith(b"PK"):
        raise UsageError(f"{path} is an Excel workbook (or a zip); save the table as CSV.")
    wide = raw.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        text = raw.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")  # what spreadsheets of western hospitals write
    # Not splitlines(): it also breaks at form feeds, and at 0x85, the ellipsis of Windows.
    header = text[: text.find("\n")] if "\n" in text else text
    delimiter = max(",;\t", key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        columns = tuple(c.strip() for c in next(reader, []))
        rows, lines = _rows(path, reader, columns)
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: not readable as a table: {error}.") from error
    named = tuple(c for c in columns if c)
    if twice := sorted({c for c in named if named.count(c) > 1}):
        raise DataError(f"{path}: columns {listed(twice)} stand more than once.")
    if not rows:
        raise DataError(f"{path} has no rows below its header.")
    return Sheet(path=path, columns=named, rows=tuple(rows), lines=tuple(lines))


def _rows(
    path: Path, reader: Reader, columns: tuple[str, ...]
) -> tuple[list[dict[str, str]], list[int]]:
    """The rows that are not blank, and the line on which each begins; a cell may hold lines."""
    rows, lines = [], []
    line = reader.line_num + 1
    for cells in reader:
        if any(cell.strip() for cell in cells):
            if any(cell.strip() for cell in cells[len(columns) :]):
                raise DataError(f"{path}:{line}: {len(cells)} cells under {len(columns)} columns.")
            row = dict.fromkeys((c for c in columns if c), "")
            row.update({c: v.strip() for c, v in zip(columns, cells, strict=False) if c})
            rows.append(row)
            lines.append(line)
        line = reader.line_num + 1
    return rows, lines


def of_every_row(rows: Iterable[int], make: Callable[[int], T]) -> list[T]:
    """`make` of each row; where it raises DataError, those of all rows are raised as one."""
    made, faults = [], []
    for row in rows:
        try:
            made.append(make(row))
        except DataError as error:
            faults.append(str(error))
    if len(faults) == 1:
        raise DataError(faults[0])
    if faults:
        more = f"\n  and {len(faults) - 5} more" if len(faults) > 5 else ""
        raise DataError(f"{len(faults)} rows are refused:\n  " + "\n  ".join(faults[:5]) + more)
    return made


def only(found: list[Path], what: str) -> Path:
    """Raises DataError where there are several, since each may say something else."""
    if len(found) > 1:
        raise DataError(
            f"{found[0].parent} holds {len(found)} {what}: {listed([p.name for p in found])}. Keep "
            "the one that counts."
        )
    return found[0]


def require_folder(root: Path | None, setting: str = "data.root") -> Path:
    """Raises UsageError where the folder was not given, is not there, or is a file; DataError
    where it is empty."""
    if root is None:
        raise UsageError(f"{setting} is required: add {setting}=FOLDER to the command.")
    if not root.is_dir():
        what = "is a file, not a folder" if root.exists() else "does not exist"
        raise UsageError(f"{setting}={root} {what}.")
    if not any(root.iterdir()):
        raise DataError(f"{setting}={root} is empty.")
    return root


def found_under(root: Path) -> str:
    """Up to five names under a root, for messages about a wrong layout."""
    names = sorted(p.name + ("/" if p.is_dir() else "") for p in root.iterdir())
    return listed(names) or "nothing"


def refuse_missing(source: str, root: Path, paths: Iterable[str]) -> None:
    """Raises DataError with the count and the first names of images that are not there."""
    names_of: dict[str, set[str]] = {}

    def there(path: str) -> bool:
        folder = str(PurePosixPath(path).parent)
        if folder not in names_of:
            place = root / folder
            names_of[folder] = set(os.listdir(place)) if place.is_dir() else set()
        return PurePosixPath(path).name in names_of[folder]

    wanted = list(paths)
    missing = [p for p in wanted if not there(p)]
    if missing:
        raise DataError(
            f"{source}: {len(missing)} of {len(wanted)} images of the table are not under {root}: "
            f"{listed([private(m) for m in missing])}. Complete the images, or take their rows out "
            "of the table."
        )
