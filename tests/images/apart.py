"""A file read in a process of its own, to see how much memory that takes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

READ_AND_SAY = r"""
import re, sys
from pathlib import Path
from medcnn.system.errors import ImageError
from medcnn.images import read_pixels
try:
    print(read_pixels(Path(sys.argv[1]), sys.argv[2]).shape)
except ImageError as error:
    print(error)
# not ru_maxrss, which begins with that of the process that started this one
print(int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) >> 10)
"""


def read_apart(file: Path, *without: str, row: str = "") -> tuple[str, int]:
    """What is said of a file, and the most memory in MiB that a process needs to say it.

    Args:
        without: modules that this process does not find.
        row: of an npz, `#array/3`.
    """
    hidden = "".join(f"import sys; sys.modules['{m}'] = None\n" for m in without)
    command = [sys.executable, "-c", hidden + READ_AND_SAY, str(file.parent), file.name + row]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return said.splitlines()[0], int(said.splitlines()[-1])
