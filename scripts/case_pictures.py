"""The pictures of docs/cases: a phantom of each class, side by side; the same on every run.

python scripts/case_pictures.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from medcnn.data.phantoms import adapter
from medcnn.images.reading import read_pixels

CASES = Path(__file__).parents[1] / "docs" / "cases"
SIDE, GAP, MOST = 112, 4, 7
KINDS = {"retinopathy": "fundus", "skin-cancer": "dermoscopy", "covid-19": "chest"}


def strip(phantom: str, place: Path) -> Image.Image:
    """The first image of each class; of independent findings, one with none comes first."""
    manifest = adapter.read(place, phantom=phantom, patients=120)
    targets = manifest.targets()
    rows = [np.flatnonzero(targets[:, k] == 1) for k in range(targets.shape[1])]
    if not manifest.labels.exclusive:
        rows.insert(0, np.flatnonzero((targets == 0).all(axis=1)))
    first = [int(found[0]) for found in rows if len(found)][:MOST]
    wide = len(first) * (SIDE + GAP) - GAP
    row = Image.new("RGB", (wide, SIDE), "white")
    for n, at in enumerate(first):
        pixels = read_pixels(manifest.root, manifest.records[at].path)
        if pixels.dtype == np.uint16:
            pixels = (pixels >> 8).astype(np.uint8)
        image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).convert("RGB")
        image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
        row.paste(image, (n * (SIDE + GAP), (SIDE - image.height) // 2))
    return row


def main() -> None:
    for name, phantom in KINDS.items():
        with tempfile.TemporaryDirectory() as folder:
            strip(phantom, Path(folder) / "drawn").save(CASES / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
