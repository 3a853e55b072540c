"""First pass over JPEGs of 3000x2000 to 256 px, against pillow's full decoding and resizing.

    python benchmarks/first_pass.py FOLDER_OF_JPEGS [COUNT] > result.json

One thread. Each file is read by both, in turns; figures are medians of the ratio file by file. The
difference in grey levels is that between our pixels and the same preprocessing of the file decoded
in full. Done twice: for enlarged photographs, and for the same with sensor noise, whose files are
larger; what the entropy coding of a file costs, no smaller decoding saves.
"""

from __future__ import annotations

import json
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from jpegs import write_jpegs
from numpy.typing import NDArray
from PIL import Image

from medcnn.images import Preprocessing, read_pixels
from medcnn.system.run_facts import versions

SIZE_PX = 256


def with_pillow(file: Path) -> NDArray[Any]:
    with Image.open(file) as image:
        width, height = (round(s * SIZE_PX / max(image.size)) for s in image.size)
        small = image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
        return np.asarray(small)


def compared(folder: Path, names: list[str]) -> dict[str, Any]:
    how = Preprocessing(size_px=SIZE_PX)
    ours, theirs, differences = [], [], []
    for name in names:
        (folder / name).read_bytes()
        start = time.perf_counter()
        pixels = how.read(folder, name)
        between = time.perf_counter()
        with_pillow(folder / name)
        end = time.perf_counter()
        ours.append(between - start)
        theirs.append(end - between)
        full = how.apply(read_pixels(folder, name))
        differences.append(float(np.abs(pixels.astype(int) - full).mean()))
    ratios = sorted(b / a for a, b in zip(ours, theirs, strict=True))
    return {
        "files": len(names),
        "megabytes_a_file": round(
            statistics.mean((folder / n).stat().st_size for n in names) / 1e6, 2
        ),
        "medcnn_ms": round(statistics.median(ours) * 1e3, 2),
        "pillow_ms": round(statistics.median(theirs) * 1e3, 2),
        "ratio": round(statistics.median(ratios), 2),
        "ratio_quartiles": [round(ratios[len(ratios) * q // 4], 2) for q in (1, 3)],
        "mean_difference_in_grey_levels": round(statistics.mean(differences), 3),
        "largest_mean_difference_of_a_file": round(max(differences), 3),
    }


def main() -> None:
    source, count = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 600
    result: dict[str, Any] = {
        "command": f"python benchmarks/first_pass.py {source.name} {count}",
        "device": platform.machine(),
        "threads": 1,
        "versions": versions(),
    }
    for title, noise in (("enlarged", 0.0), ("enlarged, sensor noise of 8 grey levels", 8.0)):
        with tempfile.TemporaryDirectory() as folder:
            names = write_jpegs(source, Path(folder), count // 6 if noise else count, noise)
            result[title] = compared(Path(folder), names)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
