"""A sheet: the rows of a table with their line numbers; and messages about the data root."""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TypeVar

from medcnn.data.own import bounds
from medcnn.data.own.column_names import MOST_LOOKED_AT, column_names, is_content
from medcnn.data.own.excel import EXCEL, OLD_EXCEL, excel_rows
from medcnn.data.own.parquet_files import PARQUET, parquet_rows
from medcnn.data.own.rows import Rows
from medcnn.data.own.text_files import text_rows
from medcnn.system.errors import DataError, UsageError, listed, private
from medcnn.system.paths import MISSING, faults_on_disk, lookalike
from medcnn.system.progress import log
from medcnn.system.registry import nearest

T = TypeVar("T")

TABLE_SUFFIXES = (".csv", ".tsv", ".txt", ".tab", ".xlsx", ".xlsm", ".parquet")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """Rows of stripped text by column, and the line where each begins.

    Attributes:
        titles: skipped lines above the names of the columns.
    """

    path: Path
    columns: tuple[str, ...]
    rows: Rows
    lines: tuple[int, ...]
    titles: tuple[int, ...] = ()

    def line(self, row: int) -> str:
        return f"{self.path.name}:{self.lines[row]}"

    def require(self, columns: Iterable[str | None], settings: str) -> None:
        """Raises UsageError that names every missing column.

        Args:
            settings: which settings name them, for the message.
        """
        asked = [c for c in columns if c is not None]
        missing = [c for c in asked if c not in self.columns]
        if missing:
            if any(map(is_content, self.columns)):
                raise UsageError(
                    f"{self.path} has no column {listed(missing)}, and its first row looks like "
                    f"data: {listed([private(c) for c in self.columns])}. Add a row with the names "
                    "of the columns."
                )
            # where none fits, the first row may be a patient's
            shown = [private(c) if missing == asked else c for c in self.columns]
            said = ", ".join(f"'{c}'{nearest(c, shown).rstrip('.')}" for c in missing)
            said += "" if said.endswith("?") else "."
            raise UsageError(
                f"{self.path} has no column {said} Its columns: {', '.join(shown)}. Settings "
                f"that name columns: {settings}."
            )


def read_sheet(path: Path, sheet: str | None = None, encoding: str | None = None) -> Sheet:
    """Read a CSV with commas, semicolons or tabs, plain or in gzip; an Excel workbook; or a Parquet
    file. The first bytes decide which.

    A row may end early, since spreadsheets drop trailing blanks.

    Args:
        sheet: which sheet of a workbook; None if there is only one.
        encoding: of a text file; None detects it, and says if it guessed.

    Raises:
        UsageError: no such file or sheet, or the library that reads it is not installed.
        DataError: no rows, a repeated column name, a row that is too long, an unclosed quote, which
            would swallow the rows below it, an unclear encoding, or too large (`bounds`).
    """
    if not path.is_file():
        found = (
            f"; the folder contains {listed(names)}" if (names := tables_in(path.parent)) else ""
        )
        raise UsageError(f"{path}: no such table{found}.")
    with path.open("rb") as file:
        head = file.read(8)
    if head.startswith(OLD_EXCEL):
        raise UsageError(
            f"{path} is a workbook from before Excel 2007, or has a password; save the table as "
            ".xlsx without a password, or as CSV."
        )
    is_excel, is_parquet = head.startswith(EXCEL), head.startswith(PARQUET)
    if sheet is not None and not is_excel:
        raise UsageError(f"data.sheet={sheet} has no effect: {path} is not an Excel workbook.")
    if encoding is not None and (is_excel or is_parquet):
        raise UsageError(f"data.encoding={encoding} has no effect: {path} is not a text file.")
    if is_excel:
        return _sheet(path, excel_rows(path, sheet))
    if is_parquet:
        return _sheet(path, parquet_rows(path))
    return _sheet(path, text_rows(path, encoding))


def tables_in(folder: Path) -> list[str]:
    """Names of the files in a folder that look like tables."""
    if not folder.is_dir():
        return []
    return sorted(p.name for p in folder.iterdir() if p.suffix.lower() in TABLE_SUFFIXES)


def _sheet(path: Path, numbered: bounds.Cells) -> Sheet:
    """The first row that is neither blank nor a title names the columns; blank rows are skipped."""
    filled = _filled(path, numbered)
    top = list(islice(filled, MOST_LOOKED_AT))
    if not top:
        raise DataError(f"{path} has no rows below its header.")
    names, first, deep = column_names([cells for _, cells in top])
    above = tuple(line for line, _ in top[:first])
    if above:
        where = listed([str(line) for line in above])
        log.info(f"  {path.name}: skipped titles above the names of the columns, line {where}")
    if deep > 1:
        both = listed([str(line) for line, _ in top[first : first + deep]])
        log.info(f"  {path.name}: the names of the columns are in lines {both}")
    kept = [i for i, name in enumerate(names) if name]
    named = tuple(names[i] for i in kept)
    if twice := sorted({c for c in named if named.count(c) > 1}) if _repeats(named) else []:
        raise DataError(f"{path}: several columns are named {listed(twice)}.")
    width, rows, lines = len(names), Rows(named), array("Q")
    all_kept = len(kept) == width
    for line, cells in chain(top[first + deep :], filled):
        if len(cells) > width and any(cells[width:]):
            raise DataError(f"{path}:{line}: {len(cells)} cells, but {width} columns.")
        if len(cells) != width:
            cells = cells[:width] + [""] * (width - len(cells))
        rows.append(cells if all_kept else [cells[i] for i in kept])
        lines.append(line)
        bounds.refuse_rows(path, len(lines), width)
        bounds.refuse_text(path, rows.bytes_held)
    rows.close()
    if not lines:
        raise DataError(f"{path} has no rows below its header.")
    return Sheet(path=path, columns=named, rows=rows, lines=tuple(lines), titles=above)


