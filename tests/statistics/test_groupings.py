"""Attributes as groups of people."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from medcnn.data.labels import Kind
from medcnn.statistics.groupings import (
    TONE,
    attributed,
    check_subgroups,
    chosen_subgroups,
    groupings,
    in_order,
)
from medcnn.system.errors import UsageError


def grouped(
    attributes: dict[str, list[str]], asked: Any = None, patients: list[str] | None = None
) -> dict[str, list[str]]:
    """Each image of its own patient, unless these are given."""
    images = len(next(iter(attributes.values())))
    return groupings(attributes, patients or [f"p{i}" for i in range(images)], asked)


def test_ages_are_put_in_bands_however_they_are_written() -> None:
    ages = ["19", "20", "39.9", "045Y", "018M", "", "unknown", "80", "101"]
    assert grouped({"patient age": ages})["patient age"] == [
        *("under 20", "20 to under 40", "20 to under 40", "40 to under 60", "under 20"),
        *("not recorded", "not recorded", "80 or more", "80 or more"),
    ]


@pytest.mark.parametrize(
    ("cell", "edges", "band"),
    [
        *((oldest, None, "80 or more") for oldest in ("90+", "> 89", ">=90", "≥90", ">79")),
        *((oldest, [65, 90], "90 or more") for oldest in ("90+", ">89", ">=90", "≥90")),
        *((young, None, "under 20") for young in ("<1", "<=1", "≤ 19", "<20")),
        (">65", [65, 90], "other values"),
        (">=85", [65, 90], "other values"),
        ("<21", [18, 65], "other values"),
        ("nonagenarian", None, "other values"),
        ("not specified", None, "not recorded"),
    ],
)
def test_open_ages_belong_to_the_band_that_holds_all_they_may_mean(
    cell: str, edges: list[float] | None, band: str
) -> None:
    asked = chosen_subgroups([{"by": "age", "edges": edges}]) if edges else None
    assert grouped({"age": [*["45"] * 9, cell, cell]}, asked)["age"][-2:] == [band, band]


def test_other_numbers_may_be_fractions_so_above_a_number_may_be_just_above() -> None:
    asked = chosen_subgroups([{"by": "crp", "edges": [5, 90]}])
    made = grouped({"crp": [*["45"] * 9, ">89", ">90", "<5", "≤5"]}, asked)
    assert made["crp"][-4:] == ["other values", "90 or more", "under 5", "other values"]


def test_ages_of_which_many_are_open_are_still_numbers() -> None:
    made = grouped({"age": ["45"] * 10 + ["72"] * 10 + ["90+"] * 10})
    assert in_order(made["age"]) == ["40 to under 60", "60 to under 80", "80 or more"]


def test_other_numbers_are_cut_at_their_quartiles_and_words_stay() -> None:
    made = grouped({"dose": [str(i) for i in range(100)], "sex": ["f", "m"] * 50})
    assert in_order(made["dose"]) == [
        *("under 25", "25 to under 50", "50 to under 74", "74 or more")
    ]
    assert in_order(made["sex"]) == ["f", "m"]


def test_a_missing_attribute_is_a_group_and_stands_last() -> None:
    made = grouped({"sex": ["", *"ffffffmmmmm", "", ""]})
    assert in_order(made["sex"]) == ["f", "m", "not recorded"]


def test_edges_and_intersections_are_made_as_asked() -> None:
    attributes = {"age": ["17", "18", "70"] * 5, "sex": ["f", "m", "f"] * 5}
    asked = chosen_subgroups([{"by": "age", "edges": [18, 65]}, "sex+age"])
    assert grouped(attributes, asked) == {
        "age": ["under 18", "18 to under 65", "65 or more"] * 5,
        "sex and age": ["f, under 20", "m, under 20", "f, 60 to under 80"] * 5,
    }


def test_what_names_single_images_is_no_group_unless_asked_for() -> None:
    attributes = {"study": [f"s{i}" for i in range(90)], "site": ["a"] * 90}
    assert grouped(attributes) == {}
    made = grouped(attributes, chosen_subgroups("study"))
    assert set(made["study"]) == {"other values"}
    wards = [f"ward {i // 5}" for i in range(100)]
    made = grouped({"ward": wards}, chosen_subgroups("ward"))
    assert len(set(made["ward"])) == 12
    assert made["ward"].count("other values") == 45


@pytest.mark.parametrize("name", ["Patient {}", "48213{}"])
def test_what_names_patients_of_several_images_is_no_group(name: str) -> None:
    names = [name.format(10 + i // 5) for i in range(60)]
    patients = [f"p{i // 5}" for i in range(60)]
    assert grouped({"name": names}, patients=patients) == {}
    made = grouped({"name": names}, chosen_subgroups("name"), patients)
    assert set(made["name"]) == {"other values"}


def test_edges_of_bands_are_no_record_numbers() -> None:
    made = grouped({"record": [str(48213771 + 13579 * i) for i in range(60)]})
    assert in_order(made["record"]) == [
        *("under 4.84e+07", "4.84e+07 to under 4.86e+07"),
        *("4.86e+07 to under 4.88e+07", "4.88e+07 or more"),
    ]


def test_a_word_of_fewer_than_five_patients_is_not_shown() -> None:
    made = grouped({"doctor": ["Smith"] * 9 + ["Jones"] * 5 + ["Rare Name"] * 4})
    assert set(made["doctor"]) == {"Smith", "Jones", "other values"}


def test_the_angle_of_the_skin_is_shown_as_tones_from_dark_to_light() -> None:
    made = grouped({TONE: ["60", "45", "-40", "30", "", "12", "0"]})
    assert in_order(made["skin tone"]) == [
        *("dark", "brown", "tan", "intermediate", "light", "very light", "not recorded")
    ]


@pytest.mark.parametrize(
    "value", [[3], [{"by": "age", "edges": [65, 18]}], [{"edges": [1]}], [{"by": "a", "x": 1}]]
)
def test_a_wrong_setting_is_refused(value: Any) -> None:
    with pytest.raises(UsageError, match="edges"):
        chosen_subgroups(value)


def test_the_setting_knows_all_none_and_what_it_stored() -> None:
    assert chosen_subgroups("auto") is None
    assert chosen_subgroups(None) is None
    assert chosen_subgroups("none") == ()
    asked = chosen_subgroups(["sex", {"by": "age", "edges": [18]}])
    assert chosen_subgroups(asked) == asked
    assert grouped({"sex": ["f", "m"]}, ()) == {}


def test_all_unknown_attributes_are_named_at_once() -> None:
    with pytest.raises(UsageError, match=r"'sx'.*'sex'.*'height'"):
        check_subgroups(chosen_subgroups(["sx", "sex", "height+sex"]), ["sex", "age"])


def test_older_predictions_find_their_attributes_in_the_manifest(simulate, tmp_path: Path) -> None:
    predictions = simulate(Kind.BINARY, 4)
    assert attributed(predictions, tmp_path) is predictions
    with (tmp_path / "manifest.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image_id", "attribute:sex"])
        writer.writerows(zip(reversed(predictions.image_ids), "abcd", strict=True))
    assert attributed(predictions, tmp_path).attributes == {"sex": ("d", "c", "b", "a")}
