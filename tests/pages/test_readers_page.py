"""What the page of a reader study says is so of this study."""

from __future__ import annotations

import numpy as np
import pytest

from medcnn.pages.readers_page import READERS, Read, _chart
from medcnn.statistics.readers import Study

STUDIES = {
    "one": Read(readers=1, model="", clustered=False, tests=1),
    "three": Read(readers=3, model="", clustered=False, tests=1),
    "six": Read(readers=6, model="", clustered=False, tests=3),
    "model": Read(readers=6, model="net", clustered=True, tests=3, margin=0.05, margin_of="AUROC"),
    "untested": Read(readers=1, model="net", clustered=False, tests=0, margin=0.05),
    "nobody": Read(readers=0, model="", clustered=False, tests=0),
}
SAID = {
    "random": {"three", "six", "model"},
    "alone": {"one", "untested"},
    "few": {"three"},
    "model": {"model", "untested"},
    "patients": {"model"},
    "holm": {"six", "model"},
    "margin": {"model"},
    "laboratory": {"one", "three", "six", "model", "untested"},
}


@pytest.mark.parametrize("name", READERS)
def test_a_sentence_about_readers_is_said_where_it_holds(name: str) -> None:
    said = {case: READERS[name].words(of) for case, of in STUDIES.items()}
    assert {case for case, words in said.items() if words} == SAID[name]
    assert all(words.endswith(".") for words in said.values() if words)


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize(
    ("scores", "drawn"),
    [((3, 3, 3, 3), "M46 252l280-240"), ((1, 7, 1, 7), "M46 252l140-120l140-120")],
)
def test_cases_of_one_score_are_one_step_of_the_curve_in_any_order_of_rows(
    scores: tuple[int, ...], drawn: str, order: int
) -> None:
    truth = np.array([False, False, True, True])[::order]
    model = {"net": {"net": np.array(scores, np.float64)[::order]}}
    study = Study(truth=truth, groups=tuple("abcd"), scores=model, calls=model, model="net")
    chart = _chart(study, {})
    assert chart
    assert f'class="l1" d="{drawn}"' in chart.svg
