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
from medcnn.statistics import reader_calls
from medcnn.statistics.predictions import Predictions
from medcnn.statistics.reader_calls import Calls, point

LABELS = LabelSpace(kind=Kind.BINARY, names=("no", "yes"))
DISTANCE, RUNS = 1.5, 1000


def p_of(
    draw: np.random.Generator, sides: tuple[int, int], shared: float, images_each: int
) -> float:
    """Of one study with so many images with and without, and so many alike images of a patient."""
    count = sum(sides)
    ill = np.arange(count) < sides[0]
    patients = [f"{n // images_each}" for n in range(count)]
    of_patient = np.repeat(draw.normal(size=count // images_each), images_each)
    case = np.sqrt(shared) * (draw.normal(size=count) if images_each == 1 else of_patient)
    own = np.sqrt(1 - shared)
    scores, ratings = (DISTANCE * ill + case + own * draw.normal(size=count) for _ in "ab")
    predictions = Predictions(
        labels=LABELS,
        split="test",
        image_ids=tuple(f"{n}" for n in range(count)),
        groups=tuple(patients),
        targets=ill.astype(np.float32)[:, None],
        logits=scores.astype(np.float32)[:, None],
    )
    said = {f"{n}": bool(rating > DISTANCE / 2) for n, rating in enumerate(ratings)}
    paired = point(Calls(reader="reader", label="yes", calls=said), predictions).paired
    assert paired is not None
    assert paired[1] is not None
    return paired[1]


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else RUNS
    found = {}
    reader_calls.FEWEST_WITHOUT = 0  # to see what the limit prevents
    for sides in ((25, 25), (50, 50), (200, 200), (100, 25), (25, 100), (100, 15), (60, 5)):
        for shared, images_each in ((0.0, 1), (0.5, 1), (0.5, 5)):
            draw = np.random.default_rng(len(found))
            p = np.array([p_of(draw, sides, shared, images_each) for _ in range(runs)])
            name = (
                f"{sides[0]} with and {sides[1]} without, shared {shared:g}, "
                f"{images_each} per patient"
            )
            found[name] = float((p <= 0.05).mean())
            print(name, found[name], flush=True)
    out = Path(__file__).parent / "results" / "reader_calls.json"
    out.write_text(json.dumps({"runs": runs, "rejected": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
