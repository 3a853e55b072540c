"""The peak memory of this process."""

from __future__ import annotations

import ctypes
import gc
import sys
from contextlib import suppress
from pathlib import Path


def forget_peak() -> None:
    """Count from here on, if the system can (Linux), without memory that earlier work has freed."""
    gc.collect()
    with suppress(OSError, AttributeError):  # AttributeError: a C library other than glibc
        ctypes.CDLL(None).malloc_trim(0)
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # proc(5)


def peak_bytes() -> int | None:
    """The peak of resident memory; None if the system does not say (Windows)."""
    if sys.platform == "win32":
        return None
    with suppress(OSError, ValueError, IndexError):
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return 1024 * int(status.partition("VmHWM:")[2].split()[0])
    import resource  # Windows has none

    # Linux counts kilobytes, macOS bytes
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
