"""How often the intervals of a cross-validation hold the truth, and how far off a pooled AUROC is.

    nice -n 19 python benchmarks/crossvalidation.py benchmarks/results/crossvalidation.json [runs]

Real cross-validations of real models: in each run a set of patients is drawn, dealt into folds by
`medcnn.data.folds.deal`, and a logistic regression without much penalty is trained for each fold.
A patient has 1 to 5 images, whose features share 70 % of their noise; the label is the patient's.
`held` is the share of runs whose interval holds the mean true score of the very models that were
trained; `held_expected` the mean true score of all models of all runs, which is what another
cross-validation of another such set would be expected to show. `bias` and `pooled_bias` are the
mean distance of the score from the truth: averaged over folds, and of all folds in one table.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression

from medcnn.data.folds import deal
from medcnn.data.labels import Kind, LabelSpace
from medcnn.statistics.decisions import OperatingPoint, Readout
from medcnn.statistics.folds import cross_validated, out_of_fold
from medcnn.statistics.metrics.table import score
from medcnn.statistics.predictions import Predictions

LABELS = LabelSpace(kind=Kind.BINARY, names=("no", "yes"))
FEATURES, APART, SHARED = 10, 0.45, 0.7
SCORES = ("auroc", "average_precision", "balanced_accuracy", "brier")
# patients, share of them that is sick, folds
CELLS = (
    *((50, 0.3, 5), (100, 0.3, 5), (300, 0.3, 5), (100, 0.1, 5), (300, 0.1, 5)),
    *((50, 0.3, 2), (300, 0.3, 2), (50, 0.3, 10), (300, 0.1, 10), (300, 0.3, 10)),
)
RUNS, RESAMPLES, TRUTH = 200, 200, 20_000


def draw(
    patients: int, prevalence: float, rng: np.random.Generator, most: int = 5
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Patient [N], label [N] and features [N, FEATURES] of images; a set has a fixed number of
    sick patients, and at most `most` images of each."""
    sick = np.arange(patients) < round(patients * prevalence)
    group = np.repeat(np.arange(patients), rng.integers(1, most + 1, patients))
    shared = rng.normal(0, SHARED**0.5, (patients, FEATURES))[group]
    noise = shared + rng.normal(0, (1 - SHARED) ** 0.5, (len(group), FEATURES))
    return group, sick[group], noise + APART * sick[group][:, None]


def predicted(
    model: LogisticRegression, group: np.ndarray, sick: np.ndarray, features: np.ndarray
) -> Predictions:
    names = tuple(map(str, range(len(group))))
    return Predictions(
        labels=LABELS,
        split="test",
        image_ids=names,
        groups=tuple(map(str, group)),
        targets=sick[:, None].astype(np.float32),
        logits=model.decision_function(features)[:, None].astype(np.float32),
        readout=Readout(points=(OperatingPoint(name="fixed", thresholds=(0.3,)),)),
    )


def one_run(
    patients: int, prevalence: float, folds: int, rng: np.random.Generator, truth: tuple
) -> dict[str, tuple[float, float, float, float, float]]:
    """Score -> its value, ends of its interval, truth, and the pooled value."""
    group, sick, features = draw(patients, prevalence, rng)
    yes = np.bincount(group, weights=sick, minlength=patients).astype(np.int64)
    no = np.bincount(group, weights=~sick, minlength=patients).astype(np.int64)
    order = rng.permutation(patients)
    fold = np.zeros(patients, int)
    fold[order] = deal(np.stack([yes, no], axis=1)[order], folds)
    parts, true = [], {name: [] for name in SCORES}
    for f in range(folds):
        test = fold[group] == f
        model = LogisticRegression(C=10, max_iter=300).fit(features[~test], sick[~test])
        part = predicted(model, group[test], sick[test], features[test])
        ids = tuple(map(str, np.flatnonzero(test)))
        parts.append(Predictions(**{**fields(part), "image_ids": ids}))
        whole = predicted(model, *truth)
        for name in SCORES:
            true[name].append(score(whole, name))
    oof = out_of_fold(parts, list(map(str, range(len(group)))), 1)
    found = cross_validated([oof], SCORES, resamples=RESAMPLES).evaluation
    pooled = Predictions(**{**fields(oof), "folds": (), "by_fold": ()})
    return {
        name: (
            *(found.find(name).value, found.find(name).low, found.find(name).high),
            *(float(np.mean(true[name])), score(pooled, name)),
        )
        for name in SCORES
    }


def fields(p: Predictions) -> dict[str, object]:
    return {name: getattr(p, name) for name in Predictions.__dataclass_fields__}


def main(path: Path, runs: int) -> None:
    done = json.loads(path.read_text()) if path.exists() else {}
    for patients, prevalence, folds in CELLS:
        key = f"{patients} patients, {prevalence:.0%} sick, {folds} folds"
        if key in done:
            continue
        rng = np.random.default_rng((patients, int(100 * prevalence), folds))
        truth = draw(TRUTH, prevalence, rng, most=1)
        found = [one_run(patients, prevalence, folds, rng, truth) for _ in range(runs)]
        done[key] = {}
        for name in SCORES:
            value, low, high, true, pooled = np.array([f[name] for f in found]).T
            known = ~np.isnan(low)
            held = (low <= true) & (true <= high)
            expected = (low <= true.mean()) & (true.mean() <= high)
            done[key][name] = {
                "intervals": round(float(known.mean()), 3),
                "held": round(float(held[known].mean()), 3) if known.any() else None,
                "held_expected": round(float(expected[known].mean()), 3) if known.any() else None,
                "width": round(float(np.median((high - low)[known])), 3) if known.any() else None,
                "bias": round(float(np.nanmean(value - true)), 4),
                "pooled_bias": round(float(np.nanmean(pooled - true)), 4),
            }
        path.write_text(json.dumps(done, indent=1) + "\n")
        print(key, done[key]["auroc"], flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else RUNS)
