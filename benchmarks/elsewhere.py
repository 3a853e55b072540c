"""How often intervals about another hospital, about patients and about a month hold the truth.

    nice -n 19 python benchmarks/elsewhere.py [runs] [patients,...]    some minutes
    nice -n 19 python benchmarks/elsewhere.py few [runs]               prevalences, few sick at home
    nice -n 19 python benchmarks/elsewhere.py classes [runs]           prevalences of three classes

Patients as in benchmarks/coverage.py. At home the AUROC is 0.9 and 20 % are sick; elsewhere it is
0.8 and 40 % are. `threshold` is the change of a score at a stored threshold. For prevalences from
answers alone, only the share of the sick differs. Scores per patient are of the mean, of the
largest probability and of noisy-or. A closed test should leave probabilities alone that are right,
and a month like validation should raise no alarm, in 95 of 100 runs. Truth is of 60,000 patients.

With `few`, 200 patients at home of one image each, of whom 5, 10 or 20 are sick, and 1,000
elsewhere, of whom 40 % are; sensitivity is 0.9 and specificity 0.95.

With `classes`, 1,500 patients of one image each at home and in a month, whose model calls a class
with the same probabilities, while the mix of the classes differs.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from coverage import BINARY, SURE, TRUTH, Population, draw

from medcnn.data.labels import Kind, LabelSpace
from medcnn.statistics import monitoring
from medcnn.statistics.decisions import OperatingPoint, Readout
from medcnn.statistics.estimates import Estimate
from medcnn.statistics.intervals import group_numbers
from medcnn.statistics.metrics.table import score
from medcnn.statistics.monitoring import Said, Size, changes
from medcnn.statistics.patients import together
from medcnn.statistics.predictions import Predictions
from medcnn.statistics.recalibration import Way, closed_test
from medcnn.statistics.scores import evaluate
from medcnn.statistics.shares import share_by_patient
from medcnn.statistics.transport import cuts, prevalences, transported

HOME, ABROAD = Population(auroc=0.9, prevalence=0.2), Population(auroc=0.8, prevalence=0.4)
SHIFTED = Population(auroc=0.9, prevalence=0.4)
PATIENTS, RULES, ALARM = (30, 60, 120, 300), ("mean", "maximum", "noisy_or"), 0.05
FEW, FEW_HOME, FEW_HERE, FEW_SHARE = (5, 10, 20), 200, 1000, 0.4
CLASSES = LabelSpace(kind=Kind.MULTICLASS, names=("nevus", "melanoma", "keratosis"))
MIX_HOME, MIX_HERE, MIX_PATIENTS = (0.67, 0.11, 0.22), (0.39, 0.11, 0.5), 1500
CALLS = np.array([[0.94, 0.03, 0.03], [0.2, 0.7, 0.1], [0.1, 0.2, 0.7]])
DIFFER = ("auroc", "brier", "calibration_intercept", "calibration_slope")
BOUND = 2.0  # about 5 % of the images at home are beyond it
HALF = Readout(points=(OperatingPoint(name="half", thresholds=(0.5,)),))
AT_THRESHOLD = ("sensitivity", "specificity")
BY_PATIENT = ("auroc", "sensitivity", "specificity", "brier")


def as_at_home(p: Predictions) -> Predictions:
    """The answers of a model that still expects the share of the sick at home."""
    odds = [np.log(of.prevalence / (1 - of.prevalence)) for of in (SHIFTED, HOME)]
    return replace(p, logits=p.logits - np.float32(SURE * (odds[0] - odds[1])))


def said(p: Predictions) -> Said:
    answers = {"P": (Size.SPREAD, p.probabilities[:, 0])}
    answers["called"] = (Size.SHARE, p.decisions[:, 0].astype(float))
    groups = group_numbers(p.groups)[0]
    return Said(
        labels=p.labels,
        answers=answers,
        patients=groups,
        grouped=True,
        decisions=p.decisions.astype(float),
        targets=None,
        checkpoint="",
    )


def truths() -> dict[str, float]:
    rng = np.random.default_rng(1)
    home, abroad = draw(HOME, TRUTH, rng), draw(ABROAD, TRUTH, rng)
    found = {f"difference, {n}": score(abroad, n) - score(home, n) for n in DIFFER}
    found |= {f"threshold, {n}": score(abroad, n) - score(home, n) for n in AT_THRESHOLD}
    for rule in RULES:
        whole = together(home, "", rule)
        found |= {f"patients, {rule}, {n}": score(whole, n) for n in BY_PATIENT}
    found["share beyond a bound"] = beyond(home).value
    return found | {"prevalence from answers": SHIFTED.prevalence}


def beyond(p: Predictions) -> Estimate:
    """The mean over patients of the share of their images beyond a bound, as of verdicts."""
    return share_by_patient(p.logits[:, 0] > BOUND, group_numbers(p.groups)[0])


def held(patients: int, run: int, true: dict[str, float]) -> Iterator[tuple[str, bool]]:
    rng = np.random.default_rng((patients, run))
    home, abroad = draw(HOME, patients, rng), draw(ABROAD, patients, rng)
    shifted = as_at_home(draw(SHIFTED, patients, rng))
    found = {
        f"difference, {d.score}": (d.low, d.high)
        for d in transported(home, abroad, DIFFER, resamples=200, seed=run)
    }
    (cut,) = cuts(replace(home, readout=HALF), replace(abroad, readout=HALF))
    found |= {f"threshold, {n}": (c.low, c.high) for n, c in cut.changes.items()}
    for rule in RULES:
        judged = evaluate(together(home, "", rule), resamples=200, seed=run, names=BY_PATIENT)
        found |= {f"patients, {rule}, {s.name}": (s.low, s.high) for s in judged.scores}
    (shares,) = prevalences(home, shifted, resamples=200, seed=run)
    share = beyond(home)
    found["share beyond a bound"] = (share.low, share.high)
    found["prevalence from answers"] = (shares.estimated.low, shares.estimated.high)
    for name, (low, high) in found.items():
        if not np.isnan(low):
            yield name, low <= true[name] <= high
    z = home.logits[:, 0].astype(float) / SURE
    groups = group_numbers(home.groups)[0]
    weights = 1 / np.bincount(groups)[groups]
    luck = rng.random(groups.max() + 1)[groups]  # one for a patient
    right = (luck < 1 / (1 + np.exp(-z))).astype(float)
    yield "closed test leaves alone", closed_test(z, z[:, None], right, weights)[0] is Way.NONE
    month = draw(HOME, patients, rng)
    calm = not any(c.calls(ALARM) for c in changes(said(home), said(month), alarm=ALARM, seed=run))
    yield "month without alarm", calm


def called(sick: np.ndarray, rng: np.random.Generator) -> Predictions:
    """Patients with one image each, called with the sensitivity and specificity of `few`."""
    yes = rng.random(len(sick)) < np.where(sick, 0.9, 0.05)
    names = tuple(map(str, range(len(sick))))
    return Predictions(
        labels=BINARY,
        split="test",
        image_ids=names,
        groups=names,
        targets=sick[:, None].astype(np.float32),
        logits=np.where(yes, 5, -5)[:, None].astype(np.float32),
    )


def few_sick(runs: int) -> None:
    """Prints how often intervals of a prevalence hold the truth, and their median width."""
    print("| sick at home | external | width | monitor | width |\n|---:|---:|---:|---:|---:|")
    for positives in FEW:
        ends: list[list[tuple[float, float]]] = [[], []]
        for run in range(runs):
            rng = np.random.default_rng((positives, run))
            home = called(np.arange(FEW_HOME) < positives, rng)
            here = called(rng.random(FEW_HERE) < FEW_SHARE, rng)
            (e,) = prevalences(home, here, resamples=200, seed=run)
            ends[0].append((e.estimated.low, e.estimated.high))
            before = replace(said(home), targets=home.targets.astype(float))
            ends[1] += [
                (m.low, m.high) for m in monitoring.prevalences(before, said(here), seed=run)
            ]
        cells = []
        for of in ends:
            low, high = np.array(of).T
            known = np.isfinite(low)
            inside = (low <= FEW_SHARE) & (high >= FEW_SHARE)
            cells += [f"{inside[known].mean():.3f}", f"{np.median((high - low)[known]):.2f}"]
        print(f"| {positives} | {' | '.join(cells)} |", flush=True)


def classified(mix: tuple[float, ...], rng: np.random.Generator) -> Predictions:
    """Patients with one image each, called as `CALLS` says of the row of their class."""
    truth = rng.choice(3, MIX_PATIENTS, p=mix)
    called = (rng.random((MIX_PATIENTS, 1)) > CALLS[truth].cumsum(axis=1)).sum(axis=1)
    names = tuple(map(str, range(MIX_PATIENTS)))
    return Predictions(
        labels=CLASSES,
        split="test",
        image_ids=names,
        groups=names,
        targets=np.eye(3, dtype=np.float32)[truth],
        logits=5 * np.eye(3, dtype=np.float32)[called],
    )


def classes(runs: int) -> None:
    """Prints how often intervals of the shares of three classes hold the truth."""
    held = np.zeros((2, 3))
    for run in range(runs):
        rng = np.random.default_rng(run)
        home, here = classified(MIX_HOME, rng), classified(MIX_HERE, rng)
        before = replace(said(home), targets=home.targets.astype(float))
        ends = (
            [p.estimated for p in prevalences(home, here, resamples=200, seed=run)],
            monitoring.prevalences(before, said(here), seed=run),
        )
        for of, found in zip(held, ends, strict=True):
            of += [e.low <= share <= e.high for e, share in zip(found, MIX_HERE, strict=True)]
    print(f"| | {' | '.join(CLASSES.names)} |\n|---|---:|---:|---:|")
    for name, of in zip(("external", "monitor"), held / runs, strict=True):
        print(f"| {name} | {' | '.join(f'{share:.3f}' for share in of)} |")


def main() -> None:
    if sys.argv[1:2] == ["classes"]:
        classes(int(sys.argv[2]) if len(sys.argv) > 2 else 300)
        return
    if sys.argv[1:2] == ["few"]:
        few_sick(int(sys.argv[2]) if len(sys.argv) > 2 else 300)
        return
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    sizes = tuple(map(int, sys.argv[2].split(","))) if len(sys.argv) > 2 else PATIENTS
    true, table = truths(), defaultdict[str, list[str]](list)
    for patients in sizes:
        seen = defaultdict[str, list[bool]](list)
        for run in range(runs):
            for name, inside in held(patients, run, true):
                seen[name].append(inside)
        for name in [*true, "closed test leaves alone", "month without alarm"]:
            few = len(seen[name]) < runs / 10
            table[name].append("few" if few else f"{np.mean(seen[name]):.2f}")
            print(patients, name, table[name][-1], len(seen[name]), flush=True)
    print(f"| | {' | '.join(map(str, sizes))} |\n|---|{'---:|' * len(sizes)}")
    for name, cells in table.items():
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
