"""Excel workbooks and Parquet files as the rows of text that a CSV of them would hold."""

from __future__ import annotations

import datetime
import math
import re
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from medcnn.system.errors import DataError, MedcnnError, UsageError, listed, pip_install
from medcnn.system.progress import log
from medcnn.system.registry import nearest

Rows = Iterator[tuple[int, list[str]]]

# The largest table of a public set has 0.4 million rows and 250 MB (ISIC 2024); a packed file of a
# few MB can hold gigabytes.
MAX_TEXT_BYTES, MAX_ROWS = 400_000_000, 2_000_000

EXCEL, OLD_EXCEL, PARQUET = b"PK\3\4", b"\xd0\xcf\x11\xe0", b"PAR1"


def refuse_text(path: Path, size: int) -> None:
    """Raises DataError where a table holds more text than is read."""
    if size > MAX_TEXT_BYTES:
        raise DataError(
            f"{path} holds more than the {MAX_TEXT_BYTES // 10**6} MB of text that are read of a "
            "table; leave out the columns and rows that are not needed."
        )


def refuse_rows(path: Path, rows: int) -> None:
    """Raises DataError where a table has more rows than are read."""
    if rows > MAX_ROWS:
        raise DataError(
            f"{path} has more than the {MAX_ROWS} rows that are read of a table; leave out the "
            "rows that are not needed."
        )


def excel_rows(path: Path, sheet: str | None) -> Rows:
    """Row number, as Excel shows it, and cells of each row of one sheet.

    What formulas gave when the workbook was last saved is taken, never computed anew.

    Raises:
        UsageError: openpyxl is not installed, no such sheet, or several and none named.
        DataError: no workbook, or a formula whose value was never saved.
    """
    try:
        import openpyxl
    except ImportError:
        raise _needs("an Excel workbook", path) from None
    with warnings.catch_warnings(), path.open("rb") as file:
        warnings.simplefilter("ignore")  # of features of Excel that a table does not need
        options = {"read_only": True, "keep_links": False}
        try:
            with zipfile.ZipFile(file) as archive:
                refuse_text(path, sum(member.file_size for member in archive.infolist()))
            values = openpyxl.load_workbook(file, **options, data_only=True)
            name = _sheet_name(path, values, sheet)
            rows = list(_cells(values[name]))
            if _has_formulas(path):
                with path.open("rb") as again:
                    written = openpyxl.load_workbook(again, **options)
                    _refuse_unsaved(path, rows, list(_cells(written[name])))
        except (KeyError, ValueError, OSError, zipfile.BadZipFile, SyntaxError) as error:
            if isinstance(error, MedcnnError):
                raise
            raise DataError(
                f"{path} is a zip archive but no Excel workbook that can be read ({error}); save "
                "the table as .xlsx or CSV."
            ) from error
    return ((number, [_excel_text(cell) for cell in row]) for number, row in enumerate(rows, 1))


