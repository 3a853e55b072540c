"""A finished run folder of an earlier medcnn, from before modes of transfer had options: train,
evaluate, report and compare still read it."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from tests import command

GOLDEN = Path(__file__).parents[1] / "golden" / "run"
SETTINGS = (
    *("data.root=drawn", "data.patients=40", "data.size_px=32", "model=lenet5"),
    *("model.weights=none", "trainer.epochs=1", "trainer.threads=1", "run_dir=run"),
)


@pytest.fixture
def run(drawn: Callable[[str, int], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    drawn("fundus", 40).rename("drawn")
    return Path(shutil.copytree(GOLDEN, "run"))


def logits(table: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    with table.open(encoding="utf-8", newline="") as file:
        return np.array(
            [[float(v) for k, v in row.items() if "logit:" in k] for row in csv.DictReader(file)]
        )


def test_the_same_command_finds_it_finished(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file() and p.name != ".lock"}
    assert command.run("train", *SETTINGS) == 0
    assert "this run is already finished" in capsys.readouterr().err
    assert {p: p.read_bytes() for p in before} == before


def test_with_more_epochs_it_goes_on(run: Path) -> None:
    assert command.run("train", *SETTINGS, "trainer.epochs=2") == 0
    assert len(json.loads((run / "run.json").read_text())["config"]["transfer"]) == 2
    earlier, now = (
        load_file(folder / "checkpoints" / "last.safetensors") for folder in (GOLDEN, run)
    )
    assert earlier.keys() == now.keys()
    assert any(not earlier[name].equal(now[name]) for name in now)


def test_its_report_is_written_again_with_the_scores_that_it_has(run: Path) -> None:
    assert command.run("report", "run") == 0
    page = (run / "report.html").read_text(encoding="utf-8")
    scores = json.loads((GOLDEN / "metrics.json").read_text())["splits"]["test"]["scores"]
    auroc = next(s for s in scores if s["name"] == "auroc" and s["average"] == "macro")
    assert f"{auroc['value']:.3f}" in page


def test_its_checkpoint_gives_the_predictions_that_it_gave(run: Path) -> None:
    checkpoint = f"checkpoint={run / 'checkpoints' / 'best.safetensors'}"
    words = ("data=phantom", "data.root=drawn", "data.patients=40", "trainer.threads=1")
    assert command.run("evaluate", checkpoint, *words) == 0
    (table,) = {*Path().rglob("predictions_test.csv")} - {run / "predictions_test.csv"}
    # oneDNN chooses its kernels by the processor: ONEDNN_MAX_CPU_ISA=AVX2 changes the last bits
    assert np.allclose(logits(table), logits(GOLDEN / "predictions_test.csv"), rtol=0, atol=1e-6)


def test_it_can_be_compared_with_a_run_of_today(run: Path) -> None:
    today = [word.replace("run_dir=run", "run_dir=today") for word in SETTINGS]
    assert command.run("train", *today, "trainer.ema_decay=0") == 0
    assert command.run("compare", "run", "today", "output=compared") == 0
    assert json.loads(Path("compared/comparison.json").read_text())
