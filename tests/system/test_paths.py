"""What a table may name: files below the root, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from medcnn.system.paths import (
    IRREGULAR,
    LINKED,
    MISSING,
    OUTSIDE,
    faults_on_disk,
    leaves_root,
    lookalike,
    name_of_place,
    without_folders,
    without_ways,
)


@pytest.mark.parametrize(
    "path", ["../a", "a/../../b", "/etc/passwd", "C:\\a.png", "\\\\server\\a", "a\0b", "..\\a"]
)
def test_the_text_of_a_path_shows_that_it_leaves(path: str) -> None:
    assert leaves_root(path)


@pytest.mark.parametrize("path", ["a.png", "a/b.png", "..a/b", "a..b", "sub/...png", "ä ö/ü.png"])
def test_ordinary_paths_stay(path: str) -> None:
    assert not leaves_root(path)


def test_links_and_pipes_are_found_on_the_disk(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    for place in (root / "sub", outside):
        place.mkdir(parents=True)
        (place / "a.png").write_bytes(b"x")
    (root / "out.png").symlink_to(outside / "a.png")
    (root / "in.png").symlink_to(root / "sub" / "a.png")
    (root / "folder").symlink_to(outside)
    os.mkfifo(root / "pipe.png")
    found = faults_on_disk(
        root,
        [
            *("sub/a.png", "in.png", "out.png", "folder/a.png", "pipe.png", "sub", "no.png"),
            *("nowhere/a.png", "../outside/a.png", "x\0y", "n" * 300 + "/a.png"),
        ],
    )
    assert found == {
        "out.png": LINKED,
        "folder/a.png": LINKED,
        "pipe.png": IRREGULAR,
        "sub": IRREGULAR,
        "no.png": MISSING,
        "nowhere/a.png": MISSING,
        "../outside/a.png": OUTSIDE,
        "x\0y": OUTSIDE,
        "n" * 300 + "/a.png": MISSING,
    }


def test_a_root_that_is_itself_a_link_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.png").write_bytes(b"x")
    (tmp_path / "root").symlink_to(tmp_path / "real")
    assert faults_on_disk(tmp_path / "root", ["a.png"]) == {}


def test_each_folder_is_listed_once_whatever_it_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(50):
        (tmp_path / f"{i}.png").write_bytes(b"x")
    listed: list[str] = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda place: listed.append(place) or scandir(place))
    assert faults_on_disk(tmp_path, [f"{i}.png" for i in range(50)]) == {}
    assert len(listed) == 1


def test_a_name_that_differs_only_in_case_or_unicode_form_is_pointed_out(tmp_path: Path) -> None:
    (tmp_path / "gro\u0308\u00dfe.PNG").write_bytes(b"x")
    assert lookalike(tmp_path, "gr\u00f6\u00dfe.png") == "gro\u0308\u00dfe.PNG"
    assert lookalike(tmp_path, "other.png") is None
    assert lookalike(tmp_path, "nowhere/other.png") is None


@pytest.mark.fault
def test_what_leads_to_a_file_is_cut_from_settings_and_sentences() -> None:
    """Row A3: also of a path that climbs; a separator `/` is no path, and what `...` says stays."""
    assert name_of_place("../Mrs W/labels.csv") == ".../labels.csv"
    assert name_of_place("/") == "/"
    said = without_folders("4 rows of ../../Mrs_W/labels.csv, and .../x.csv")
    assert said == "4 rows of .../labels.csv, and .../x.csv"
    said = without_folders("4 rows of ../Mrs W/labels.csv", ["../Mrs W/labels.csv"])
    assert said == "4 rows of .../labels.csv"


def test_a_path_keeps_its_name_and_a_slash_that_separates_words_stays() -> None:
    assert name_of_place("/data/ward 7/labels.csv") == ".../labels.csv"
    assert without_ways({"separator": "/", "root": "/data"}) == {
        "separator": "/",
        "root": ".../data",
    }
