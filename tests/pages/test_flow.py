"""The flow of images counts what it says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from medcnn.data.labels import Kind
from medcnn.pages.flow import flow, used

COUNTS = {"train": {"images": 70, "groups": 30}, "test": {"images": 30, "groups": 10}}


@pytest.mark.fault
def test_neither_a_row_without_a_picture_nor_a_file_of_another_kind_is_an_image() -> None:
    """Row B22."""
    excluded = {
        "files that are not DICOM": 7,
        "without a row in labels.csv": 5,
        "no grade": 2,
    }
    rows = {"no image of that name": 4}
    told = {"dataset": COUNTS, "excluded": excluded, "rows_left_out": rows}
    found = flow(told, {}, "patient")
    assert found["found"] == "107"
    assert found["used"] == "100"
    assert found["before"] == [
        "4 rows left out: no image of that name",
        "7 other files: files that are not DICOM",
    ]
    assert found["excluded"] == [("without a row in labels.csv", "5"), ("no grade", "2")]


@pytest.mark.fault
def test_an_image_that_could_not_be_read_is_not_used() -> None:
    """Row B22: nor is one in quarantine, and each split says its own."""
    missing = {"train": {"unreadable": 2, "quarantined": 1}, "test": {"unreadable": 1}}
    found = flow({"dataset": COUNTS, "lost": missing}, {}, "patient")
    assert found["found"] == "100"
    assert found["used"] == "96"
    assert found["lost"] == [("could not be read", "3"), ("in quarantine", "1")]
    train, test = found["splits"]
    assert train["lines"] == [
        "70 images of 30 patients",
        "2 could not be read",
        "1 in quarantine",
        "67 used",
    ]
    assert "29 used" in test["lines"]


def test_of_older_runs_what_the_predictions_lack_is_counted(simulate) -> None:
    test = replace(simulate(Kind.BINARY, 29), unreadable=(("a", "truncated"),))
    found = flow({"dataset": COUNTS}, {"test": test}, "image")
    assert found["used"] == "99"
    assert found["splits"][1]["lines"] == [
        "30 images",
        "1 could not be used",
        "29 used",
        "29 scored",
    ]


def test_without_splits_there_is_no_flow() -> None:
    assert flow({"excluded": {"x": 1}}, {}, "image") is None


def test_what_is_used_is_known_where_somebody_counted_what_is_not() -> None:
    assert used({"dataset": COUNTS, "lost": {"test": {"unreadable": 3, "quarantined": 0}}}) == {
        "train": 70,
        "test": 27,
    }
    assert used({"dataset": COUNTS}) == {}
