"""Cross-validation by the command: a run folder per fold, and the scores of all patients."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medcnn.data.manifest import Manifest
from medcnn.statistics.evaluation import read_metrics
from medcnn.statistics.metrics.table import score
from medcnn.statistics.predictions import Predictions
from medcnn.system.errors import StoppedError
from medcnn.verbs.steps import folds
from tests.command import run

WORDS = (
    "model=lenet5",
    "data=phantom",
    "data.phantom=dermoscopy",
    "data.patients=30",
    "data.size_px=32",
    "trainer.epochs=2",
    "trainer.batch_size=10",
    "trainer.device=cpu",
    "trainer.threads=1",
    "audit.copies=false",
    "folds=2",
)


@pytest.fixture(scope="module")
def images(drawn: Callable[[str, int], Path]) -> str:
    return f"data.root={drawn('dermoscopy', 30)}"


@pytest.fixture(scope="module")
def done(images: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cv") / "cv"
    assert run("crossvalidate", *WORDS, images, f"run_dir={folder}") == 0
    return folder


def test_every_image_is_tested_once_by_a_model_that_never_saw_its_patient(done: Path) -> None:
    oof = Predictions.read(done / "predictions_oof.csv")
    trained_on: dict[int, set[str]] = {}
    everyone: set[str] = set()
    for fold in (1, 2):
        manifest = Manifest.read(done / f"repeat-1/fold-{fold}/manifest.csv", Path("."))
        trained_on[fold] = {r.group for r in manifest.records if r.split != "test"}
        everyone |= {r.image_id for r in manifest.records}
    assert set(oof.image_ids) == everyone
    assert len(oof.image_ids) == len(everyone)
    for fold, group in zip(oof.folds, oof.groups, strict=True):
        assert group not in trained_on[fold]


def test_scores_are_means_over_folds_in_metrics_json_and_on_the_page(done: Path) -> None:
    found = read_metrics(done / "metrics.json")["oof"].find("auroc")
    tests = [Predictions.read(done / f"repeat-1/fold-{f}/predictions_test.csv") for f in (1, 2)]
    assert found.value == pytest.approx(sum(score(p, "auroc") for p in tests) / 2)
    page = (done / "crossvalidation.html").read_text()
    assert f"AUROC is {found.value:.3f}" in page
    assert "No score is computed from all folds in one table" in page
    assert 'href="repeat-1/fold-2/report.html"' in page
    stored = json.loads((done / "crossvalidation.json").read_text())
    assert sum(f["images"] for f in stored["dealt"]["1"].values()) == found.count


def test_a_cross_validation_stopped_within_a_fold_goes_on_to_the_same_result(
    done: Path, images: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = folds.train

    def stops(config: Any, words: list[str]) -> Path:
        def watch(task: object, history: list[dict[str, float]]) -> None:
            if config.data.fold == 2 and history:
                raise StoppedError("stopped after an epoch")

        return real(config, words, watch if config.data.fold == 2 else None)

    command = ("crossvalidate", *WORDS, images, f"run_dir={tmp_path / 'cv'}")
    monkeypatch.setattr(folds, "train", stops)
    assert run(*command) == 75
    first = tmp_path / "cv/repeat-1/fold-1"
    before = {p: p.read_bytes() for p in first.rglob("*") if p.is_file()}
    assert not (tmp_path / "cv/predictions_oof.csv").exists()
    monkeypatch.setattr(folds, "train", real)
    assert run(*command) == 0
    for name in ("predictions_oof.csv", "metrics.json"):
        assert (tmp_path / "cv" / name).read_bytes() == (done / name).read_bytes()
    assert {p: p.read_bytes() for p in before} == before  # a finished fold is not trained again
    facts = json.loads((tmp_path / "cv/repeat-1/fold-2/run.json").read_text())
    assert facts["sittings"] == 2


def test_other_settings_other_files_and_a_fold_of_ones_own_are_refused(
    done: Path, images: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def said() -> str:
        return " ".join(capsys.readouterr().err.split())

    assert run("crossvalidate", *WORDS, images, "trainer.epochs=3", f"run_dir={done}") == 2
    assert "holds a cross-validation with other settings" in said()
    (tmp_path / "letter.txt").write_text("mine")
    assert run("crossvalidate", *WORDS, images, f"run_dir={tmp_path}") == 2
    assert "holds other files and no cross-validation" in said()
    assert run("crossvalidate", *WORDS, images, "data.folds=2", "data.fold=1") == 2
    assert "medcnn crossvalidate trains every fold" in said()
    assert run("train", *WORDS[:-1], images, "data.fold=3", "data.folds=2") == 2
    assert "a fold is a number from 1 to data.folds" in said()
    assert run("report", done) == 2
    assert "is a cross-validation" in said()
