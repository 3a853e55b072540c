"""A sheet: the rows of a table with the line on which each stands, and what is under a root."""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TypeVar

from medcnn.data.own import workbooks
from medcnn.system.errors import DataError, UsageError, listed, private
from medcnn.system.paths import MISSING, faults_on_disk, lookalike
from medcnn.system.progress import log
from medcnn.system.registry import nearest

T = TypeVar("T")

TABLE_SUFFIXES = (".csv", ".tsv", ".txt", ".tab", ".xlsx", ".xlsm", ".parquet")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """Rows as dicts of stripped text, and the line on which each begins.

    Attributes:
        titles: lines above the names of the columns that were passed over.
    """

    path: Path
    columns: tuple[str, ...]
    rows: tuple[dict[str, str], ...]
    lines: tuple[int, ...]
    titles: tuple[int, ...] = ()

    def line(self, row: int) -> str:
        return f"{self.path.name}:{self.lines[row]}"

    def require(self, columns: Iterable[str | None], settings: str) -> None:
        """Raises UsageError naming every column that is not there.

        Args:
            settings: which settings name them, for the message.
        """
        missing = [c for c in columns if c is not None and c not in self.columns]
        if missing:
            if any(map(_is_content, self.columns)):
                raise UsageError(
                    f"{self.path} has no column {listed(missing)}, and its first row looks like "
                    f"one of data: {listed([private(c) for c in self.columns])}. Write the names "
                    "of the columns above it."
                )
            asked = ", ".join(f"'{c}'{nearest(c, self.columns).rstrip('.')}" for c in missing)
            raise UsageError(
                f"{self.path} has no column {asked}{'' if asked.endswith('?') else '.'} "
                f"Its columns: {', '.join(self.columns)}. Columns are named by {settings}."
            )


def _is_content(name: str) -> bool:
    """A number, or the name of a file, which no column is called."""
    return re.fullmatch(r"[\d.,-]+|.*\.(jpe?g|png|tiff?|bmp|dcm|dicom)", name, re.I) is not None


def read_sheet(path: Path, sheet: str | None = None) -> Sheet:
    """Read a CSV with commas, semicolons or tabs, in UTF-8, UTF-16 (with its mark) or Latin-1,
    packed by gzip or not; an Excel workbook; or a Parquet file, told apart by their first bytes.

    A row may end early, as spreadsheets leave trailing blanks away.

    Args:
        sheet: which sheet of a workbook; None where there is one.

    Raises:
        UsageError: no such file or sheet, or the library that reads it is not installed.
        DataError: no rows, a column name that stands twice, a row that is too long, or a quote
            that is not closed, which would swallow the rows below it.
    """
    if not path.is_file():
        found = f"; the folder holds {listed(names)}" if (names := tables_in(path.parent)) else ""
        raise UsageError(f"{path}: no such table{found}.")
    with path.open("rb") as file:
        head = file.read(8)
    if head.startswith(workbooks.OLD_EXCEL):
        raise UsageError(
            f"{path} is a workbook of Excel before 2007, or one with a password; save the table as "
            ".xlsx without a password, or as CSV."
        )
    if head.startswith(workbooks.EXCEL):
        return _sheet(path, workbooks.excel_rows(path, sheet))
    if sheet is not None:
        raise UsageError(f"data.sheet={sheet} has no effect: {path} is no Excel workbook.")
    if head.startswith(workbooks.PARQUET):
        return _sheet(path, workbooks.parquet_rows(path))
    return _sheet(path, _text_rows(path))


def tables_in(folder: Path) -> list[str]:
    """Names of the files of a folder that look like tables."""
    if not folder.is_dir():
        return []
    return sorted(p.name for p in folder.iterdir() if p.suffix.lower() in TABLE_SUFFIXES)


