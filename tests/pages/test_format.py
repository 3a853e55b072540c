from __future__ import annotations

import math

import numpy as np
import pytest

from medcnn.pages.format import (
    count,
    counted,
    estimate,
    hundredths,
    moment,
    number,
    of_hundred,
    p_text,
    percent,
    short,
    signed,
    whose,
)


@pytest.mark.fault
@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0.997, 2, "0.997"),
        (0.9996, 3, "0.9996"),
        (0.99999, 3, "0.99999"),
        (1.0, 3, "1.000"),
        (0.0004, 3, "0.0004"),
        (0.0, 3, "0.000"),
        (0.912, 3, "0.912"),
        (1.0004, 3, "1.0004"),
        (-0.0002, 3, "-0.0002"),
        (-0.0, 3, "0.000"),
        (math.nan, 3, "n/a"),
        (math.inf, 3, "n/a"),
    ],
)
def test_what_is_not_certain_never_reads_as_certain(value: float, digits: int, text: str) -> None:
    """Row B21."""
    assert number(value, digits) == text


@pytest.mark.fault
def test_no_share_below_one_is_printed_as_a_hundred() -> None:
    """Row B21: an NPV of 99.99 % is not 100.0 %."""
    assert percent(0.9999) == "99.99"
    assert percent(1.0) == "100.0"
    assert of_hundred(0.997) == "99.7"
    assert of_hundred(0.874) == "87"
    draw = np.random.default_rng(0)
    for share in [*(1 - 10 ** draw.uniform(-15, -1, 200)), *(10 ** draw.uniform(-15, -1, 200))]:
        for text in (number(share), number(share, 2)):
            assert text[0] in "<>" or float(text) not in (0, 1), (share, text)
        for text in (percent(share), of_hundred(share)):
            assert text[0] in "<>" or float(text) not in (0, 100), (share, text)


def test_a_note_names_what_a_group_is_and_leaves_names_alone() -> None:
    few = "interval not available: based on only 4 groups"
    assert whose(few, "patient") == "interval not available: based on only 4 patients"
    assert whose("based on only 1 group; the rest", "lesion") == "based on only 1 lesion; the rest"
    assert whose("without group A", "patient") == "without group A"
    assert (
        whose("2 of 3 labels, without 3 group A", "patient") == "2 of 3 labels, without 3 group A"
    )


@pytest.mark.parametrize(
    ("write", "unit", "texts"),
    [
        (number, "", ("0.912", "0.874 to 0.943")),
        (hundredths, "", ("0.91", "0.87 to 0.94")),
        (percent, " %", ("91.2 %", "87.4 to 94.3 %")),
        (of_hundred, "", ("91", "87 to 94")),
        (signed, "", ("+0.912", "+0.874 to +0.943")),
    ],
)
def test_a_value_and_its_interval_are_written_alike(write, unit: str, texts) -> None:
    assert estimate(0.912, 0.874, 0.943, write, unit) == texts
    assert estimate(0.912, math.nan, math.nan, write, unit) == (texts[0], "")
    assert estimate(math.nan, math.nan, math.nan, write, unit) == ("n/a", "")


def test_small_words() -> None:
    assert (count(1204), counted(1, "image"), counted(1204, "image"), counted(2, "class")) == (
        "1,204",
        "1 image",
        "1,204 images",
        "2 classes",
    )
    assert (signed(0.0123), signed(-0.0001), signed(math.nan)) == ("+0.012", "0.000", "n/a")
    assert (signed(-0.00004, 4), signed(-0.0004, 4)) == ("0.0000", "-0.0004")
    assert (p_text(0.0004), p_text(0.0321), p_text(math.nan)) == ("<0.001", "0.032", "")
    assert (short(0.04567), short(9.5, " %"), short(math.nan, " %")) == ("0.0457", "9.5 %", "n/a")


def test_a_moment_is_given_to_the_minute() -> None:
    assert moment("2026-11-29T10:58:33+00:00") == "2026-11-29 10:58 UTC"
    assert moment("2026-11-29T10:58:33+02:00") == "2026-11-29T10:58:33+02:00"
    assert moment("") == ""
