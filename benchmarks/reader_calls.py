"""How often `report readers=CALLS.csv` finds a model of equal skill more sensitive, at p <= 0.05.

    python benchmarks/reader_calls.py

Reader and model rate each image with normal noise; half of its variance is shared if the images are
hard for both. One CPU, about 5 minutes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from medcnn.data.labels import Kind, LabelSpace
from medcnn.statistics.predictions import Predictions
from medcnn.statistics.reader_calls import Calls, point

LABELS = LabelSpace(kind=Kind.BINARY, names=("no", "yes"))
DISTANCE, RUNS = 1.5, 1000


def p_of(draw: np.random.Generator, each: int, shared: float, images_each: int) -> float:
    """Of one study with so many images of each kind, and so many alike images of a patient."""
    ill = np.arange(2 * each) < each
    patients = [f"{n // images_each}" for n in range(2 * each)]
    of_patient = np.repeat(draw.normal(size=2 * each // images_each), images_each)
    case = np.sqrt(shared) * (draw.normal(size=2 * each) if images_each == 1 else of_patient)
    own = np.sqrt(1 - shared)
    scores, ratings = (DISTANCE * ill + case + own * draw.normal(size=2 * each) for _ in "ab")
    predictions = Predictions(
        labels=LABELS,
        split="test",
        image_ids=tuple(f"{n}" for n in range(2 * each)),
        groups=tuple(patients),
        targets=ill.astype(np.float32)[:, None],
        logits=scores.astype(np.float32)[:, None],
    )
    said = {f"{n}": bool(rating > DISTANCE / 2) for n, rating in enumerate(ratings)}
    paired = point(Calls(reader="reader", label="yes", calls=said), predictions).paired
    assert paired is not None
    return paired[1]


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else RUNS
    found = {}
    for each in (25, 50, 200):
        for shared, images_each in ((0.0, 1), (0.5, 1), (0.5, 5)):
            draw = np.random.default_rng(len(found))
            p = np.array([p_of(draw, each, shared, images_each) for _ in range(runs)])
            name = f"{each} of each kind, shared {shared:g}, {images_each} per patient"
            found[name] = float((p <= 0.05).mean())
            print(name, found[name], flush=True)
    out = Path(__file__).parent / "results" / "reader_calls.json"
    out.write_text(json.dumps({"runs": runs, "rejected": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
