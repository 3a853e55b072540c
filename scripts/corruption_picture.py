"""docs/figures/robustness-fundus.png: a fundus phantom in five grades of each kind of corruption;
the same on every run.

python scripts/corruption_picture.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from medcnn.data.manifest import Modality
from medcnn.data.phantoms import adapter
from medcnn.images.reading import read_pixels
from medcnn.training.corruption_grades import MOVES, TITLES, amount_text, grades_of
from medcnn.training.corruptions import corrupted

PICTURE = Path(__file__).parents[1] / "docs" / "figures" / "robustness-fundus.png"
SIDE, GAP, HEAD, FOOT = 96, 16, 24, 24


def phantom_image() -> torch.Tensor:
    """[1, 3, SIDE, SIDE] in 0..1."""
    with tempfile.TemporaryDirectory() as folder:
        manifest = adapter.read(Path(folder) / "drawn", phantom="fundus", patients=30)
        pixels = read_pixels(manifest.root, manifest.records[0].path)
    image = Image.fromarray(pixels).convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.asarray(image).transpose(2, 0, 1)[None] / np.float32(255))


def drawn(image: torch.Tensor) -> Image.Image:
    levels = (image[0].permute(1, 2, 0) * 255).round().to(torch.uint8)
    return Image.fromarray(levels.numpy())


def main() -> None:
    image = phantom_image()
    kinds = {k: v for k, v in grades_of(Modality.FUNDUS, None).items() if k not in MOVES}
    row = HEAD + SIDE + FOOT + GAP
    page = Image.new("RGB", (6 * (SIDE + GAP) + GAP, len(kinds) * row + GAP), "white")
    pen, small, large = ImageDraw.Draw(page), *(ImageFont.load_default(size) for size in (9, 13))
    for n, (kind, amounts) in enumerate(kinds.items()):
        top = n * row + GAP
        pen.text((GAP, top), TITLES[kind], "black", large)
        keys = np.zeros(1, np.uint64)
        columns = [("as it is", image)]
        columns += zip(
            (amount_text(kind, a) for a in amounts),
            corrupted(kind, image, amounts, keys, 0),
            strict=True,
        )
        for at, (words, spoilt) in enumerate(columns):
            left = GAP + at * (SIDE + GAP)
            page.paste(drawn(spoilt), (left, top + HEAD))
            pen.text((left, top + HEAD + SIDE + 4), words, "#555", small)
    page.quantize(200).save(PICTURE, optimize=True)


if __name__ == "__main__":
    main()
