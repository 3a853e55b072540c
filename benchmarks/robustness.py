"""How often the intervals of `medcnn robustness` hold the truth.

    nice -n 19 python benchmarks/robustness.py [runs]    some minutes

Patients as in benchmarks/coverage.py, with an AUROC of 0.9 and 30 % positives. Images are spoilt by
further noise, of which 70 % is the patient's, in five grades that share their draws as corruptions
do, and by a shift of all logits, so that decisions change. Truth is of 60,000 patients.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from dataclasses import replace

import numpy as np
from coverage import TRUTH, Population, correlated, draw

from medcnn.statistics.metrics.table import score
from medcnn.statistics.predictions import Predictions
from medcnn.statistics.robustness import robustness

OF = Population(auroc=0.9, prevalence=0.3)
GRADES, PATIENTS, SHIFT = (0.5, 1.0, 1.5, 2.5, 4.0), (20, 60, 200), 0.4
SCORES = ("auroc", "balanced_accuracy")


def spoilt(clean: Predictions, seed: int) -> list[Predictions]:
    group = np.array(clean.groups, dtype=int)
    noise = correlated(group, np.random.default_rng((seed, 1)))[:, None] - SHIFT
    return [replace(clean, logits=(clean.logits + by * noise).astype(np.float32)) for by in GRADES]


def truth(name: str) -> dict[str, float]:
    clean = draw(OF, TRUTH, np.random.default_rng(1))
    worse, base = spoilt(clean, 1), score(clean, name)
    changes = [score(p, name) - base for p in worse]
    flips = [float((p.decisions != clean.decisions).mean()) for p in worse]
    return {
        "change in grade 3": changes[2],
        "mean change": float(np.mean(changes)),
        "decisions changed in grade 1": flips[0],
        "decisions changed in grade 5": flips[4],
    }


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    for name in SCORES:
        true = truth(name)
        print(name, {what: round(value, 3) for what, value in true.items()}, flush=True)
        for patients in PATIENTS:
            held: dict[str, list[bool]] = defaultdict(list)
            for run in range(runs):
                clean = draw(OF, patients, np.random.default_rng((patients, run)))
                spoilt_here = {"kind": spoilt(clean, 1000 * patients + run)}
                (kind,) = robustness(clean, spoilt_here, name, resamples=200, seed=run).kinds
                flips = [kind.grades[at].flips for at in (0, 4)]
                for what, of in zip(
                    true, (kind.grades[2].change, kind.change, *flips), strict=True
                ):
                    if not np.isnan(of.low):
                        held[what].append(of.low <= true[what] <= of.high)
            rows = [f"{np.mean(held[w]):.3f} of {len(held[w])}" for w in true if held[w]]
            print(f"| {name}, {patients} | {' | '.join(rows)} |", flush=True)


if __name__ == "__main__":
    main()
