"""What the page of `compare` says is what was tested, in one score at a time."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from medcnn.data.labels import Kind
from medcnn.pages.comparison_page import comparison_page, ps_of, table_lines
from medcnn.statistics.comparing import compare
from medcnn.statistics.differences import Difference, Pairing, adjusted

SURELY_WORSE = Difference(
    score="auroc",
    label=None,
    better=1,
    reference=0.92,
    other=0.91,
    low=-0.015,
    high=-0.005,
    p=0.001,
    p_permuted=0.001,
    p_holm=0.004,
    method="delong",
    count=900,
    groups=900,
)
NO_INTERVAL = replace(
    SURELY_WORSE,
    low=math.nan,
    high=math.nan,
    p=math.nan,
    p_holm=math.nan,
    note="interval not available: based on only 4 groups",
)


def page(simulate, *differences: Difference, noun="patient") -> str:
    test = simulate(Kind.BINARY)
    pairing = Pairing(differences=differences, discordances=())
    return comparison_page("a", {"a": test, "b": test}, {"b": pairing}, {}, [], group_noun=noun)


@pytest.mark.fault
def test_worse_does_not_hide_not_inferior(simulate) -> None:
    """Row B21: surely worse, and as surely by less than the margin."""
    within = replace(SURELY_WORSE, margin=0.02, p_inferior_holm=0.001)
    assert within.verdict == "worse, not inferior"
    assert replace(within, p_inferior_holm=0.2).verdict == SURELY_WORSE.verdict == "worse"
    text = page(simulate, within)
    assert "rules out being worse by 0.02 or more" in text
    assert "by less than the margin of 0.02: it is not inferior" in text
    lines = list(table_lines("a", "b", Pairing(differences=(within,), discordances=()), "patient"))
    assert max(map(len, lines)) <= 100
    assert any("within" in line and "AUROC" in line for line in lines)


@pytest.mark.fault
def test_where_there_is_no_interval_there_is_no_p_and_the_reason_is_said_once(simulate) -> None:
    """Row B21."""
    assert all(map(math.isnan, ps_of(NO_INTERVAL).values()))
    text = page(simulate, NO_INTERVAL)
    assert "based on only 4 patients" in text
    assert "&lt;0.001" not in text
    assert "p is the probability" not in text
    assert "so none was tested" in text


@pytest.mark.fault
def test_the_terminal_too_says_once_why_intervals_are_missing() -> None:
    """Row B21."""
    rows = (NO_INTERVAL, replace(NO_INTERVAL, score="brier"), replace(SURELY_WORSE, score="f1"))
    lines = list(table_lines("a", "b", Pairing(differences=rows, discordances=()), "patient"))
    assert max(map(len, lines)) <= 100
    reasons = [line for line in lines if "not available" in line]
    assert reasons == ["  AUROC, Brier score: interval not available: based on only 4 patients"]


@pytest.mark.fault
def test_no_model_is_called_better_but_in_a_score_and_the_others_are_reported(simulate) -> None:
    """Row B21."""
    draw = np.random.default_rng(5)
    good = simulate(Kind.BINARY, 400)
    noise = draw.normal(scale=3, size=good.logits.shape)
    bad = replace(good, logits=(good.logits + noise).astype(np.float32))
    pairing = adjusted({"b": compare(bad, good, resamples=100, seed=0)})["b"]
    text = comparison_page("a", {"a": bad, "b": good}, {"b": pairing}, {}, [], group_noun="patient")
    assert "So b has the better AUROC on images like these" in text
    assert "scores compared, it is better in" in text
    assert "is better on patients" not in text


def test_methods_are_those_that_were_used(simulate) -> None:
    text = page(simulate, SURELY_WORSE)
    assert "clustered DeLong" in text
    assert "bootstrap" not in text
    assert "McNemar: exact" not in text
