"""The text that a value from a workbook or Parquet file would have in a CSV."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from decimal import Decimal
from typing import Any


def text_of(value: Any) -> str:
    """Whole numbers without `.0`, dates as in ISO 8601, nan blank."""
    if isinstance(value, float):
        return "" if value != value else str(int(value)) if value.is_integer() else repr(value)
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    if isinstance(value, datetime.datetime):
        midnight = value.time() == datetime.time()
        return value.date().isoformat() if midnight else value.isoformat()
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return str(value)


def texts_of(numbers: Iterable[float | None]) -> list[str]:
    """`text_of` for many numbers, in half the time."""
    return [
        "" if n is None or n != n else str(int(n)) if n.is_integer() else repr(n) for n in numbers
    ]


def date_of(days: float, *, since_1904: bool) -> datetime.datetime | datetime.time:
    """The date from Excel's count of days, to the millisecond; below one day, only a time.

    Source: ECMA-376 part 1, 18.17.4.1; day 60 of 1900, which did not exist, is from Lotus 1-2-3.
    """
    if 0 <= days < 1:
        return (datetime.datetime.min + _span(days)).time()
    if since_1904:
        return datetime.datetime(1904, 1, 1) + _span(days)
    return datetime.datetime(1899, 12, 31 if days < 60 else 30) + _span(days)


def _span(days: float) -> datetime.timedelta:
    return datetime.timedelta(milliseconds=round(days * 86_400_000))
