"""How often the tests of `medcnn compare` are wrong, by simulation.

    python benchmarks/comparing.py benchmarks/results/comparing.json [runs]    some minutes, 2 cores
    python benchmarks/comparing.py --table benchmarks/results/comparing.json

Patients have 1 to 5 images each, whose severities share 70 % of their
variance. Two models see a severity through noise of their own, of which 70 % is the patient's too.
`null`: both noises follow the same law, so every score of both has the same true value, and a test
at 5 % should reject in 5 % of the runs. `apart`: the second model's noise is larger; truth is
the difference on 100,000 patients, and the 95 % interval should hold it in 95 % of the runs. The
naive rows take every image for a patient of its own.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from coverage import BINARY, GRADE_EDGES, GRADED, SHARED

from medcnn.statistics.comparing import compare
from medcnn.statistics.differences import Difference
from medcnn.statistics.metrics.table import score
from medcnn.statistics.predictions import Predictions

PATIENTS, PREVALENCE = (30, 60, 120, 300), 0.3
NOISE = {"null": 1.0, "apart": 1.6}
SCORES = {
    "binary": ("auroc", "average_precision", "balanced_accuracy", "brier", "f1", "sensitivity"),
    "grades": ("auroc", "accuracy", "log_loss", "quadratic_weighted_kappa"),
}
RUNS, RESAMPLES = 400, 400
SKILL = 1.6


def severities(
    patients: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Group, severity and luck of each image; the last is mostly the patient's."""
    group = np.repeat(np.arange(patients), rng.integers(1, 6, size=patients))
    own = rng.normal(0, (1 - SHARED) ** 0.5, len(group))
    severity = rng.normal(0, SHARED**0.5, patients)[group] + own
    luck = np.where(
        rng.random(len(group)) < SHARED, rng.random(patients)[group], rng.random(len(group))
    )
    return group, severity, luck


@cache
def base_of(prevalence: float) -> float:
    """Log odds at severity 0 that give this share of positives."""
    z = SKILL * np.random.default_rng(0).normal(size=200_000)
    low, high = -10.0, 10.0
    for _ in range(40):
        middle = (low + high) / 2
        rarer = (1 / (1 + np.exp(-(middle + z)))).mean() < prevalence
        low, high = (middle, high) if rarer else (low, middle)
    return low


def draw(kind: str, patients: int, noise: float, rng: np.random.Generator) -> list[Predictions]:
    """What two models say of the same images."""
    group, severity, luck = severities(patients, rng)
    n = len(group)
    if kind == "grades":
        labels, edges = GRADED, np.asarray(GRADE_EDGES)
        reached = 1 / (1 + np.exp(-(SKILL * severity[:, None] * 1.5 - edges)))
        targets = np.eye(4)[(luck[:, None] < reached).sum(axis=1)]
    else:
        labels, base = BINARY, base_of(PREVALENCE)
        targets = (luck < 1 / (1 + np.exp(-(base + SKILL * severity))))[:, None]
    told = []
    for sd in (1.0, noise):
        own = rng.normal(0, (1 - SHARED) ** 0.5, n) + rng.normal(0, SHARED**0.5, patients)[group]
        seen = severity + sd * own
        if kind == "grades":
            reach = 1 / (1 + np.exp(-(SKILL * seen[:, None] - edges)))
            p = -np.diff(np.c_[np.ones(n), reach, np.zeros(n)], axis=1)
            logits = np.log(p.clip(1e-9))
        else:
            logits = (base + SKILL * seen)[:, None]
        told.append(
            Predictions(
                labels=labels,
                split="test",
                image_ids=tuple(map(str, range(n))),
                groups=tuple(map(str, group)),
                targets=targets.astype(np.float32),
                logits=logits.astype(np.float32),
            )
        )
    return told


