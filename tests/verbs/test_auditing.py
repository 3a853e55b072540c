"""`medcnn audit`, and what it keeps from being trained on, through the real command line."""

from __future__ import annotations

import csv
import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medcnn.data.phantoms.drawing import generate
from medcnn.system.privacy import pseudonym
from tests.command import run

QUICK = (
    "model=lenet5",
    "data.size_px=32",
    "trainer.epochs=1",
    "trainer.threads=1",
    "trainer.device=cpu",
    "explain=null",
)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("drawn") / "lesions"
    generate(root, "dermoscopy", patients=60, size_px=64)
    return root


@pytest.fixture
def lesions(drawn: Path, tmp_path: Path) -> tuple[str, ...]:
    """Words that name a set of 60 lesions, below `tmp_path / "lesions"`."""
    root = tmp_path / "lesions"
    shutil.copytree(drawn, root)
    return (
        "data=table",
        f"data.root={root}",
        "data.table=labels.csv",
        "data.image=image",
        "data.label=diagnosis",
        "data.patient=lesion",
        "data.group_noun=lesion",
        "data.modality=dermoscopy",
    )


def test_an_audit_writes_one_page_and_replaces_it(
    lesions: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out" / "audit.html"
    for _ in range(2):
        assert run("audit", *lesions, f"output={output}") == 0
    said = capsys.readouterr().out
    assert "These data can be used for training" in said
    assert "recall" in said
    assert "recall" in output.read_text()
    output.write_text("mine")
    assert run("audit", *lesions, f"output={output}") == 2
    assert output.read_text() == "mine"


@pytest.mark.fault
def test_all_faults_of_a_set_are_reported_at_once_and_training_does_not_begin(
    lesions: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rows 35, 75 and 76."""
    root = tmp_path / "lesions"
    with (root / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    lesion_ids = sorted({r["lesion"] for r in rows})
    for r in rows:
        r["set"] = ("train", "train", "train", "val", "test")[lesion_ids.index(r["lesion"]) % 5]
    moved = next(r for r in rows if sum(o["lesion"] == r["lesion"] for o in rows) > 1)
    moved["set"] = "test" if moved["set"] != "test" else "train"
    one = next(r for r in rows if r["set"] == "train")
    other = next(r for r in rows if r["set"] == "val" and r["diagnosis"] == one["diagnosis"])
    shutil.copy(root / one["image"], root / other["image"])
    empty = next(r for r in rows if r["set"] == "train" and r not in (one, moved))
    (root / empty["image"]).write_bytes(b"")
    with (root / "labels.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    words = (*lesions, "data.split=set")
    assert run("audit", *words, f"output={tmp_path / 'a.html'}") == 4
    assert run("train", *words, *QUICK, f"run_dir={tmp_path / 'r'}") == 4
    captured = capsys.readouterr()
    for said in (captured.out, captured.err, (tmp_path / "a.html").read_text()):
        text = " ".join(said.split())
        assert "1 lesion in more than one split" in text
        assert "1 pair of images with the same pixels in two splits" in text
        assert "cannot be used" in text
        assert pseudonym(moved["lesion"], "lesion") in text
        assert moved["lesion"] not in text
    assert not (tmp_path / "r").exists()
    allowed = ("audit.max_bad=1", '"audit.allow=[groups,pixels]"')
    assert (
        run("audit", *words, *(a.strip('"') for a in allowed), "output=" + str(tmp_path / "b.html"))
        == 0
    )


def test_a_leak_that_is_allowed_leaves_no_validation_empty(
    lesions: tuple[str, ...], tmp_path: Path
) -> None:
    with (tmp_path / "lesions" / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    for number, row in enumerate(rows):
        row["part"] = "test" if number % 3 == 0 else "train"  # by image: lesions stand in both
    with (tmp_path / "lesions" / "labels.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    words = (*lesions, "data.split=part", *QUICK)
    assert run("train", *words, f"run_dir={tmp_path / 'a'}") == 4
    assert run("train", *words, f"run_dir={tmp_path / 'r'}", "audit.allow=[groups]") == 0
    with (tmp_path / "r" / "manifest.csv").open() as file:
        counts = Counter(row["split"] for row in csv.DictReader(file))
    assert set(counts) == {"train", "validation", "test"}
    best = f"checkpoint={tmp_path / 'r' / 'checkpoints' / 'best.safetensors'}"
    assert run("evaluate", best, f"run_dir={tmp_path / 'e'}") == 0
    assert "are in more than one split" in (tmp_path / "e" / "report.html").read_text()
    dry = (f"run_dir={tmp_path / 'd'}", "trainer.dry_run=true")
    assert run("train", *words, *dry) == 4
    assert run("train", *words, *dry, "audit.allow=[groups]") == 0


def test_training_leaves_out_what_is_blank_and_says_so_and_evaluation_does_likewise(
    lesions: tuple[str, ...], tmp_path: Path
) -> None:
    from PIL import Image

    from medcnn.statistics.predictions import Predictions

    with (tmp_path / "lesions" / "labels.csv").open() as file:
        names = [row["image"] for row in csv.DictReader(file)][::3]
    for name in names:
        Image.new("RGB", (64, 64), (9, 9, 9)).save(tmp_path / "lesions" / name)
    allowed = f"audit.max_bad={len(names)}"
    assert run("train", *lesions, *QUICK, f"run_dir={tmp_path / 'r'}", "audit.max_bad=0") == 4
    assert run("train", *lesions, *QUICK, f"run_dir={tmp_path / 'r'}", allowed) == 0
    notes = json.loads((tmp_path / "r" / "run.json").read_text())["notes"]
    assert sum(f"{len(names)} of 100 images cannot be used" in note for note in notes) == 1
    assert (tmp_path / "r" / "audit.html").is_file()
    trained = Predictions.read(tmp_path / "r" / "predictions_test.csv")
    best = f"checkpoint={tmp_path / 'r' / 'checkpoints' / 'best.safetensors'}"
    assert run("evaluate", best, f"run_dir={tmp_path / 'e'}") == 0
    again = Predictions.read(tmp_path / "e" / "predictions_test.csv")
    assert trained.unreadable == again.unreadable != ()
    left_out = {image_id for image_id, _ in trained.unreadable}
    assert left_out.isdisjoint(trained.image_ids)
    assert left_out.isdisjoint(again.image_ids)
    assert "blank" in str(again.unreadable)
    assert run("evaluate", best, f"run_dir={tmp_path / 'f'}", "max_bad=0") == 4


def test_only_an_audit_works_without_labels(
    lesions: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = [w for w in lesions if not w.startswith("data.label=")]
    assert run("audit", *bare, f"output={tmp_path / 'a.html'}") == 0
    assert run("train", *bare, *QUICK, f"run_dir={tmp_path / 'r'}") == 2
    assert "no image has a label" in capsys.readouterr().err


def test_a_check_that_does_not_exist_cannot_be_allowed(
    lesions: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("audit", *lesions, f"output={tmp_path / 'a.html'}")
    assert run(*words, "audit.allow=[group]") == 2
    assert "did you mean 'groups'?" in capsys.readouterr().err
    assert run(*words, "audit.allow=3") == 2


@pytest.mark.fault
def test_a_published_split_that_leaks_is_refused_with_its_patients(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Row 75."""
    words = (
        "data=table",
        f"data.root={shared / 'nih_chestxray14_sample'}",
        "data.table=leaky_split.csv",
        "data.image=image",
        "data.folder=images",
        "data.patient=patient_id",
        "data.split=split",
    )
    assert run("audit", *words, f"output={tmp_path / 'a.html'}") == 4
    assert "30 patients in more than one split" in capsys.readouterr().err
    page = (tmp_path / "a.html").read_text()
    with (shared / "nih_chestxray14_sample" / "leaky_split.csv").open() as file:
        patients = {row["patient_id"] for row in csv.DictReader(file)}
    assert sum(pseudonym(p) in page for p in patients) == 30
    assert not any(p in page for p in patients)


def test_a_set_that_is_confounded_by_its_sources_alarms(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "conf" / "data").mkdir(parents=True)
    (tmp_path / "conf" / "data" / "covid.yaml").write_text(
        f"defaults: [table]\nroot: {shared / 'covid_chestxray'}\ntable: metadata.csv\n"
        "folder: images\nimage: filename\nlabel: finding\npatient: patientid\nmodality: chest\n"
        "exclude: {finding: [todo]}\nrare_below: 8\nattributes: [age, sex, view, location]\n"
    )
    words = ("data=covid", "--config-dir", str(tmp_path / "conf"))
    assert run("audit", *words, f"output={tmp_path / 'a.html'}") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "warning The table alone, without any image, predicts the label: AUROC 0." in said
    assert "near-duplicates with different labels" in said


def test_a_terminal_shows_which_files_cannot_be_used_and_a_pipe_does_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "clinic"
    rng = np.random.default_rng(0)
    for i in range(24):
        place = root / "ab"[i % 2] / f"DOE_{i:02d}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (24, 24), dtype=np.uint8)).save(place)
    (root / "a" / "DOE_04.png").write_bytes(b"")
    words = ("audit", "data=table", f"data.root={root}")
    assert run(*words, f"output={tmp_path / 'pipe.html'}") == 4
    told = capsys.readouterr()
    assert "DOE_04" not in told.out + told.err
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert run(*words, f"output={tmp_path / 'terminal.html'}") == 4
    assert "'a/DOE_04.png'" in capsys.readouterr().err
    assert "DOE_04" not in (tmp_path / "terminal.html").read_text()
