"""Parquet files as the rows of text that their CSV would have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medcnn.data.own import bounds
from medcnn.data.own.cells import text_of, texts_of
from medcnn.system.errors import DataError, UsageError, listed, pip_install
from medcnn.system.progress import log

PARQUET = b"PAR1"
BATCH_ROWS, SHARED_BATCH_ROWS = 1024, 16
"""Rows decoded at a time; the second if each value may repeat all of the previous one."""
TEXT_AT_A_TIME = 4 << 20
"""Bytes that become Python strings at a time."""
MAX_FOOTER, MAX_CHUNK = 8 << 20, 64 << 20
"""Bytes of the description of all columns, and of one column in one row group, which may be a
single page that is decoded at once."""


def parquet_rows(path: Path) -> bounds.Cells:
    """The names of the columns as row 0, then row number from 1 and cells of each row.

    Raises:
        UsageError: pyarrow is not installed.
        DataError: damaged, or too large for a table.
    """
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise UsageError(
            f"{path} is a Parquet file, which needs the extra medcnn[tables]: "
            f"{pip_install('tables')}. Or save the table as CSV."
        ) from None
    _refuse_footer(path)
    try:
        with parquet.ParquetFile(path) as file:
            bounds.refuse_columns(path, 0, file.metadata.num_columns)
            kept = [f for f in file.schema_arrow if not _is_nested(pa, f.type)]
            names = [f.name for f in kept]
            if others := [n for n in file.schema_arrow.names if n not in names]:
                log.info(f"  {path.name}: ignored columns with nested values: {listed(others)}")
            shared = _refuse_by_header(path, file.metadata, set(names))
            texts = [f.name for f in kept if _is_text(pa, f.type) and f.name not in shared]
        batch_rows = SHARED_BATCH_ROWS if shared else BATCH_ROWS
        yield 0, names
        # dictionaries stay dictionaries: a text that occurs a million times is kept once
        with parquet.ParquetFile(path, read_dictionary=texts) as file:
            number = size = 0
            for batch in file.iter_batches(batch_rows, columns=names, use_threads=False):
                here = sum(_size(pa, path, number + 1, batch.column(name)) for name in names)
                size += here
                bounds.refuse_text(path, size)
                step = max(1, len(batch) * TEXT_AT_A_TIME // max(here, TEXT_AT_A_TIME))
                for first in range(0, len(batch), step):
                    part = batch.slice(first, step)
                    columns = [_column(pa, part.column(name)) for name in names]
                    for cells in zip(*columns, strict=True):
                        number += 1
                        yield number, list(cells)
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} cannot be read as Parquet: {error}.") from error


def _refuse_footer(path: Path) -> None:
    """Raises DataError if the description alone would fill memory."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 8))
        size = int.from_bytes(file.read(8)[:4], "little")
    if MAX_FOOTER < size < path.stat().st_size:
        raise DataError(
            f"{path}: the description of its columns and row groups takes {size >> 20} MB, more "
            f"than the limit of {MAX_FOOTER >> 20}; write fewer row groups, or leave out columns."
        )


def _refuse_by_header(path: Path, found: Any, names: set[str]) -> set[str]:
    """The columns in which each value may repeat all of the previous one.

    Raises:
        DataError: the header already shows that the table is too large.
    """
    bounds.refuse_rows(path, found.num_rows, max(1, len(names)))
    # a value takes at least a character and a comma, however it is compressed
    bounds.refuse_text(path, 2 * found.num_rows * len(names))
    size, shared = 0, set()
    for group in map(found.row_group, range(found.num_row_groups)):
        for column in map(group.column, range(group.num_columns)):
            if column.path_in_schema not in names:
                continue
            size += column.total_uncompressed_size
            if "DELTA_BYTE_ARRAY" in column.encodings:
                shared.add(column.path_in_schema)
            if column.total_uncompressed_size > MAX_CHUNK:
                raise DataError(
                    f"{path}: the column {column.path_in_schema} has more than {MAX_CHUNK >> 20} "
                    "MB in one row group; leave it out, or write smaller row groups."
                )
    bounds.refuse_text(path, size)
    return shared


def _is_text(pa: Any, kind: Any) -> bool:
    types = pa.types
    return bool(types.is_string(kind) or types.is_large_string(kind))


def _is_nested(pa: Any, kind: Any) -> bool:
    types = pa.types
    if types.is_dictionary(kind):
        kind = kind.value_type
    return bool(
        types.is_nested(kind)
        or types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_fixed_size_binary(kind)
    )


def _size(pa: Any, path: Path, line: int, column: Any) -> int:
    """Bytes of a column's texts with one copy for each row; raises DataError if one is too long."""
    from pyarrow import compute

    if pa.types.is_dictionary(column.type):
        if not _is_text(pa, column.type.value_type):
            return 8 * len(column)
        lengths = compute.take(compute.binary_length(column.dictionary), column.indices)
    elif _is_text(pa, column.type):
        lengths = compute.binary_length(column)
    else:
        return 8 * len(column)
    bounds.refuse_cell(path, line, compute.max(lengths).as_py() or 0)
    return int(compute.sum(lengths).as_py() or 0)


def _column(pa: Any, column: Any) -> list[str]:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if _is_text(pa, column.type):
        return [word or "" for word in column.to_pylist()]
    if pa.types.is_float32(column.type) or pa.types.is_float16(column.type):
        # 0.1 in 32 bits is 0.10000000149 in 64; use the shortest text with the same meaning
        narrow = column.cast(pa.string()).to_pylist()
        return texts_of(None if word is None else float(word) for word in narrow)
    if pa.types.is_float64(column.type):
        return texts_of(column.to_pylist())
    if pa.types.is_timestamp(column.type):
        # Python has no nanoseconds
        column = column.cast(pa.timestamp("us", tz=column.type.tz), safe=False)
    return [text_of(value) for value in column.to_pylist()]
