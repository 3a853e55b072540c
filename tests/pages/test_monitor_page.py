from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from medcnn.pages.monitor_page import SAYS, Monitored, monitor_page, sentences
from medcnn.statistics.monitoring import MOST_IMAGES, Change, Prevalence, Size


def change(question: str = "certainty", **more: Any) -> Change:
    given: dict[str, Any] = {"size": Size.SPREAD, "before": 0.5, "now": 0.7, "distance": 0.3}
    given |= {"p": 0.5, "shows_from": 0.2, "images": 90}
    return Change(question=question, **given | more)


CALM = Monitored(
    title="march",
    reference="validation",
    images=(90, 80),
    patients=(45, 40),
    grouped=(True, True),
    same_model=True,
    alarm=0.05,
    changes=(change(), change("called yes", size=Size.SHARE)),
)
SEEN = change("called <b>yes</b>", size=Size.SHARE, p=0.002)
MONTHS = {
    "calm": CALM,
    "look": replace(CALM, changes=(SEEN, *CALM.changes)),
    "small": replace(CALM, changes=(change(p=0.01, distance=0.02), *CALM.changes)),
    "few": replace(CALM, patients=(45, 3), grouped=(True, False), changes=(SEEN,)),
    "each alone": replace(CALM, grouped=(True, False)),
    "each alone before": replace(CALM, grouped=(False, True)),
    "other model": replace(CALM, same_model=False),
    "prevalence": replace(
        CALM, prevalences=(Prevalence(label="yes", before=0.2, now=0.4, low=0.3, high=0.5),)
    ),
    "nothing": replace(CALM, changes=()),
    "thinned": replace(CALM, images=(MOST_IMAGES, 80)),
}
MADE = {
    "look": {"look"},
    "no truth": {"look"},
    "calm": set(MONTHS) - {"look", "few", "nothing"},
    "research": set(MONTHS) - {"nothing"},
    "promise": set(MONTHS) - {"few", "nothing"},
    "each alone": {"few", "each alone"},
}


@pytest.mark.fault
@pytest.mark.parametrize("name", SAYS)
def test_a_sentence_about_a_month_is_made_by_its_facts_and_not_by_others(name: str) -> None:
    """Row A13."""
    made = {case for case, of in MONTHS.items() if SAYS[name].words(of)}
    assert made == MADE.get(name, {name})
    for case in made:
        text = SAYS[name].words(MONTHS[case])
        assert text.endswith(".")
        assert not re.search(r"\b(nan|None)\b", text), text


def test_the_first_sentence_says_whether_to_look() -> None:
    assert sentences(MONTHS["look"])[0].startswith("Look into it: 1 of 3 questions")
    assert "from 50.0 % to 70.0 %" in sentences(MONTHS["look"])[0]
    assert sentences(CALM)[0].startswith("No reason to look: none of 2 questions")
    assert sentences(MONTHS["few"])[0].startswith("Too few to tell")


def test_the_page_names_what_it_compares_with() -> None:
    for of in MONTHS.values():
        february = replace(of, reference="february")
        text = monitor_page(february) + " ".join(sentences(february))
        assert "alidation" not in text
        assert "february" in text


def test_the_page_has_every_question_and_escapes_its_name() -> None:
    page = monitor_page(MONTHS["look"])
    assert "called &lt;b&gt;yes&lt;/b&gt;" in page
    assert page.count("<tr") == 1 + 3
    assert ">look</td>" in page
    assert "Every question" not in monitor_page(MONTHS["few"])
    assert "30.0 to 50.0" in monitor_page(MONTHS["prevalence"])
