"""What the page of a reader study says is so of this study."""

from __future__ import annotations

import pytest

from medcnn.pages.readers_page import READERS, Read

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
