"""A number with its 95 % interval."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """If there is none, low and high are nan and `reason` says why."""

    low: float = math.nan
    high: float = math.nan
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """One number with its interval and counts.

    Attributes:
        value: nan if undefined; `note` says why.
        low: lower end of the 95 % interval, nan if there is none; `note` says why.
        high: upper end.
        count: number of images (for a mean over patients: of patients).
        groups: number of patients (or lesions).
        note: "", a caution, or why something is not available.
    """

    value: float = math.nan
    low: float = math.nan
    high: float = math.nan
    count: int
    groups: int
    note: str = ""

    @classmethod
    def of(cls, value: float, interval: Interval, *, count: int, groups: int) -> Estimate:
        """An estimate from a value and its interval."""
        low, high = interval.low, interval.high
        return Estimate(
            value=value, low=low, high=high, count=count, groups=groups, note=interval.reason
        )
