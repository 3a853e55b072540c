"""How often the 95 % intervals hold the truth, by simulation.

    python benchmarks/coverage.py > benchmarks/results/coverage.json

Three labels, each its own question: common, rarer and rare. A patient has three images whose
severities share 80 % of their variance. What the model says is either the true probability
(calibrated) or twice too sure. Truth is the score of 60,000 patients. The naive column draws
images as if each were a patient of its own.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from dataclasses import replace

import numpy as np

from medcnn.evaluation.scores import evaluate
from medcnn.labels import Kind, LabelSpace
from medcnn.metrics import METRICS, values
from medcnn.predictions import Predictions

LABELS = LabelSpace(kind=Kind.MULTILABEL, names=("common", "rarer", "rare"))
BASE = np.array([-0.8, -1.8, -3.0])
IMAGES, SHARED = 3, 0.8
RUNS, RESAMPLES = 400, 400


def draw(patients: int, overconfidence: float, rng: np.random.Generator) -> Predictions:
    shape = (patients * IMAGES, len(BASE))
    own = rng.normal(0, (1 - SHARED) ** 0.5, shape)
    severity = rng.normal(0, SHARED**0.5, (patients, len(BASE))).repeat(IMAGES, axis=0) + own
    logits = BASE + 1.5 * severity
    # an outcome of the patient's: the same draw for the share of images that agree
    patient_luck = rng.random((patients, len(BASE))).repeat(IMAGES, axis=0)
    image_luck = rng.random(shape)
    luck = np.where(rng.random(shape) < SHARED, patient_luck, image_luck)
    return Predictions(
        labels=LABELS,
        split="test",
        image_ids=tuple(map(str, range(shape[0]))),
        groups=tuple(str(i // IMAGES) for i in range(shape[0])),
        targets=(luck < 1 / (1 + np.exp(-logits))).astype(np.float32),
        logits=(overconfidence * logits).astype(np.float32),
    )


def main() -> None:
    results = []
    for overconfidence in (1.0, 2.0):
        truth = {}
        population = draw(60_000, overconfidence, np.random.default_rng(1))
        for name, metric in METRICS.items():
            if Kind.MULTILABEL in metric.kinds:
                found = values(population, name)[0]
                truth |= {(name, label): found[k] for k, label in enumerate(LABELS.names)}
                truth[name, None] = found.mean()
        for patients in (20, 60, 200):
            rng = np.random.default_rng(patients)
            held: dict[tuple[str, str | None], list[tuple[float, float, float]]] = defaultdict(list)
            for run in range(RUNS):
                sample = draw(patients, overconfidence, rng)
                naive = replace(sample, groups=sample.image_ids)
                by_image = evaluate(naive, resamples=RESAMPLES, seed=run).scores
                for s, n in zip(
                    evaluate(sample, resamples=RESAMPLES, seed=run).scores, by_image, strict=True
                ):
                    true = truth[s.name, s.label]
                    if s.low == s.low:
                        held[s.name, s.label].append(
                            (s.low <= true <= s.high, n.low <= true <= n.high, "narrow" in s.note)
                        )
            for (name, label), rows in held.items():
                patient_held, image_held, warned = np.mean(rows, axis=0)
                results.append(
                    {
                        "score": name,
                        "label": label or "mean",
                        "patients": patients,
                        "overconfidence": overconfidence,
                        "runs_with_interval": len(rows),
                        "coverage": round(float(patient_held), 3),
                        "coverage_by_image": round(float(image_held), 3),
                        "warned": round(float(warned), 3),
                    }
                )
            print(f"{overconfidence} {patients}", file=sys.stderr)
    content = {"runs": RUNS, "resamples": RESAMPLES, "images_a_patient": IMAGES, "rows": results}
    print(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
