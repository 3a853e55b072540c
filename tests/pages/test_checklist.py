from __future__ import annotations

from typing import Any

import pytest

from medcnn.pages.checklist import LISTS, SAYS, filled, items, missing
from medcnn.pages.facts import Facts, facts_of


def numbers(listed: str) -> list[str]:
    return listed.split(", ")


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
# Sounderajah et al. 2025, Nature Medicine 31:3283, Table 2
STARD_AI = numbers(
    "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15a, 15b, 15c, 15d, 16a, 16b, 16c, 17a, 17b, "
    "18, 19, 20, 21, 22, 23, 24, 25, 26a, 26b, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, "
    "40a, 40b"
)
RENUMBERED = dict(
    pair.split(":")
    for pair in [
        "1:1",
        "2:2",
        "3:3",
        "4:4",
        "5:5",
        "6:7",
        "7:8",
        "8:9",
        "9:10",
        "10a:15a",
        "10b:16a",
        "11:16b",
        "12a:15c",
        "12b:16c",
        "13a:17a",
        "13b:17b",
        "14:18",
        "15:19",
        "16:20",
        "17:21",
        "18:22",
        "19:24",
        "20:25",
        "21a:26a",
        "21b:26b",
        "22:27",
        "23:30",
        "24:31",
        "25:32",
        "26:33",
        "27:34",
        "28:36",
        "29:37",
        "30:38",
    ]
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


FULL: dict[str, Any] = {
    **TRAINED,
    "medcnn": "1",
    "versions": {"torch": "2"},
    "weights": "random weights",
    "test_looks": [{}],
    "flips": "horizontal",
    "seed": 1,
    "plan": {"made": "2026-01-02T03:04:05+00:00", "patients": 185, "needs": []},
    "config": {
        "data": {"size_px": 64},
        "model": {"backbone": "resnet18"},
        "trainer": {"epochs": 3, "batch_size": 2},
        "optimizer": {"name": "sgd", "lr": 0.1},
        "readout": {"operating_points": [{"name": "youden"}], "calibration": "none"},
        "loss": {"name": "focal"},
    },
}
EVALUATED: dict[str, Any] = {
    "manifest": "bb",
    "trained_on": {"source": "clinic A", "manifest": "aa", "shared_images": 0},
    "report": {"source": "clinic B"},
}


def facts(run: dict[str, Any], *sections: str, **more: Any) -> Facts:
    return Facts(**{**facts_of(run, "test"), "sections": frozenset(sections), **more})


def said(run: dict[str, Any], asks: str, *sections: str, **more: Any) -> str:
    rows = filled(run, facts(run, *sections, **more))
    (text,) = [row.text for row in rows if row.item.asks == asks]
    return text


@pytest.mark.parametrize(
    ("name", "wanted"), list(zip(LISTS, (CLAIM, TRIPOD, STARD, STARD_AI), strict=True))
)
def test_every_item_of_a_list_has_a_row_and_none_is_made_up(name: str, wanted: list[str]) -> None:
    assert {n for item in items() for n in item.numbers[name]} == set(wanted)
    assert missing(filled({}, Facts()))[name][1] == len(wanted)


@pytest.mark.fault
def test_stard_ai_renumbers_stard_2015_and_has_40_items_in_48_rows() -> None:
    """Row A17: where an item has a number of STARD 2015 it has the new one of STARD-AI too."""
    assert len(STARD_AI) == 48
    assert len({n.rstrip("abcd") for n in STARD_AI}) == 40
    assert set(RENUMBERED) == set(STARD)
    new = set(STARD_AI) - set(RENUMBERED.values())
    assert new == set(numbers("6, 11, 12, 13, 14, 15b, 15d, 23, 28, 29, 35, 39, 40a, 40b"))
    for item in items():
        old = {RENUMBERED[n] for n in item.numbers["STARD 2015"]}
        assert set(item.numbers["STARD-AI"]) - new == old, item.asks


@pytest.mark.fault
@pytest.mark.parametrize(
    ("pseudonyms", "text"),
    [
        (True, "Ids of patients and images are keyed pseudonyms."),
        (False, "Ids of images are those that came with the data, not pseudonyms."),
        (None, ""),
    ],
)
def test_pseudonyms_are_claimed_only_where_there_are_some(
    pseudonyms: bool | None, text: str
) -> None:
    """Row A16: ids of public sets stay as their authors gave them."""
    run = {"report": {**TRAINED["report"], "pseudonymous": pseudonyms}}
    assert said(run, "De-identification") == text


@pytest.mark.fault
@pytest.mark.parametrize("name", SAYS)
def test_no_item_is_filled_by_a_run_that_knows_nothing_and_each_is_by_some_run(name: str) -> None:
    """Row A16."""
    assert SAYS[name]({}, Facts()) == ""
    full = facts(FULL, *SECTIONS, intervals=1, fitted=frozenset({"thresholds"}), pseudonyms=True)
    evaluated = facts(EVALUATED, *SECTIONS)
    assert SAYS[name](FULL, full) or SAYS[name](EVALUATED, evaluated)


SECTIONS = (*("Scores", "Dataset", "Flow of images", "Confusions", "Errors", "subgroups", "maps"),)


def test_an_item_is_missing_while_one_of_its_rows_is() -> None:
    rows = filled(TRAINED, facts(TRAINED, "Scores"))
    code, model, _ = (row for row in rows if {"40a", "40b"} & set(row.item.numbers["STARD-AI"]))
    before = missing(rows)["CLAIM 2024"][0]
    assert not model.text
    assert missing([row for row in rows if row is not code])["CLAIM 2024"][0] == before


def test_an_evaluation_of_the_own_test_split_is_not_called_external() -> None:
    own = {"source": "clinic A", "manifest": "aa", "shared_images": 0}
    run = {"manifest": "aa", "trained_on": own, "report": {"source": "clinic A"}}
    assert said(run, "External data", "Scores") == ""
    assert said(run, "Internal data", "Scores") == "See Scores."
    other = {**run, "manifest": "bb", "report": {"source": "clinic B"}}
    assert "Evaluated on clinic B, trained on clinic A" in said(other, "External data", "Scores")
    assert said(other, "Internal data", "Scores") == ""
    for shared in (5, None):  # images that were trained on, or nobody can say
        known = {**other, "trained_on": {**own, "shared_images": shared}}
        assert said(known, "External data", "Scores") == ""
    assert said(TRAINED, "External data", "Scores") == ""


def test_another_split_of_the_set_that_was_trained_on_is_not_called_external() -> None:
    run = {**EVALUATED, "report": {"source": "clinic A"}}
    assert said(run, "External data", "Scores") == ""


@pytest.mark.parametrize(
    ("checkpoint", "text"),
    [
        ({}, "One network, no ensemble."),
        (
            {"members": ["a", "b", "c", "d", "e"]},
            "The mean of the calibrated probabilities of 5 networks.",
        ),
    ],
)
def test_an_ensemble_is_called_one(checkpoint: dict[str, Any], text: str) -> None:
    assert SAYS["ensemble"]({**EVALUATED, "flips": "", "checkpoint": checkpoint}, Facts()) == text


def test_splits_are_called_disjoint_only_where_they_are() -> None:
    asks = "Level at which splits are disjoint"
    assert said(TRAINED, asks) == "No patient is in two splits."
    for report, text in (
        ({"leaks": 3}, "3 patients are in more than one split."),
        ({"leaks": 1}, "1 patient is in more than one split."),
        ({"group_noun": "image"}, "By image: the patients are not known."),
        ({"group_noun": "exam"}, "By exam: the patients are not known."),
        ({"group_noun": "exam", "leaks": 1}, "1 exam is in more than one split."),
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
    told = said(TRAINED, "Uncertainty", "Scores", intervals=3)
    assert "treat patients, not images, as independent" in told
    assert "draw" not in told
    assert said(TRAINED, "Uncertainty", "Scores", intervals=0) == ""


def test_images_that_could_not_be_used_are_not_forgotten() -> None:
    asks = "Images that were left out, and why"
    assert said(TRAINED, asks) == "No image was left out."
    report = {**TRAINED["report"], "unreadable": 2}
    assert said({"report": report}, asks) == "Left out: could not be used: 2."
    del report["unreadable"]
    assert said({"report": report}, asks) == ""


@pytest.mark.fault
def test_test_is_said_to_have_been_opened_once_only_where_it_was() -> None:
    """Row A13."""
    for looks, once in (([{}], True), ([{}, {}], False), (None, False)):
        run = {**FULL, "test_looks": looks}
        assert ("opened once" in said(run, "How the final model was chosen")) == once
        after = said(run, "Changes to the model after its evaluation")
        assert bool(after) == once
