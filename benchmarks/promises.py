"""How often what was fitted on validation keeps its promise on new patients, by simulation.

    nice -n 19 python benchmarks/promises.py benchmarks/results/promises.json [runs]
    python benchmarks/promises.py --table benchmarks/results/promises.json

Prediction sets of three classes, asked for 90 %, by method, calibration and what the promise is
made for: share of the images of new patients whose set holds the truth, and its mean over patients.
A healthy patient has 1 to 3 images and a sick one 3 to 8, so that the two differ. Then operating
points of a binary question, asked for a sensitivity of 0.9 on so many sick patients: how often the
true sensitivity is below. Sick patients are harder to tell, and
the network is too sure, of one class more than of the others.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import norm

from medcnn.data.labels import Kind, LabelSpace
from medcnn.statistics.calibration import CALIBRATIONS, cross_fitted, fit_calibration
from medcnn.statistics.conformal import METHODS, PER, fit_conformal
from medcnn.statistics.operating import fit_point

RUNS, NEW = 200, 300
PATIENTS = (30, 60, 100, 200)
SHARES, SURE = (0.6, 0.25, 0.15), np.array([1.2, 2.0, 1.4])
KINDS = LabelSpace(kind=Kind.MULTICLASS, names=("healthy", "one", "other"))
POSITIVES = (20, 40, 100, 300)
RULES: tuple[dict[str, Any], ...] = (
    {"name": "sensitivity", "at": 0.9},
    {"name": "sure_sensitivity", "at": 0.9, "confidence": 0.95},
)


def draw(patients: int, rng: np.random.Generator) -> tuple[Any, Any, Any]:
    """Logits [N, 3], targets [N, 3] and patients [N]."""
    truth = rng.choice(3, p=SHARES, size=patients)
    sizes = np.where(truth > 0, rng.integers(3, 9, patients), rng.integers(1, 4, patients))
    of = np.repeat(np.arange(patients), sizes)
    apart = np.array([2.6, 1.6, 1.6])[truth, None]
    seen = apart * np.eye(3)[truth] + 0.84 * rng.normal(size=(patients, 3))
    return SURE * (seen[of] + 0.55 * rng.normal(size=(len(of), 3))), np.eye(3)[truth[of]], of


def sets(job: tuple[int, int]) -> list[dict[str, Any]]:
    """Rows of so many patients of validation, over so many runs."""
    patients, runs = job
    rng, found = np.random.default_rng(patients), {}
    for _ in range(runs):
        (z, t, of), (new_z, new_t, new_of) = draw(patients, rng), draw(NEW, rng)
        groups = of.astype(str).tolist()
        for calibration in ("none", *CALIBRATIONS):
            fitted = fit_calibration(calibration, KINDS, z, t)
            new = fitted.probabilities(KINDS, new_z) if fitted else KINDS.probabilities(new_z)
            unseen = cross_fitted(calibration, KINDS, z, t, groups)
            for method, per in product(METHODS, PER):
                chosen = {"name": method, "coverage": 0.9, "per": per, "by": None}
                own = fit_conformal(chosen, KINDS, unseen, t, groups, None).sets(KINDS, new)
                held = (own & (new_t == 1)).any(axis=1)
                by_patient = np.bincount(new_of, weights=held) / np.bincount(new_of)
                told = (held.mean(), by_patient.mean(), own.sum(1).mean(), (~own.any(1)).mean())
                found.setdefault((calibration, method, per), []).append(told)
    return [
        {
            "patients": patients,
            "calibration": calibration,
            "method": method,
            "per": per,
            **dict(zip(("images", "by_patient", "size", "empty"), _means(told), strict=True)),
            "error": round(float(np.std(told, axis=0)[1] / len(told) ** 0.5), 4),
        }
        for (calibration, method, per), told in found.items()
    ]


def _means(told: list[Any]) -> list[float]:
    return [round(float(v), 4) for v in np.mean(told, axis=0)]


def points(positives: int, runs: int) -> Iterator[dict[str, Any]]:
    """One image a patient; sick ones lie 2 higher than healthy ones, all of variance 1."""
    rng = np.random.default_rng(positives)
    z = rng.normal(size=(runs, 3 * positives))
    sick = np.arange(3 * positives) < positives
    p = norm.cdf(z + 2 * sick - 1)
    for rule in RULES:
        cuts = [fit_point(rule, row[:, None], sick[:, None].astype(np.float64)) for row in p]
        picked = np.array([c.thresholds[0] for c in cuts if not c.reason(0)])
        true = norm.cdf(1 - norm.ppf(picked))
        yield {
            "positives": positives,
            "rule": rule["name"],
            "picked": round(len(picked) / runs, 4),
            "missed": round(float((true < 0.9).mean()), 4) if len(picked) else None,
            "sensitivity": round(float(true.mean()), 4) if len(picked) else None,
            "specificity": round(float(norm.cdf(norm.ppf(picked) + 1).mean()), 4)
            if len(picked)
            else None,
        }


def table(path: Path) -> None:
    """Print the tables of docs/readout.md."""
    content = json.loads(path.read_text())
    print("| sets | promise | calibration |", " | ".join(map(str, PATIENTS)), "|")
    print("|---|---|---|" + "---|" * len(PATIENTS))
    by = {(r["method"], r["per"], r["calibration"], r["patients"]): r for r in content["sets"]}
    for method, per, calibration, _ in dict.fromkeys((*key[:3], 0) for key in by):
        rows = [by.get((method, per, calibration, n)) for n in PATIENTS]
        cells = (f"{r['by_patient']:.3f} / {r['images']:.3f}" if r else "" for r in rows)
        print(f"| `{method}` | {per} | {calibration} |", " | ".join(cells), "|")
    print("\n| rule | sick patients | picked | true sensitivity below 0.9 | mean | specificity |")
    print("|---|---:|---:|---:|---:|---:|")
    for r in content["points"]:
        cells = [r["rule"], r["positives"], r["picked"], r["missed"]]
        print("|", " | ".join(str(c) for c in (*cells, r["sensitivity"], r["specificity"])), "|")


def main() -> None:
    if sys.argv[1] == "--table":
        table(Path(sys.argv[2]))
        return
    path, runs = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else RUNS
    content: dict[str, Any] = {"runs": runs, "sets": [], "points": []}
    content["points"] = [row for n in POSITIVES for row in points(n, 2 * runs)]
    with ProcessPoolExecutor(2) as pool:
        for rows in pool.map(sets, [(n, runs) for n in PATIENTS]):
            content["sets"] += rows
            lines = (
                f' "{k}": [\n' + ",\n".join(map(json.dumps, content[k])) + "\n]"
                for k in ("sets", "points")
            )
            path.write_text(f'{{"runs": {runs},\n' + ",\n".join(lines) + "}\n")
            print(rows[0]["patients"], file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
