"""How often intervals of net benefit, of its gain over treating everyone, and of the images for
a case hold the truth.

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
from medcnn.statistics.decisions import Readout
from medcnn.statistics.points import evaluate_readout
from medcnn.statistics.predictions import Predictions

THRESHOLDS = (0.05, 0.1, 0.2, 0.3, 0.5)


def curve(of: Predictions) -> BenefitCurve | None:
    return next(curves(of), None)


def screened(of: Predictions, at: float) -> tuple[float, float, float]:
    cut = replace(of, readout=Readout.of_thresholds([at]))
    ppv = {(p.point, p.label): p.ppv for p in evaluate_readout(cut).points}
    found = next(worths(cut, ppv)).screened
    return found.value, found.low, found.high


def cell(of: Population, patients: int, runs: int) -> None:
    large, rng = draw(of, TRUTH, np.random.default_rng(1)), np.random.default_rng(patients)
    truth = {p.threshold: p for p in curve(large).points if p.threshold in THRESHOLDS}
    at = of.prevalence
    needed, _, _ = screened(large, at)
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
        _, low, high = screened(sample, at)
        if not np.isnan(low):
            held["screened"].append(low <= needed <= high)
    told = ", ".join(f"{n} {np.mean(v):.3f} ({len(v)})" for n, v in sorted(held.items()))
    print(f"AUROC {of.auroc}, prevalence {of.prevalence}, {patients} patients: {told}", flush=True)


if __name__ == "__main__":
    for patients in (60, 120, 300):
        for of in USUAL:
            cell(of, patients, int(sys.argv[1]) if len(sys.argv) > 1 else 200)
