"""`medcnn probe`: an ordinary run folder from features alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medcnn.data.manifest import Split
from medcnn.statistics.predictions import Predictions
from tests.command import run

WORDS = ("model=lenet5", "model.weights=none", "data.size_px=32", "audit.copies=false")


@pytest.fixture
def probe(
    images: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, Path]]:
    monkeypatch.chdir(tmp_path)
    kind = ("data=phantom", "data.phantom=dermoscopy", "data.patients=30", images)

    def make(name: str, *words: str) -> tuple[int, Path]:
        return run("probe", *kind, *WORDS, f"run_dir={name}", *words), tmp_path / name

    return make


def test_a_logistic_probe_leaves_a_checkpoint_that_predicts_what_it_did(
    probe: Callable[..., tuple[int, Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    code, folder = probe("probe", "c=[0.001,0.1]")
    assert code == 0
    facts = json.loads((folder / "run.json").read_text())
    assert facts["probe"]["c"] in (0.001, 0.1)
    assert set(facts["probe"]["log_loss"]) == {"0.001", "0.1"}
    assert len(facts["test_looks"]) == 1
    for name in ("report.html", "metrics.json", "MODEL_CARD.md", "audit.html"):
        assert (folder / name).is_file()
    assert "chose the penalty and the thresholds" in (folder / "report.html").read_text(
        encoding="utf-8"
    )
    assert run("evaluate", folder / "checkpoints" / "best.safetensors", "run_dir=again") == 0
    assert run("evaluate", folder / "checkpoints" / "best.safetensors", "subgroups=[sx]") == 2
    judged = [json.loads((f / "metrics.json").read_text()) for f in (folder, Path("again"))]
    made = [{g["by"] for g in of["subgroups"]["test"]["groups"]} for of in judged]
    assert made[0] == made[1] != set()
    first, again = (Predictions.read(f / "predictions_test.csv") for f in (folder, Path("again")))
    assert first.image_ids == again.image_ids
    assert first.logits == pytest.approx(again.logits, abs=1e-4)
    assert (first.decisions == again.decisions).all()


def test_nearest_neighbours_leave_predictions_and_no_features_of_patients(
    probe: Callable[..., tuple[int, Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    code, folder = probe("probe", "method=knn", "k=[3,5]")
    assert code == 0
    assert "neighbours have no checkpoint" in capsys.readouterr().err
    assert not (folder / "checkpoints").exists()
    predictions = Predictions.read(folder / "predictions_validation.csv")
    assert predictions.split == Split.VALIDATION
    assert np.isfinite(predictions.logits).all()
    assert run("report", folder) == 0


def test_a_pooling_is_the_one_that_features_are_taken_with(
    probe: Callable[..., tuple[int, Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("model=test_resnet", "data.size_px=64", "c=0.01")
    made = {name: probe(name, f"pooling={name}", *words) for name in ("auto", "avg", "max", "gem")}
    assert {code for code, _ in made.values()} == {0}
    said = {n: Predictions.read(f / "predictions_test.csv").logits for n, (_, f) in made.items()}
    assert said["auto"] == pytest.approx(said["avg"], abs=1e-4)
    for name in ("max", "gem"):
        assert np.abs(said[name] - said["avg"]).max() > 0.01
        best = made[name][1] / "checkpoints" / "best.safetensors"
        assert run("evaluate", best, f"run_dir={name}-again") == 0
        again = Predictions.read(Path(f"{name}-again") / "predictions_test.csv")
        assert said[name] == pytest.approx(again.logits, abs=1e-4)
    capsys.readouterr()
    assert probe("attention", "pooling=attention", *words)[0] == 2
    assert "a probe trains only a linear head" in " ".join(capsys.readouterr().err.split())
    curve = ("learning-curve", "data=phantom", "model=test_resnet", "pooling=attention")
    assert run(*curve, "arms=[probe]") == 2
    assert "a probe trains only a linear head" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("method=knn", "c=1"), "c has no effect on method=knn"),
        (("k=3",), "k has no effect on method=logistic"),
        (("c=[1,1]",), "list of different positive numbers"),
        (("method=knn", "k=[1.5]"), "list of whole numbers"),
        (("method=svm",), "method=svm is not one of logistic, knn"),
    ],
)
def test_settings_that_do_nothing_or_make_no_sense_are_refused(
    probe: Callable[..., tuple[int, Path]],
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    said: str,
) -> None:
    code, folder = probe("refused", *words)
    assert code == 2
    assert said in capsys.readouterr().err
    assert not folder.exists()
