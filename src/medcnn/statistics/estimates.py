"""A number with its 95 % interval."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """`reason` says why there is none; low and high are nan then."""

    low: float = math.nan
    high: float = math.nan
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """One number that can be defended.

    Attributes:
        value: nan where it is not defined; `note` says why.
        low: lower end of the 95 % interval, nan where there is none; `note` says why.
        high: upper end.
        count: images (of a mean over patients: patients) that went in.
        groups: patients (or lesions) behind them.
        note: empty, a caution, or why something is not available.
    """

    value: float = math.nan
    low: float = math.nan
    high: float = math.nan
    count: int
    groups: int
    note: str = ""

    @classmethod
    def of(cls, value: float, interval: Interval, *, count: int, groups: int) -> Estimate:
        low, high = interval.low, interval.high
        return Estimate(
            value=value, low=low, high=high, count=count, groups=groups, note=interval.reason
        )
