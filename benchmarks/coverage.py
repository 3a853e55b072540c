"""How often the 95 % intervals hold the truth, by simulation.

    python benchmarks/coverage.py benchmarks/results/coverage.json [runs]    some minutes, 2 cores
    python benchmarks/coverage.py --table benchmarks/results/coverage.json

A patient has 1 to 5 images whose severities share 70 % of their variance; where they do, the
outcome is mostly the patient's too. Binary questions of three prevalences are asked of a model that
is somewhat too sure; one set of four grades. Truth is the score of 100,000 patients. The naive
column is the percentile bootstrap of images, each taken for a patient of its own.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from medcnn.data.labels import Kind, LabelSpace
from medcnn.statistics.intervals import percentile_interval, resampling_weights
from medcnn.statistics.metrics.table import METRICS, Assessed, Sample, samples, values
from medcnn.statistics.predictions import Predictions
from medcnn.statistics.scores import evaluate

PATIENTS, PREVALENCES = (30, 60, 120, 300), (0.1, 0.3, 0.5)
SHARED, SKILL, SURE = 0.7, 1.6, 1.3
BINARY = LabelSpace(kind=Kind.BINARY, names=("no", "yes"))
GRADED = LabelSpace(kind=Kind.ORDINAL, names=("none", "mild", "moderate", "severe"))
GRADE_EDGES = (0.0, 1.2, 2.4)
RARER = (2, 3, 4, 5, 6, 8, 10, 15, 20)
RUNS, RESAMPLES = 400, 400


def severities(
    patients: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Group, severity and luck of each image; the last is mostly the patient's."""
    sizes = rng.integers(1, 6, size=patients)
    group = np.repeat(np.arange(patients), sizes)
    own = rng.normal(0, (1 - SHARED) ** 0.5, len(group))
    severity = rng.normal(0, SHARED**0.5, patients)[group] + own
    luck = np.where(
        rng.random(len(group)) < SHARED, rng.random(patients)[group], rng.random(len(group))
    )
    return group, severity, luck


def base_of(prevalence: float) -> float:
    """Log odds at severity 0 that give this share of positives."""
    z = SKILL * np.random.default_rng(0).normal(size=200_000)
    low, high = -10.0, 10.0
    for _ in range(40):
        middle = (low + high) / 2
        rarer = (1 / (1 + np.exp(-(middle + z)))).mean() < prevalence
        low, high = (middle, high) if rarer else (low, middle)
    return low


BASES = {p: base_of(p) for p in PREVALENCES}


def draw(prevalence: float | None, patients: int, rng: np.random.Generator) -> Predictions:
    """A binary question, or the grades where `prevalence` is None."""
    group, severity, luck = severities(patients, rng)
    if prevalence is None:
        edges = np.asarray(GRADE_EDGES)
        reached = 1 / (1 + np.exp(-(SKILL * severity[:, None] * 1.5 - edges)))
        grade = (luck[:, None] < reached).sum(axis=1)
        targets = np.eye(4)[grade]
        p = -np.diff(np.c_[np.ones(len(group)), reached, np.zeros(len(group))], axis=1)
        logits = SURE * np.log(p)
    else:
        z = BASES[prevalence] + SKILL * severity
        targets, logits = (luck < 1 / (1 + np.exp(-z)))[:, None], SURE * z[:, None]
    n = len(group)
    return Predictions(
        labels=GRADED if prevalence is None else BINARY,
        split="test",
        image_ids=tuple(map(str, range(n))),
        groups=tuple(map(str, group)),
        targets=targets.astype(np.float32),
        logits=logits.astype(np.float32),
    )


Key = tuple[str, str | None, str | None]


def truths(prevalence: float | None) -> dict[Key, float]:
    population = draw(prevalence, 100_000, np.random.default_rng(1))
    labels, assessed, found = population.labels, Assessed(predictions=population), {}
    for name, metric in METRICS.items():
        if labels.kind not in metric.kinds:
            continue
        own = values(population, name)[0]
        found[name, None, None] = own[0]
        if len(labels.outputs) > 1 and metric.scope(labels) != "table":
            names = labels.outputs[-len(own) :]
            found |= {(name, label, None): v for label, v in zip(names, own, strict=True)}
            found[name, None, "macro"] = own.mean()
            if metric.scope(labels) == "label":
                weight = np.nansum(population.targets, axis=0)
                found[name, None, "weighted"] = weight @ own / weight.sum()
                pooled = metric.kernel(labels)(Sample.once(assessed.pooled))
                found[name, None, "micro"] = float(pooled[0])
    return found


def naive(predictions: Predictions, seed: int) -> dict[Key, tuple[float, float]]:
    """Percentiles of a bootstrap of images."""
    weights = resampling_weights(predictions.image_ids, RESAMPLES, seed)
    assessed, labels, found = Assessed(predictions=predictions), predictions.labels, {}
    for name, metric in METRICS.items():
        if labels.kind not in metric.kinds or name.startswith("calibration_"):
            continue
        kernel, parts = metric.kernel(labels), assessed.of(metric.scope(labels))
        names = labels.outputs[-len(parts) :] if len(parts) > 1 else (None,)
        for label, rows in zip(names, parts, strict=True):
            drawn = np.concatenate([kernel(s) for s in samples(rows, weights)])
            interval = percentile_interval(drawn, 99)
            found[name, label, None] = (interval.low, interval.high)
    return found


