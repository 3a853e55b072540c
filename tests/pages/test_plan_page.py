"""Every sentence of a plan is one of its own settings, or is not made."""

from __future__ import annotations

from typing import Any

import pytest

from medcnn.pages.plan_page import PLAN, SIZED, Kept, Planned, plan_page, sample_size, sentences_of
from medcnn.statistics.planning import Cohort, needs


def planned(*scores: str, **more: Any) -> Planned:
    settings = {"prevalence": 0.2, "images_per_patient": 1.0, "icc": 0.0, "unusable": 0.0}
    settings |= {"power": 0.8, "correlation": 0.5, "logits": None, **more}
    cohort = {name: settings[name] for name in ("prevalence", "images_per_patient", "icc")}
    options = {k: v for k, v in more.items() if k in ("margin", "calibration", "logits")}
    found = needs(
        Cohort(**cohort, unusable=settings["unusable"]),
        dict.fromkeys(scores, 0.8),
        half_width=0.1,
        **options,
    )
    return Planned(made="2026-01-02T03:04:05+00:00", settings=settings, needs=found)


SIMPLE = planned("auroc")
PLANS = {
    "simple": SIMPLE,
    "clustered": planned("auroc", images_per_patient=2.0, icc=0.5),
    "lossy": planned("auroc", unusable=0.1),
    "test": planned("auroc", margin=0.05),
    "slope": planned("auroc", calibration=0.2),
    "known logits": planned("auroc", calibration=0.2, logits=(-2.0, 1.0)),
    "nothing": Planned(made="", settings=SIMPLE.settings, needs=[]),
}
SAID = {
    "verdict": set(PLANS) - {"nothing"},
    "largest": {"test", "slope", "known logits"},
    "one image": set(PLANS) - {"clustered"},
    "clustered": {"clustered"},
    "unusable": {"lossy"},
    "test": {"test"},
    "slope": {"slope"},
    "guesses": set(PLANS) - {"nothing"},
}


@pytest.mark.parametrize("name", PLAN)
def test_a_sentence_of_a_plan_is_said_where_it_holds(name: str) -> None:
    assert {case for case, of in PLANS.items() if PLAN[name].words(of)} == SAID[name]


def test_the_page_says_the_largest_size_and_what_it_is_for() -> None:
    plan = PLANS["slope"]
    text = " ".join(sentences_of(plan))
    assert f"{plan.largest.patients:,} patients" in text
    assert "The largest of these 3 sizes is for the calibration slope." in text
    assert f"{plan.largest.patients:,}" in plan_page(plan)
    assert "for the test of the AUROC" in " ".join(sentences_of(PLANS["test"]))


PLANNED = {
    "made": "2026-01-02T03:04:05+00:00",
    "settings": {},
    "patients": 185,
    "needs": [
        {
            "aim": "auroc",
            "of": "auroc",
            "expected": 0.9,
            "wanted": 0.05,
            "independent": 185,
            "images": 185,
            "patients": 185,
            "with_condition": 37,
        }
    ],
}
BEFORE = [{"when": "2026-02-01T00:00:00+00:00"}]
AFTER = [{"when": "2026-01-01T00:00:00+00:00"}]
TEST = {"dataset": {"test": {"images": 300, "groups": 180}}, "group_noun": "patient"}
RUNS: dict[str, dict[str, Any]] = {
    "no plan": {"test_looks": BEFORE, "report": TEST},
    "planned": {"plan": PLANNED},
    "before": {"plan": PLANNED, "test_looks": BEFORE},
    "after": {"plan": PLANNED, "test_looks": AFTER},
    "evaluated": {"plan": PLANNED, "trained_on": {"source": "a"}, "started": BEFORE[0]["when"]},
    "described": {"plan": PLANNED, "report": TEST},
}
KEPT = {
    "planned": set(RUNS) - {"no plan"},
    "before": {"before", "evaluated"},
    "after": {"after"},
    "there": {"described"},
}


@pytest.mark.parametrize("name", SIZED)
def test_a_checklist_says_of_a_plan_what_is_so(name: str) -> None:
    cases = {
        case: Kept(plan=run.get("plan") or {}, run=run, split="test") for case, run in RUNS.items()
    }
    assert {case for case, of in cases.items() if SIZED[name].words(of)} == KEPT[name]


def test_a_run_without_a_plan_leaves_the_sample_size_open() -> None:
    assert sample_size(RUNS["no plan"], "test") == ""
    said = sample_size(RUNS["described"], "test")
    assert said == (
        "medcnn plan, 2026-01-02: 185 patients for AUROC. The test split has 180 patients."
    )
