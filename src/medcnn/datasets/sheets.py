"""A sheet: the rows of a CSV with the line on which each stands, and what is under a root."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from medcnn.choices import nearest
from medcnn.errors import DataError, UsageError, listed


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """Rows as dicts of stripped text; `line(i)` says where row i stands in the file."""

    path: Path
    columns: tuple[str, ...]
    rows: tuple[dict[str, str], ...]

    def line(self, row: int) -> str:
        return f"{self.path}:{row + 2}"

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
    """Read a CSV with commas, semicolons or tabs, in UTF-8 (with or without mark) or Latin-1.

    Raises:
        UsageError: no such file.
        DataError: no rows, a column name that stands twice, or a row of another length.
    """
    if not path.is_file():
        there = sorted(p.name for p in path.parent.glob("*.[ct]sv")) if path.parent.is_dir() else []
        found = f"; there are {listed(there)}" if there else ""
        raise UsageError(f"{path}: no such table{found}.")
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")  # what spreadsheets of western hospitals write
    lines = text.splitlines()
    header = lines[0] if lines else ""
    delimiter = max(",;\t", key=header.count)
    reader = csv.reader(text.splitlines(keepends=True), delimiter=delimiter)
    columns = tuple(c.strip() for c in next(reader, []))
    named = [c for c in columns if c]
    if twice := sorted({c for c in named if named.count(c) > 1}):
        raise DataError(f"{path}: columns {listed(twice)} stand more than once.")
    rows = []
    for number, cells in enumerate(reader, start=2):
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) > len(columns) and any(c.strip() for c in cells[len(columns) :]):
            raise DataError(f"{path}:{number}: {len(cells)} cells under {len(columns)} columns.")
        rows.append({c: v.strip() for c, v in zip(columns, cells, strict=False) if c})
    if not rows:
        raise DataError(f"{path} has no rows below its header.")
    full = tuple({c: r.get(c, "") for c in named} for r in rows)
    return Sheet(path=path, columns=tuple(named), rows=full)


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
            f"{listed(missing)}. Complete the images, or take their rows out of the table."
        )
