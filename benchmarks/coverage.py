"""How often the 95 % intervals hold the truth, by simulation over several populations.

    nice -n 19 python benchmarks/coverage.py benchmarks/results/coverage.json [runs] [patients,...]
    python benchmarks/coverage.py --table benchmarks/results/coverage.json docs/metrics.md
    python benchmarks/coverage.py long.json 1000 60 --by-disease --scores=accuracy,log_loss
    python benchmarks/coverage.py longer.json 1000 --short=benchmarks/results/coverage.json

The third one simulates some scores alone, in more runs, where images depend on disease; the last
one those cells and scores again, of the other populations, that fell short in a file. Each cell
is written as soon as it is done, and a file that holds it already is taken up again: delete its
line to simulate it anew.

A patient has 1 to 5 images; the noise of their logits shares 70 % of its variance. The log odds of
sick and healthy images are normal, as far apart as the AUROC says, and the model is somewhat too
sure. Labels are the patient's, or the image's (then those of a patient agree more often than not);
where the number of images depends on disease, a sick patient has 3 to 8 and a healthy one 1 to 3.
One population has four grades. Truth is the score of 60,000 patients. The naive column is the same
interval with each image taken for a patient of its own, from as many runs.
"""

from __future__ import annotations

import json
import os
import sys
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import norm

from medcnn.data.labels import Kind, LabelSpace
from medcnn.statistics.metrics.table import METRICS, Assessed, Sample, values
from medcnn.statistics.predictions import Predictions
from medcnn.statistics.scores import evaluate

AUROCS, PREVALENCES, PATIENTS = (0.7, 0.9, 0.98), (0.05, 0.2, 0.5), (30, 60, 120, 300)
SHARED, SURE = 0.7, 1.3
BINARY = LabelSpace(kind=Kind.BINARY, names=("no", "yes"))
GRADED = LabelSpace(kind=Kind.ORDINAL, names=("none", "mild", "moderate", "severe"))
GRADE_SKILL, GRADE_EDGES = 2.4, (0.0, 1.2, 2.4)
RARER = (0, 1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 50)
WORKERS = int(os.environ.get("WORKERS", "2"))
MARKS = ("<!-- benchmarks/coverage.py from here -->", "<!-- to here -->")
RUNS, RESAMPLES, TRUTH, LEAST = 200, 200, 60_000, 0.92


@dataclass(frozen=True, kw_only=True)
class Population:
    """`auroc` None stands for the four grades; `labels` and `images` are the patient's or the
    image's, and free or by disease."""

    auroc: float | None
    prevalence: float
    labels: str = "patient"
    images: str = "free"


USUAL = [Population(auroc=a, prevalence=p) for a in AUROCS for p in PREVALENCES]
OTHER = [
    Population(auroc=a, prevalence=0.2, **other)
    for a in AUROCS
    for other in ({"labels": "image"}, {"images": "by disease"})
]
GRADES = Population(auroc=None, prevalence=0.5)
SHORT: dict[tuple[Population, int], None] = {}


