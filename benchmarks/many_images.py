"""What 100,000 images add to memory and to the start of a run.

    python benchmarks/many_images.py [COUNT] > result.json

PNG files of 64x64, a manifest as the table of a public set gives it (7 labels, 3 attributes),
a pixel store at 64 px. Measured in a process that finds the store built: proportional set size
after opening and after one epoch over all images, less that before the manifest was made.
"""

from __future__ import annotations

import gc
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from loaders import pss_mb
from PIL import Image

from medcnn.data.labels import Kind, LabelSpace
from medcnn.data.manifest import Manifest, Record
from medcnn.images import Preprocessing
from medcnn.pixels.batches import batches, epoch_order
from medcnn.pixels.opening import open_store
from medcnn.system.run_facts import versions

NAMES = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")


def write_pngs(folder: Path, count: int) -> None:
    values = np.random.default_rng(0).integers(0, 256, (16, 4, 4, 3), dtype=np.uint8)
    large = [Image.fromarray(v).resize((64, 64)) for v in values]
    for i in range(count):
        place = folder / "images" / f"{i // 1000:03d}"
        place.mkdir(parents=True, exist_ok=True)
        large[i % 16].save(place / f"ISIC_{i:07d}.png", compress_level=1)


def manifest_of(folder: Path, count: int) -> Manifest:
    labels = LabelSpace(kind=Kind.MULTICLASS, names=NAMES)
    return Manifest(
        source="benchmark",
        root=folder,
        labels=labels,
        records=tuple(
            Record(
                image_id=f"ISIC_{i:07d}",
                path=f"images/{i // 1000:03d}/ISIC_{i:07d}.png",
                group=f"HAM_{i // 2:07d}",
                target=labels.encode([NAMES[i % 7]]),
                attributes={"age": str(i % 90), "sex": "female", "localization": "back"},
            )
            for i in range(count)
        ),
    )


def opened(folder: Path, count: int) -> dict[str, Any]:
    torch.set_num_threads(2)
    gc.collect()
    before = pss_mb(os.getpid())
    manifest = manifest_of(folder, count)
    gc.collect()
    described = pss_mb(os.getpid())
    start = time.perf_counter()
    store = open_store(manifest, Preprocessing(size_px=64), cache=str(folder / "cache"))
    seconds = time.perf_counter() - start
    gc.collect()
    open_mb = pss_mb(os.getpid())
    order = epoch_order(np.arange(count), seed=0, epoch=0)
    start = time.perf_counter()
    for _ in batches(store, manifest.targets(), order, 64, device=torch.device("cpu")):
        pass
    return {
        "opening_s": round(seconds, 2),
        "manifest_mb": round(described - before),
        "manifest_and_store_mb": round(open_mb - before),
        "after_an_epoch_mb": round(pss_mb(os.getpid()) - before),
        "first_epoch_with_check_sums_s": round(time.perf_counter() - start, 2),
    }


def main() -> None:
    if sys.argv[1:2] == ["--open"]:
        print(json.dumps(opened(Path(sys.argv[2]), int(sys.argv[3]))))
        return
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as folder:
        write_pngs(Path(folder), count)
        command = [sys.executable, __file__, "--open", folder, str(count)]
        built, found = (
            json.loads(
                subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
            )
            for _ in range(2)
        )
    result = {
        "command": f"python benchmarks/many_images.py {count}",
        "device": platform.machine(),
        "versions": versions(),
        "images": count,
        "building_s": built["opening_s"],
        **found,
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
