"""What `inspect` says of a network follows from its layers, and is not said of others."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import replace
from typing import Any

import pytest

from medcnn.pages.anatomy import COLUMNS, Anatomy, Layer, is_table, seen, table, window
from medcnn.pages.anatomy_notes import NOTES, READING, Looked, notes_of
from medcnn.pages.anatomy_page import page

CONV = Layer(
    name="stem",
    kind="conv",
    kernel=(3, 3),
    stride=(2, 2),
    padding=(1, 1, 1, 1),
    given=(3, 32, 32),
    made=(8, 16, 16),
    map=(16, 16),
    parameters=216,
    macs=55_296,
    size_bytes=8192,
    sees_px=(3, 3),
    jump_px=(2, 2),
)
DEEP = replace(CONV, name="deep", given=(8, 16, 16), made=(8, 8, 8), map=(8, 8), sees_px=(7, 7))
DEEP = replace(DEEP, jump_px=(4, 4))
POOL = Layer(
    name="pool", kind="average pool", given=(8, 8, 8), made=(8,), map=(1, 1), sees_px=(35, 35)
)
PLAIN = Anatomy(name="net", size_px=32, layers=(CONV, DEEP, POOL))


def ending(**changed: Any) -> Anatomy:
    return replace(PLAIN, layers=(CONV, replace(DEEP, **changed), POOL))


VANISHED = ending(given=(8, 2, 2), made=(8, 1, 1), map=(1, 1))
# Name of a note, facts by which it is said, words in it, facts by which it is not.
CASES: dict[str, tuple[Looked, str, list[Looked]]] = {
    "border": (
        Looked(anatomy=ending(unread=(1, 2))),
        "deep (conv 3×3, stride 2) leaves out the last 1 row and 2 columns of its 16×16 map.",
        [Looked(anatomy=PLAIN)],
    ),
    "vanishes": (
        Looked(anatomy=replace(VANISHED, roomy_px=33)),
        "From deep on, the map has one position, so where in the image something was is lost "
        "there. An image of at least 33 px (data.size_px=33)",
        [
            Looked(anatomy=PLAIN),
            Looked(anatomy=ending(given=(8, 1, 1), made=(8, 1, 1), map=(1, 1))),  # of a squeeze
            Looked(anatomy=ending(kind="linear", made=(8, 1, 1), map=(1, 1))),
        ],
    ),
    "lesion": (
        Looked(anatomy=PLAIN, lesion_px=5),
        "A lesion of 5 px is first seen whole at one position by deep (conv), which sees 7 px.",
        [Looked(anatomy=PLAIN)],
    ),
    "lesion between": (
        Looked(anatomy=PLAIN, lesion_px=3),
        "Positions of the last map are 4 px apart, so that lesion is 75 % of a step wide",
        [Looked(anatomy=PLAIN), Looked(anatomy=PLAIN, lesion_px=4)],
    ),
    "lesion lost": (
        Looked(anatomy=PLAIN, lesion_px=1.5, lesion_mm=0.4),
        "A lesion of 0.4 mm is 1.5 px wide there",
        [Looked(anatomy=PLAIN, lesion_px=1.5), Looked(anatomy=PLAIN, lesion_px=2, lesion_mm=1)],
    ),
    "unknown": (
        Looked(anatomy=ending(sees_px=None, kind="product")),
        "is not known after deep (product).",
        [Looked(anatomy=PLAIN)],
    ),
    "everywhere": (
        Looked(anatomy=ending(sees_px=(math.inf, math.inf))),
        "From deep on, every position depends on the whole image.",
        [Looked(anatomy=PLAIN)],
    ),
}


@pytest.mark.fault
@pytest.mark.parametrize("name", NOTES)
def test_a_note_is_made_by_its_facts_and_not_by_others(name: str) -> None:
    """Row A13."""
    facts, words, others = CASES[name]
    assert words in NOTES[name].words(facts)
    assert NOTES[name].words(facts) in notes_of(facts)
    assert [NOTES[name].words(other) for other in others] == [""] * len(others)


def test_no_more_is_said_of_a_lesion_than_is_known() -> None:
    said = NOTES["lesion"].words(Looked(anatomy=PLAIN, lesion_px=40, lesion_mm=3))
    assert said == (
        "No layer is known to see a lesion of 3 mm (40 px in the network's image) whole at one "
        "position."
    )
    assert (
        NOTES["lesion between"].words(
            Looked(anatomy=ending(jump_px=None, sees_px=None), lesion_px=1)
        )
        == ""
    )


@pytest.mark.fault
@pytest.mark.parametrize("name", READING)
def test_how_to_read_a_column_is_said_where_it_has_numbers(name: str) -> None:
    """Row A13."""
    empty = replace(POOL, sees_px=None)
    assert READING[name].words(PLAIN)
    assert READING[name].words(replace(PLAIN, layers=(empty,))) == ""


def test_shares_and_the_last_map_are_those_of_the_layers() -> None:
    head = Layer(name="head", kind="linear", given=(8,), made=(2,), parameters=144, macs=4)
    of = replace(PLAIN, layers=(*PLAIN.layers, head))
    assert of.parameters == 2 * 216 + 144
    assert of.linear_share == 0.25
    assert of.conv_share == 2 * 55_296 / (2 * 55_296 + 4)
    assert PLAIN.last_map == DEEP


def test_the_formula_holds_the_numbers_of_the_layer() -> None:
    assert CONV.formula() == "⌊(32 + 2·1 − 1·(3 − 1) − 1) / 2⌋ + 1 = 16"
    assert POOL.formula() == ""
    assert window(CONV) == "3×3, stride 2, padding 1"
    assert seen((7.0, 43.0)) == "7×43 px"


def test_the_table_has_a_row_for_each_layer_and_says_what_is_not_known() -> None:
    text = table([PLAIN, ending(sees_px=None, jump_px=None)])
    rows = list(csv.DictReader(io.StringIO(text)))
    assert is_table(text.splitlines()[0])
    assert not is_table("network,layer")
    assert len(rows) == 6
    assert {**rows[0]} == dict(zip(COLUMNS, rows[0].values(), strict=True))
    assert (rows[0]["padding_top"], rows[0]["input"], rows[0]["output"]) == (
        "1",
        "3×32×32",
        "8×16×16",
    )
    assert [row["sees_width_px"] for row in rows] == ["3", "7", "35", "3", "", "35"]
    assert [row["kernel_height"] for row in rows] == ["3", "3", "", "3", "3", ""]


def test_a_name_of_a_network_cannot_write_into_the_page() -> None:
    html = page([Looked(anatomy=replace(PLAIN, name="<script>x"))], [2])
    assert "<script>" not in html
    assert "&lt;script&gt;x" in html
