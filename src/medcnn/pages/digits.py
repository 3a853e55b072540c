"""How pages write numbers: short, and never so short that what is not certain reads as certain.

0.997 is not 1, and 99.96 % is not 100 %: a value that is not at an end of its scale gets as many
further digits as keep it from reading like that end.
"""

from __future__ import annotations

import math
import re

MOST_DIGITS = 6


def number(value: float, digits: int = 3) -> str:
    """`0.912`; `0.9996` and `0.0004` where three digits would make 1 and 0 of them; `n/a`."""
    if not math.isfinite(value):
        return "n/a"
    return _not_at_an_end(value, 1.0, digits)


def percent(share: float, digits: int = 1) -> str:
    """`87.0` for 0.87, `99.96` for 0.9996: without the sign."""
    return "n/a" if not math.isfinite(share) else _not_at_an_end(100 * share, 100.0, digits)


def of_hundred(share: float) -> str:
    """`87` of 100, but `99.7` for 0.997."""
    return percent(share, 0)


def span(low: float, high: float, digits: int = 3) -> str:
    """`0.874 to 0.943`, or nothing where there is no interval."""
    return "" if math.isnan(low) else f"{number(low, digits)} to {number(high, digits)}"


def signed(value: float) -> str:
    """`+0.012`; what is rounded to nothing has no sign."""
    text = f"{value:+.3f}"
    return "0.000" if text in ("-0.000", "+0.000") else text.replace("+nan", "n/a")


def p_text(p: float) -> str:
    """`0.032`; nothing where nothing was tested."""
    if math.isnan(p):
        return ""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def plural(count: int, noun: str) -> str:
    """`1 image`, `1,204 images`, `2 classes`."""
    if count == 1:
        return f"1 {noun}"
    return f"{count:,} {noun}{'es' if noun[-1] in 'sx' else 's'}"


_TOO_FEW = re.compile(
    r"(?:too few, )?(?:it rests on (?:too few, )?)+(\d+) groups?(?: only)?|fewer than (\d+) groups"
)


def because(text: str, noun: str) -> str:
    """Why a score has no interval, with what a group is: `based on only 4 patients`."""

    def said(found: re.Match[str]) -> str:
        if found[2]:
            return f"based on fewer than {plural(int(found[2]), noun)}"
        return f"based on only {plural(int(found[1]), noun)}"

    return _TOO_FEW.sub(said, text)


def _not_at_an_end(value: float, top: float, digits: int) -> str:
    for more in range(digits, digits + MOST_DIGITS):
        text = f"{value:.{more}f}"
        read = float(text)
        if (read != top or value == top) and (read != 0 or value == 0):
            return text
    least = 10.0 ** -(digits + MOST_DIGITS - 1)
    near_nothing = abs(value) < top / 2
    return (
        f"<{least:.{MOST_DIGITS + 2}f}" if near_nothing else f">{top - 100 * least:.{digits + 3}f}"
    )
