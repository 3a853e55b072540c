"""Cross-validation by the command: a run folder per fold, and the scores of all patients."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medcnn.api import load
from medcnn.data.labels import Kind
from medcnn.data.manifest import Manifest
from medcnn.models import checkpoint as checkpoints
from medcnn.pages.facts import facts_of
from medcnn.statistics.evaluation import read_metrics
from medcnn.statistics.metrics.table import score
from medcnn.statistics.predictions import Predictions
from medcnn.system.errors import StoppedError
from medcnn.verbs.steps import folds
from tests.command import SMALL, run

WORDS = (*SMALL, "folds=2")
OF_PHANTOMS = ("data=phantom", "data.phantom=dermoscopy", "data.patients=30")
SMALL_TABLE = (*(word for word in WORDS if word not in OF_PHANTOMS), "trainer.epochs=1")
COLUMNS = ("data.image=image", "data.label=diagnosis", "data.patient=lesion", "data.split=split")


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


def test_models_that_begin_with_weights_that_know_the_images_claim_no_unseen_patients(
    done: Path, images: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begin = f"model.weights={done}/repeat-1/fold-1/checkpoints/best.safetensors"
    out = tmp_path / "again"
    assert run("crossvalidate", *WORDS, images, "trainer.epochs=1", begin, f"run_dir={out}") == 0
    page = (out / "crossvalidation.html").read_text()
    facts = [json.loads(file.read_text()) for file in sorted(out.glob("*/*/run.json"))]
    shared = sum(f["trained_before"]["shared_images"] for f in facts)
    assert shared > 0
    told = " ".join(capsys.readouterr().out.split())
    assert all(f"{shared} tests of an image that they know" in said for said in (page, told))
    assert "the old checkpoint" not in page, "which counts those of one fold"
    assert "never saw" not in page
    assert "never saw" in (done / "crossvalidation.html").read_text()


def test_scores_are_means_over_folds_in_metrics_json_and_on_the_page(done: Path) -> None:
    found = read_metrics(done / "metrics.json")["oof"].find("auroc")
    tests = [Predictions.read(done / f"repeat-1/fold-{f}/predictions_test.csv") for f in (1, 2)]
    assert found.value == pytest.approx(sum(score(p, "auroc") for p in tests) / 2)
    page = (done / "crossvalidation.html").read_text()
    assert f"AUROC is {found.value:.3f}" in page
    assert "No score above is computed from all folds in one table" in page
    assert 'href="repeat-1/fold-2/report.html"' in page
    groups = json.loads((done / "metrics.json").read_text())["subgroups"]["oof"]["groups"]
    assert {"F", "M"} <= {g["group"] for g in groups}
    assert "Subgroups, out of fold" in page
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


def test_a_cross_validation_of_labels_that_were_corrected_since_is_not_continued(
    done: Path, images: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "cv"
    shutil.copytree(done, folder)
    table = Path(images.removeprefix("data.root=")) / "labels.csv"
    before = table.read_text()
    words = ("crossvalidate", *WORDS, images, f"run_dir={folder}")
    table.write_text(before.replace("L0000,nevus", "L0000,melanoma"))
    try:
        assert run(*words) == 4
        said = " ".join(capsys.readouterr().err.split())
        assert f"{folder} began with other images, labels or splits" in said
        assert run(*words, "repeats=2") == 4
        assert not (folder / "repeat-2").exists()
    finally:
        table.write_text(before)
    assert run(*words) == 0
    stored = json.loads((folder / "crossvalidation.json").read_text())
    assert stored["manifest"], "or corrections after this sitting would pass"


@pytest.mark.parametrize("kind", [Kind.BINARY, Kind.MULTICLASS, Kind.ORDINAL])
def test_shares_of_answers_are_those_of_the_decisions(simulate: Any, kind: Kind) -> None:
    whole = simulate(kind, 60)
    found = folds.answers_of(whole)
    assert sum(found.values()) == pytest.approx(1)
    flat = replace(
        whole,
        logits=np.full_like(whole.logits, -9)
        + 18 * np.eye(whole.logits.shape[1], dtype=np.float32)[-1],
    )
    assert folds.answers_of(flat)[whole.labels.names[-1]] == 1
    assert folds.answers_of(simulate(Kind.MULTILABEL, 60)) == {}


def test_other_settings_other_files_and_a_fold_of_ones_own_are_refused(
    done: Path, images: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def said() -> str:
        return " ".join(capsys.readouterr().err.split())

    assert run("crossvalidate", *WORDS, images, "trainer.epochs=3", f"run_dir={done}") == 2
    assert "holds a cross-validation with other settings" in said()
    (tmp_path / "letter.txt").write_text("mine")
    assert run("crossvalidate", *WORDS, images, f"run_dir={tmp_path}") == 2
    assert "holds other files but no cross-validation" in said()
    assert run("crossvalidate", *WORDS, images, "data.folds=2", "data.fold=1") == 2
    assert "medcnn crossvalidate trains every fold" in said()
    assert run("train", *WORDS[:-1], images, "data.fold=3", "data.folds=2") == 2
    assert "a fold is a number from 1 to data.folds" in said()
    assert run("report", done) == 2
    assert "is a cross-validation" in said()


def probabilities(table: Path) -> np.ndarray:
    """[N, K] of what `predict` wrote, in the order of its rows."""
    with table.open() as file:
        rows = list(csv.DictReader(file))
    names = [c for c in rows[0] if c.startswith("probability:")]
    return np.array([[float(row[n]) for n in names] for row in rows])


def folder_of(checkpoints: list[Path], folder: Path) -> Path:
    folder.mkdir()
    for at, path in enumerate(checkpoints):
        shutil.copy(path, folder / f"{at}.safetensors")
    return folder


def test_a_cross_validation_predicts_the_mean_of_its_models(
    done: Path, images: str, tmp_path: Path
) -> None:
    pictures = images.removeprefix("data.root=") + "/images"
    assert run("predict", done, pictures, tmp_path / "all.csv") == 0
    each = []
    for fold in (1, 2):
        member = done / f"repeat-1/fold-{fold}/checkpoints/best.safetensors"
        assert run("predict", member, pictures, tmp_path / f"{fold}.csv") == 0
        each.append(probabilities(tmp_path / f"{fold}.csv"))
    found = probabilities(tmp_path / "all.csv")
    assert found == pytest.approx(np.mean(each, axis=0), abs=2e-6)
    with (tmp_path / "all.csv").open() as file:
        apart = [float(row["disagreement"]) for row in csv.DictReader(file)]
    assert apart == pytest.approx(np.std(each, axis=0).max(axis=1), abs=2e-6)
    assert len(json.loads((tmp_path / "all.json").read_text())["members"]) == 2


def test_an_ensemble_of_identical_members_is_the_member_and_order_does_not_matter(
    done: Path, images: str, tmp_path: Path
) -> None:
    pictures = images.removeprefix("data.root=") + "/images"
    one, two = (done / f"repeat-1/fold-{f}/checkpoints/best.safetensors" for f in (1, 2))
    alone = load(one).predict(pictures)
    same = load(folder_of([one, one, one], tmp_path / "same")).predict(pictures)
    assert same.probabilities == pytest.approx(alone.probabilities, abs=1e-6)
    assert (same.decisions == alone.decisions).all()
    assert same.disagreement is not None
    assert same.disagreement.max() < 1e-12
    first = load(folder_of([one, two], tmp_path / "a")).predict(pictures)
    turned = load(folder_of([two, one], tmp_path / "b")).predict(pictures)
    assert (first.logits == turned.logits).all()


@pytest.mark.parametrize("what", ["labels", "preprocessing"])
def test_checkpoints_that_differ_in_labels_or_preprocessing_are_no_ensemble(
    done: Path, tmp_path: Path, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = (done / f"repeat-1/fold-{f}/checkpoints/best.safetensors" for f in (1, 2))
    folder = folder_of([one], tmp_path / "members")
    other, classifier = checkpoints.load(two, torch.device("cpu"))
    changed: dict[str, Any] = {
        "labels": replace(other.labels, names=other.labels.names[::-1]),
        "preprocessing": replace(other.preprocessing, window=1),
    }
    checkpoints.save(
        folder / "other.safetensors", classifier, replace(other, **{what: changed[what]})
    )
    assert run("predict", folder, done, tmp_path / "new.csv") == 2
    assert f"have different {what}" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "new.csv").exists()


def test_an_ensemble_is_not_scored_on_images_that_a_member_was_trained_on(
    done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("evaluate", done, f"run_dir={tmp_path / 'own'}") == 4
    said = " ".join(capsys.readouterr().err.split())
    assert "were used to train or choose members of this ensemble" in said
    assert "use the out-of-fold scores" in said
    assert not (tmp_path / "own").exists()


@pytest.fixture(scope="module")
def beside_test(
    drawn: Callable[[str, int], Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, tuple[str, ...]]:
    """A cross-validation of a set with a fixed test split, on which its ensemble was evaluated into
    the folder `first` beside it, and its command."""
    root, folder = drawn("dermoscopy", 30), tmp_path_factory.mktemp("fixed") / "cv"
    head, *rows = (root / "labels.csv").read_text().splitlines()
    lesions = [row.split(",")[1] for row in rows]
    splits = ["test" if lesion[-1] in "012" else "train" for lesion in lesions]
    lines = [f"{head},split", *map(",".join, zip(rows, splits, strict=True))]
    (root / "labels.csv").write_text("\n".join(lines) + "\n")
    setting = (f"data.root={root}", "data.table=labels.csv", *COLUMNS)
    words = ("crossvalidate", "data=table", *SMALL_TABLE, *setting, f"run_dir={folder}")
    assert run(*words) == 0
    assert run("evaluate", folder, f"run_dir={folder.parent / 'first'}") == 0
    return folder, words


def test_looks_of_an_ensemble_at_a_fixed_test_split_are_recorded_and_counted(
    beside_test: tuple[Path, tuple[str, ...]], tmp_path: Path
) -> None:
    (folder, words), file = beside_test, beside_test[0] / "crossvalidation.json"
    assert len(json.loads(file.read_text())["test_looks"]) == 1
    assert run("evaluate", folder, f"run_dir={tmp_path / 'again'}") == 0
    notes = json.loads((tmp_path / "again/run.json").read_text())["notes"]
    assert any("look number 2 at the test split" in note for note in notes)
    assert run(*words) == 0  # which writes the file again
    assert len(json.loads(file.read_text())["test_looks"]) == 2


def test_the_fixed_test_split_of_an_ensemble_is_internal_data(
    beside_test: tuple[Path, tuple[str, ...]],
) -> None:
    first = beside_test[0].parent / "first"
    page = (first / "report.html").read_text()
    assert "The mean of the calibrated probabilities of 2 networks" in page
    assert "Evaluated on" not in page
    facts = facts_of(json.loads((first / "run.json").read_text()), "test")
    assert facts["own_set"]
    assert not facts["copies_sought"], "no fold's audit saw the test split"


def test_a_look_by_copies_of_the_folds_is_said_not_to_be_counted(
    beside_test: tuple[Path, tuple[str, ...]], tmp_path: Path
) -> None:
    best = [beside_test[0] / f"repeat-1/fold-{f}/checkpoints/best.safetensors" for f in (1, 2)]
    copies = folder_of(best, tmp_path / "copies")
    root = next(w for w in beside_test[1] if w.startswith("data.root="))
    assert run("evaluate", copies, root, f"run_dir={tmp_path / 'e'}") == 0
    notes = json.loads((tmp_path / "e/run.json").read_text())["notes"]
    assert any("this look at the test split is not counted" in note for note in notes)


def test_an_ensemble_is_scored_on_other_images(
    done: Path, drawn: Callable[[str, int], Path], tmp_path: Path
) -> None:
    images = f"data.root={drawn('dermoscopy', 31)}"
    words = ("data=phantom", "data.phantom=dermoscopy", "data.patients=31", images, "split=all")
    root = Path(images.removeprefix("data.root="))
    # other patients, whose ids are those of the training by chance
    table = next(p for p in root.glob("*.csv"))
    table.write_text(table.read_text().replace("L00", "M00"))
    for p in (root / "images").iterdir():
        p.rename(p.with_name(p.name.replace("L00", "M00")))
    assert run("evaluate", done, *words, f"run_dir={tmp_path / 'e'}") == 0
    found = Predictions.read(tmp_path / "e/predictions_all.csv")
    assert found.disagreement is not None
    assert "Ensemble of 2 lenet5" in (tmp_path / "e/report.html").read_text()


def test_a_cross_validation_that_is_not_finished_is_no_ensemble(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "crossvalidation.json").write_text('{"folds": 2, "repeats": 0}')
    words = (f"checkpoint={tmp_path}", f"input={tmp_path}", f"output={tmp_path}/new.csv")
    assert run("predict", *words) == 2
    assert "is an unfinished cross-validation" in " ".join(capsys.readouterr().err.split())