def one_run(kind: str, patients: int, law: str, seed: int) -> list[tuple[str, dict[str, Any]]]:
    a, b = draw(kind, patients, NOISE[law], np.random.default_rng((patients, seed)))
    found = []
    for naive in (False, True):
        if naive:
            a, b = (replace(p, groups=p.image_ids) for p in (a, b))
        pairing = compare(a, b, SCORES[kind], resamples=RESAMPLES, seed=seed)
        for d in pairing.differences:
            if d.label is None:
                found.append((f"{d.score}{' naive' if naive else ''}", facts(d)))
        answers = pairing.discordances[0]
        found.append((f"McNemar{' naive' if naive else ''}", {"p": answers.p}))
    return found


def facts(d: Difference) -> dict[str, Any]:
    return {"p": d.p, "permuted": d.p_permuted, "low": d.low, "high": d.high}


def truths(kind: str) -> dict[str, float]:
    a, b = draw(kind, 100_000, NOISE["apart"], np.random.default_rng(12345))
    return {name: score(b, name) - score(a, name) for name in SCORES[kind]}


def cell(arguments: tuple[str, int, str, int, dict[str, float]]) -> dict[str, Any]:
    kind, patients, law, runs, truth = arguments
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for seed in range(runs):
        for name, values in one_run(kind, patients, law, seed):
            found[name].append(values)
    rows = {}
    for name, values in found.items():
        p = np.array([v["p"] for v in values])
        rows[name] = {"undefined": float(np.isnan(p).mean()), "rejected": rate(p[~np.isnan(p)])}
        if "low" in values[0]:
            permuted = np.array([v["permuted"] for v in values])
            rows[name]["permuted"] = rate(permuted[~np.isnan(permuted)])
            true = truth[name.removesuffix(" naive")] if law == "apart" else 0.0
            held = [v["low"] <= true <= v["high"] for v in values if v["low"] == v["low"]]
            rows[name]["covered"] = float(np.mean(held)) if held else None
    return {"kind": kind, "patients": patients, "law": law, "runs": runs, "rows": rows}


def rate(p: np.ndarray) -> float | None:
    return float((p < 0.05).mean()) if len(p) else None


def table(path: Path) -> None:
    cells = json.loads(path.read_text())["cells"]
    shown = {(c["kind"], c["law"], c["patients"]): c["rows"] for c in cells}

    def percent(row: dict[str, Any] | None, key: str) -> str:
        value = (row or {}).get(key)
        return "n/a" if value is None else f"{100 * value:.1f}"

    print(
        "| test at 5 %, no true difference: rejected in % of the runs | patients: "
        + " | ".join(map(str, PATIENTS))
        + " |"
    )
    print("|---|" + "---|" * len(PATIENTS))
    for kind in SCORES:
        names = [*SCORES[kind], "McNemar"]
        for name in names:
            for how, key, suffix in (
                ("", "rejected", ""),
                (", exchange", "permuted", ""),
                (", images as patients", "rejected", " naive"),
            ):
                if name == "McNemar" and key == "permuted":
                    continue
                row = [percent(shown[kind, "null", n].get(name + suffix), key) for n in PATIENTS]
                print(f"| {kind}, {name}{how} | {' | '.join(row)} |")
    print(
        "\n| 95 % interval of a true difference: contained in % of the runs | patients: "
        + " | ".join(map(str, PATIENTS))
        + " |"
    )
    print("|---|" + "---|" * len(PATIENTS))
    for kind, scores in SCORES.items():
        for name in scores:
            for how, suffix in (("", ""), (", images as patients", " naive")):
                row = [
                    percent(shown[kind, "apart", n].get(name + suffix), "covered") for n in PATIENTS
                ]
                print(f"| {kind}, {name}{how} | {' | '.join(row)} |")


def main() -> None:
    if sys.argv[1] == "--table":
        table(Path(sys.argv[2]))
        return
    runs = int(sys.argv[2]) if len(sys.argv) > 2 else RUNS
    known = {kind: truths(kind) for kind in SCORES}
    tasks = [
        (kind, n, law, runs, known[kind]) for kind in SCORES for n in PATIENTS for law in NOISE
    ]
    with ProcessPoolExecutor(2) as pool:
        cells = list(pool.map(cell, tasks))
    content = {"runs": runs, "resamples": RESAMPLES, "truth": known, "cells": cells}
    Path(sys.argv[1]).write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
