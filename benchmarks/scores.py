"""Seconds and memory of all scores with their intervals: 25,000 images, 14 findings.

    python benchmarks/scores.py [images] [resamples] > benchmarks/results/scores.json

Two images a patient, findings from 2 to 30 % of images, 5 % of answers missing.
"""

from __future__ import annotations

import json
import platform
import resource
import sys
import time

import numpy as np

from medcnn.data.labels import Kind, LabelSpace
from medcnn.statistics.predictions import Predictions
from medcnn.statistics.scores import evaluate


def simulated(images: int, findings: int = 14) -> Predictions:
    draw = np.random.default_rng(0)
    shape = (images, findings)
    targets = (draw.random(shape) < np.linspace(0.02, 0.3, findings)).astype(np.float32)
    logits = 1.5 * targets - 2 + draw.normal(size=shape)
    targets[draw.random(shape) < 0.05] = np.nan
    names = tuple(f"finding {k}" for k in range(findings))
    return Predictions(
        labels=LabelSpace(kind=Kind.MULTILABEL, names=names),
        split="test",
        image_ids=tuple(map(str, range(images))),
        groups=tuple(str(i // 2) for i in range(images)),
        targets=targets,
        logits=logits.astype(np.float32),
    )


def main() -> None:
    images, resamples = (int(a) for a in (*sys.argv[1:], *("25000", "2000")[len(sys.argv) - 1 :]))
    predictions = simulated(images)
    start, own = time.perf_counter(), time.process_time()
    evaluation = evaluate(predictions, resamples=resamples)
    content = {
        "images": images,
        "findings": 14,
        "resamples": resamples,
        "scores": len(evaluation.scores),
        "wall_s": round(time.perf_counter() - start, 1),
        "cpu_s": round(time.process_time() - own, 1),
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "processor": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "numpy": np.__version__,
    }
    print(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
