"""The peak of memory is that since it was last forgotten."""

from __future__ import annotations

import subprocess
import sys

import pytest

# in a process of its own: another test's freed memory can hold a new array
FORGETS = """
from medcnn.system.memory import forget_peak, peak_bytes
before = peak_bytes()
large = bytearray(200 << 20)
large[:: 1 << 12] = b"x" * (200 << 8)  # every page of it is used
with_it = peak_bytes()
del large
small = [bytes(100_000) for _ in range(2_000)]  # of the heap, which the last one keeps long
last = small[-1]
del small
forget_peak()
print(before, with_it, peak_bytes())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux forgets a peak")
def test_a_peak_is_seen_and_can_be_forgotten() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORGETS], capture_output=True, text=True, check=True
    )
    before, with_it, after = map(int, done.stdout.split())
    assert with_it > before + (150 << 20)
    assert after < with_it - (100 << 20)
