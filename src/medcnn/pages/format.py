"""How pages write numbers: short, but never so short that something uncertain looks certain.

0.997 is not 1, and 99.96 % is not 100 %: a value near an end of its scale gets enough digits to
differ from that end.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable

from medcnn.audit.finding import counted as counted

MOST_DIGITS = 6


def number(value: float, digits: int = 3) -> str:
    """`0.912`; `0.9996` and `0.0004`, which three digits would turn into 1 and 0; `n/a`."""
    return _not_at_an_end(value, 1.0, digits) if math.isfinite(value) else "n/a"


def hundredths(value: float) -> str:
    """`0.91`."""
    return number(value, 2)


def percent(share: float, digits: int = 1) -> str:
    """`87.0` for 0.87, `99.96` for 0.9996, without the sign."""
    return _not_at_an_end(100 * share, 100.0, digits) if math.isfinite(share) else "n/a"


def of_hundred(share: float) -> str:
    """`87` of 100, but `99.7` for 0.997."""
    return percent(share, 0)


def signed(value: float, digits: int = 3) -> str:
    """`+0.012`; a value that rounds to 0 has no sign."""
    text = f"{value:+.{digits}f}"
    return text[1:] if float(text) == 0 else text.replace("+nan", "n/a")


def estimate(
    value: float, low: float, high: float, write: Callable[[float], str] = number, unit: str = ""
) -> tuple[str, str]:
    """A value and its interval, `0.912` and `0.874 to 0.943`.

    Args:
        low, high: ends of the interval; nan if there is none, and its text is then "".
        write: formats each of the three.
        unit: added to the value and to the interval, such as ` %`.
    """
    interval = "" if math.isnan(low) else f"{write(low)} to {write(high)}{unit}"
    return write(value) + ("" if math.isnan(value) else unit), interval


def p_text(p: float) -> str:
    """`0.032`; "" without a test."""
    if math.isnan(p):
        return ""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def count(of: int) -> str:
    """`1,204`."""
    return f"{of:,}"


def short(value: float, unit: str = "") -> str:
    """Three significant digits, for settings and thresholds; `n/a`."""
    return "n/a" if math.isnan(value) else f"{value:.3g}{unit}"


def moment(iso: str) -> str:
    """`2026-11-29 10:58 UTC` for `2026-11-29T10:58:33+00:00`, the form in `run.json`."""
    day, _, clock = iso.partition("T")
    return f"{day} {clock[:5]} UTC" if clock.endswith("+00:00") else iso


def whose(note: str, noun: str) -> str:
    """A score's note that names its groups: `based on only 4 patients`."""
    return re.sub(r"\b(based on only \d+|fewer than \d+) group(s?)\b", rf"\1 {noun}\2", note)


def _not_at_an_end(value: float, top: float, digits: int) -> str:
    for more in range(digits, digits + MOST_DIGITS):
        text = f"{value:z.{more}f}"
        read = float(text)
        if (read != top or value == top) and (read != 0 or value == 0):
            return text
    least = 10.0 ** -(digits + MOST_DIGITS - 1)
    near_nothing = abs(value) < top / 2
    return (
        f"<{least:.{MOST_DIGITS + 2}f}" if near_nothing else f">{top - 100 * least:.{digits + 3}f}"
    )