def correlated(group: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Standard normal numbers of which those of one patient share 70 % of the variance. [N]"""
    shared = rng.normal(0, SHARED**0.5, group.max() + 1)[group]
    return np.asarray(shared + rng.normal(0, (1 - SHARED) ** 0.5, len(group)))


def draw(of: Population, patients: int, rng: np.random.Generator) -> Predictions:
    sick = rng.random(patients) < of.prevalence
    if of.images == "free":
        sizes = rng.integers(1, 6, size=patients)
    else:
        sizes = np.where(sick, rng.integers(3, 9, patients), rng.integers(1, 4, patients))
    group = np.repeat(np.arange(patients), sizes)
    if of.auroc is None:
        severity = GRADE_SKILL * correlated(group, rng)
        reached = 1 / (1 + np.exp(-(severity[:, None] - np.asarray(GRADE_EDGES))))
        luck = norm.cdf(correlated(group, rng))
        targets = np.eye(4)[(luck[:, None] < reached).sum(axis=1)]
        n = len(group)
        p = -np.diff(np.c_[np.ones(n), reached, np.zeros(n)], axis=1)
        logits = SURE * np.log(p)
    else:
        yes = sick[group]
        if of.labels == "image":
            yes = correlated(group, rng) < norm.ppf(of.prevalence)
        apart = 2**0.5 * norm.ppf(of.auroc)
        seen = apart * yes + correlated(group, rng)
        odds = apart * seen - apart**2 / 2 + np.log(of.prevalence / (1 - of.prevalence))
        targets, logits = yes[:, None], SURE * odds[:, None]
    return Predictions(
        labels=GRADED if of.auroc is None else BINARY,
        split="test",
        image_ids=tuple(map(str, range(len(group)))),
        groups=tuple(map(str, group)),
        targets=targets.astype(np.float32),
        logits=logits.astype(np.float32),
    )


Key = tuple[str, str | None, str | None]


@cache
def truths(of: Population) -> dict[Key, float]:
    population = draw(of, TRUTH, np.random.default_rng(1))
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


def rarer_side(sample: Predictions) -> int:
    """Patients on the rarer side of a binary question, as the next lower of RARER."""
    yes, group = sample.targets[:, 0] == 1, np.array(sample.groups)
    few = min(len(np.unique(group[yes])), len(np.unique(group[~yes])))
    return max(low for low in RARER if few >= low)


def one(job: tuple[Population, int, int, bool]) -> list[dict[str, Any]]:
    """Rows of one cell.

    With `limits` every interval is shown, and counted by how many patients are on the rarer side,
    to see from how many on it holds.
    """
    of, patients, runs, limits = job
    if limits:
        METRICS.own.update({name: replace(metric, needs=2) for name, metric in METRICS.items()})
    truth, rng = truths(of), np.random.default_rng(patients)
    held, without, naive = defaultdict(list), defaultdict(int), defaultdict(list)
    for run in range(runs):
        sample = draw(of, patients, rng)
        rarer = rarer_side(sample) if limits else None
        for s in evaluate(sample, resamples=RESAMPLES, seed=run).scores:
            key = (s.name, s.label, s.average), rarer
            if np.isnan(s.low):
                without[key] += 1
            else:
                held[key].append((s.low > truth[key[0]], s.high < truth[key[0]]))
        if not limits:
            alone = replace(sample, groups=sample.image_ids)
            for s in evaluate(alone, resamples=RESAMPLES, seed=run).scores:
                key = s.name, s.label, s.average
                if not np.isnan(s.low):
                    naive[key].append(s.low <= truth[key] <= s.high)
    rows = []
    for key, rarer in dict.fromkeys([*held, *without]):
        found = held[key, rarer]
        above, below = np.mean(found, axis=0) if found else (np.nan, np.nan)
        row = {
            **asdict(of),
            "patients": patients,
            "score": key[0],
            "label": key[1],
            "average": key[2],
            "rarer": rarer,
            "truth": float(truth[key]),
            "intervals": len(found),
            "not_available": without[key, rarer],
            "coverage": float(1 - above - below),
            "truth_below": float(above),
            "truth_above": float(below),
            "naive": float(np.mean(naive[key])) if naive[key] else np.nan,
        }
        rows.append({k: _rounded(v) for k, v in row.items()})
    return rows


def _rounded(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return None if value != value else round(value, 4)


def cells(limits: bool) -> Iterator[tuple[Population, int]]:
    """The most telling first."""
    others = () if limits else (*reversed(OTHER), *([GRADES] if USUAL else []))
    if SHORT:
        yield from SHORT
        return
    for n in (30, 120, 60, 300):
        for of in (*reversed(USUAL), *others):
            yield of, n


def short_in(path: Path) -> set[str]:
    """Fill SHORT with the cells below LEAST in a file; returns the scores that are."""
    names = set()
    for r in json.loads(path.read_text(encoding="utf-8"))["rows"]:
        enough = r["intervals"] >= 0.5 * (r["intervals"] + r["not_available"])
        if enough and r["label"] is None and r["images"] == "free" and r["coverage"] < LEAST:
            SHORT[Population(**{k: r[k] for k in asdict(GRADES)}), r["patients"]] = None
            names.add(r["score"])
    return names


def simulated(path: Path, runs: int, only: set[int], *, limits: bool) -> None:
    """Add the cells that the file at `path` lacks."""
    content = json.loads(path.read_text()) if path.exists() else {"rows": []}
    rows = content["rows"]
    done = {tuple(r[k] for k in (*asdict(GRADES), "patients")) for r in rows}
    todo = [(p, n) for p, n in cells(limits) if n in only]
    todo = [(p, n) for p, n in todo if (*asdict(p).values(), n) not in done]
    with ProcessPoolExecutor(WORKERS) as pool:
        for found in pool.map(one, [(p, n, runs, limits) for p, n in todo]):
            rows += found
            head = {"resamples": RESAMPLES, "rows": rows}
            part = path.with_name(path.name + ".part")
            part.write_text(one_row_a_line(head))
            part.replace(path)
            print({k: found[0][k] for k in (*asdict(GRADES), "patients")}, file=sys.stderr)


def one_row_a_line(content: dict[str, Any]) -> str:
    head = json.dumps({key: value for key, value in content.items() if key != "rows"})
    rows = ",\n".join(json.dumps(row) for row in content["rows"])
    return f'{head[:-1]},\n "rows": [\n{rows}\n]}}\n'


def table(path: Path, page: Path) -> None:
    """Put the tables between the two marks of docs/metrics.md."""
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    lines = [*of_binary(rows), "", *of_grades(rows), "", *falling_short(rows)]
    start, rest = page.read_text(encoding="utf-8").split(MARKS[0])
    end = rest.split(MARKS[1])[1]
    text = "\n".join([start + MARKS[0], "", *lines, "", MARKS[1] + end])
    page.write_text(text, encoding="utf-8")


def cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return ""
    few = row["intervals"] < 0.5 * (row["intervals"] + row["not_available"])
    own = "few" if few else f"{row['coverage']:.2f}"
    return own if row["naive"] is None else f"{own}<br>{row['naive']:.2f}"


def name_of(row: dict[str, Any]) -> str:
    other = {"image": ", labels by image", "by disease": ", images by disease"}
    more = other.get(row["labels"], "") + other.get(row["images"], "")
    return f"{row['auroc']:g}, {row['prevalence']:g}{more}, {row['patients']}"


def of_binary(rows: list[dict[str, Any]]) -> Iterator[str]:
    found = [r for r in rows if r["auroc"] is not None]
    scores = dict.fromkeys(r["score"] for r in found)
    for auroc in AUROCS:
        own = [r for r in found if r["auroc"] == auroc]
        columns = sorted({(r["images"], r["labels"], r["prevalence"], r["patients"]) for r in own})
        by = {
            (r["score"], (r["images"], r["labels"], r["prevalence"], r["patients"])): r for r in own
        }
        if not columns:
            continue
        heads = {k: name_of(r).split(", ", 1)[1] for (_, k), r in by.items()}
        yield f"AUROC {auroc:g}; columns: share of positives, patients"
        yield ""
        yield "| score | " + " | ".join(heads[c] for c in columns) + " |"
        yield "|---|" + "---:|" * len(columns)
        for score in scores:
            cells = (cell(by.get((score, c))) for c in columns)
            yield f"| `{score}` | " + " | ".join(cells) + " |"
        yield ""


def of_grades(rows: list[dict[str, Any]]) -> Iterator[str]:
    found = [r for r in rows if r["auroc"] is None and r["label"] is None]
    counts = sorted({r["patients"] for r in found})
    by = {(r["score"], r["average"] or "table", r["patients"]): r for r in found}
    if counts:
        yield "| score of grades | of | " + " | ".join(map(str, counts)) + " |"
        yield "|---|---|" + "---:|" * len(counts)
    for score, average in dict.fromkeys(key[:2] for key in by):
        cells = (cell(by.get((score, average, n))) for n in counts)
        yield f"| `{score}` | {average} | " + " | ".join(cells) + " |"


def falling_short(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Each cell that lies below 0.95 by more than two standard errors of its own runs."""
    short = []
    for r in rows:
        n = r["intervals"]
        if r["label"] is None and n >= 20 and r["coverage"] < 0.95 - 2 * (0.95 * 0.05 / n) ** 0.5:
            where = name_of(r) if r["auroc"] is not None else f"grades, {r['patients']}"
            average = f", {r['average']}" if r["average"] else ""
            short.append(f"- `{r['score']}`{average} ({where}): {r['coverage']:.2f} of {n}")
    yield f"Cells below 0.95 by more than two standard errors, of {len(rows)} (1 in 40 by chance):"
    yield ""
    yield from sorted(short) or ["- none"]


def main() -> None:
    words = [w for w in sys.argv[1:] if not w.startswith("--")]
    if "--table" in sys.argv:
        table(*map(Path, words))
        return
    options = dict(w[2:].partition("=")[::2] for w in sys.argv if w.startswith("--"))
    chosen = set(options["scores"].split(",")) if "scores" in options else set()
    if "short" in options:
        chosen |= short_in(Path(options["short"]))
    for name in set(METRICS.own) - chosen if chosen else ():
        del METRICS.own[name]
    if "--by-disease" in sys.argv:
        USUAL.clear()
        OTHER[:] = [of for of in OTHER if of.images == "by disease"]
    path, runs = Path(words[0]), int(words[1]) if len(words) > 1 else RUNS
    only = set(map(int, words[2].split(","))) if len(words) > 2 else set(PATIENTS)
    simulated(path, runs, only, limits="--limits" in sys.argv)


if __name__ == "__main__":
    main()
