"""Corrupted images by the command: one evaluation, one page, one table."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from medcnn.data.labels import Kind
from medcnn.statistics.predictions import Predictions
from medcnn.verbs.steps.corrupting import as_levels, some_patients
from tests.command import run

KINDS = "kinds=[jpeg_compression,gaussian_noise,brightness_down,translation]"


def test_every_grade_of_every_kind_is_on_the_page_in_the_table_and_in_the_terminal(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    best, folder = trained / "checkpoints/best.safetensors", tmp_path / "r"
    assert run("robustness", best, KINDS, "split=all", f"run_dir={folder}") == 0
    said = capsys.readouterr()
    assert "JPEG compression" in said.out
    stored = json.loads((folder / "robustness.json").read_text())
    assert [kind["name"] for kind in stored["kinds"]] == [
        *("jpeg_compression", "gaussian_noise", "brightness_down", "translation")
    ]
    assert stored["kinds"][0]["grades"][0]["amount"] == "quality 30"
    rows = list(csv.DictReader((folder / "robustness.csv").read_text().splitlines()))
    assert len(rows) == 20
    metrics = json.loads((folder / "metrics.json").read_text())
    auroc = next(
        s for s in metrics["splits"]["all"]["scores"] if s["name"] == "auroc" and not s["label"]
    )
    assert stored["clean"]["value"] == pytest.approx(auroc["value"])
    page = (folder / "robustness.html").read_text()
    assert page.count("<img") == 21
    assert stored["sentences"][0].split(";")[0] in page
    assert (folder / "report.html").is_file()
    again = tmp_path / "again"  # in other batches, and some images only
    few = ("trainer.batch_size=7", "max_images=20", f"run_dir={again}")
    assert run("robustness", best, KINDS, "split=all", *few) == 0
    second = json.loads((again / "robustness.json").read_text())
    assert second["images"] <= 20 < stored["images"]


def test_grades_too_mild_for_small_images_are_reported(trained: Path, tmp_path: Path) -> None:
    best, folder = trained / "checkpoints/best.safetensors", tmp_path / "r"
    words = ("kinds=[pixelate,gaussian_blur,brightness_down]", "max_images=8")
    assert run("robustness", best, *words, f"run_dir={folder}") == 0
    stored = json.loads((folder / "robustness.json").read_text())
    idle = {
        kind["name"]: [g for g, grade in enumerate(kind["grades"], 1) if grade["unchanged"]]
        for kind in stored["kinds"]
    }
    # at 32 px, a blur of 1 px at 224 has a spread of 0.14 px: it changes no level
    assert idle["gaussian_blur"][:1] == [1]
    assert idle["brightness_down"] == []
    page = " ".join((folder / "robustness.html").read_text().split())
    assert "At 32 px, these change no pixel of any image" in page
    assert "gaussian blur (grade" in page.lower()
    for kind in stored["kinds"]:
        for grade in kind["grades"]:
            if grade["unchanged"] == stored["images"]:
                assert grade["flips"]["value"] == 0


def test_an_ensemble_of_the_same_model_twice_answers_as_the_model(
    trained: Path, tmp_path: Path
) -> None:
    best, twice = trained / "checkpoints/best.safetensors", tmp_path / "twice"
    twice.mkdir()
    for name in ("a", "b"):
        shutil.copy(best, twice / f"{name}.safetensors")
    words = ("kinds=[gaussian_noise]", "score=brier", "explain=null")
    tables = []
    for checkpoint, folder in ((best, tmp_path / "one"), (twice, tmp_path / "both")):
        assert run("robustness", checkpoint, *words, f"run_dir={folder}") == 0
        tables.append((folder / "robustness.csv").read_text())
    assert tables[0] == tables[1]
    page = (tmp_path / "both" / "robustness.html").read_text()
    assert "Robustness of an ensemble of 2 lenet5" in page
    assert "an ensemble" not in (tmp_path / "one" / "robustness.html").read_text()


def test_what_cannot_be_asked_is_refused_all_at_once(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    best = trained / "checkpoints/best.safetensors"
    assert (
        run("robustness", best, "kinds=[jpeg,rotation,rotation]", "score=aurok", "split=tset") == 2
    )
    said = " ".join(capsys.readouterr().err.split())
    for part in ("unknown kind 'jpeg'", "'rotation' twice", "unknown score 'aurok'", "'tset'"):
        assert part in said
    assert run("robustness", best, "kinds=[]") == 2
    assert "nothing to do" in capsys.readouterr().err
    assert run("robustness", best, "score=brier_uncertainty") == 2
    assert "no value of it is better than another" in capsys.readouterr().err
    assert run("robustness", best, "score=cut_auroc", f"run_dir={tmp_path / 'r'}") == 2
    assert "not defined for" in capsys.readouterr().err


def test_whole_patients_are_taken_and_their_names_do_not_matter(simulate) -> None:
    p: Predictions = simulate(Kind.BINARY, 120)
    some = some_patients(p, 50, seed=1)
    assert 1 <= len(some.image_ids) <= 50
    for group in set(some.groups):
        assert some.groups.count(group) == p.groups.count(group)
    renamed = replace(p, groups=tuple(f"x{hash(g)}" for g in p.groups))
    assert some_patients(renamed, 50, seed=1).image_ids == some.image_ids
    assert some_patients(p, None, 1) is p
    assert len(set(some_patients(p, 1, seed=1).groups)) == 1


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16])
def test_spoilt_images_have_the_levels_of_a_file(dtype: torch.dtype) -> None:
    levels = as_levels(torch.tensor([0.0, 0.5, 1.0]), dtype)
    most = torch.iinfo(dtype).max
    assert levels.dtype == dtype
    assert levels.numpy().tolist() == [0, int(np.rint(most / 2)), most]
