"""Charts as text: numbers lie where their axis says."""

from __future__ import annotations

from itertools import product

import pytest

from medcnn.pages import svg


@pytest.mark.parametrize("log", [True, False])
def test_all_values_lie_within_their_axis_which_ends_at_ticks(log: bool) -> None:
    for exponent, decades, digit in product(range(-12, 7), range(14), (1, 1.001, 5, 9.99)):
        values = (digit * 10.0**exponent, 10.0 ** (exponent + decades))
        axis = svg.axis("rate", values, log=log)
        assert (axis.low, axis.high) == (axis.ticks[0], axis.ticks[-1])
        assert len(axis.ticks) <= svg.MOST_TICKS
        assert all(-1e-9 <= axis.share(v) <= 1 + 1e-9 for v in values), values
