"""How often a group that does not differ is said to, and how often bands of gaps hold the truth.

    nice -n 19 python benchmarks/subgroups.py benchmarks/results/subgroups.json [runs]

Patients have 1 to 4 images, whose noise shares 70 % of its variance. They belong to one of two
sexes and of four age bands (10, 30, 40 and 20 % of them); a view belongs to the image, so that a
patient may be in both. `no gap`: nothing depends on these. `gaps`: women have a lower AUROC, and
those of the oldest band other probabilities. Each cell is written as soon as it is done.

    nice -n 19 python benchmarks/subgroups.py benchmarks/results/subgroups-folds.json 300 --folds

does the same for predictions out of five folds, whose models differ in scale, mean and threshold.
`--classes` and `--grades` do it for three exclusive classes and for four grades.
"""

from __future__ import annotations

import json
import math
import sys
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import norm

from medcnn.data.labels import Kind, LabelSpace
from medcnn.statistics.decisions import Readout
from medcnn.statistics.predictions import Predictions
from medcnn.statistics.subgroups import Subgroups, subgroups

BINARY = LabelSpace(kind=Kind.BINARY, names=("no", "yes"))
AGES = ("under 40", "40 to under 60", "60 to under 80", "80 or more")
SHARED, TRUTH, RESAMPLES = 0.7, 200_000, 500
FOLDED = "--folds" in sys.argv
CLASSES = LabelSpace(kind=Kind.MULTICLASS, names=("a", "b", "c"))
GRADES = LabelSpace(kind=Kind.ORDINAL, names=("0", "1", "2", "3"))
PRIORS = {"--classes": (CLASSES, (0.5, 0.3, 0.2)), "--grades": (GRADES, (0.4, 0.3, 0.2, 0.1))}
MANY = next((PRIORS[word] for word in sys.argv if word in PRIORS), None)
# Scale and shift of the log odds of each fold's model, and how far its threshold is off.
MODELS = ((0.7, -0.6, 0.3), (0.9, 0.4, -0.2), (1.0, 0.0, 0.0), (1.2, 0.7, 0.4), (1.4, -0.3, -0.3))


@dataclass(frozen=True, kw_only=True)
class Population:
    auroc: float
    prevalence: float
    gaps: bool = False


POPULATIONS = [
    Population(auroc=a, prevalence=p, gaps=g)
    for g in (False, True)
    for a, p in ((0.8, 0.3), (0.95, 0.3), (0.9, 0.1))[: 2 if MANY else 3]
]


def draw(
    of: Population, patients: int, rng: np.random.Generator
) -> tuple[Predictions, dict[str, list[str]]]:
    sick, woman = rng.random(patients) < of.prevalence, rng.random(patients) < 0.5
    age = rng.choice(4, size=patients, p=(0.1, 0.3, 0.4, 0.2))
    group = np.repeat(np.arange(patients), rng.integers(1, 5, size=patients))
    n, yes = len(group), sick[group]
    noise = _noise(group, patients, rng)
    apart = 2**0.5 * norm.ppf(of.auroc)
    own = apart * np.where(of.gaps & woman[group], 0.7, 1.0)
    seen = own * yes + noise
    odds = apart * seen - apart**2 / 2 + np.log(of.prevalence / (1 - of.prevalence))
    odds += np.where(of.gaps & (age[group] == 3), 1.0, 0.0)
    view = rng.random(n) < 0.6
    more: dict[str, Any] = {"readout": Readout.of_thresholds([of.prevalence])}
    if FOLDED:
        fold = rng.permutation(patients)[group] % len(MODELS)
        scale, shift, _ = np.array(MODELS)[fold].T
        odds = scale * odds + shift
        usual = np.log(of.prevalence / (1 - of.prevalence))
        cuts = [1 / (1 + np.exp(-(a * (usual + off) + b))) for a, b, off in MODELS]
        more = {
            "folds": tuple((fold + 1).tolist()),
            "by_fold": tuple(Readout.of_thresholds([cut]) for cut in cuts),
        }
    labels, targets, logits = BINARY, yes[:, None], odds[:, None]
    if MANY:
        labels, more = MANY[0], {}
        less = np.where(of.gaps & woman[group], 0.7, 1.0)
        targets, logits = _many(*MANY, apart, less, group, patients, rng)
        logits[:, 0] += np.where(of.gaps & (age[group] == 3), 1.0, 0.0)
    found = Predictions(
        labels=labels,
        split="oof" if FOLDED else "test",
        image_ids=tuple(map(str, range(n))),
        groups=tuple(map(str, group)),
        targets=targets.astype(np.float32),
        logits=logits.astype(np.float32),
        **more,
    )
    return found, {
        "sex": ["female" if w else "male" for w in woman[group]],
        "age": [AGES[a] for a in age[group]],
        "view": ["PA" if v else "AP" for v in view],
    }


