"""Another hospital by the command: one evaluation, one page, compared with home."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medcnn.data.labels import Kind, LabelSpace
from medcnn.data.manifest import Manifest, Record, Split
from medcnn.data.matching import in_words_of
from medcnn.statistics.predictions import Predictions
from medcnn.system.errors import UsageError
from medcnn.verbs.steps import abroad
from tests.command import SMALL, run

DATA = ("data=phantom", "data.phantom=dermoscopy", "data.patients=60")


def test_home_and_here_stand_on_one_page_beside_the_report(
    trained: Path, drawn: Callable[[str, int], Path], tmp_path: Path
) -> None:
    best = trained / "checkpoints/best.safetensors"
    images = f"data.root={drawn('dermoscopy', 60)}"
    words = ("external", best, *DATA, images, "split=all", "prevalence=0.02")
    assert run(*words, f"run_dir={tmp_path / 'e'}") == 0
    stored = json.loads((tmp_path / "e/external.json").read_text())
    assert stored["verdict"] in ("loses", "keeps", "gains", "unsure")
    assert all(len(d["intervals"]) == 2 for d in stored["differences"])
    page = (tmp_path / "e/external.html").read_text()
    assert {cut["here"]["prevalence"] for cut in stored["cuts"]} == {0.02}
    assert stored["sentences"][0].split(":")[0] in page
    assert stored["told_apart_by_features"] is None, "home tested 4 patients"
    assert "A probe on the features of the model itself" not in page
    assert (tmp_path / "e/report.html").is_file()
    assert (tmp_path / "e/predictions_all.csv").is_file()


@pytest.mark.parametrize("elsewhere", [False, True])
def test_features_of_training_images_distinguish_no_hospital(
    drawn: Callable[[str, int], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    elsewhere: bool,
) -> None:
    """A body that knows its training images by heart gives them features of their own, and those of
    any new patient, also of the same hospital, look unlike them."""
    home = (*SMALL, f"data.root={drawn('dermoscopy', 60)}", "data.patients=60")
    folder = tmp_path / "home"
    assert run("train", *home, "data.test_share=0.3", f"run_dir={folder}") == 0
    old = Manifest.read(folder / "manifest.csv", folder)
    known, noise = old.rows(Split.TRAIN), np.random.default_rng(0)
    stores: list[object] = []

    def features_by(classifier: object, store: object, *_: object) -> Callable[..., Any]:
        stores.append(store)
        at_home = len(stores) == 1

        def at(rows: np.ndarray) -> np.ndarray:
            own = np.isin(rows, known) if at_home else np.full(len(rows), elsewhere)
            return noise.normal(size=(len(rows), 4)) + 5 * own[:, None]

        return at

    monkeypatch.setattr(abroad, "features_by", features_by)
    best = folder / "checkpoints/best.safetensors"
    here = ("data=phantom", "data.phantom=dermoscopy", "data.patients=30")
    images = f"data.root={drawn('dermoscopy', 30)}"
    assert run("external", best, *here, images, "split=all", f"run_dir={tmp_path / 'e'}") == 0
    found = json.loads((tmp_path / "e/external.json").read_text())["told_apart_by_features"]
    assert (found["low"] > 0.5) is elsewhere


def test_what_cannot_be_held_against_home_is_refused(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def said() -> str:
        return " ".join(capsys.readouterr().err.split())

    best = trained / "checkpoints/best.safetensors"
    assert run("external", best) == 2
    assert "needs data=NAME" in said()
    assert run("external", best, *DATA, f"internal={tmp_path}") == 2
    assert "has no predictions_test.csv" in said()


def test_predictions_of_another_checkpoint_are_not_home(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = Predictions.read(trained / "predictions_test.csv")
    other = replace(table, provenance={**table.provenance, "checkpoint_sha256": "0123" * 16})
    (tmp_path / "home").mkdir()
    other.write(tmp_path / "home/predictions_test.csv")
    best = trained / "checkpoints/best.safetensors"
    words = ("external", best, *DATA, f"internal={tmp_path / 'home'}", f"run_dir={tmp_path / 'e'}")
    assert run(*words) == 4
    said = " ".join(capsys.readouterr().err.split())
    assert "home/predictions_test.csv was made by another checkpoint (SHA-256 012301230123" in said
    assert "Set internal=RUN, the folder of an evaluation of this checkpoint at home" in said
    assert not (tmp_path / "e").exists(), "nothing is evaluated before"


def manifest(kind: Kind, *names: str) -> Manifest:
    labels = LabelSpace(kind=kind, names=names)
    width = len(labels.outputs)
    record = Record(
        image_id="a", path="a.png", group="p", target=tuple(float(k == 0) for k in range(width))
    )
    return Manifest(source="set", root=Path("."), labels=labels, records=(record,))


def test_findings_are_called_as_the_model_calls_them_and_others_are_left_out() -> None:
    model = LabelSpace(kind=Kind.MULTILABEL, names=("Infiltration", "Mass"))
    here = manifest(Kind.MULTILABEL, "COVID-19", "ARDS")
    found = in_words_of(model, here, {"Infiltration": "COVID-19"})
    assert found.labels.names == ("Infiltration",)
    assert found.records[0].target == (1.0,)
    assert in_words_of(model, here, {}) is here
    with pytest.raises(UsageError, match="these data have no class"):
        in_words_of(model, here, {"Infiltration": "Covid"})


def test_classes_that_exclude_each_other_are_only_renamed() -> None:
    model = LabelSpace(kind=Kind.BINARY, names=("benign", "malignant"))
    here = manifest(Kind.BINARY, "nevus", "melanoma")
    found = in_words_of(model, here, {"benign": "nevus", "malignant": "melanoma"})
    assert found.labels.names == ("benign", "malignant")
    assert found.records == here.records