def _text_bytes(path: Path) -> bytes:
    """What a file holds, unpacked where it is packed; no more of it than is read."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    if not packed:
        workbooks.refuse_text(path, path.stat().st_size)
        return path.read_bytes()
    size = 0
    try:
        with gzip.open(path) as text:
            while part := text.read(1 << 20):
                size += len(part)
                workbooks.refuse_text(path, size)
        # a second time: what is refused is never held
        return gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is a damaged gzip file: {error}.") from error


def _text_rows(path: Path) -> workbooks.Rows:
    raw = _text_bytes(path)
    wide = raw.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        text = raw.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")  # what spreadsheets of western hospitals write
    # Not splitlines(): it also breaks at form feeds, and at 0x85, the ellipsis of Windows.
    # a title above the names of the columns may hold none of the three
    first = re.search("[^\n]*[,;\t][^\n]*", text)
    delimiter = max(",;\t", key=(first[0] if first else "").count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    try:
        for cells in reader:
            yield line, cells  # a cell may hold several lines; what counts is where a row begins
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: not readable as a table: {error}.") from error


def _sheet(path: Path, numbered: workbooks.Rows) -> Sheet:
    """The first row that is neither blank nor a title names the columns; other blank rows are
    passed over."""
    filled = ((line, cells) for line, cells in numbered if any(cell.strip() for cell in cells))
    top = list(islice(filled, MOST_TITLES + 1))
    titles = _titles([cells for _, cells in top])
    above = tuple(line for line, _ in top[:titles])
    if above:
        where = listed([str(line) for line in above])
        log.info(f"  {path.name}: titles above the names of the columns, line {where}, are no rows")
    columns: tuple[str, ...] = ()
    rows, lines = [], []
    for line, cells in chain(top[titles:], filled):
        if not columns:
            columns = tuple(c.strip() for c in cells)
            continue
        if any(cell.strip() for cell in cells[len(columns) :]):
            raise DataError(f"{path}:{line}: {len(cells)} cells under {len(columns)} columns.")
        row = dict.fromkeys((c for c in columns if c), "")
        row.update({c: v.strip() for c, v in zip(columns, cells, strict=False) if c})
        rows.append(row)
        lines.append(line)
        workbooks.refuse_rows(path, len(rows))
    named = tuple(c for c in columns if c)
    if twice := sorted({c for c in named if named.count(c) > 1}):
        raise DataError(f"{path}: columns {listed(twice)} stand more than once.")
    if not rows:
        raise DataError(f"{path} has no rows below its header.")
    return Sheet(path=path, columns=named, rows=tuple(rows), lines=tuple(lines), titles=above)


MOST_TITLES = 10


_DATA = re.compile(r"[-+\d.,]+|.+\.(jpe?g|png|tiff?|bmp|dcm|npz)", re.IGNORECASE)


def _titles(top: Sequence[Sequence[str]]) -> int:
    """How many rows stand above the names of the columns: of one cell each, with a wider row below
    that begins no further left (under `,label` rows begin further left: the index has no name) and
    is not data already, as files and numbers are."""
    places = [[i for i, cell in enumerate(cells) if cell.strip()] for cells in top]
    wide = next((number for number, filled in enumerate(places) if len(filled) > 1), 0)
    if wide and any(_DATA.fullmatch(cell.strip()) for cell in top[wide]):
        return 0
    return wide if all(filled[0] <= places[wide][0] for filled in places[:wide]) else 0


def whole_number(cell: str) -> str:
    """`1.0` is `1`, which a spreadsheet writes so in a column with blanks."""
    return re.sub(r"^(-?\d+)\.0+$", r"\1", cell)


def of_every_row(rows: Iterable[int], make: Callable[[int], T]) -> list[T]:
    """`make` of each row; where it raises DataError, those of all rows are raised as one."""
    made, faults = tried(rows, make)
    refuse_rows(faults)
    return list(made.values())


def tried(rows: Iterable[int], make: Callable[[int], T]) -> tuple[dict[int, T], list[str]]:
    """`make` of each row, and what it said (DataError) of rows for which it did not come off."""
    made: dict[int, T] = {}
    faults = []
    for row in rows:
        try:
            made[row] = make(row)
        except DataError as error:
            faults.append(str(error))
    return made, faults


def parted(fault: str) -> tuple[str, str, str]:
    """File, line and reason of what was said of a row."""
    found = re.fullmatch(r"(.+?):(\d+): (.*)", fault, re.DOTALL)
    return (found[1], found[2], found[3]) if found else ("", "", fault)


def refuse_rows(faults: Sequence[str]) -> None:
    """Raises DataError where there are faults: rows of one and the same on one line."""
    if not faults:
        return
    of_reason: dict[str, list[tuple[str, str]]] = {}
    for place, line, reason in map(parted, faults):
        of_reason.setdefault(reason, []).append((place, line))
    told = [_told(reason, places) for reason, places in of_reason.items()]
    if len(faults) == 1:
        raise DataError(told[0])
    more = f"\n  and {len(told) - 5} more" if len(told) > 5 else ""
    raise DataError(f"{len(faults)} rows are refused:\n  " + "\n  ".join(told[:5]) + more)


def _told(reason: str, places: list[tuple[str, str]]) -> str:
    file, first = places[0]
    said = f"{file}:{first}: {reason}" if file else reason
    if len(places) == 1:
        return said
    lines = f", lines {listed([line for _, line in places])}" if file else ""
    return f"{said} ({len(places)} rows{lines})"


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


def found_under(root: Path, *, hidden: bool = False) -> str:
    """Up to five names under a root, for messages about a wrong layout.

    Args:
        hidden: they may name patients.
    """
    names = sorted(p.name + ("/" if p.is_dir() else "") for p in root.iterdir())
    names = [private(name) for name in names] if hidden else names
    return listed(names) or "nothing"


def to_unpack(root: Path) -> str:
    """A sentence that names the archives right under a root; blank where there are none."""
    packed = sorted(p.name for p in root.iterdir() if _ARCHIVE.search(p.name) and p.is_file())
    return f" Found {listed(packed)}: unpack {'it' if len(packed) == 1 else 'them'}." * bool(packed)


# also parts, as Kaggle had them: train.zip.001
_ARCHIVE = re.compile(r"\.(zip|7z|rar|tar|tgz|tar\.(gz|bz2|xz))(\.\d+)?$", re.I)


def refuse_missing(source: str, root: Path, paths: Iterable[str]) -> None:
    """Raises DataError with the count and the first names of images that are not there."""
    wanted = list(paths)
    faults = faults_on_disk(root, wanted)
    missing = [p for p in wanted if faults.get(p) == MISSING]
    if missing:
        alike = lookalike(root, missing[0])
        hint = (
            f" There is {private(alike)}, which differs in case or Unicode form." if alike else ""
        )
        raise DataError(
            f"{source}: {len(missing)} of {len(wanted)} images of the table are not under {root}: "
            f"{listed([private(m) for m in missing])}.{hint}{to_unpack(root)} Complete the "
            "images, or take their rows out of the table."
        )
