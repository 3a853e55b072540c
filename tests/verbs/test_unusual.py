"""Images that a model should not be asked about, from training to the table of predictions."""

from __future__ import annotations

import csv
import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pydicom.data import get_testdata_file

import medcnn
from medcnn.models import checkpoint as checkpoints
from medcnn.statistics.predictions import Predictions
from medcnn.statistics.strangeness import COLUMNS, USUAL, VERDICTS
from tests.command import SMALL, run

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def images(drawn: Callable[[str, int], Path]) -> Path:
    return drawn("dermoscopy", 60)


@pytest.fixture(scope="module")
def trained(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "trained"
    more = ("data.patients=60", "data.validation_share=0.3", "data.test_share=0.3")
    assert run("train", *SMALL, f"data.root={images}", *more, f"run_dir={folder}") == 0
    return folder


@pytest.fixture(scope="module")
def strange(drawn: Callable[[str, int], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Radiographs, noise and nothing at all."""
    folder = tmp_path_factory.mktemp("strange")
    chest = sorted(drawn("chest", 8).rglob("*.dcm"))[:6]
    for n, path in enumerate(chest):
        (folder / f"chest{n}.dcm").write_bytes(path.read_bytes())
    noise = np.random.default_rng(0).integers(0, 256, (3, 48, 48, 3), dtype=np.uint8)
    for n, pixels in enumerate(noise):
        Image.fromarray(pixels).save(folder / f"noise{n}.png")
        Image.new("RGB", (48, 48), (120 * n, 120 * n, 120 * n)).save(folder / f"blank{n}.png")
    return folder


def best(folder: Path) -> Path:
    return folder / "checkpoints" / "best.safetensors"


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.fault
def test_images_of_another_kind_are_flagged_in_their_row(
    trained: Path, strange: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Row 97."""
    assert run("predict", best(trained), strange, tmp_path / "new.csv") == 0
    rows = table(tmp_path / "new.csv")
    assert len(rows) == 12
    assert {row["looks"] for row in rows} == {VERDICTS[0]}
    assert all(row["decision"] for row in rows)
    assert all(np.isfinite(float(row[name])) for row in rows for name in COLUMNS)
    told = " ".join(capsys.readouterr().err.split())
    assert "12 wrong kind" in told
    header = json.loads((tmp_path / "new.json").read_text())
    assert header["looks"] == {VERDICTS[0]: 12}
    out = medcnn.load(best(trained), device="cpu").predict(strange)
    assert out.verdicts.tolist() == [row["looks"] for row in rows]
    assert list(out.new_rows()[0]) == list(rows[0])


@pytest.mark.fault
def test_an_mr_slice_is_flagged_by_a_model_of_chest_radiographs(
    drawn: Callable[[str, int], Path], tmp_path: Path
) -> None:
    """Row 97."""
    chest = (f"data.root={drawn('chest', 30)}", "data.phantom=chest", "data.patients=30")
    folder, shares = tmp_path / "run", ("data.validation_share=0.3", "data.test_share=0.3")
    assert run("train", *SMALL, *chest, *shares, f"run_dir={folder}") == 0
    shutil.copy(get_testdata_file("MR_small.dcm"), tmp_path / "slice.dcm")
    assert run("predict", best(folder), tmp_path / "slice.dcm", tmp_path / "new.csv") == 0
    (row,) = table(tmp_path / "new.csv")
    assert row["looks"] == VERDICTS[0]
    test = Predictions.read(folder / "predictions_test.csv")
    assert Counter(test.verdicts.tolist())[USUAL] > 0.5 * len(test.image_ids)


def test_images_of_the_same_kind_are_usual_but_for_the_stated_share(
    trained: Path, images: Path, tmp_path: Path
) -> None:
    test = Predictions.read(trained / "predictions_test.csv")
    assert Counter(test.verdicts.tolist())[USUAL] > 0.7 * len(test.image_ids)
    assert run("predict", best(trained), images, tmp_path / "new.csv") == 0
    found = {row["image_id"]: row for row in table(tmp_path / "new.csv")}
    for image_id, looks, verdict in zip(test.image_ids, test.looks, test.verdicts, strict=True):
        row = found[image_id]
        assert [float(row[name]) for name in COLUMNS] == pytest.approx(looks, abs=1e-3)
        assert row["looks"] == verdict


def test_evaluate_puts_false_alarms_beside_the_stated_rate(trained: Path, tmp_path: Path) -> None:
    assert run("evaluate", best(trained), f"run_dir={tmp_path / 'e'}") == 0
    for folder in (trained, tmp_path / "e"):
        rows = json.loads((folder / "metrics.json").read_text())["readout"]["test"]["looks"]
        assert [row["verdict"] for row in rows] == list(VERDICTS)
        assert 0 <= rows[1]["by_patient"]["low"] <= rows[1]["by_patient"]["high"] <= 1
        page = (folder / "report.html").read_text(encoding="utf-8")
        assert "Images that look unusual, test split" in page
        assert "Wrong kind" in page


def test_the_checkpoint_says_for_which_weights_it_knows_what_is_usual(
    trained: Path, strange: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    described, classifier = checkpoints.load(best(trained), CPU)
    assert described.familiar is not None
    assert (
        best(trained).stat().st_size
        < (trained / "checkpoints" / "last.safetensors").stat().st_size + 200_000
    )
    last, _ = checkpoints.read(trained / "checkpoints" / "last.safetensors")
    assert last.familiar is None
    with torch.no_grad():
        next(classifier.body.parameters()).mul_(1.1)
    other = tmp_path / "other.safetensors"
    checkpoints.save(other, classifier, described)
    assert run("predict", other, strange, tmp_path / "new.csv") == 0
    assert "weights of this checkpoint have changed" in " ".join(capsys.readouterr().err.split())
    assert {row["looks"] for row in table(tmp_path / "new.csv")} == {""}
    checkpoints.save(other, classifier, last)
    assert run("predict", other, strange, tmp_path / "newer.csv") == 0
    assert "cannot tell which images are unusual" in " ".join(capsys.readouterr().err.split())
    assert "looks" not in table(tmp_path / "newer.csv")[0]


def test_several_checkpoints_decide_together(trained: Path, strange: Path, tmp_path: Path) -> None:
    folder = tmp_path / "both"
    folder.mkdir()
    described, classifier = checkpoints.load(best(trained), CPU)
    for name, brighter in (("a", 0.0), ("b", 0.1)):
        with torch.no_grad():
            classifier.head[-1].bias.add_(brighter)
        checkpoints.save(folder / f"{name}.safetensors", classifier, described)
    assert run("predict", folder, strange, tmp_path / "new.csv") == 0
    assert {row["looks"] for row in table(tmp_path / "new.csv")} == {VERDICTS[0]}


def test_a_probe_knows_what_is_usual_and_it_can_be_turned_off(
    images: Path, strange: Path, tmp_path: Path
) -> None:
    words = ("probe", "model=lenet5", "model.weights=none", "data=phantom", "data.size_px=32")
    words += ("data.phantom=dermoscopy", "data.patients=60", f"data.root={images}", "c=0.01")
    words += ("audit.copies=false",)
    assert run(*words, f"run_dir={tmp_path / 'on'}") == 0
    assert run("predict", best(tmp_path / "on"), strange, tmp_path / "new.csv") == 0
    assert {row["looks"] for row in table(tmp_path / "new.csv")} == {VERDICTS[0]}
    assert run(*words, "readout.unusual=null", f"run_dir={tmp_path / 'off'}") == 0
    assert checkpoints.read(best(tmp_path / "off"))[0].familiar is None
    assert "looks" not in (tmp_path / "off" / "predictions_test.csv").read_text()


def test_every_prediction_is_in_a_log_that_tells_changes_and_no_names(
    trained: Path,
    strange: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MEDCNN_PSEUDONYM_KEY", "a key of the test, long enough")
    folder = tmp_path / "DOE_JANE"
    folder.mkdir()
    for path in sorted(strange.iterdir())[:3]:
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "broken.png").write_bytes(b"")
    log = tmp_path / "log" / "predictions.log"
    words = ("predict", best(trained), folder)
    assert run(*words, tmp_path / "a.csv", f"log={log}", "audit.max_bad=1") == 0
    assert run(*words, tmp_path / "b.csv", f"log={log}", "audit.max_bad=1") == 0
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    kinds = [line["kind"] for line in lines]
    assert kinds == 2 * ["begin", "image", "image", "image", "unreadable", "end"]
    assert "DOE" not in log.read_text()
    assert "blank" not in log.read_text()
    rows = table(tmp_path / "a.csv")
    told = {(line.get("decision"), line.get("looks")) for line in lines if line["kind"] == "image"}
    assert told == {(row["decision"], row["looks"]) for row in rows if not row["unreadable"]}
    headers = [json.loads((tmp_path / f"{name}.json").read_text()) for name in "ab"]
    assert [(h["log"], h["log_line"]) for h in headers] == [(log.name, 6), (log.name, 12)]

    capsys.readouterr()
    assert run("verify", log, f"hash={headers[0]['log_hash']}") == 0
    assert capsys.readouterr().out.strip() == headers[1]["log_hash"]
    whole = log.read_text().splitlines(keepends=True)
    log.write_text("".join(whole[:6]))  # the whole second command is gone
    assert run("verify", log) == 0
    assert "only a hash kept elsewhere shows" in " ".join(capsys.readouterr().err.split())
    assert run("verify", log, f"hash={headers[1]['log_hash']}") == 1
    assert "lines at the end are missing" in " ".join(capsys.readouterr().err.split())
    log.write_text("".join([whole[0], *whole[2:]]))
    assert run("verify", log) == 1
    assert "a line is missing before line 2" in " ".join(capsys.readouterr().err.split())
    log.write_text("")
    assert run("verify", log) == 1
    assert run("verify", tmp_path / "nothing.log") == run("verify", tmp_path) == 2
    capsys.readouterr()
    for place in ("c.csv", "c.json"):  # the table would take the place of the log
        assert run(*words, tmp_path / "c.csv", f"log={tmp_path / place}") == 2
        assert "this command writes its table there" in " ".join(capsys.readouterr().err.split())
        assert not (tmp_path / place).exists()
    assert run("verify", log, "hash=abc") == 2
