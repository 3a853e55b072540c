"""JPEGs of 3000x2000 for the benchmarks: photographs of a folder, enlarged; quality 90, 4:2:0."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 3000, 2000


def write_jpegs(source: Path, folder: Path, count: int, noise: float = 0.0) -> list[str]:
    """`count` files below `folder`, the n-th from the n-th JPEG below `source`; their names.

    Args:
        noise: standard deviation in grey levels of what is added to each pixel, as a sensor does.
            Without, an enlarged picture is smoother than a camera's and its file smaller.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    names = []
    for number, file in enumerate(sorted(source.rglob("*.jpg"))[:count]):
        with Image.open(file) as image:
            large = image.convert("RGB").resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
        if noise:
            values = np.asarray(large) + rng.standard_normal((HEIGHT, WIDTH, 3), np.float32) * noise
            large = Image.fromarray(values.clip(0, 255).astype(np.uint8))
        names.append(f"{number:04d}.jpg")
        large.save(folder / names[-1], quality=90)
    return names