def _noise(group: np.ndarray, patients: int, rng: np.random.Generator) -> np.ndarray:
    own = rng.normal(0, SHARED**0.5, patients)[group]
    return own + rng.normal(0, (1 - SHARED) ** 0.5, len(group))


def _many(
    labels: LabelSpace,
    priors: tuple[float, ...],
    apart: float,
    less: np.ndarray,
    group: np.ndarray,
    patients: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Targets and logits [n, K]: grades lie on a line, classes in directions of their own."""
    count = len(priors)
    truth = rng.choice(count, size=patients, p=priors)[group]
    is_class = np.eye(count)[truth]
    if labels.kind is Kind.ORDINAL:
        places = apart * np.arange(count)
        seen = places[truth] * less + _noise(group, patients, rng)
        logits = seen[:, None] * places - places**2 / 2
    else:
        noises = np.stack([_noise(group, patients, rng) for _ in priors], axis=1)
        logits = apart * (apart * is_class * less[:, None] + noises)
    return is_class, logits + np.log(priors)


def one(job: tuple[Population, int, int]) -> dict[str, Any]:
    of, patients, runs = job
    rng = np.random.default_rng(patients)
    large, groups = draw(of, TRUTH // 2, np.random.default_rng(1))
    truth = _by_key(subgroups(large, groups, resamples=20))
    counts: dict[str, list[float]] = defaultdict(list)
    gaps = []
    for _ in range(runs):
        found = subgroups(*draw(of, patients, rng), resamples=RESAMPLES)
        gaps.append(found.gaps)
        alarm = missed = False
        for key, s in _by_key(found).items():
            real = truth[key]
            if not math.isnan(s.score.low):
                counts[key[2]].append(s.score.low <= real.score.value <= s.score.high)
            if not math.isnan(s.low):
                alarm |= s.alarm
                missed |= not s.low <= real.gap <= s.high
                if (
                    of.gaps
                    and abs(real.gap) > s.smallest * 0.9
                    and abs(real.gap) < s.smallest * 1.1
                ):
                    counts["shown at the smallest gap"].append(s.alarm)
        counts["any alarm"].append(alarm)
        counts["all bands hold"].append(not missed)
    shares = {k: round(float(np.mean(v)), 4) for k, v in counts.items()}
    tried = {"shown at the smallest gap": len(counts["shown at the smallest gap"])}
    return {**asdict(of), "patients": patients, "runs": runs, "gaps": float(np.mean(gaps))} | {
        "shares": shares,
        "tried": tried,
    }


def _by_key(found: Subgroups) -> dict[tuple[str, ...], Any]:
    each = ((g, s) for g in found.groups for s in g.scores)
    return {(g.by, g.name, s.score.name, s.score.label or ""): s for g, s in each}


def main(path: Path, runs: int) -> None:
    rows = json.loads(path.read_text()) if path.is_file() else []
    done = {(r["auroc"], r["prevalence"], r["gaps_there"], r["patients"]) for r in rows}
    jobs = [(of, n, runs) for n in (150, 400) for of in POPULATIONS]
    jobs = [j for j in jobs if (j[0].auroc, j[0].prevalence, j[0].gaps, j[1]) not in done]
    with ProcessPoolExecutor(1) as pool:
        for (of, _, _), row in zip(jobs, pool.map(one, jobs), strict=True):
            rows.append({**row, "gaps_there": of.gaps})
            path.write_text(json.dumps(rows, indent=1) + "\n")
            print(json.dumps(rows[-1]), flush=True)


if __name__ == "__main__":
    words = [w for w in sys.argv[1:] if not w.startswith("--")]
    main(Path(words[0]), int(words[1]) if len(words) > 1 else 300)
