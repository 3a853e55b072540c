"""Which images models of skin, chest and fundus call unusual.

    python benchmarks/unusual.py SHARED FOLDER

SHARED is a folder of real images (HAM10000, ChestX-ray14, covid-chestxray-dataset, RetinaMNIST, a
fundus photograph, weights of EfficientNet-Lite0). In FOLDER a probe of each modality is trained,
if it is not there yet, at 64 px; phantoms and noise are drawn. Prints, of each set, the share of
each verdict and how well strangeness distinguishes it from the test split (AUROC, and the share of
the test split that is stranger than the least strange 5 % of the set); then the false alarms on
each test split, beside what is stated.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

import medcnn
from medcnn.cli import main as command
from medcnn.data.phantoms.drawing import generate
from medcnn.statistics.points import evaluate_readout
from medcnn.statistics.predictions import Predictions
from medcnn.statistics.strangeness import USUAL, VERDICTS

# settings of the data, where they are, and the set that the model's own test split is from
MODELS = {
    "skin": (["data=ham10000", "audit.copies=false"], "data.root", "ham10000", "HAM10000"),
    "chest": (
        ["data=chestxray14", "audit.copies=false", "data.channels=3"],
        *("data.root", "nih_chestxray14_sample", "ChestX-ray14"),
    ),
    "fundus": (["data=medmnist"], "data.path", "medmnist/retinamnist.npz", "RetinaMNIST"),
}
MOST = 300
DRAW = np.random.default_rng(1)


def probe(shared: Path, name: str, folder: Path) -> Path:
    words, key, place, _ = MODELS[name]
    run = folder / f"probe-{name}"
    if not (run / "report.html").is_file():
        words = [*words, f"{key}={shared / place}", "data.size_px=64", "trainer.threads=1"]
        words += ["model=efficientnet_lite0", "c=0.003"]
        words += [f"model.weights={shared / 'weights' / 'tf_efficientnet_lite0.safetensors'}"]
        try:
            command(["probe", *words, f"run_dir={run}"])
        except SystemExit as ended:
            if ended.code:
                raise
    return run


def some(root: Path, pattern: str) -> list[Path]:
    found = sorted(p for p in root.glob(pattern) if p.is_file())
    return [found[i] for i in DRAW.permutation(len(found))[:MOST]]


def pixels(paths: list[Path]) -> list[np.ndarray]:
    return [np.asarray(Image.open(p).convert("RGB")) for p in paths]


def sets(shared: Path, folder: Path) -> dict[str, list[Path] | list[np.ndarray]]:
    for kind in ("dermoscopy", "fundus", "chest"):
        if not (folder / kind).is_dir():
            generate(folder / kind, kind, patients=40)
    with np.load(shared / "medmnist" / "retinamnist.npz") as file:
        fundus = list(file["test_images"][:MOST])
    noise = DRAW.integers(0, 256, (50, 64, 64, 3), dtype=np.uint8)
    return {
        "HAM10000": some(shared / "ham10000", "*part*/*.jpg"),
        "ChestX-ray14": some(shared / "nih_chestxray14_sample", "images/*.png"),
        "covid-chestxray": some(shared / "covid_chestxray", "images/*"),
        "RetinaMNIST": fundus,
        "a fundus photograph": some(shared / "fundus", "*.jpg"),
        "dermoscopy phantoms": some(folder / "dermoscopy", "**/*[gm]"),
        "fundus phantoms": some(folder / "fundus", "**/*[gm]"),
        "chest phantoms": some(folder / "chest", "**/*[gm]"),
        "noise": list(noise),
        "blank": [np.full((64, 64, 3), v, np.uint8) for v in np.linspace(0, 255, 20)],
    }


def auroc(low: np.ndarray, high: np.ndarray) -> float:
    return float(((low[:, None] < high) + 0.5 * (low[:, None] == high)).mean())


def main(shared: Path, folder: Path) -> None:
    given = sets(shared, folder)
    for name, (*_, place, own) in MODELS.items():
        run = probe(shared, name, folder)
        model = medcnn.load(run / "checkpoints" / "best.safetensors", device="cpu")
        test = Predictions.read(run / "predictions_test.csv")
        files = [] if place.endswith(".npz") else some(shared / place, "**/*.[jp][pn]g")[:100]
        upright = pixels(files) or given[own][:100]
        turned = {
            f"{own}, turned by {90 * t}°": [np.rot90(image, t) for image in upright] for t in (1, 2)
        }
        for title, images in ({own + ", test": None} | given | turned).items():
            if title == own:
                continue
            said = test if images is None else model.predict(images)
            counts = Counter(said.verdicts.tolist())
            shares = [f"{100 * counts[v] / len(said.image_ids):.1f} %" for v in (*VERDICTS, USUAL)]
            kind, base = said.looks[:, 0], test.looks[:, 0]
            missed = float((base > np.quantile(kind, 0.05)).mean())
            known = (
                [f"{auroc(base, kind):.4f}", f"{missed:.4f}"] if images is not None else ["", ""]
            )
            print(f"| {name} | {title} | {len(said.image_ids)} | {' | '.join([*shares, *known])} |")
        for look in evaluate_readout(test).looks:
            found = look.by_patient
            print(
                f"{name}, false alarms, {look.verdict}: {found.value:.4f} "
                f"({found.low:.4f} to {found.high:.4f}) of {found.count}, stated {look.rate:.4f}"
            )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
