"""Operating points: the probability from which a label is called present, by a rule that the user
chooses and that is applied to validation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.data.labels import Floats
from medcnn.statistics.intervals import group_numbers, lower_bounds
from medcnn.system.registry import Table

DEFAULT_THRESHOLD = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatingPoint:
    """A rule and its result on validation.

    Attributes:
        name: as shown in tables: `youden`, `sensitivity at=0.95`.
        thresholds: one probability per output, from which a label is called present; exclusive
            classes count as separate yes-or-no questions. For the rule `kappa`, the K - 1 expected
            grades from which the next grade is predicted.
        grades: whether these are grades.
        reasons: one per output: why the rule could not choose and 0.5 (half grades) is used, or
            "". Empty if it could always choose, and in earlier files.
    """

    name: str
    thresholds: tuple[float, ...]
    grades: bool = False
    reasons: tuple[str, ...] = ()

    def reason(self, output: int) -> str:
        """Why the rule could not choose a threshold for this output, or ""."""
        return self.reasons[output] if self.reasons else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cuts:
    """Results of each cut between two neighbouring probabilities on validation, all [M].

    Attributes:
        surely: one-sided lower bounds [M] of `sensitivity` or `specificity` at a confidence, with
            patients as independent units.
    """

    sensitivity: Floats
    specificity: Floats
    positives: float
    negatives: float
    surely: Callable[[str, float], Floats]


def youden(cuts: Cuts) -> Floats:
    """Sensitivity + specificity - 1 (Youden 1950, Cancer 3(1))."""
    return cuts.sensitivity + cuts.specificity - 1


def sensitivity(cuts: Cuts, *, at: float) -> Floats:
    """The best specificity of all cuts that find a share `at` of the positives."""
    return np.where(cuts.sensitivity >= at - 1e-12, 1 + cuts.specificity, cuts.sensitivity - at)


def specificity(cuts: Cuts, *, at: float) -> Floats:
    """The best sensitivity of all cuts that clear a share `at` of the negatives."""
    return np.where(cuts.specificity >= at - 1e-12, 1 + cuts.sensitivity, cuts.specificity - at)


def sure_sensitivity(cuts: Cuts, *, at: float, confidence: float = 0.95) -> Floats:
    """The best specificity of all cuts that find a share `at` of the positives with confidence.

    A cut that finds just that share on validation finds less in about half of all sets of new
    patients. So cuts are tried from the lowest upwards, as long as the lower bound of sensitivity
    reaches `at`. The chosen cut misses it with a probability of at most 1 - `confidence` (tests in
    a fixed order: Angelopoulos et al. 2025, Annals of Applied Statistics 19(2), "learn then test").
    """
    surely = cuts.surely("sensitivity", confidence) >= at - 1e-12
    return np.where(np.minimum.accumulate(surely), cuts.specificity, -np.inf)


def sure_specificity(cuts: Cuts, *, at: float, confidence: float = 0.95) -> Floats:
    """The best sensitivity of all cuts that clear a share `at` of the negatives with confidence:
    like `sure_sensitivity`, but from the highest cut downwards."""
    surely = cuts.surely("specificity", confidence)[::-1] >= at - 1e-12
    return np.where(np.minimum.accumulate(surely)[::-1], cuts.sensitivity, -np.inf)


def cost(cuts: Cuts, *, miss: float, false_alarm: float = 1.0) -> Floats:
    """Lowest cost per image, at the prevalence in validation.

    Args:
        miss: cost of a missed positive.
        false_alarm: cost of a negative that is called positive.
    """
    missed = miss * cuts.positives * (1 - cuts.sensitivity)
    alarms = false_alarm * cuts.negatives * (1 - cuts.specificity)
    return -(missed + alarms) / (cuts.positives + cuts.negatives)


def f1(cuts: Cuts) -> Floats:
    """Harmonic mean of sensitivity and precision."""
    found = cuts.positives * cuts.sensitivity
    alarms = cuts.negatives * (1 - cuts.specificity)
    return 2 * found / (cuts.positives + found + alarms)


def kappa(_cuts: Cuts) -> Floats:
    """For ordinal labels: cut points of the expected grade with the largest quadratic weighted
    kappa (Cohen 1968). Fitted by `_grade_cuts`, since it depends on all grades at once."""
    raise AssertionError("kappa is fitted over all grades at once")


RULES: Table[Callable[..., Floats]] = Table(
    "rule",
    {
        "youden": youden,
        "sensitivity": sensitivity,
        "specificity": specificity,
        "sure_sensitivity": sure_sensitivity,
        "sure_specificity": sure_specificity,
        "cost": cost,
        "f1": f1,
        "kappa": kappa,
    },
    function=lambda rule: rule,
    limits={
        "at": (0.0, 1.0),
        "confidence": (0.5, 0.999),
        "miss": (0.0, 1e6),
        "false_alarm": (0.0, 1e6),
    },
)


def point_name(rule: Mapping[str, Any]) -> str:
    options = [f"{key}={value:g}" for key, value in rule.items() if key != "name"]
    return " ".join([rule["name"], *options])


WORDS = {
    "youden": "Youden's index",
    "sensitivity": "sensitivity of {at}",
    "specificity": "specificity of {at}",
    "sure_sensitivity": "sensitivity of at least {at} with {confidence} confidence",
    "sure_specificity": "specificity of at least {at} with {confidence} confidence",
    "cost": "a miss costs {miss}, a false alarm {false_alarm}",
    "f1": "largest F1",
    "kappa": "largest kappa",
}


def rule_words(point: str) -> str:
    """The name of an operating point in words: `sensitivity of 0.95` for `sensitivity at=0.95`."""
    name, *options = point.split()
    return WORDS[name].format(**dict(option.split("=") for option in options))


def fit_point(
    rule: Mapping[str, Any],
    probabilities: Floats,
    targets: Floats,
    groups: Sequence[str] | None = None,
) -> OperatingPoint:
    """The operating point that `rule` chooses on validation.

    Args:
        rule: `{name: ..., **options}`, a key of RULES with all its options.
        probabilities: [N, K], calibrated if there is a calibration.
        targets: [N, K], nan for "not assessed".
        groups: patient of each image [N]; None: every image has another patient.
    """
    options = {key: value for key, value in rule.items() if key != "name"}
    if rule["name"] == "kappa":
        cuts, reason = _grade_cuts(probabilities, targets)
        reasons = (reason,) * len(cuts) if reason else ()
        return OperatingPoint(name=point_name(rule), thresholds=cuts, grades=True, reasons=reasons)

    def objective(cuts: Cuts) -> Floats:
        return RULES[rule["name"]](cuts, **options)

    patients = None if groups is None else group_numbers(groups)[0]
    columns = zip(targets.T, probabilities.T, strict=True)
    found = (best_threshold(t, p, objective, patients) for t, p in columns)
    thresholds, reasons = zip(*found, strict=True)
    return OperatingPoint(
        name=point_name(rule), thresholds=thresholds, reasons=reasons if any(reasons) else ()
    )


def best_threshold(
    target: Floats,
    probability: Floats,
    objective: Callable[[Cuts], Floats],
    patients: NDArray[np.int64] | None = None,
) -> tuple[float, str]:
    """The midpoint between two neighbouring probabilities at which `objective` is largest.

    Among equally good cuts, the one in the widest gap is chosen, since noise moves it least. If
    there is nothing to choose from, it is 0.5, with the reason.

    Args:
        target: 0, 1, or nan for "not assessed" [N].
        probability: [N] in [0, 1].
        patients: number of each image's patient [N]; None: every image has another patient.
    """
    known = ~np.isnan(target)
    of = (np.arange(len(target)) if patients is None else patients)[known]
    positive, probability = target[known] == 1, probability[known]
    levels, at = np.unique(probability, return_inverse=True)
    if reason := _nothing_to_pick(positive, len(levels), "class"):
        return DEFAULT_THRESHOLD, reason
    positives = np.bincount(at, weights=positive)
    negatives = np.bincount(at, weights=~positive)

    def surely(what: str, confidence: float) -> Floats:
        # cuts up to its level find a positive; cuts above it clear a negative
        if what == "sensitivity":
            return lower_bounds(at[positive], of[positive], len(levels), confidence)
        return lower_bounds(
            len(levels) - 1 - at[~positive], of[~positive], len(levels), confidence
        )[::-1]

    # cut i calls every level below i negative: from all positive to none
    cuts = Cuts(
        sensitivity=1 - np.concatenate([[0.0], np.cumsum(positives) / positives.sum()]),
        specificity=np.concatenate([[0.0], np.cumsum(negatives) / negatives.sum()]),
        positives=float(positives.sum()),
        negatives=float(negatives.sum()),
        surely=surely,
    )
    value = objective(cuts)
    if not np.isfinite(value.max()):
        return DEFAULT_THRESHOLD, "validation is too small for this confidence"
    edges = np.concatenate([[0.0], levels, [1.0]])
    equally_good = np.flatnonzero(value > value.max() - 1e-12)
    best = equally_good[np.argmax(np.diff(edges)[equally_good])]
    if len(equally_good) > 1 and {0, len(levels)} <= set(equally_good.tolist()):
        return DEFAULT_THRESHOLD, "no cut is better than the same answer for all validation images"
    if best == len(levels):
        top = float(levels[-1])
        return (float(np.nextafter(top, 2)) if top >= 1 else (top + 1) / 2), ""
    low, high = float(edges[best]), float(edges[best + 1])
    middle = (low + high) / 2
    # between adjacent floats the midpoint rounds to one of them; the lower must stay negative
    return (middle if middle > low else high), ""


def _nothing_to_pick(truth: NDArray[Any], levels: int, noun: str) -> str:
    """Why there is no choice between `levels` different numbers, or ""."""
    if not len(truth):
        return "no image was assessed in validation"
    if (truth == truth[0]).all():
        return f"only one {noun} in validation"
    return "all probabilities in validation are equal" if levels < 2 else ""


def expected_grade(probabilities: Floats) -> NDArray[np.float64]:
    """[N], from 0 to K - 1."""
    return np.asarray(probabilities @ np.arange(probabilities.shape[1]))


def _grade_cuts(
    probabilities: Floats, targets: Floats, candidates: int = 200
) -> tuple[tuple[float, ...], str]:
    """Cut points by coordinate ascent from half grades over quantiles of the expected grade; half
    grades with the reason if there is nothing to choose from."""
    known = ~np.isnan(targets).any(axis=1)
    k = targets.shape[1]
    cuts = np.arange(k - 1) + 0.5
    grade, truth = expected_grade(probabilities[known]), targets[known].argmax(axis=1)
    if reason := _nothing_to_pick(truth, len(np.unique(grade)), "grade"):
        return tuple(cuts.tolist()), reason
    tried = np.unique(np.quantile(grade, np.linspace(0, 1, candidates)))

    def score(at: Floats) -> float:
        named = np.searchsorted(at, grade, side="right")
        apart = ((named - truth) ** 2).mean()
        by_chance = (named**2).mean() + (truth**2).mean() - 2 * named.mean() * truth.mean()
        return float(1 - apart / by_chance) if by_chance else 0.0

    best, before = score(cuts), -np.inf
    while best > before + 1e-9:
        before = best
        for i in range(k - 1):
            low = cuts[i - 1] if i else -np.inf
            high = cuts[i + 1] if i < k - 2 else np.inf
            for at in tried[(tried >= low) & (tried <= high)]:
                moved = np.concatenate([cuts[:i], [at], cuts[i + 1 :]])
                if (now := score(moved)) > best + 1e-12:
                    cuts, best = moved, now
    return tuple(float(c) for c in cuts), ""
