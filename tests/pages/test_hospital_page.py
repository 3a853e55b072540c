"""The page of a new hospital says what its intervals bear out, and nothing else."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any

import pytest

from medcnn.pages.hospital_facts import (
    PROBE,
    RECALIBRATED,
    TUNED,
    Copies,
    NewHospital,
    Rule,
    Shift,
)
from medcnn.pages.hospital_page import DETAILS, SUMMARY, hospital_page, side, summary_of
from medcnn.statistics.acceptance import Condition
from medcnn.statistics.differences import Difference, Pairing
from medcnn.statistics.estimates import Estimate


def difference(low: float, high: float, score: str = "auroc", better: int = 1) -> Difference:
    middle = (low + high) / 2
    note = "interval not available: based on only 4 groups" if math.isnan(low) else ""
    return Difference(
        score=score,
        label=None,
        better=better,
        reference=0.8,
        other=0.8 + (0 if math.isnan(middle) else middle),
        low=low,
        high=high,
        p=0.01,
        p_holm=0.02,
        method="delong",
        count=90,
        groups=80,
        note=note,
    )


SIDES = {
    "better": difference(0.02, 0.12),
    "worse": difference(-0.12, -0.02),
    "not shown": difference(-0.03, 0.05),
    "unsure": difference(math.nan, math.nan),
}


def pairing(*found: Difference) -> Pairing:
    return Pairing(differences=found, discordances=())


def condition(found: Difference | None, margin: float = 0.02) -> Condition:
    return Condition(where="new test split", score="auroc", margin=margin, difference=found)


def rule(*found: Difference | None, older: bool = True) -> Rule:
    at = "2026-11-29T10:0{}:00+00:00"
    return Rule(
        conditions=tuple(condition(d) for d in found),
        digest="ab" * 32,
        recorded=at.format(1),
        began=at.format(2),
        looked=at.format(3),
        older=older,
    )


THERE = Shift(
    prevalence={"melanoma": ((0.3, 200), (0.1, 100)), "nevus": ((0.5, 200), (0.6, 100))},
    unlike=(7, 100),
    sizes_px=((600, 450), (1024, 768)),
    looks={"brightness": (0.6, 0.4, 0.1), "contrast": (0.2, 0.21, 0.1), "colour": (0.1, 0.3, 0.1)},
    apart=Estimate(value=0.93, low=0.9, high=0.96, count=300, groups=200),
)
BASIS = NewHospital(
    score="auroc",
    group_noun="patient",
    images=90,
    groups=80,
    labelled=600,
    enough=True,
    transfer="full",
    wise_ft=None,
    shared=("nevus", "melanoma"),
    classes=("nevus", "melanoma"),
    lost=0,
    arms={
        RECALIBRATED: pairing(SIDES["not shown"], difference(-0.2, -0.1, "brier", -1)),
        PROBE: pairing(SIDES["not shown"]),
        TUNED: pairing(SIDES["better"], difference(-0.2, -0.1, "brier", -1)),
    },
    forgetting=pairing(SIDES["worse"]),
    no_old_test="",
    old_on_all=None,
    shift=THERE,
    rule=rule(SIDES["better"]),
)


def like(**changed: Any) -> NewHospital:
    return dataclasses.replace(BASIS, **changed)


def shifted(**changed: Any) -> NewHospital:
    return like(shift=dataclasses.replace(THERE, **changed))


MISSING = Shift(prevalence={}, missing="they are not at hand")
CASES = {
    "basis": BASIS,
    **{f"tuned {n}": like(arms={**BASIS.arms, TUNED: pairing(d)}) for n, d in SIDES.items()},
    **{f"probe {n}": like(arms={**BASIS.arms, PROBE: pairing(d)}) for n, d in SIDES.items()},
    **{f"cal {n}": like(arms={**BASIS.arms, RECALIBRATED: pairing(d)}) for n, d in SIDES.items()},
    **{f"forgot {n}": like(forgetting=pairing(d)) for n, d in SIDES.items()},
    "nothing shared": like(arms={}, shared=(), forgetting=None, no_old_test=""),
    "lost": like(arms={}, lost=3, shared=("nevus", "melanoma")),
    "few": like(
        labelled=38,
        enough=False,
        old_on_all=Estimate(value=0.8, low=0.6, high=0.9, count=38, groups=30),
    ),
    "missing": like(shift=MISSING, forgetting=None, no_old_test="they are not at hand"),
    "alike": shifted(
        looks={"brightness": (0.6, 0.61, 0.1)},
        unlike=(0, 100),
        prevalence={"nevus": ((0.5, 200), (0.52, 100))},
    ),
    "together": shifted(apart=Estimate(value=0.52, low=0.45, high=0.6, count=300, groups=200)),
    "few patients": shifted(apart=None),
    "features": shifted(features=Estimate(value=0.8, low=0.7, high=0.9, count=300, groups=200)),
    "like features": shifted(
        features=Estimate(value=0.52, low=0.45, high=0.6, count=300, groups=200)
    ),
    "copies": shifted(copies=Copies(found=3, same=2, among=14)),
    "no copies": shifted(copies=Copies(found=0, same=0, among=14)),
    "part": like(shared=("nevus",)),
    "probe run": like(transfer="linear_probe"),
    "wise": like(wise_ft=0.6),
    "not met": like(rule=rule(SIDES["better"], SIDES["worse"])),
    "no verdict": like(rule=rule(SIDES["better"], SIDES["not shown"])),
    "younger": like(rule=rule(SIDES["better"], older=False)),
    "no rule": like(rule=None),
}


@pytest.mark.fault
@pytest.mark.parametrize("name", [*SUMMARY, *DETAILS])
def test_every_statement_is_made_by_some_facts_and_not_by_others(name: str) -> None:
    """Row A13."""
    statement = (SUMMARY | DETAILS)[name]
    made = {case for case, of in CASES.items() if statement.words(of)}
    assert made
    assert made != set(CASES)
    for case in made:
        text = statement.words(CASES[case])
        assert text.endswith(".")
        assert "  " not in text
        assert not re.search(r"\b(None|nan|groups?)\b", text), text


@pytest.mark.fault
@pytest.mark.parametrize("which", SIDES)
def test_the_first_sentence_is_what_the_interval_of_the_fine_tuned_model_bears_out(
    which: str,
) -> None:
    """Row A13."""
    first = summary_of(CASES[f"tuned {which}"])[0]
    words = {
        "better": "The fine-tuned model is better than the old one here: AUROC 0.870 against 0.800 "
        "(difference +0.070; 95 % interval +0.020 to +0.120).",
        "worse": "The fine-tuned model is worse than the old one here: AUROC 0.730",
        "not shown": "The fine-tuned model is not shown to differ from the old one here: AUROC",
        "unsure": "Whether the fine-tuned model is better than the old one here cannot be said: "
        "AUROC 0.800 against 0.800 (difference 0.000; interval not available: based on only 4 "
        "patients).",
    }
    assert first.startswith(words[which])
    others = [words[w].split(":")[0] for w in words if w != which]
    assert not any(first.startswith(o) for o in others)


def test_of_a_score_where_lower_is_better_a_fall_is_better() -> None:
    assert side(difference(-0.2, -0.1, "brier", -1)) == "better"
    assert side(difference(0.1, 0.2, "brier", -1)) == "worse"
    assert side(difference(-0.1, 0.2, "brier", -1)) == "not shown"
    assert side(None) == "unsure"


@pytest.mark.fault
@pytest.mark.parametrize("case", CASES)
def test_the_page_gives_one_verdict_and_holds_no_hole(case: str) -> None:
    """Row A13."""
    page = hospital_page(CASES[case], "resnet18 at St. Elsewhere", ["a note"])
    text = re.sub(r"<style.*?</style>", "", page, flags=re.DOTALL)
    assert not re.search(r"\b(None|nan|Undefined)\b", text)
    verdicts = ("The rule is met", "The rule is not met", "Whether the rule is met", "No rule was")
    assert sum(text.count(v) for v in verdicts) == 1


@pytest.mark.fault
def test_a_rule_is_called_older_only_where_run_json_shows_it() -> None:
    """Row A13."""
    older, younger = (hospital_page(CASES[case], "t", []) for case in ("basis", "younger"))
    assert "run.json shows that the rule is older" in older
    assert "recorded 2026-11-29 10:01 UTC, training began 2026-11-29 10:02 UTC" in older
    assert "run.json does not show that the rule is older" in younger
    assert "run.json shows" not in younger
