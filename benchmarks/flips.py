"""How often decisions change when images are moved a little, with anti-aliased pooling or without.

    python benchmarks/flips.py retinamnist.npz resnet18

Trains each named network twice on RetinaMNIST at 48 px, from random weights with the same recipe:
with `model.options.aa_layer=blur` and without. Moves every test image in the ways of `medcnn look`.
One thread; resnet18 took half an hour on cores that were busy with other work.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

import medcnn
from medcnn.verbs.steps.looking import AMOUNTS, moves

EPOCHS = 10


def trained(folder: Path, data: str, network: str, smooth: bool) -> medcnn.Run:
    more = ["model.options.aa_layer=blur"] if smooth else []
    return medcnn.train(
        [
            *("data=medmnist", f"data.path={data}", "data.size_px=48", f"model={network}", *more),
            *("transfer=scratch", f"trainer.epochs={EPOCHS}", "trainer.threads=1", "explain=null"),
            *("audit.copies=false", f"run_dir={folder}"),
        ]
    )


def flips(run: medcnn.Run, data: str) -> dict[str, float]:
    """Share of moved test images whose decision is another than that of the image, by way."""
    model = medcnn.load(run.checkpoint)
    settings = [f"data.path={data}", "data.size_px=48"]
    manifest = medcnn.read_manifest("medmnist", settings=settings)
    images = medcnn.torch_dataset(manifest, "test", model.preprocessing)
    changed: dict[str, list[float]] = {kind: [] for kind in AMOUNTS}
    for image, _ in images:
        for move in moves(model, image[None]):
            changed[move.kind].append(move.flips / move.tried)
    return {kind: float(np.mean(values)) for kind, values in changed.items()}


def main(data: str, networks: list[str]) -> None:
    torch.set_num_threads(1)
    out = Path(__file__).parent / "results" / "flips.json"
    found: dict[str, dict[str, float]] = {}
    for network in networks:
        for smooth in (False, True):
            folder = Path(tempfile.mkdtemp()) / "run"
            run = trained(folder, data, network, smooth)
            auroc = run.scores["test"].find("auroc")
            name = f"{network}{', aa_layer=blur' if smooth else ''}"
            found[name] = {"auroc": auroc.value, "low": auroc.low, "high": auroc.high}
            found[name] |= flips(run, data)
            print(name, found[name], flush=True)
            shutil.rmtree(folder.parent)
            out.write_text(json.dumps({"epochs": EPOCHS, "flips": found}, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
