"""How often decisions change when images are moved a little: one row per finished training.

    python benchmarks/flips.py retinamnist.npz COUNT RUN [RUN ...]

Moves the first COUNT test images in the ways of `medcnn look`, on one thread, and asks the best
checkpoint of each run folder.
With 100 images of 64 px, a row takes from half a minute (LeNet-5) to some minutes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch

import medcnn
from medcnn.verbs.steps.looking import AMOUNTS, moves


def flips(run: Path, data: str, count: int) -> dict[str, float]:
    """Share of moved test images whose decision is another than that of the image, by way."""
    model = medcnn.load(run / "checkpoints" / "best.safetensors")
    settings = [f"data.path={data}", f"data.size_px={model.preprocessing.size_px}"]
    manifest = medcnn.read_manifest("medmnist", settings=settings)
    images = medcnn.torch_dataset(manifest, "test", model.preprocessing)
    changed: dict[str, list[float]] = {kind: [] for kind in AMOUNTS}
    for index in range(count):
        image, _ = images[index]
        for move in moves(model, image[None]):
            changed[move.kind].append(move.flips / move.tried)
    return {kind: float(np.mean(values)) for kind, values in changed.items()}


def main(data: str, count: int, runs: list[Path]) -> None:
    torch.set_num_threads(1)
    out = Path(__file__).parent / "results" / "flips.json"
    found = json.loads(out.read_text())  # rows of other runs stay
    for run in runs:
        found[run.name] = {"images": count} | flips(run, data, count)
        print(run.name, found[run.name], flush=True)
        out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), [Path(run) for run in sys.argv[3:]])
