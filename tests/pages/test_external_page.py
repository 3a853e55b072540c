"""What the page of another hospital says follows from its numbers."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from medcnn.data.labels import Kind
from medcnn.pages.external_page import (
    DETAILS,
    SUMMARY,
    External,
    charts,
    external_page,
    sentences_of,
)
from medcnn.pages.hospital_facts import Shift
from medcnn.statistics.decisions import Readout
from medcnn.statistics.differences import Difference
from medcnn.statistics.estimates import Estimate
from medcnn.statistics.operating import OperatingPoint
from medcnn.statistics.recalibration import Way, recalibrations
from medcnn.statistics.scores import evaluate
from medcnn.statistics.transport import COMPARED, cuts, prevalences, transported


@pytest.fixture(scope="module")
def found(simulate) -> External:
    return external_of(simulate)


def external_of(simulate) -> External:
    point = Readout(points=(OperatingPoint(name="half", thresholds=(0.5,)),))
    there, here = (replace(simulate(Kind.BINARY, 200, seed=s), readout=point) for s in (1, 2))
    here = replace(here, logits=here.logits - 2)
    judged = [evaluate(p, names=COMPARED) for p in (there, here)]
    return External(
        source="set",
        group_noun="patient",
        margin=0.05,
        images=(200, 200),
        groups=(100, 100),
        differences=tuple(transported(there, here, resamples=100)),
        alone=judged,
        intercept=judged[1].find("calibration_intercept"),
        cuts=tuple(cuts(there, here)),
        prevalences=tuple(prevalences(there, here, resamples=100)),
        recalibrated=tuple(recalibrations(here)),
        shift=Shift(prevalence={}, missing="they are not at hand"),
    )


def with_auroc(found: External, low: float, high: float) -> External:
    rest = [d for d in found.differences if d.score != "auroc"]
    value = (low + high) / 2 if not math.isnan(low) else 0.0
    d = Difference(
        score="auroc", label=None, better=1, reference=0.8, other=0.8 + value, low=low, high=high,
        method="bootstrap", count=200, groups=100, note="based on only 3 groups",
    )  # fmt: skip
    return replace(found, differences=(d, *rest))


@pytest.mark.parametrize(
    ("low", "high", "starts"),
    [
        (-0.2, -0.1, "The model is worse here"),
        (-0.04, 0.03, "The model is no worse here than at home, to within 0.05"),
        (0.02, 0.1, "The model is better here"),
        (-0.2, 0.1, "Whether the model is as good here"),
        (math.nan, math.nan, "Whether the model is as good here"),
    ],
)
def test_the_first_sentence_goes_by_the_interval(
    found: External, low: float, high: float, starts: str
) -> None:
    first, *rest = sentences_of(with_auroc(found, low, high))
    assert first.startswith(starts)
    assert not any(s.startswith(("The model", "Whether")) for s in rest)


def test_each_sentence_is_made_by_some_facts_and_not_by_others(found: External) -> None:
    none = replace(
        found, differences=(), cuts=(), prevalences=(), recalibrated=(),
        intercept=replace(found.intercept, low=-0.1, high=0.1),
    )  # fmt: skip
    apart = replace(found.shift, apart=Estimate(value=0.9, low=0.8, high=1, count=9, groups=9))
    shifted = replace(found, shift=apart)
    assert "can be told apart" in SUMMARY["told apart"].words(shifted)
    assert SUMMARY["told apart"].words(found) == ""
    seen = Estimate(value=0.9, low=0.8, high=1, count=9, groups=9)
    alike = Estimate(value=0.5, low=0.4, high=0.6, count=9, groups=9)
    by_features = replace(found, shift=replace(found.shift, apart=alike, features=seen))
    assert "The model's own features distinguish the two" in SUMMARY["features apart"].words(
        by_features
    )
    both = replace(found, shift=replace(found.shift, apart=seen, features=seen))
    neither = replace(found, shift=replace(found.shift, apart=alike, features=alike))
    for other in (found, shifted, both, neither):
        assert SUMMARY["features apart"].words(other) == ""
    assert "too low here" in SUMMARY["wrong mean"].words(found)
    assert SUMMARY["wrong mean"].words(none) == ""
    assert SUMMARY["right mean"].words(none)
    assert SUMMARY["right mean"].words(found) == ""
    needed = "recalibration is shown to be needed (melanoma: intercept"
    assert needed in SUMMARY["recalibrate"].words(found)
    assert SUMMARY["leave"].words(found) == SUMMARY["leave"].words(none) == ""
    left = [replace(r, ways={Way.NONE: 1.0}) for r in found.recalibrated]
    assert SUMMARY["leave"].words(replace(found, recalibrated=tuple(left)))
    assert SUMMARY["recalibrate"].words(replace(found, recalibrated=tuple(left))) == ""
    assert "ten without, and one with images of both kinds counts in part for each" in SUMMARY[
        "few to recalibrate"
    ].words(none)
    assert SUMMARY["few to recalibrate"].words(found) == ""
    assert "finds fewer of the positives here" in SUMMARY["threshold"].words(found)
    assert SUMMARY["threshold"].words(none) == ""
    assert SUMMARY["nothing shared"].words(none)
    assert SUMMARY["nothing shared"].words(found) == ""
    (p,) = found.prevalences
    rare = replace(found, prevalences=(replace(p, here=0.9, there=0.1),))
    assert "90 of 100 images here and 10 at home" in SUMMARY["prevalence"].words(rare)
    assert SUMMARY["unexplained"].words(rare)
    same = replace(found, prevalences=(replace(p, here=p.estimated.low, there=p.estimated.low),))
    assert SUMMARY["unexplained"].words(same) == SUMMARY["prevalence"].words(same) == ""
    # of many labels, one just outside of its own interval is no news
    e = p.estimated
    just = replace(p, here=e.high + 0.1 * (e.high - e.value))
    assert SUMMARY["unexplained"].words(replace(found, prevalences=(just,)))
    many = (just, *(replace(p, here=e.value),) * 13)
    assert SUMMARY["unexplained"].words(replace(found, prevalences=many)) == ""
    for name in ("means", "closed", "changes", "same", "bbse", "few events"):
        assert DETAILS[name].words(found)
        assert DETAILS[name].words(none) == ""


def with_changes(
    found: External, *changes: tuple[float, float], share: str = "sensitivity"
) -> External:
    """Thresholds that changed by so much, with so wide an interval to each side."""
    (cut,) = found.cuts
    unknown = {of: replace(e, low=math.nan, high=math.nan) for of, e in cut.changes.items()}
    made = [
        replace(
            cut,
            here=replace(cut.here, label=f"label {k}"),
            changes=unknown
            | {share: replace(unknown[share], value=v, low=v - half, high=v + half)},
        )
        for k, (v, half) in enumerate(changes)
    ]
    return replace(found, cuts=tuple(made))


def test_a_threshold_is_judged_beside_all_others_that_might_have_been_named(
    found: External,
) -> None:
    def words(*changes: tuple[float, float]) -> str:
        return SUMMARY["threshold"].words(with_changes(found, *changes))

    just, none = (-0.11, 0.1), (0.0, 0.1)
    assert "label 0 finds fewer of the positives" in words(just)
    assert "alone" not in words(just)
    of_many = words(*[none] * 13, just)
    assert "label 13 is not shown to find fewer or more" in of_many
    assert "95 % interval for this one alone of 14 changes -0.210 to -0.010" in of_many
    assert "label 13 finds more" in words(*[none] * 13, (0.2, 0.1))
    assert "label 1 finds fewer" in words((0.5, 0.6), (-0.2, 0.1)), "the surest, not the largest"
    draw = np.random.default_rng(0)
    claims = sum(
        "not shown" not in words(*((float(x), 1.96) for x in draw.standard_normal(14)))
        for _ in range(200)
    )
    assert claims <= 18  # 10 are expected if nothing differs; with single intervals it is 102


def test_a_threshold_may_clear_fewer_of_the_negatives(found: External) -> None:
    fewer = with_changes(found, (-0.3, 0.1), share="specificity")
    said = SUMMARY["threshold"].words(fewer)
    assert "for label 0 clears fewer of the negatives here than at home: specificity" in said
    assert "-0.400 to -0.200), sensitivity" in said
    page = external_page(with_changes(found, (-0.3, 0.1), (0.0, 0.1), share="specificity"), "t", [])
    assert "-0.300 (-0.400 to -0.200)<small>lower</small></td>" in page
    assert "0.000 (-0.100 to +0.100)</td>" in page
    assert "beside all 2 of the table" in page


def test_nothing_is_said_of_a_mean_that_exclusive_classes_do_not_have(found: External) -> None:
    none = replace(found, intercept=None)
    assert SUMMARY["wrong mean"].words(none) == SUMMARY["right mean"].words(none) == ""


def test_a_prevalence_without_interval_says_why(found: External) -> None:
    (p,) = found.prevalences
    unknown = Estimate(value=math.nan, count=9, groups=3, note="based on only 3 groups")
    page = external_page(replace(found, prevalences=(replace(p, estimated=unknown),)), "t", [])
    assert "based on only 3 patients</small></td></tr>" in page


def test_scores_of_both_hospitals_have_the_intervals_of_their_evaluations(found: External) -> None:
    page = external_page(found, "t", [])
    d, scores = found.of("brier"), [e.find("brier") for e in found.alone]
    assert d
    assert found.own(d) == scores
    for s in scores:
        assert f"<td>{s.value:.3f} ({s.low:.3f} to {s.high:.3f})</td>" in page
    other = replace(d, reference=d.reference + 0.1)
    assert math.isnan(found.own(other)[0].low), "a mean over other labels"


def test_cut_points_of_grades_are_not_passed_over(found: External) -> None:
    sentence = DETAILS["grades"].words(replace(found, grades=True))
    assert "cut the mean grade are not compared" in sentence
    assert sentence in external_page(replace(found, cuts=(), grades=True), "t", [])
    assert DETAILS["grades"].words(found) == ""
    assert "Stored thresholds" not in external_page(replace(found, cuts=()), "t", [])


def test_what_recalibration_buys_is_drawn_over_the_number_of_cases(found: External) -> None:
    rows = found.recalibrated
    (chart,) = charts(found)
    assert [row[0] for row in chart.rows] == [str(r.cases) for r in rows]
    assert chart.svg.count("<circle") == len(rows) > 1
    assert chart.svg in external_page(found, "t", [])
    assert charts(replace(found, recalibrated=rows[-1:])) == []


def test_predictive_values_stand_beside_the_prevalence_that_they_hold_for(found: External) -> None:
    (cut,) = found.cuts
    rare = replace(cut, here=replace(cut.here, prevalence=0.02))
    page = external_page(replace(found, cuts=(rare,)), "t", [])
    assert "At a prevalence of" in page
    assert f'<td class="number">0.020</td><td>{cut.here.ppv.value:.3f}' in page


def test_the_page_holds_its_sentences_and_every_table(found: External) -> None:
    page = external_page(found, "lenet5 at set", ["a note"])
    assert all(s.split(":")[0] in page for s in sentences_of(found))
    for part in ("Stored thresholds", "Recalibration", "Prevalence", "How the images differ"):
        assert part in page
    assert "they are not at hand" in page
    assert np.isfinite(found.cuts[0].same)
