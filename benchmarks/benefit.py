"""How often intervals of net benefit, of its gain over treating everyone, of the images for a case,
of the alarms per right one, and of the expected cost hold the truth.

    nice -n 19 python benchmarks/benefit.py [runs]

In the populations of `coverage.py` with labels by patient; truth is of 60,000 patients. A share is
of all intervals shown, over the thresholds 0.05, 0.1, 0.2, 0.3 and 0.5.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from dataclasses import replace

import numpy as np
from coverage import TRUTH, USUAL, Population, draw

from medcnn.statistics.benefit import BenefitCurve, curves, worths
from medcnn.statistics.decisions import OperatingPoint, Readout
from medcnn.statistics.estimates import Estimate
from medcnn.statistics.points import evaluate_readout
from medcnn.statistics.predictions import Predictions

THRESHOLDS = (0.05, 0.1, 0.2, 0.3, 0.5)


def curve(of: Predictions) -> BenefitCurve | None:
    return next(curves(of), None)


def worth(of: Predictions, at: float) -> dict[str, Estimate]:
    point = OperatingPoint(name="cost miss=10 false_alarm=1", thresholds=(at,))
    cut = replace(of, readout=Readout(points=(point,)))
    ppv = {(p.point, p.label): p.ppv for p in evaluate_readout(cut).points}
    found = next(worths(cut, ppv))
    assert found.cost
    return {"screened": found.screened, "examined": found.examined, "cost": found.cost}


def cell(of: Population, patients: int, runs: int) -> None:
    large, rng = draw(of, TRUTH, np.random.default_rng(1)), np.random.default_rng(patients)
    truth = {p.threshold: p for p in curve(large).points if p.threshold in THRESHOLDS}
    at = of.prevalence
    true = worth(large, at)
    held: dict[str, list[bool]] = defaultdict(list)
    for _ in range(runs):
        sample = draw(of, patients, rng)
        found = curve(sample)
        if found is None:
            continue
        for p in found.points:
            if p.threshold in truth:
                for name in ("model", "over_all"):
                    e, real = getattr(p, name), getattr(truth[p.threshold], name).value
                    if not np.isnan(e.low):
                        held[name].append(e.low <= real <= e.high)
        for name, e in worth(sample, at).items():
            if not np.isnan(e.low):
                held[name].append(e.low <= true[name].value <= e.high)
    told = ", ".join(f"{n} {np.mean(v):.3f} ({len(v)})" for n, v in sorted(held.items()))
    print(f"AUROC {of.auroc}, prevalence {of.prevalence}, {patients} patients: {told}", flush=True)


if __name__ == "__main__":
    for patients in (60, 120, 300):
        for of in USUAL:
            cell(of, patients, int(sys.argv[1]) if len(sys.argv) > 1 else 200)
