from __future__ import annotations

from typing import Any

import pytest

from medcnn.pages.checklist import ITEMS, LISTS, filled, missing, numbers

CLAIM = [str(n) for n in range(1, 45)]
TRIPOD = numbers(
    "1, 2, 3a, 3b, 3c, 4, 5a, 5b, 6a, 6b, 6c, 7, 8a, 8b, 8c, 9a, 9b, 9c, 10, 11, 12a, 12b, 12c, "
    "12d, 12e, 12f, 12g, 13, 14, 15, 16, 17, 18a, 18b, 18c, 18d, 18e, 18f, 19, 20a, 20b, 20c, 21, "
    "22, 23a, 23b, 24, 25, 26, 27a, 27b, 27c"
)
STARD = numbers(
    "1, 2, 3, 4, 5, 6, 7, 8, 9, 10a, 10b, 11, 12a, 12b, 13a, 13b, 14, 15, 16, 17, 18, "
    "19, 20, 21a, 21b, 22, 23, 24, 25, 26, 27, 28, 29, 30"
)
TRAINED: dict[str, Any] = {
    "manifest": "aa",
    "best_epoch": 3,
    "report": {
        "group_noun": "patient",
        "source": "clinic A",
        "dataset": {"train": {"images": 8}, "test": {"images": 2}},
        "excluded": {},
        "leaks": 0,
        "unreadable": 0,
    },
}


def said(facts: dict[str, Any], asks: str, *sections: str) -> str:
    (text,) = [row.text for row in filled(facts, sections) if row.item.asks == asks]
    return text


@pytest.mark.parametrize(
    ("name", "items"), [("CLAIM 2024", CLAIM), ("TRIPOD+AI", TRIPOD), ("STARD 2015", STARD)]
)
def test_every_item_of_a_list_has_a_row_and_none_is_made_up(name: str, items: list[str]) -> None:
    assert {n for item in ITEMS for n in numbers(LISTS[name](item))} == set(items)
    assert missing(filled({}, []))[name][1] == len(items)


def test_an_item_is_missing_while_one_of_its_rows_is() -> None:
    rows = filled(TRAINED, ["Scores"])
    code, model = (row for row in rows if row.item.claim == "43")
    before = missing(rows)["CLAIM 2024"][0]
    assert not model.text
    assert missing([row for row in rows if row is not code])["CLAIM 2024"][0] == before


def test_an_evaluation_of_the_own_test_split_is_not_called_external() -> None:
    own = {"source": "clinic A", "manifest": "aa", "shared_images": 0}
    facts = {"manifest": "aa", "trained_on": own, "report": {"source": "clinic A"}}
    assert said(facts, "External data", "Scores") == ""
    assert said(facts, "Internal data", "Scores") == "See Scores."
    other = {**facts, "manifest": "bb", "report": {"source": "clinic B"}}
    assert "Evaluated on clinic B, trained on clinic A" in said(other, "External data", "Scores")
    assert said(other, "Internal data", "Scores") == ""
    for shared in (5, None):  # images that were trained on, or nobody can say
        known = {**other, "trained_on": {**own, "shared_images": shared}}
        assert said(known, "External data", "Scores") == ""
    assert said(TRAINED, "External data", "Scores") == ""


def test_splits_are_called_disjoint_only_where_they_are() -> None:
    asks = "At which level splits are disjoint"
    assert said(TRAINED, asks) == "No patient stands in two splits."
    for report, text in (
        ({"leaks": 3}, "3 patients stand in more than one split."),
        ({"leaks": 1}, "1 patient stands in more than one split."),
        ({"group_noun": "image"}, "By image: which images are of one patient is not known."),
        ({"leaks": None}, ""),
        ({"dataset": {"test": {"images": 2}}}, ""),
    ):
        assert said({"report": {**TRAINED["report"], **report}}, asks) == text


def test_texts_point_to_sections_that_are_there() -> None:
    asks = "Performance with its precision"
    assert said({}, asks, "Scores") == "See Scores."
    assert said({}, asks, "Scores", "Operating points") == "See Scores, Operating points."
    assert said({}, asks) == ""
    assert said(TRAINED, "Uncertainty") == ""
    assert "take patients, not images, for independent" in said(TRAINED, "Uncertainty", "Scores")
    assert "draw" not in said(TRAINED, "Uncertainty", "Scores")


def test_images_that_could_not_be_used_are_not_forgotten() -> None:
    asks = "Images that were left out, and why"
    assert said(TRAINED, asks) == "No image was left out."
    report = {**TRAINED["report"], "unreadable": 2}
    assert said({"report": report}, asks) == "Left out: could not be used: 2."
    del report["unreadable"]
    assert said({"report": report}, asks) == ""
