"""The rule of acceptance: read with all its faults, and judged by intervals alone."""

from __future__ import annotations

import math

import pytest

from medcnn.data.labels import Kind, LabelSpace
from medcnn.statistics.acceptance import (
    Acceptance,
    Condition,
    Verdict,
    acceptance_of,
    check_acceptance,
    verdict_of,
)
from medcnn.statistics.differences import Difference
from medcnn.system.errors import UsageError

BINARY = LabelSpace(kind=Kind.BINARY, names=("healthy", "ill"))


def condition(low: float, high: float, margin: float = 0.02, better: int = 1) -> Condition:
    found = Difference(
        score="auroc",
        label=None,
        better=better,
        reference=0.8,
        other=0.8,
        low=low,
        high=high,
        method="delong",
        count=9,
        groups=9,
    )
    return Condition(where="new test split", score="auroc", margin=margin, difference=found)


@pytest.mark.parametrize(
    ("low", "high", "better", "verdict"),
    [
        (-0.019, 0.1, 1, Verdict.MET),
        (-0.02, 0.1, 1, Verdict.UNSURE),
        (-0.1, 0.1, 1, Verdict.UNSURE),
        (-0.1, -0.02, 1, Verdict.NOT_MET),
        (-0.1, 0.019, -1, Verdict.MET),
        (0.02, 0.1, -1, Verdict.NOT_MET),
        (math.nan, math.nan, 1, Verdict.UNSURE),
    ],
)
def test_a_condition_goes_by_its_interval_and_the_side_that_is_better(
    low: float, high: float, better: int, verdict: Verdict
) -> None:
    assert condition(low, high, better=better).verdict is verdict


def test_with_a_margin_of_nothing_the_new_model_has_to_be_better() -> None:
    assert condition(0.001, 0.1, margin=0).verdict is Verdict.MET
    assert condition(0.0, 0.1, margin=0).verdict is Verdict.UNSURE
    assert condition(-0.1, 0.0, margin=0).verdict is Verdict.NOT_MET


@pytest.mark.fault
def test_a_rule_is_met_by_all_of_its_conditions_and_fails_by_one() -> None:
    met, unsure, failed = condition(0, 0.1), condition(-0.1, 0.1), condition(-0.2, -0.1)
    assert verdict_of([met, met]) is Verdict.MET
    assert verdict_of([met, unsure]) is Verdict.UNSURE
    assert verdict_of([met, unsure, failed]) is Verdict.NOT_MET
    nothing = Condition(where="old test split", score="auroc", margin=0.1, difference=None)
    assert verdict_of([met, nothing]) is verdict_of([]) is Verdict.UNSURE


def test_a_rule_is_read_and_has_a_digest_of_what_it_says() -> None:
    given = {"scores": {"auroc": 0.02, "brier": 0.01}, "old_test": 0.05}
    rule = acceptance_of(given)
    assert rule == Acceptance(scores=given["scores"], old_test=0.05)
    assert rule is not None
    assert rule.main == "auroc"
    turned = acceptance_of({"old_test": 0.05, "scores": {"auroc": 0.02, "brier": 0.01}})
    wider = acceptance_of({**given, "old_test": 0.06})
    assert turned is not None
    assert turned.digest == rule.digest
    assert wider is not None
    assert wider.digest != rule.digest
    other_main = acceptance_of({**given, "scores": {"brier": 0.01, "auroc": 0.02}})
    assert other_main is not None
    assert other_main.digest != rule.digest
    assert acceptance_of(None) is None


@pytest.mark.fault
@pytest.mark.parametrize(
    ("given", "said"),
    [
        (0.02, "should be a mapping"),
        ({}, "scores is required"),
        ({"scores": {"auroc": 0.02}, "old_tset": 1}, "unknown 'old_tset'; did you mean 'old_test'"),
        ({"scores": {"aurok": 0.02}}, "unknown score 'aurok'; did you mean 'auroc'"),
        ({"scores": {"auroc": -0.02}}, "scores.auroc: a margin should be a number from 0"),
        ({"scores": {"auroc": 0.02}, "old_test": True}, "old_test: a margin should be a number"),
        ({"scores": ["auroc"]}, "scores should be a mapping of names and margins"),
    ],
)
def test_a_rule_that_cannot_be_judged_is_refused(given, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        acceptance_of(given)
    assert said in str(caught.value)


@pytest.mark.fault
def test_what_these_images_cannot_answer_is_refused_before_training_all_at_once() -> None:
    rule = Acceptance(
        scores={"auroc": 0.02, "quadratic_weighted_kappa": 0.1},
        subgroups={"sex": 0.05, "age": 0.05, "race": 0.05},
    )
    known = {"sex": ["F", "M"], "age": [str(n) for n in range(40)]}
    with pytest.raises(UsageError) as caught:
        check_acceptance(rule, BINARY, known)
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert "'quadratic_weighted_kappa' is not defined for binary labels" in lines[0]
    assert "'age' has 40 values" in lines[1]
    assert "no attribute 'race'" in lines[2]
    check_acceptance(Acceptance(scores={"auroc": 0.02}, subgroups={"sex": 0.1}), BINARY, known)
