"""`medcnn monitor`: a table of now beside the validation split."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medcnn.data.labels import Kind
from medcnn.statistics.monitoring import read_said
from medcnn.statistics.predictions import Predictions
from tests.command import run


@pytest.fixture
def folder(simulate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run with validation, and two months: one like it, one with brighter answers."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("medcnn.statistics.monitoring.EXCHANGES", 300)
    made = {"checkpoint_sha256": "a"}
    before = replace(simulate(Kind.BINARY, 200), split="validation", provenance=made)
    before.write(Path("run/predictions_validation.csv"))
    now = replace(simulate(Kind.BINARY, 200, seed=1), provenance=made)
    now.write(Path("march.csv"))
    replace(now, logits=now.logits + np.float32(2)).write(Path("april.csv"))
    return tmp_path


def test_it_says_when_to_look_and_when_not(folder: Path, capsys) -> None:
    assert run("monitor", "run", "march.csv") == 0
    assert "No reason to look" in capsys.readouterr().err
    assert json.loads(Path("monitor/monitor.json").read_text())["look"] is False
    assert run("monitor", "run", "april.csv") == 0  # a page of its own is replaced
    told = " ".join(capsys.readouterr().err.split())
    assert "Look into it" in told
    assert "probability of" in told
    content = json.loads(Path("monitor/monitor.json").read_text())
    assert content["look"] is True
    assert any(change["look"] for change in content["changes"])
    assert {"label", "before", "now", "low", "high"} == set(content["prevalences"][0])
    page = Path("monitor/monitor.html").read_text(encoding="utf-8")
    assert "Look into it" in page
    assert "Prevalence" in page


def test_the_page_counts_the_images_that_were_compared(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medcnn.statistics.monitoring.MOST_IMAGES", 150)
    monkeypatch.setattr("medcnn.pages.monitor_page.MOST_IMAGES", 150)
    assert run("monitor", "run", "april.csv") == 0
    page = Path("monitor/monitor.html").read_text(encoding="utf-8")
    assert "150 images compared with 150 images of validation" in page
    assert "of as many patients as possible" in page


def test_few_patients_and_unknown_models_are_said(folder: Path, capsys) -> None:
    few = Predictions.read(Path("april.csv")).only(range(12))
    replace(few, provenance={}, groups=few.image_ids).write(Path("few.csv"))
    assert run("monitor", "run/predictions_validation.csv", "few.csv") == 0
    told = " ".join(capsys.readouterr().err.split())
    assert "Too few to tell" in told
    assert "each counts as a patient of its own" in told
    assert "does not say which checkpoint" in told
    assert json.loads(Path("monitor/monitor.json").read_text())["look"] is False


def plain_table(path: str, like: str, ids: list[str]) -> None:
    """As `predict` writes it: patients stand in the image ids alone."""
    header, *lines = Path(like).read_text().splitlines()
    assert header.startswith("image_id,group,")
    rows = [line.split(",", 2)[2] for line in lines]
    first = "image_id," + header.split(",", 2)[2]
    text = [first, *(f"{i},{row}" for i, row in zip(ids, rows, strict=True))]
    Path(path).write_text("\n".join(text) + "\n")
    Path(path).with_suffix(".json").write_text(Path(like).with_suffix(".json").read_text())


def test_a_table_of_predict_as_reference_has_the_patients_of_the_expression(
    folder: Path, capsys
) -> None:
    ids = [f"p{k // 10}/{k}.png" for k in range(200)]
    plain_table("february.csv", "march.csv", ids)
    plain_table("may.csv", "april.csv", [f"q{i}" for i in ids])
    assert run("monitor", "february.csv", "may.csv", 'patient="([^/]+)/"') == 0
    told = " ".join(capsys.readouterr().err.split())
    assert "differently than in february" in told
    assert "does not say which images" not in told
    content = json.loads(Path("monitor/monitor.json").read_text())
    assert content["reference"] == "february"
    assert read_said(Path("february.csv"), "([^/]+)/", own_groups=True).count == 20
    assert run("monitor", "february.csv", "march.csv") == 0
    assert "The table of february does not say" in " ".join(capsys.readouterr().err.split())
    for expression in ("(r[0-9]+)/", "(q[^/]+)/"):  # of neither, and of one alone
        assert run("monitor", "february.csv", "may.csv", f'patient="{expression}"') == 4
        assert "matches no image id of february.csv" in " ".join(capsys.readouterr().err.split())


def test_what_it_cannot_compare_is_refused(folder: Path, capsys) -> None:
    other = replace(Predictions.read(Path("march.csv")), provenance={"checkpoint_sha256": "b"})
    other.write(Path("other.csv"))
    assert run("monitor", "run", "other.csv") == 2
    assert "different checkpoints" in " ".join(capsys.readouterr().err.split())
    assert run("monitor", "run", "nothing.csv") == 2
    assert "nothing.csv and its .json" in " ".join(capsys.readouterr().err.split())
    assert run("monitor", "run", "march.csv", "patient='('") == 2
    assert "is not a valid regular expression" in " ".join(capsys.readouterr().err.split())
    assert run("monitor", "run", "march.csv", "patient=abc") == 2
    assert "needs a group" in " ".join(capsys.readouterr().err.split())
    Path("taken").mkdir()
    Path("taken/notes.txt").write_text("mine")
    assert run("monitor", "run", "march.csv", "output=taken") == 2