def _has_formulas(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        sheets = [n for n in archive.namelist() if n.startswith("xl/worksheets/")]
        return any(re.search(rb"<f[ >]", archive.read(n)) for n in sheets if n.endswith(".xml"))


def _refuse_unsaved(path: Path, values: Sequence[Any], written: Sequence[Any]) -> None:
    """Raises DataError for formulas whose value was never saved: they read like blank cells, and a
    row with a blank label is left out."""
    for number, (cells, formulas) in enumerate(zip(values, written, strict=True), start=1):
        for cell, formula in zip(cells, formulas, strict=True):
            if formula.data_type == "f" and cell.value is None:
                raise DataError(
                    f"{path}:{number}: {formula.coordinate} is a formula without a saved value; "
                    "open the workbook, save it and run again, or save the table as CSV."
                )


def _sheet_name(path: Path, book: Any, asked: str | None) -> str:
    names = [s.title for s in book.worksheets]
    if asked is not None:
        if asked not in names:
            raise UsageError(
                f"data.sheet={asked}: {path} has no such sheet{nearest(asked, names)} Its sheets: "
                f"{', '.join(names)}."
            )
        return asked
    filled = {
        s.title: sum(c.value is not None for r in _cells(s) for c in r)
        for s in book.worksheets
        if s.sheet_state == "visible"
    }
    filled = {title: cells for title, cells in filled.items() if cells}
    if not filled:
        raise DataError(f"{path} has no sheet with anything in it.")
    fullest = max(filled, key=lambda title: filled[title])
    if len(filled) > 1:
        raise UsageError(
            f"{path} has several sheets: {', '.join(filled)}. Say which: data.sheet='{fullest}'."
        )
    return str(fullest)


def _cells(sheet: Any) -> Iterator[Sequence[Any]]:
    sheet.reset_dimensions()  # some programs write a size that is not true, and rows would be lost
    rows: Iterator[Sequence[Any]] = sheet.iter_rows(min_row=1, min_col=1)
    return rows


def _excel_text(cell: Any) -> str:
    text = text_of(cell.value)
    # 00042 is often kept as the number 42 that is shown with zeros
    if isinstance(cell.value, int) and (form := cell.number_format) and set(form) == {"0"}:
        text = text.zfill(len(form))
    return text


def parquet_rows(path: Path) -> Rows:
    """The names of the columns as row 0, then row number from 1 and cells of each row.

    Raises:
        UsageError: pyarrow is not installed.
        DataError: damaged.
    """
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise _needs("a Parquet file", path) from None
    try:
        with parquet.ParquetFile(path) as file:
            kept = [f for f in file.schema_arrow if not _is_nested(pa, f.type)]
            names = [f.name for f in kept]
            if others := [n for n in file.schema_arrow.names if n not in names]:
                log.info(f"  {path.name}: columns that hold no single words: {listed(others)}")
            found = file.metadata
            refuse_rows(path, found.num_rows)
            # a value of a column takes a character and a comma, however it is packed
            packed = (found.row_group(i).total_byte_size for i in range(found.num_row_groups))
            refuse_text(path, max(sum(packed), 2 * found.num_rows * len(names)))
            yield 0, names
            number = 0
            for batch in file.iter_batches(columns=names):
                columns = [_column(pa, batch.column(name)) for name in names]
                for cells in zip(*columns, strict=True):
                    number += 1
                    yield number, list(cells)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} cannot be read as Parquet: {error}.") from error


def _is_nested(pa: Any, kind: Any) -> bool:
    types = pa.types
    return bool(types.is_nested(kind) or types.is_binary(kind) or types.is_large_binary(kind))


def _column(pa: Any, column: Any) -> list[str]:
    if pa.types.is_float32(column.type) or pa.types.is_float16(column.type):
        # 0.1 in 32 bit is 0.10000000149 in 64; the text is the shortest that means the same
        narrow = column.cast(pa.string()).to_pylist()
        return [text_of(None if word is None else float(word)) for word in narrow]
    if pa.types.is_timestamp(column.type):
        # Python knows no nanoseconds
        column = column.cast(pa.timestamp("us", tz=column.type.tz), safe=False)
    return [text_of(value) for value in column.to_pylist()]


def text_of(value: Any) -> str:
    """The text of a cell in a CSV: whole numbers without `.0`, dates as in ISO 8601, nan blank."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, float):
        if math.isnan(value):
            return ""
        return str(int(value)) if value.is_integer() else repr(value)
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    if isinstance(value, datetime.datetime):
        midnight = value.time() == datetime.time()
        return value.date().isoformat() if midnight else value.isoformat()
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return str(value)


def _needs(what: str, path: Path) -> UsageError:
    return UsageError(
        f"{path} is {what}, which needs the extra medcnn[tables]: {pip_install('tables')}. Or save "
        "the table as CSV."
    )
