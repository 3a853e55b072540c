"""How often the interval of `labels needed` and the prediction band of a learning curve hold.

    nice -n 19 python benchmarks/learning_curve.py benchmarks/results/learning_curve.json [curves]

`simulated`: scores are drawn around a true power law. What patients cause is a mean over the very
patients of a subset, so that nested subsets and seeds share it; the rest (`chance`) is drawn for
each run; all runs share the patients tested. `real`: logistic regressions on Gaussian features,
fitted to nested subsets and tested on 400 images; the truth is the mean of 300 such fits, tested on
100,000. `needed`, `curve` and `band` are shares of curves: the interval of labels needed holds the
true number (of patients for the true score at that number), that of the curve the true score at
this number, the band the true score of one more model.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from medcnn.data.labels import Kind, LabelSpace
from medcnn.statistics.decisions import OperatingPoint, Readout
from medcnn.statistics.learning_curve import LearningCurve, learning_curve
from medcnn.statistics.predictions import Predictions

PATIENTS = 1000
TIMES = (0.5, 1.0, 2.0, 4.0)
# plateau, scale, power, standard deviation of one run of all, share that is chance, seeds, sizes
SIMULATED = {
    "c = 0.5, plateau 0.90": (0.1, 1.0, 0.5, 0.008, 0.0, 3, 6),
    "the same, all chance": (0.1, 1.0, 0.5, 0.008, 1.0, 3, 6),
    "the same, noisy": (0.1, 1.0, 0.5, 0.02, 0.5, 3, 6),
    "c = 0.3, plateau 0.98": (0.02, 1.0, 0.3, 0.008, 0.5, 3, 6),
    "c = 1, plateau 0.80": (0.2, 5.0, 1.0, 0.008, 0.5, 3, 6),
    "c = 0.5, 8 sizes, 10 seeds": (0.1, 1.0, 0.5, 0.008, 0.5, 10, 8),
}
FEATURES, APART, TESTED, RESAMPLES = 30, 0.35, 400, 200
LABELS = LabelSpace(kind=Kind.BINARY, names=("no", "yes"))


def held(curve: LearningCurve, n: float, truth: float, another: float) -> tuple[bool, ...]:
    """Whether the interval of the number holds `n`, whether its end is known, whether the band
    holds the score of another model, and the interval of the curve the true one."""
    needed = curve.needed(truth)
    low, high = (float(v[0]) for v in curve.band(np.array([n])))
    least, most = (float(v[0]) for v in curve.interval(np.array([n])))
    edge = 1.01  # of the grid on which intervals are found
    inside = needed.low / edge <= n <= needed.high * edge
    ended, band = math.isfinite(needed.high), low <= another <= high
    return inside, ended, band, least <= truth <= most


def simulated(cell: tuple[Any, ...], curves: int, rng: np.random.Generator) -> dict[str, Any]:
    plateau, scale, power, spread, chance, seeds, count = cell
    sizes = np.geomspace(PATIENTS / 32, PATIENTS, count).round()
    truth = 1 - plateau - scale * sizes**-power
    own = spread * (sizes / PATIENTS) ** -0.5
    lag = np.abs(np.subtract.outer(np.arange(count), np.arange(count)))
    test = 0.015**2 * 0.93**lag
    found = {times: [] for times in TIMES}
    for _ in range(curves):
        influence, scores = rng.normal(size=PATIENTS), np.empty((count, seeds))
        for s in range(seeds):
            order = influence[rng.permutation(PATIENTS)]
            means = np.array([order[: int(n)].mean() * math.sqrt(n) for n in sizes])
            alone = rng.normal(size=count)
            scores[:, s] = truth + own * ((1 - chance) ** 0.5 * means + chance**0.5 * alone)
        scores += rng.multivariate_normal(np.zeros(count), test)[:, None]
        curve = LearningCurve(sizes=sizes, patients=PATIENTS, scores=scores, test=test)
        for times in TIMES:
            n = times * PATIENTS
            at = 1 - plateau - scale * n**-power
            found[times].append(held(curve, n, at, at + rng.normal() * spread * times**-0.5))
    return shares(found)


def shares(found: dict[float, list[tuple[bool, ...]]]) -> dict[str, Any]:
    return {
        f"{times:g}": dict(
            zip(
                ("needed", "ended", "band", "curve"),
                np.mean(rows, axis=0).round(3).tolist(),
                strict=True,
            )
        )
        for times, rows in found.items()
    }


def draw(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    sick = rng.random(count) < 0.3
    sick[:2] = True, False
    return rng.normal(size=(count, FEATURES)) + APART * sick[:, None] / 2, sick


def fitted(features: np.ndarray, sick: np.ndarray) -> LogisticRegression:
    return LogisticRegression(C=1.0, max_iter=500).fit(features, sick)


def said(model: LogisticRegression, features: np.ndarray, sick: np.ndarray) -> Predictions:
    names = tuple(map(str, range(len(sick))))
    logits = model.decision_function(features)[:, None].astype(np.float32)
    return Predictions(
        labels=LABELS,
        split="test",
        image_ids=names,
        groups=names,
        targets=sick[:, None].astype(np.float32),
        logits=logits,
        readout=Readout(points=(OperatingPoint(name="half", thresholds=(0.5,)),)),
    )


def real(curves: int, rng: np.random.Generator, patients: int = 400) -> dict[str, Any]:
    many = draw(100_000, rng)
    truth = {}
    others: dict[float, list[float]] = {}
    for times in TIMES:
        n = int(times * patients)
        others[times] = [
            float(roc_auc_score(many[1], fitted(*draw(n, rng)).decision_function(many[0])))
            for _ in range(300)
        ]
        truth[times] = float(np.mean(others[times]))
    sizes = np.geomspace(40, patients, 6).round().astype(int).tolist()
    found = {times: [] for times in TIMES}
    for _ in range(curves):
        features, sick = draw(patients, rng)
        tested = draw(TESTED, rng)
        orders = [rng.permutation(patients) for _ in range(3)]
        runs = [
            [said(fitted(features[o[:n]], sick[o[:n]]), *tested) for o in orders] for n in sizes
        ]
        curve = learning_curve(sizes, runs, "auroc", patients=patients, resamples=RESAMPLES)
        for times in TIMES:
            another = float(rng.choice(others[times]))
            found[times].append(held(curve, times * patients, truth[times], another))
    return shares(found)


if __name__ == "__main__":
    file, curves = Path(sys.argv[1]), int((sys.argv[2:] or ["200"])[0])
    rng = np.random.default_rng(0)
    rows = {name: simulated(cell, curves, rng) for name, cell in SIMULATED.items()}
    rows["real: 400 patients"] = real(curves, rng)
    file.write_text(json.dumps({"curves": curves, "rows": rows}, indent=1) + "\n")
    for name, row in rows.items():
        print(name, row)
