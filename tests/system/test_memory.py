"""The peak of memory is that since it was last forgotten."""

from __future__ import annotations

import sys

import pytest

from medcnn.system.memory import forget_peak, peak_bytes


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux forgets a peak")
def test_a_peak_is_seen_and_can_be_forgotten() -> None:
    forget_peak()  # of tests before this one
    before = peak_bytes()
    assert before
    large = bytearray(200 << 20)
    large[:: 1 << 12] = b"x" * (200 << 8)  # every page of it is used
    with_it = peak_bytes()
    assert with_it is not None
    assert with_it > before + (150 << 20)
    del large
    forget_peak()
    after = peak_bytes()
    assert after is not None
    assert after < with_it - (100 << 20)
