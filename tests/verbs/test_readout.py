"""Everything that is fitted on validation, through the commands."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from medcnn.statistics.predictions import Predictions
from tests.command import run

WORDS = (
    "model=lenet5",
    "data.size_px=32",
    "data=phantom",
    "data.phantom=fundus",
    "data.patients=60",
    "trainer.epochs=2",
    "trainer.device=cpu",
    "audit.copies=false",
    "readout.calibration=dirichlet",
    "readout.operating_points=[kappa,{name: sensitivity, at: 0.9}]",
    "readout.conformal={name: split, coverage: 0.8}",
    "readout.refer_share=0.2",
    "prevalence={4: 0.02}",
)


@pytest.fixture(scope="module")
def images(drawn: Callable[[str, int], Path]) -> Path:
    return drawn("fundus", 60)


@pytest.fixture(scope="module")
def trained(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "trained"
    assert run("train", *WORDS, f"data.root={images}", f"run_dir={folder}") == 0
    return folder


def test_what_was_fitted_travels_with_the_checkpoint_and_shows_in_every_output(
    trained: Path, images: Path, tmp_path: Path
) -> None:
    checkpoint = f"checkpoint={trained / 'checkpoints' / 'best.safetensors'}"
    assert run("evaluate", checkpoint, f"run_dir={tmp_path / 'e'}", "prevalence={4: 0.02}") == 0
    first = Predictions.read(trained / "predictions_test.csv")
    again = Predictions.read(tmp_path / "e" / "predictions_test.csv")
    assert first.readout == again.readout
    assert first.readout.calibration is not None
    assert (first.logits == again.logits).all()
    assert (first.probabilities == again.probabilities).all()
    assert (first.probabilities != first.labels.probabilities(first.logits)).any()

    output = tmp_path / "new.csv"
    assert run("predict", checkpoint, f"input={images}", f"output={output}") == 0
    with output.open(newline="") as file:
        rows = {row["image_id"]: row for row in csv.DictReader(file)}
    for i, image_id in enumerate(first.image_ids):
        row = rows[image_id.removeprefix("images/")] if image_id not in rows else rows[image_id]
        assert float(row["probability:4"]) == pytest.approx(first.probabilities[i, 4], abs=2e-6)
        assert row["decision"] == first.labels.names[int(first.decisions[i].argmax())]
        assert {"set", "refer"} <= set(row)


def test_metrics_hold_the_tables_and_the_report_shows_them(trained: Path) -> None:
    found = json.loads((trained / "metrics.json").read_text())["readout"]["test"]
    last = found["points"][-1]
    assert (last["label"], last["prevalence"]) == ("4", 0.02)
    assert {s["wanted"] for s in found["sets"]} == {0.8}
    report = (trained / "report.html").read_text(encoding="utf-8")
    for heading in ("Operating points, test", "Prediction sets, test", "Risk and coverage"):
        assert heading in report
    assert "cut at" in report


def test_every_look_at_test_is_written_down_where_the_split_belongs(
    trained: Path, tmp_path: Path
) -> None:
    checkpoint = f"checkpoint={trained / 'checkpoints' / 'best.safetensors'}"

    def looks() -> int:
        return len(json.loads((trained / "run.json").read_text())["test_looks"])

    before = looks()
    assert run("evaluate", checkpoint, f"run_dir={tmp_path / 'v'}", "split=validation") == 0
    assert looks() == before
    assert run("evaluate", checkpoint, f"run_dir={tmp_path / 't'}") == 0
    assert looks() == before + 1
    report = (tmp_path / "t" / "report.html").read_text(encoding="utf-8")
    assert f"look number {before + 1} at the test split" in report


def test_a_look_at_test_by_a_copied_checkpoint_is_said_not_to_be_counted(
    trained: Path, tmp_path: Path
) -> None:
    copies = tmp_path / "models"
    copies.mkdir()
    (tmp_path / "run.json").write_text("[1]")  # that of another program
    best = trained / "checkpoints" / "best.safetensors"
    (copies / "linked.safetensors").symlink_to(best)
    before = len(json.loads((trained / "run.json").read_text())["test_looks"])
    words = (f"checkpoint={copies / 'linked.safetensors'}", f"run_dir={tmp_path / 'linked'}")
    assert run("evaluate", *words) == 0
    assert len(json.loads((trained / "run.json").read_text())["test_looks"]) == before + 1
    notes = json.loads((tmp_path / "linked" / "run.json").read_text())["notes"]
    assert not any("is not counted" in note for note in notes)
    shutil.copy2(best, copies / "copied.safetensors")
    words = (f"checkpoint={copies}", f"run_dir={tmp_path / 'both'}")
    assert run("evaluate", *words) == 0
    assert len(json.loads((trained / "run.json").read_text())["test_looks"]) == before + 2
    notes = json.loads((tmp_path / "both" / "run.json").read_text())["notes"]
    assert any("is not counted: a checkpoint outside of its run folder" in note for note in notes)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("readout.calibration=temprature", "did you mean 'temperature'"),
        ("readout.operating_points=[sensitivity]", "needs the option 'at'"),
        ("readout.conformal={name: split, by: sx}", "did you mean 'sex'"),
        ("prevalence=5", "a share between 0 and 1"),
        ("readout.refer_share=2", "from 0.001 to 0.9"),
    ],
)
def test_a_wrong_wish_is_answered_before_anything_is_trained(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], word: str, said: str
) -> None:
    words = [w for w in WORDS if not w.startswith(word.partition("=")[0])]
    command = ["train", *words, f"data.root={images}", f"run_dir={tmp_path / 'r'}", word]
    assert run(*command) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.glob("r/checkpoints/*"))


def test_the_report_can_be_made_again_from_the_predictions_alone(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = tmp_path / "again"
    shutil.copytree(trained, again)
    for name in ("report.html", "MODEL_CARD.md", "manifest.csv", "checkpoints/best.safetensors"):
        (again / name).unlink()
    facts = json.loads((again / "run.json").read_text())
    facts["test_looks"] = facts["test_looks"][:1]  # as it was when the first report was written
    (again / "run.json").write_text(json.dumps(facts))
    assert run("report", f"run={again}") == 0
    page = (trained / "report.html").read_text(encoding="utf-8")
    assert "data:image/jpeg;base64," in page
    assert (again / "report.html").read_text(encoding="utf-8") == page
    card = (trained / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert (again / "MODEL_CARD.md").read_text(encoding="utf-8") == card

    # a file without a digest is not trusted, nor one made of other rows
    scores = json.loads((again / "metrics.json").read_text())
    digest = scores["splits"]["test"].pop("predictions")
    (again / "metrics.json").write_text(json.dumps(scores))
    table = again / "predictions_test.csv"
    head, first, *rows = table.read_text(encoding="utf-8").splitlines(keepends=True)
    for changed in (first, first.replace(",", ",x", 1)):
        table.write_text("".join([head, changed, *rows]), encoding="utf-8")
        capsys.readouterr()
        assert run("report", f"run={again}") == 0
        assert "scores are computed again" in capsys.readouterr().err
        made = json.loads((again / "metrics.json").read_text())["splits"]["test"]
        assert (made["predictions"] == digest) is (changed == first)
    assert run("report", f"run={again}") == 0
    assert "scores are computed again" not in capsys.readouterr().err

    alone = tmp_path / "alone"
    alone.mkdir()
    for path in trained.glob("predictions_test.*"):
        shutil.copy(path, alone)
    assert run("report", f"run={alone}", "prevalence={4: 0.5}") == 0
    made = json.loads((alone / "metrics.json").read_text())
    was = json.loads((trained / "metrics.json").read_text())
    assert made["splits"]["test"] == was["splits"]["test"]
    assert made["readout"]["test"]["points"][-1]["prevalence"] == 0.5
    assert run("report", f"run={tmp_path / 'nowhere'}") == 2
