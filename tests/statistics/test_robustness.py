"""Differences to the same images as they are: paired, by patient, adjusted over kinds."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from medcnn.data.labels import Kind
from medcnn.statistics.comparing import compare
from medcnn.statistics.metrics.table import score
from medcnn.statistics.predictions import Predictions
from medcnn.statistics.robustness import robustness
from medcnn.system.errors import UsageError


def noisier(p: Predictions, by: float, seed: int = 0) -> Predictions:
    noise = np.random.default_rng(seed).normal(size=p.logits.shape) * by
    return replace(p, logits=(p.logits + noise).astype(np.float32))


@pytest.mark.parametrize("kind", list(Kind))
def test_a_grade_alone_is_the_comparison_of_two_models(simulate, kind: Kind) -> None:
    clean = simulate(kind, 120)
    worse = [noisier(clean, by) for by in (1, 3)]
    found = robustness(clean, {"noise": worse}, "auroc", resamples=200)
    for grade, other in zip(found.kinds[0].grades, worse, strict=True):
        known = compare(clean, other, ["auroc"], resamples=200).differences[0]
        for name in ("difference", "low", "high", "p", "freedom", "count", "groups"):
            assert getattr(grade.change, name) == pytest.approx(getattr(known, name)), name
        assert grade.score.value == pytest.approx(score(other, "auroc"))
        assert math.isnan(grade.change.p_permuted)
        same = (other.decisions == clean.decisions).all(axis=1)
        assert grade.flips.value == pytest.approx(1 - same.mean())
    assert found.clean.value == pytest.approx(score(clean, "auroc"))


def test_a_score_without_influence_is_resampled(simulate) -> None:
    clean = simulate(Kind.ORDINAL, 120)
    name = "quadratic_weighted_kappa"
    found = robustness(clean, {"noise": [noisier(clean, 3)]}, name, resamples=100)
    change = found.kinds[0].grades[0].change
    assert change.low < change.difference < change.high < 0


def test_the_mean_is_over_all_grades_of_all_corruptions_and_not_over_moves(simulate) -> None:
    clean = simulate(Kind.BINARY, 150)
    spoilt = {
        "noise": [noisier(clean, 2), noisier(clean, 4)],
        "blur": [noisier(clean, 1, seed=1)] * 2,
        "translation": [noisier(clean, 9, seed=2)] * 2,
    }
    found = robustness(clean, spoilt, "auroc", moves=("translation",))
    own = [g.change.difference for k in found.kinds[:2] for g in k.grades]
    assert found.mean is not None
    assert found.mean.difference == pytest.approx(np.mean(own))
    for kind in found.kinds:
        assert kind.change.difference == pytest.approx(
            np.mean([g.change.difference for g in kind.grades])
        )
        assert kind.change.p_holm >= kind.change.p
    blur = found.kinds[1]  # grades that are the same have the interval of one
    assert blur.change.low == pytest.approx(blur.grades[0].change.low)
    assert found.kinds[2].lowers
    assert robustness(clean, {"translation": [clean]}, "auroc", moves=("translation",)).mean is None


def test_images_that_stay_the_same_have_no_interval_and_change_no_decision(simulate) -> None:
    clean = simulate(Kind.MULTICLASS, 90)
    (kind,) = robustness(clean, {"none": [clean]}, "auroc").kinds
    assert kind.change.difference == 0
    assert math.isnan(kind.change.low)
    assert not kind.lowers
    assert kind.grades[0].flips.value == 0
    assert kind.grades[0].flips.high > 0


def test_a_score_of_another_kind_of_label_is_refused(simulate) -> None:
    clean = simulate(Kind.BINARY, 60)
    with pytest.raises(UsageError, match="not defined for binary"):
        robustness(clean, {"none": [clean]}, "quadratic_weighted_kappa")
