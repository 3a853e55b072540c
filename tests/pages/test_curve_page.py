"""What the page of a learning curve says follows from its runs."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from medcnn.pages.curve_page import ARM, NEEDED, SAYS, Arm, Asked, Curves, curve_page, sentences_of
from medcnn.statistics.learning_curve import LearningCurve, Needed, Reach

SIZES = np.array([50.0, 100, 200, 400, 800])


def arm_of(scores: np.ndarray, name: str = "probe", asked: tuple[float, ...] = ()) -> Arm:
    curve = LearningCurve(
        sizes=SIZES, patients=800, scores=scores, test=np.full((5, 5), 1e-4) + 1e-6 * np.eye(5)
    )
    return Arm(name=name, curve=curve, asked=asked)


def rising(level: float = 0.9) -> np.ndarray:
    noise = np.random.default_rng(0).normal(size=(5, 3))
    return (level - SIZES**-0.5)[:, None] + 0.003 * noise


@pytest.fixture(scope="module")
def found() -> Curves:
    return curves_of()


def curves_of() -> Curves:
    return Curves(
        arms=(arm_of(rising(), asked=(0.5, 0.87, 0.95)),),
        score="auroc",
        backbone="lenet5",
        source="set",
        group_noun="patient",
        images={int(n): int(2 * n) for n in SIZES},
        tested=300,
        tested_groups=150,
        same="steps",
    )


def said(found: Curves, needed: Needed) -> dict[str, str]:
    asked = Asked(found=found, arm=found.arms[0], needed=needed)
    return {name: words for name, s in NEEDED.items() if (words := s.words(asked))}


def test_each_score_asked_for_gets_the_one_sentence_that_holds(found: Curves) -> None:
    given = Needed(target=0.9, reach=Reach.FOUND, patients=1234.0, low=0.0, high=math.inf)
    (words,) = said(found, given).values()
    assert "AUROC 0.9 needs about 1,230 patients" in words
    assert "fewer than 50 patients to more than 3,200 patients" in words
    for reach, start in (
        (Reach.BELOW, "fewer than the smallest size, 50 patients"),
        (Reach.BEYOND, "more than 3,200 patients, 4 times the largest size that was run"),
        (Reach.NEVER, "not reached by the best curve"),
    ):
        told = said(found, replace(given, reach=reach, patients=math.nan))
        assert len(told) == 1
        assert start in "".join(told.values())
        assert "needs about" not in "".join(told.values())
    never = replace(given, reach=Reach.NEVER, patients=math.nan)
    assert "Other curves that fit the runs reach it" in "".join(said(found, never).values())
    sure = replace(never, low=math.nan, high=math.nan)
    assert "No other curve that fits" in "".join(said(found, sure).values())


def test_sentences_about_the_runs_hold_where_their_facts_are(found: Curves) -> None:
    assert "AUROC is 0.8" in ARM["value"].words((found, found.arms[0]))
    assert "probe:" not in ARM["value"].words((found, found.arms[0]))
    two = replace(found, arms=(*found.arms, arm_of(rising(0.8), name="full")))
    assert ARM["value"].words((two, two.arms[1])).startswith("full: AUROC")
    assert ARM["poor fit"].words((found, found.arms[0])) == ""
    bent = arm_of(rising() + np.array([0.08, -0.08, 0.08, -0.08, 0.08])[:, None])
    assert "than chance explains" in ARM["poor fit"].words((found, bent))
    assert SAYS["steps"].words(found) == SAYS["epochs"].words(found) == ""
    assert "same number of steps" in SAYS["steps"].words(two)
    assert "part of the rise" in SAYS["epochs"].words(replace(two, same="epochs"))
    assert SAYS["probe"].words(found)
    assert SAYS["probe"].words(replace(two, arms=two.arms[1:])) == ""
    assert SAYS["images"].words(found) == ""
    assert "too narrow" in SAYS["images"].words(replace(found, group_noun="image"))
    assert "300 images of 150 patients" in SAYS["test"].words(found)
    for name in ("band", "nested", "research"):
        assert "patient" in SAYS[name].words(found) or name == "research"


def test_where_no_score_is_asked_for_it_is_a_little_more_than_now() -> None:
    arm = arm_of(rising())
    best = max(float(arm.curve.at(800)), float(arm.curve.scores[-1].mean()))
    assert [n.target for n in arm.needed] == [
        math.floor(best * 100) / 100 + step for step in (0.01, 0.02)
    ] or arm.needed[0].target == pytest.approx(math.floor(best * 100) / 100 + 0.01)


def test_the_page_shows_every_run_and_each_arm_in_its_colour(found: Curves) -> None:
    page = curve_page(replace(found, arms=(*found.arms, arm_of(rising(0.8), name="full"))), ["n"])
    assert page.count("<circle") == 2 * 15
    for kind in ("l1", "l2", "w1", "w2", "k2"):
        assert f'"{kind}"' in page or f" {kind}" in page
    assert all(sentence in page for sentence in sentences_of(found)[1:2])
