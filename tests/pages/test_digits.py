from __future__ import annotations

import math

import numpy as np
import pytest

from medcnn.pages.digits import because, number, of_hundred, p_text, percent, plural, signed


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


def test_a_reason_names_what_a_group_is_and_says_it_once() -> None:
    twice = "interval not available: too few, it rests on too few, it rests on 4 groups"
    assert because(twice, "patient") == "interval not available: based on only 4 patients"
    assert because("it rests on 1 groups only", "lesion") == "based on only 1 lesion"
    assert because("fewer than 2 groups", "image") == "based on fewer than 2 images"
    assert because("undefined", "patient") == "undefined"


def test_small_words() -> None:
    assert (plural(1, "image"), plural(1204, "image"), plural(2, "class")) == (
        "1 image",
        "1,204 images",
        "2 classes",
    )
    assert (signed(0.0123), signed(-0.0001), signed(math.nan)) == ("+0.012", "0.000", "n/a")
    assert (p_text(0.0004), p_text(0.0321), p_text(math.nan)) == ("<0.001", "0.032", "")
