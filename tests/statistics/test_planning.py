"""Sizes of studies, against published examples, other packages' results and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import rankdata

from medcnn.statistics.planning import (
    AIMS,
    Cohort,
    Z,
    auroc_error,
    logits_by_class,
    needs,
    net_benefit_size,
    ratio_size,
    slope_size,
    smallest,
    wilson_half_width,
)


def auroc_size(auroc: float, prevalence: float, half_width: float) -> int:
    return smallest(lambda n: Z * auroc_error(auroc, n, prevalence) <= half_width)


# Printed by pmvalsampsize 0.2.1 (Riley's own; GPL, so that it is no dependency of the tests). The
# first is the heart valves of Riley et al. 2021. Its slope is simulated, and its errors rounded.
@pytest.mark.parametrize(
    ("prevalence", "auroc", "logits", "oe", "ratio", "slope", "c"),
    [
        (0.018, 0.8, (-5, 2.5), 0.5, 905, 4544, 4252),
        (0.43, 0.77, (-0.3, 0.9), 0.1, 510, 3060, 347),
    ],
)
def test_sizes_of_validation_studies_are_those_of_riley(
    prevalence: float,
    auroc: float,
    logits: tuple[float, float],
    oe: float,
    ratio: int,
    slope: int,
    c: int,
) -> None:
    assert ratio_size(oe, prevalence) in (ratio, ratio + 1)
    assert slope_size(0.1, [(1, *logits)]) == pytest.approx(slope, rel=0.005)
    assert auroc_size(auroc, prevalence, 0.05) == c


def test_the_size_for_net_benefit_is_that_of_riley() -> None:
    assert net_benefit_size(0.1, 0.018, 0.801, 0.883, 0.08) == pytest.approx(11016, rel=0.002)


def test_sizes_from_the_auroc_alone_are_near_those_of_sampsizeval() -> None:
    """Its own test: prevalence 0.057, AUROC 0.77, SE 0.025 and 0.15 (Pavlou et al. 2021)."""
    assert auroc_size(0.77, 0.057, 0.025 * Z) == pytest.approx(1599, rel=0.03)
    assert slope_size(0.15 * Z, logits_by_class(0.77, 0.057)) == pytest.approx(934, rel=0.04)


def test_logits_by_class_have_the_prevalence_and_the_auroc() -> None:
    draw = np.random.default_rng(0)
    logits = logits_by_class(0.8, 0.1)
    x = [draw.normal(mean, spread, 200_000) for _, mean, spread in logits]
    assert np.mean(x[1] > x[0]) == pytest.approx(0.8, abs=0.005)
    means = [(1 / (1 + np.exp(-v))).mean() for v in x]
    assert 0.9 * means[0] + 0.1 * means[1] == pytest.approx(0.1, abs=0.001)


def test_the_smallest_size_is_enough_and_one_less_is_not() -> None:
    n = smallest(lambda n: wilson_half_width(0.9, n) <= 0.05)
    assert wilson_half_width(0.9, n) <= 0.05 < wilson_half_width(0.9, n - 1)
    assert smallest(lambda n: True) == 2
    with pytest.raises(ValueError, match="more than"):
        smallest(lambda n: False)


def test_studies_of_the_planned_size_have_the_planned_spread() -> None:
    """Of the AUROC of independent images, and of a sensitivity with correlated ones."""
    draw = np.random.default_rng(1)
    (need,) = needs(Cohort(prevalence=0.3), {"auroc": 0.85}, half_width=0.05)
    positive, apart = round(0.3 * need.images), math.sqrt(2) * 1.0364
    found = []
    for _ in range(400):
        x = draw.normal(size=need.images)
        x[:positive] += apart
        ranks = rankdata(x)[:positive].sum() - positive * (positive + 1) / 2
        found.append(ranks / positive / (need.images - positive))
    assert np.mean(found) == pytest.approx(0.85, abs=0.005)
    assert Z * np.std(found) == pytest.approx(0.05, rel=0.12)

    cohort = Cohort(prevalence=0.5, images_per_patient=3, icc=0.4)
    (need,) = needs(cohort, {"sensitivity": 0.8}, half_width=0.05)
    total = (1 - 0.4) / 0.4  # of the beta distribution whose draws correlate with 0.4
    rates = draw.beta(0.8 * total, 0.2 * total, size=(2000, need.with_condition))
    shares = draw.binomial(3, rates).mean(axis=1) / 3
    assert Z * shares.std() == pytest.approx(0.05, rel=0.08)


def test_a_test_of_the_planned_size_has_the_planned_power() -> None:
    """Two models that are right in 85 % of the same images, as often together as asked."""
    draw = np.random.default_rng(2)
    (_, need) = needs(
        Cohort(prevalence=0.5),
        {"sensitivity": 0.85},
        half_width=0.1,
        margin=0.05,
        of="sensitivity",
        correlation=0.6,
    )
    n, right = need.with_condition, []
    for _ in range(2000):
        shared = draw.random(n) < 0.6  # both have the same answer, else each its own
        a, b = (draw.random(n) < 0.85 for _ in range(2))
        difference = np.where(shared, 0, b.astype(float) - a)
        error = difference.std() / math.sqrt(n)
        right.append((difference.mean() + 0.05) / error > Z)
    assert np.mean(right) == pytest.approx(0.8, abs=0.03)


def test_what_is_not_asked_for_is_not_sized_and_what_grows_needs_grows() -> None:
    cohort = Cohort(prevalence=0.2)
    assert [n.aim for n in needs(cohort, {"specificity": 0.9}, half_width=0.1)] == ["specificity"]
    every = needs(
        cohort,
        {"auroc": 0.8, "sensitivity": 0.8, "specificity": 0.8},
        half_width=0.1,
        calibration=0.2,
        threshold=0.2,
        margin=0.05,
    )
    assert [n.aim for n in every] == [*AIMS, "not inferior"]
    lost = Cohort(prevalence=0.2, unusable=0.5)
    (one,), (two,) = (needs(c, {"auroc": 0.8}, half_width=0.1) for c in (cohort, lost))
    assert two.patients == pytest.approx(2 * one.patients, abs=1)
