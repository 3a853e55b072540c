"""Reader studies against the published analyses of two studies, DeLong's test and simulation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medcnn.statistics.readers import (
    Study,
    against,
    contrasts,
    each_reader,
    figures,
    level,
    random_readers,
)
from medcnn.system.errors import DataError

READINGS = Path(__file__).parent / "readings"


def published(name: str, sign: int = 1) -> Study:
    lines = [
        line
        for line in (READINGS / f"{name}.txt").read_text(encoding="utf-8").splitlines()
        if not line.startswith("#")
    ]
    sides = [[part.split() for part in line.split(" | ")] for line in lines]
    negative, positive = (len(part) for part in sides[0])
    scores = {
        condition: {
            f"r{j}": sign * np.array([float(pair[k]) for part in row for pair in part])
            for j, row in enumerate(sides)
        }
        for k, condition in enumerate(("first", "second"))
    }
    return Study(
        truth=np.arange(negative + positive) >= negative,
        groups=tuple(str(n) for n in range(negative + positive)),
        scores=scores,
        calls={},
    )


def test_the_study_of_van_dyke_has_its_published_analysis() -> None:
    """As printed by MRMCaov 0.1.2 (README) and OR-DBM MRMC 2.51, by the jackknife."""
    study = published("van_dyke_1993")
    found = against(study, "auroc", "first", "second")
    assert found.difference == pytest.approx(0.04380032, abs=5e-9)
    assert found.error == pytest.approx(0.02074862, abs=5e-9)
    assert found.freedom == pytest.approx(15.25967, abs=5e-6)
    assert found.p == pytest.approx(0.05166569, abs=5e-9)
    assert (found.low, found.high) == pytest.approx((-0.0003588544, 0.0879594986), abs=5e-9)
    one, two = (level(study, "auroc", c) for c in ("first", "second"))
    assert (one.value, one.low, one.high) == pytest.approx((0.8970370, 0.8252236, 0.9688505))
    assert (two.value, two.low, two.high) == pytest.approx((0.9408374, 0.8941378, 0.9875369))


def test_the_study_of_franken_has_its_published_analysis() -> None:
    """As printed by OR-DBM MRMC 2.51 (University of Iowa): covariances that favour one condition
    count as none, and leave the degrees of freedom of the readers."""
    study = published("franken_1992", sign=-1)
    found = against(study, "auroc", "second", "first")
    assert (found.reference, found.other) == pytest.approx((0.83689507, 0.84774989), abs=5e-9)
    assert (found.difference, found.error) == pytest.approx((0.01085482, 0.00501), abs=5e-6)
    assert (found.freedom, found.p) == pytest.approx((3.0, 0.1188), abs=5e-5)
    assert (found.low, found.high) == pytest.approx((-0.00509, 0.02680), abs=5e-6)
    one = level(study, "auroc", "first")
    assert (one.low, one.high) == pytest.approx((0.79908282, 0.89641696), abs=5e-8)


def test_one_reader_is_tested_as_delong_does() -> None:
    delong = pytest.importorskip("MLstatkit.stats")
    study = published("van_dyke_1993")
    alone = {c: {"r4": readings["r4"]} for c, readings in study.scores.items()}
    found = against(replace(study, scores=alone), "auroc", "first", "second")
    test = getattr(delong, "Delong_test")  # noqa: B009
    z, *_ = test(study.truth.astype(int), alone["first"]["r4"], alone["second"]["r4"])
    assert found.method == "delong"
    assert abs(found.difference / found.error) == pytest.approx(abs(z), rel=0.03)
    assert 44 < found.freedom < 113


def test_leaving_out_patients_is_leaving_out_their_cases() -> None:
    draw = np.random.default_rng(0)
    truth = draw.random(60) < 0.4
    groups = np.arange(60) // 3
    scores = np.round(draw.normal(size=(2, 60)) + truth, 1)
    for endpoint in ("auroc", "sensitivity", "specificity"):
        values, covariance = figures(endpoint, truth, scores, groups)
        left = np.array(
            [
                figures(endpoint, truth[k], scores[:, k], np.arange(k.sum()))[0]
                for g in range(20)
                for k in [groups != g]
            ]
        )
        expected = 19 / 20 * np.cov(left.T, ddof=0) * 20
        assert covariance == pytest.approx(expected)
        assert (values > 0).all()


def simulated(seed: int, *, readers: int = 5, apart: float = 1.5, help: float = 0.0) -> Study:
    """As Roe and Metz 1997, Academic Radiology 4(4), with an effect of `help`."""
    draw = np.random.default_rng(seed)
    truth = np.arange(80) >= 40
    case = draw.normal(0, 0.55, 80)
    scores = {
        condition: {
            str(j): case + truth * (apart + gain) + draw.normal(0, 0.8, 80) for j in range(readers)
        }
        for condition, gain in (("alone", 0.0), ("helped", help))
    }
    calls = {c: {j: (s > 0.75) * 1.0 for j, s in of.items()} for c, of in scores.items()}
    return Study(truth=truth, groups=tuple(map(str, range(80))), scores=scores, calls=calls)


def test_readers_who_are_helped_are_found_to_be() -> None:
    pairing = contrasts(simulated(1, help=1.0))["alone", "helped"]
    assert [d.score for d in pairing.differences] == ["auroc", "sensitivity", "specificity"]
    auroc, sensitivity, specificity = pairing.differences
    assert (auroc.verdict, sensitivity.verdict, specificity.verdict) == ("better", "better", "")
    assert auroc.p <= auroc.p_holm


def test_a_model_stands_against_every_reader_under_every_condition() -> None:
    study = simulated(2)
    model = {"model": {"m": study.truth + 0.1 * np.arange(80) / 80}}
    calls = {**study.calls, "model": {"m": study.truth * 1.0}}
    study = replace(study, scores={**study.scores, **model}, calls=calls, model="model")
    found = contrasts(study, margin=0.05)
    assert [*found] == [("alone", "helped"), ("alone", "model"), ("helped", "model")]
    auroc = found["alone", "model"].differences[0]
    assert (auroc.other, auroc.verdict, auroc.margin) == (1.0, "better", 0.05)
    values = np.array([*each_reader(study, "auroc", "alone").values()])
    assert auroc.difference == pytest.approx((1 - values).mean())


def test_what_never_varies_or_rests_on_few_cases_has_no_interval() -> None:
    study = simulated(3)
    same = replace(study, scores={"a": study.scores["alone"], "b": study.scores["alone"]})
    assert "same amount" in against(same, "auroc", "a", "b").note
    perfect = {"a": {str(j): study.truth * 1.0 for j in range(3)}}
    assert "same value" in level(replace(study, calls=perfect), "sensitivity", "a").note
    few = replace(study, truth=np.arange(80) >= 77)
    assert "only 3 groups" in against(few, "auroc", "alone", "helped").note
    assert "only 3 groups" in level(few, "auroc", "alone").note


def test_conditions_with_other_readers_are_refused() -> None:
    study = simulated(4)
    other = {"alone": study.scores["alone"], "helped": {"x": study.scores["helped"]["0"]}}
    with pytest.raises(DataError, match="different readers"):
        contrasts(replace(study, scores=other, calls={}))


def test_readers_who_agree_leave_the_error_of_the_cases() -> None:
    covariance = np.full((4, 4), 0.01)
    assert random_readers(np.full(4, 0.8), covariance) == pytest.approx((0.8, 0.1, 1e9))