def _filled(path: Path, numbered: bounds.Cells) -> bounds.Cells:
    """The non-blank rows, with stripped cells."""
    for line, cells in numbered:
        bare = list(map(str.strip, cells))
        if any(bare):
            yield line, bare


def _repeats(names: Sequence[str]) -> bool:
    return len(set(names)) < len(names)


def whole_number(cell: str) -> str:
    """`1` for `1.0` and `1,0`, which spreadsheets write in a column with blanks; not `1,000`."""
    return _WHOLE.sub(r"\1", cell) if ".0" in cell or ",0" in cell else cell


_WHOLE = re.compile(r"^(-?\d+)(\.0+|,0{1,2})$")


def of_every_row(rows: Iterable[int], make: Callable[[int], T]) -> list[T]:
    """`make` of each row; the DataErrors of all rows are raised as one."""
    made: list[T] = []
    faults = []
    for row in rows:
        try:
            made.append(make(row))
        except DataError as error:
            faults.append(str(error))
    refuse_rows(faults)
    return made


def parted(fault: str) -> tuple[str, str, str]:
    """File, line and reason from a message about a row."""
    found = re.fullmatch(r"(.+?):(\d+): (.*)", fault, re.DOTALL)
    return (found[1], found[2], found[3]) if found else ("", "", fault)


def refuse_rows(faults: Sequence[str], more: str = "") -> None:
    """Raises DataError if there are faults, with one line for all rows of the same fault.

    Args:
        more: where those are listed that are not shown.
    """
    if not faults:
        return
    of_reason: dict[str, list[tuple[str, str]]] = {}
    for place, line, reason in map(parted, faults):
        of_reason.setdefault(reason, []).append((place, line))
    lines = [_line(reason, places) for reason, places in of_reason.items()]
    if len(faults) == 1:
        raise DataError(lines[0])
    rest = f"\n  and {len(lines) - 5} more{more}" if len(lines) > 5 else ""
    raise DataError(f"{len(faults)} rows are refused:\n  " + "\n  ".join(lines[:5]) + rest)


def _line(reason: str, places: list[tuple[str, str]]) -> str:
    file, first = places[0]
    said = f"{file}:{first}: {reason}" if file else reason
    if len(places) == 1:
        return said
    lines = f", lines {listed([line for _, line in places])}" if file else ""
    return f"{said} ({len(places)} rows{lines})"


def only(found: list[Path], what: str) -> Path:
    """Raises DataError if there are several, since they may contradict each other."""
    if len(found) > 1:
        raise DataError(
            f"{found[0].parent} contains {len(found)} {what}: {listed([p.name for p in found])}. "
            "Keep only the right one."
        )
    return found[0]


def require_folder(root: Path | None, setting: str = "data.root") -> Path:
    """Raises UsageError if the folder was not given, is missing, or is a file; DataError if it is
    empty."""
    if root is None:
        raise UsageError(f"{setting} is required: add {setting}=FOLDER to the command.")
    if not root.is_dir():
        what = "is a file, not a folder" if root.exists() else "does not exist"
        raise UsageError(f"{setting}={root} {what}.")
    if not any(root.iterdir()):
        raise DataError(f"{setting}={root} is empty.")
    return root


def found_under(root: Path, *, hidden: bool = False) -> str:
    """Up to five names under a root, for messages about a wrong layout.

    Args:
        hidden: whether they may name patients.
    """
    names = sorted(p.name + ("/" if p.is_dir() else "") for p in root.iterdir())
    names = [private(name) for name in names] if hidden else names
    return listed(names) or "nothing"


def to_unpack(root: Path) -> str:
    """A sentence about archives directly under a root, or ""."""
    packed = sorted(p.name for p in root.iterdir() if _ARCHIVE.search(p.name) and p.is_file())
    return f" Found {listed(packed)}: unpack {'it' if len(packed) == 1 else 'them'}." * bool(packed)


# also parts, as on Kaggle: train.zip.001
_ARCHIVE = re.compile(r"\.(zip|7z|rar|tar|tgz|tar\.(gz|bz2|xz))(\.\d+)?$", re.I)


def refuse_missing(source: str, root: Path, paths: Iterable[str]) -> None:
    """Raises DataError with the number and the first names of missing images."""
    wanted = list(paths)
    faults = faults_on_disk(root, wanted)
    missing = [p for p in wanted if faults.get(p) == MISSING]
    if missing:
        alike = lookalike(root, missing[0])
        hint = (
            f" There is {private(alike)}, which differs in case or Unicode form." if alike else ""
        )
        raise DataError(
            f"{source}: {len(missing)} of {len(wanted)} images in the table are not under {root}: "
            f"{listed([private(m) for m in missing])}.{hint}{to_unpack(root)} Add the images, or "
            "remove their rows from the table."
        )
