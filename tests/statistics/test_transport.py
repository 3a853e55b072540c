"""A model at two hospitals: differences between unrelated patients, and shifted prevalences."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from medcnn.data.labels import Kind, LabelSpace
from medcnn.statistics.decisions import Readout
from medcnn.statistics.intervals import resampling_weights
from medcnn.statistics.metrics.table import score
from medcnn.statistics.operating import OperatingPoint
from medcnn.statistics.predictions import Predictions
from medcnn.statistics.transport import _shares, _tail, cuts, prevalences, transported


def test_differences_are_those_of_the_scores_and_hold_nothing_where_nothing_changed(
    simulate,
) -> None:
    held = 0
    for seed in range(40):
        there, here = (simulate(Kind.BINARY, 120, seed=2 * seed + s) for s in (0, 1))
        (d,) = transported(there, here, ["auroc"], resamples=200)
        assert d.difference == pytest.approx(score(here, "auroc") - score(there, "auroc"))
        held += d.low <= 0 <= d.high
        assert (d.p < 0.05) == (not d.low <= 0 <= d.high)
    assert held >= 35


def test_a_worse_model_is_found_and_labels_of_one_hospital_do_not_count(simulate) -> None:
    there, here = simulate(Kind.MULTILABEL, 300, seed=1), simulate(Kind.MULTILABEL, 300, seed=2)
    targets = here.targets.copy()
    targets[:, 1] = np.nan
    noise = np.random.default_rng(0).normal(size=here.logits.shape)
    here = replace(here, targets=targets, logits=noise.astype(np.float32))
    found = transported(there, here, ["auroc"], resamples=200)
    assert [d.label for d in found] == [None, "mass", "x"]
    assert found[0].high < 0
    assert found[0].reference == pytest.approx((found[1].reference + found[2].reference) / 2)


@pytest.mark.parametrize(
    ("kind", "mean"), [(Kind.BINARY, True), (Kind.MULTILABEL, True), (Kind.MULTICLASS, False)]
)
def test_exclusive_classes_have_no_mean_of_their_intercepts(simulate, kind, mean) -> None:
    there, here = (simulate(kind, 200, seed=s) for s in (1, 2))
    found = [d.label for d in transported(there, here, ["calibration_intercept"], resamples=50)]
    assert (None in found) is mean
    assert found[-1] == (None if kind is Kind.BINARY else there.labels.outputs[-1])


@pytest.mark.parametrize("kind", [Kind.BINARY, Kind.MULTICLASS])
def test_prevalence_is_estimated_without_labels_where_only_it_changed(simulate, kind) -> None:
    there, pool = simulate(kind, 1200, seed=1), simulate(kind, 3000, seed=2)
    rare = pool.targets[:, 0] == 1
    keep = np.flatnonzero(~rare | (np.arange(3000) % 5 == 0))
    here = pool.only(keep)
    first = prevalences(there, here, resamples=200)[0]
    assert first.there > 2 * first.here
    assert first.estimated.low <= first.here <= first.estimated.high
    assert abs(first.estimated.value - first.here) < 0.08
    blank = replace(here, targets=np.full_like(here.targets, np.nan))
    assert prevalences(there, blank, resamples=50)[0].estimated.value == pytest.approx(
        first.estimated.value
    )


@pytest.mark.parametrize("kind", [Kind.BINARY, Kind.MULTILABEL])
def test_answers_are_held_against_the_labels_of_the_same_images(simulate, kind) -> None:
    there, here = simulate(kind, 600, seed=1), simulate(kind, 600, seed=2)
    targets = here.targets.copy()
    targets[(targets[:, 0] == 0) & (np.arange(len(targets)) % 4 > 0), 0] = np.nan
    some = replace(here, targets=targets)
    first, *others = prevalences(there, some, resamples=50)
    kept = here.only(np.flatnonzero(~np.isnan(targets[:, 0])))
    own = prevalences(there, kept, resamples=50)[0]
    assert (first.here, first.estimated.value) == pytest.approx((own.here, own.estimated.value))
    assert first.estimated.count == len(kept.image_ids) < len(here.image_ids)
    assert first.estimated.low < first.estimated.value < first.estimated.high
    assert all(o.estimated.count == len(here.image_ids) for o in others)


def test_with_few_patients_the_percentiles_of_a_prevalence_reach_further(simulate) -> None:
    beyond = []
    for n in (40, 200, 4000):
        there, here = (simulate(Kind.BINARY, n, seed=s) for s in (1, 2))
        weights = [resampling_weights(p.groups, 300, i) for i, p in enumerate((there, here))]
        plain = [np.ones_like(w) for w in weights]
        drawn = [
            _shares(there, here, [0], ws)[:, 0]
            for ws in ((weights[0], plain[1]), (plain[0], weights[1]))
        ]
        beyond.append(_tail(drawn, (there, here), 0))
        (found,) = prevalences(there, here, resamples=300)
        both = _shares(there, here, [0], weights)[:, 0]
        low, high = np.quantile(both[~np.isnan(both)], [0.025, 0.975])
        # the patient added to each label at home moves the ends of 4,000 by chance alone
        assert found.estimated.low <= low + 1e-3
        assert found.estimated.high >= min(high, 1) - 1e-3
    assert beyond[0] < 0.021 < beyond[1] < beyond[2] < 0.025
    assert beyond[2] == pytest.approx(0.025, abs=2e-4)


def called(truth: list[int], said: list[int]) -> Predictions:
    names = tuple(map(str, range(len(truth))))
    return Predictions(
        labels=LabelSpace(kind=Kind.BINARY, names=("no", "yes")),
        split="test",
        image_ids=names,
        groups=names,
        targets=np.array(truth, np.float32)[:, None],
        logits=10 * np.array(said, np.float32)[:, None] - 5,
    )


@pytest.mark.parametrize(("sick", "least", "most"), [(5, 0.45, 0.85), (200, 0.37, 0.41)])
def test_a_few_sick_patients_who_are_all_found_do_not_make_a_sensitivity_certain(
    sick: int, least: float, most: float
) -> None:
    there = called([1] * sick + [0] * 200, [1] * (sick + 10) + [0] * 190)
    here = called([1] * 400 + [0] * 600, [1] * 360 + [0] * 40 + [1] * 30 + [0] * 570)
    (found,) = prevalences(there, here, resamples=400)
    assert found.estimated.value == pytest.approx(0.34 / 0.95)
    assert found.estimated.low < 0.34
    assert least < found.estimated.high < most


HALF = Readout(points=(OperatingPoint(name="half", thresholds=(0.5,)),))


def with_logits(truth: list[int], logits: list[float]) -> Predictions:
    found = called(truth, [0] * len(truth))
    return replace(found, readout=HALF, logits=np.array(logits, np.float32)[:, None])


def test_an_equally_sensitive_threshold_finds_no_smaller_share_of_few_positives() -> None:
    home = with_logits([1] * 20 + [0] * 20, [1] * 13 + [-1] * 27)
    here = with_logits([1] * 10 + [0] * 10, [k / 10 for k in range(20)])
    (cut,) = cuts(home, here)
    assert cut.there.sensitivity.value == 0.65
    assert (here.probabilities[:10, 0] >= cut.same).mean() == 0.7


def test_where_all_are_positive_no_specificity_is_claimed() -> None:
    home = with_logits([1] * 10 + [0] * 10, [1] * 8 + [-1] * 12)
    (cut,) = cuts(home, with_logits([1] * 10, [k - 4.5 for k in range(10)]))
    assert np.isnan([cut.specificity, cut.changes["specificity"].value]).all()
    assert not np.isnan([cut.same, cut.changes["sensitivity"].low]).any()


def test_a_threshold_that_finds_fewer_is_shown_with_one_that_would_not(simulate) -> None:
    there, here = simulate(Kind.BINARY, 400, seed=1), simulate(Kind.BINARY, 400, seed=2)
    there = replace(there, readout=HALF)
    here = replace(here, readout=HALF, logits=here.logits - 2)
    (cut,) = cuts(there, here)
    change, other = cut.changes["sensitivity"], cut.changes["specificity"]
    assert change.high < 0 < other.low
    assert other.value == cut.here.specificity.value - cut.there.specificity.value
    assert cut.same < 0.5
    positive = here.probabilities[here.targets[:, 0] == 1, 0]
    assert float((positive >= cut.same).mean()) == pytest.approx(
        cut.there.sensitivity.value, abs=0.01
    )


def test_a_confusion_matrix_of_many_classes_can_be_inverted() -> None:
    """The determinant of 14 columns is tiny even if each class is mostly recognised."""
    classes, n = 14, 6000
    rng = np.random.default_rng(0)
    cells = 0.4 * np.eye(classes) + 0.6 / classes
    truth = rng.integers(classes, size=n)
    said = (rng.random((n, 1)) > cells.cumsum(axis=1)[truth]).sum(axis=1)
    labels = LabelSpace(kind=Kind.MULTICLASS, names=tuple(f"class {k}" for k in range(classes)))
    names = tuple(f"{k}" for k in range(n))
    both = Predictions(
        labels=labels,
        split="test",
        image_ids=names,
        groups=names,
        targets=np.eye(classes, dtype=np.float32)[truth],
        logits=5 * np.eye(classes, dtype=np.float32)[said],
    )
    estimated = [p.estimated for p in prevalences(both, both, resamples=50)]
    assert all(abs(e.value - 1 / classes) < 0.02 and e.low < e.value < e.high for e in estimated)
