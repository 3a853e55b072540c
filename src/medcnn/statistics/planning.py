"""How many patients a study needs, before it begins.

Each size is the smallest for which an interval is as narrow, or a test as powerful, as asked. Sizes
of images that depend on each other grow by Kish's design effect. docs/planning.md has the
formulas, and what they were checked against.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

Z = NormalDist().inv_cdf(0.975)
MOST = 10**9
"""Images; whoever needs more has asked for the impossible."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cohort:
    """The patients to come.

    Attributes:
        prevalence: share of patients with the condition, in (0, 1).
        images_per_patient: on average, 1 or more; all with the label of their patient.
        icc: correlation of what is judged right between two images of a patient, 0 to 1.
        unusable: share of patients who will have no usable image or label, in [0, 1).
    """

    prevalence: float
    images_per_patient: float = 1.0
    icc: float = 0.0
    unusable: float = 0.0

    @property
    def design_effect(self) -> float:
        """How many images tell as much as one independent image. Source: Kish 1965, Survey
        Sampling."""
        return 1 + (self.images_per_patient - 1) * self.icc


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What one aim needs.

    Attributes:
        aim: name in `AIMS`, or `not inferior`.
        of: the score of a test; otherwise the aim.
        expected: value in the study.
        wanted: half of the width of its 95 % interval, or the margin of a test.
        independent: images if all were of different patients.
        images, patients, with_condition: to be recruited, counting unusable ones.
    """

    aim: str
    of: str
    expected: float
    wanted: float
    independent: int
    images: int
    patients: int
    with_condition: int


def smallest(enough: Callable[[int], bool]) -> int:
    """The smallest n from 2 for which `enough` holds, as it then does for all larger n.

    Raises:
        ValueError: more than `MOST` would be needed.
    """
    high = 2
    while not enough(high):
        high *= 2
        if high > MOST:
            raise ValueError(f"more than {MOST:,} images would be needed")
    low = max(1, high // 2)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def wilson_half_width(share: float, n: float) -> float:
    """Half of the width of Wilson's 95 % interval of a share of n images. Source: Wilson 1927, JASA
    22(158)."""
    return Z / (1 + Z**2 / n) * math.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))


def auroc_error(auroc: float, n: float, prevalence: float) -> float:
    """Standard error of an AUROC of n images. Source: Newcombe 2006, Statistics in Medicine 25(4),
    as in Riley et al. 2021, Statistics in Medicine 40(19)."""
    rest = (n / 2 - 1) * ((1 - auroc) / (2 - auroc) + auroc / (1 + auroc))
    variance = auroc * (1 - auroc) * (1 + rest) / (n**2 * prevalence * (1 - prevalence))
    return math.sqrt(variance)


def ratio_size(half_width: float, prevalence: float) -> int:
    """Images for observed / expected cases, if that is 1. Source: Riley et al. 2021, whose interval
    is that of the logarithm: from exp(-1.96 SE) to exp(1.96 SE)."""
    error = math.asinh(half_width) / Z
    return math.ceil((1 - prevalence) / (prevalence * error**2))


def logits_by_class(auroc: float, prevalence: float) -> list[tuple[float, float, float]]:
    """(share, mean, standard deviation) of calibrated logits that are normal in each class, with
    the same spread in both: the only such logits with this AUROC and prevalence.

    Source: the linear discriminant; used by Riley et al. 2021 and Pavlou et al. 2021, SMMR 30(10).
    """
    spread = math.sqrt(2) * NormalDist().inv_cdf(auroc)
    middle = math.log(prevalence / (1 - prevalence))
    return [
        (1 - prevalence, middle - spread**2 / 2, spread),
        (prevalence, middle + spread**2 / 2, spread),
    ]


def slope_size(half_width: float, logits: list[tuple[float, float, float]]) -> int:
    """Images for the calibration slope, if that is 1.

    Args:
        logits: parts of their distribution, as from `logits_by_class`.

    Source: Riley et al. 2021: Fisher's information of logistic recalibration, integrated over the
    logits (here by Gauss and Hermite).
    """
    at, weight = np.polynomial.hermite_e.hermegauss(80)
    x: NDArray[Any] = np.concatenate([mean + spread * at for _, mean, spread in logits])
    w = np.concatenate([share * weight / weight.sum() for share, _, _ in logits])
    p = 1 / (1 + np.exp(-x))
    zero, one, two = (float((w * p * (1 - p) * x**power).sum()) for power in (0, 1, 2))
    return math.ceil(zero / ((half_width / Z) ** 2 * (zero * two - one**2)))


def net_benefit_size(
    half_width: float, prevalence: float, sensitivity: float, specificity: float, threshold: float
) -> int:
    """Images for the net benefit at a threshold, as a share of the largest possible. Source: Marsh
    et al. 2020, Biometrics 76(3), as in Riley et al. 2021."""
    weight = (1 - prevalence) / prevalence * threshold / (1 - threshold)
    false = 1 - specificity
    variance = sensitivity * (1 - sensitivity) / prevalence
    variance += weight**2 * specificity * false / (1 - prevalence)
    variance += (weight * false) ** 2 / (prevalence * (1 - prevalence))
    return math.ceil(variance / (half_width / Z) ** 2)


def _share_size(half_width: float, share: float, of: float) -> int:
    """Images if only the share `of` of them is on this side."""
    return math.ceil(smallest(lambda n: wilson_half_width(share, n) <= half_width) / of)


AIMS = {
    "auroc": "AUROC",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "observed/expected": "Ratio of observed to expected cases",
    "slope": "Calibration slope",
    "net benefit": "Net benefit",
}


def size_of_test(
    of: str, expected: float, prevalence: float, margin: float, power: float, correlation: float
) -> int:
    """Images with which a second model that is as good is found not inferior, with this power.

    One-sided at 2.5 %, as in `medcnn compare`. The difference of two scores of the same images has
    the variance 2 (1 - correlation) of one.
    """
    wanted = margin / (Z + NormalDist().inv_cdf(power)) / math.sqrt(2 * (1 - correlation))
    if of == "auroc":
        return smallest(lambda n: auroc_error(expected, n, prevalence) <= wanted)
    side = prevalence if of == "sensitivity" else 1 - prevalence
    return math.ceil(expected * (1 - expected) / wanted**2 / side)


def needs(
    cohort: Cohort,
    scores: Mapping[str, float],
    *,
    half_width: float,
    calibration: float | None = None,
    threshold: float | None = None,
    logits: tuple[float, float] | None = None,
    margin: float | None = None,
    of: str = "auroc",
    power: float = 0.8,
    correlation: float = 0.5,
) -> list[Need]:
    """Every size that was asked for, in the order of `AIMS`.

    Args:
        scores: expected `auroc`, `sensitivity` and `specificity`, those that are aims.
        half_width: of the intervals of these, and of the net benefit.
        calibration: half-width for the slope and for observed / expected; the slope needs `auroc`
            or `logits`.
        threshold: of the net benefit, which needs sensitivity and specificity.
        logits: mean and standard deviation, if they are normal over all images.
        margin: of a test for `of`, which must be in `scores`.

    Raises:
        ValueError: a size is beyond `MOST`.
    """
    p = cohort.prevalence
    found: list[Need] = []

    def add(aim: str, expected: float, wanted: float, size: int, of: str = "") -> None:
        images = size * cohort.design_effect / (1 - cohort.unusable)
        patients = math.ceil(images / cohort.images_per_patient - 1e-9)
        found.append(
            Need(
                aim=aim,
                of=of or aim,
                expected=expected,
                wanted=wanted,
                independent=size,
                images=math.ceil(patients * cohort.images_per_patient - 1e-9),
                patients=patients,
                with_condition=math.ceil(patients * p - 1e-9),
            )
        )

    if (auroc := scores.get("auroc")) is not None:
        size = smallest(lambda n: Z * auroc_error(auroc, n, p) <= half_width)
        add("auroc", auroc, half_width, size)
    for name, side in (("sensitivity", p), ("specificity", 1 - p)):
        if name in scores:
            add(name, scores[name], half_width, _share_size(half_width, scores[name], side))
    if calibration is not None:
        add("observed/expected", 1.0, calibration, ratio_size(calibration, p))
        if logits or auroc is not None:
            parts = [(1.0, *logits)] if logits else logits_by_class(auroc or 0.5, p)
            add("slope", 1.0, calibration, slope_size(calibration, parts))
    if threshold is not None:
        right = scores["sensitivity"], scores["specificity"]
        size = net_benefit_size(half_width, p, *right, threshold)
        weight = (1 - p) / p * threshold / (1 - threshold)
        add("net benefit", right[0] - weight * (1 - right[1]), half_width, size)
    if margin is not None:
        size = size_of_test(of, scores[of], p, margin, power, correlation)
        add("not inferior", scores[of], margin, size, of)
    return found