def one(job: tuple[float | None, int, int, bool]) -> list[dict]:
    """Rows of one simulated population and number of patients."""
    prevalence, patients, runs, limits = job
    if limits:
        # every interval is shown, to see from how many patients on it holds
        METRICS.update({name: replace(metric, needs=2) for name, metric in METRICS.items()})
    truth, rng = truths(prevalence), np.random.default_rng(patients)
    held, without = defaultdict(list), defaultdict(int)
    held_naive = defaultdict(list)
    for run in range(runs):
        sample = draw(prevalence, patients, rng)
        rarer = None
        if limits:
            target, group = sample.targets[:, 0] == 1, np.array(sample.groups)
            few = min(len(np.unique(group[target])), len(np.unique(group[~target])))
            rarer = next((low for low in reversed(RARER) if few >= low), None)
            if rarer is None:
                continue
        for s in evaluate(sample, resamples=RESAMPLES, seed=run).scores:
            key = s.name, s.label, s.average
            if np.isnan(s.low):
                without[key, rarer] += 1
            else:
                held[key, rarer].append((s.low > truth[key], s.high < truth[key]))
        if not limits and run < runs // 4:
            for key, (low, high) in naive(sample, run).items():
                if low == low:
                    held_naive[key].append(low <= truth[key] <= high)
    rows = []
    for key, rarer in dict.fromkeys([*held, *without]):
        found = held[key, rarer]
        above, below = np.mean(found, axis=0) if found else (np.nan, np.nan)
        row = {
            "score": key[0],
            "label": key[1],
            "average": key[2],
            "prevalence": prevalence,
            "patients": patients,
            "rarer": rarer,
            "truth": float(truth[key]),
            "intervals": len(found),
            "not_available": without[key, rarer],
            "coverage": float(1 - above - below),
            "truth_below": float(above),
            "truth_above": float(below),
            "naive": float(np.mean(held_naive[key])) if held_naive[key] else np.nan,
        }
        rows.append(
            {
                k: (None if v != v else round(v, 4)) if isinstance(v, float) else v
                for k, v in row.items()
            }
        )
    print(prevalence, patients, file=sys.stderr, flush=True)
    return rows


def table(path: Path) -> None:
    """Print the table of docs/metrics.md."""
    found = json.loads(path.read_text(encoding="utf-8"))["rows"]

    def worst(row: dict, number: str) -> str:
        value = row.get(number)
        return "" if value is None else f"{value:.2f}"

    head = [f"{p:g}, {n}" for p in PREVALENCES for n in PATIENTS]
    print("| score |", " | ".join(head), "|\n|---|" + "---:|" * len(head))
    for name in METRICS:
        rows = {
            (r["prevalence"], r["patients"]): r
            for r in found
            if (r["score"], r["label"], r["average"]) == (name, None, None) and r["prevalence"]
        }
        if not rows:
            continue
        cells = []
        for p in PREVALENCES:
            for n in PATIENTS:
                r = rows[p, n]
                few = r["intervals"] < 0.5 * (r["intervals"] + r["not_available"])
                own = "few" if few else worst(r, "coverage")
                naive = worst(r, "naive")
                cells.append(f"{own}<br>{naive}" if naive else own)
        print(f"| `{name}` |", " | ".join(cells), "|")
    print(
        "\n| score of grades | of |", " | ".join(map(str, PATIENTS)), "|\n|---|---|" + "---:|" * 4
    )
    of_grades = {}
    for r in found:
        if r["prevalence"] is None and (r["label"] is None):
            of_grades.setdefault((r["score"], r["average"] or "table"), {})[r["patients"]] = r
    for (name, average), rows in of_grades.items():
        cells = (worst(rows[n], "coverage") if n in rows else "" for n in PATIENTS)
        print(f"| `{name}` | {average} |", " | ".join(cells), "|")


def main() -> None:
    if sys.argv[1] == "--table":
        table(Path(sys.argv[2]))
        return
    runs = int(sys.argv[2]) if len(sys.argv) > 2 else RUNS
    jobs = [(p, n, runs, False) for n in reversed(PATIENTS) for p in PREVALENCES]
    jobs += [(None, n, runs // 2, False) for n in PATIENTS]
    few = [(0.1, n, runs, True) for n in (30, 60)]
    with ProcessPoolExecutor(2) as pool:
        rows, limits = ([row for part in pool.map(one, j) for row in part] for j in (jobs, few))
    content = {"runs": runs, "resamples": RESAMPLES, "rows": rows, "limits": limits}
    Path(sys.argv[1]).write_text(one_row_a_line(content))


def one_row_a_line(content: dict[str, Any]) -> str:
    head = json.dumps({key: value for key, value in content.items() if key != "rows"})
    rows = ",\n".join(json.dumps(row) for row in content["rows"])
    return f'{head[:-1]},\n "rows": [\n{rows}\n]}}\n'


if __name__ == "__main__":
    main()
