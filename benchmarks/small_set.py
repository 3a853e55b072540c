"""A small set of small grey images, as MedMNIST's BreastMNIST is one, out of HAM10000.

    python benchmarks/small_set.py HAM10000 breastmnist.npz

Writes 546 training, 700 validation and 700 test images of 28 px, one per lesion; 27 % are malignant
(melanoma, basal cell carcinoma, actinic keratosis). It has the file layout and class names of
BreastMNIST, so `medcnn train data=medmnist data.path=breastmnist.npz` reads it. The recommended
settings were compared on it, since its validation split is large.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
from PIL import Image

MALIGNANT = ("mel", "bcc", "akiec")
SHARE = 0.27
SIZES = {"train": 546, "val": 700, "test": 700}


def main(root: Path, out: Path) -> None:
    lesions: dict[str, tuple[str, str]] = {}
    with (root / "HAM10000_metadata.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            lesions.setdefault(row["lesion_id"], (row["image_id"], row["dx"]))
    names = sorted(lesions)
    rng = np.random.default_rng(0)
    rng.shuffle(names)
    kinds = [[n for n in names if (lesions[n][1] in MALIGNANT) is bad] for bad in (True, False)]
    arrays, taken = {}, [0, 0]
    for split, size in SIZES.items():
        chosen = []
        for kind, count in enumerate((round(SHARE * size), size - round(SHARE * size))):
            part = kinds[kind][taken[kind] : taken[kind] + count]
            chosen += [(name, kind) for name in part]
            taken[kind] += count
        rng.shuffle(chosen)
        arrays[f"{split}_images"] = np.stack([small(root, lesions[n][0]) for n, _ in chosen])
        arrays[f"{split}_labels"] = np.array([[kind] for _, kind in chosen], np.uint8)
    np.savez(out, **arrays)


def small(root: Path, image: str) -> np.ndarray:
    path = next(root.glob(f"HAM10000_images_part_*/{image}.jpg"))
    return np.asarray(Image.open(path).convert("L").resize((28, 28), Image.Resampling.BICUBIC))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
