"""`predict dicom=FOLDER`: results that an archive can file, in a folder of their own."""

from __future__ import annotations

import csv
import json
import stat
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch
from PIL import Image

from medcnn.clinic.answering import Answering
from medcnn.clinic.review.reading import Reader
from medcnn.config import Choice
from medcnn.data.labels import Kind, LabelSpace
from medcnn.data.manifest import Modality
from medcnn.images.preprocessing import Preprocessing
from medcnn.models import checkpoint as checkpoints
from medcnn.models.checkpoint import Checkpoint
from medcnn.models.classifier import Architecture, build_classifier
from medcnn.models.deployed import load_model
from medcnn.statistics.decisions import Readout
from medcnn.statistics.estimates import Estimate
from medcnn.statistics.operating import OperatingPoint
from tests.clinic.test_objects import points_of, said
from tests.command import run
from tests.verbs.test_canary import named, write_dicom

SEEN = Estimate(value=0.9, low=0.8, high=0.95, count=70, groups=60)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, and images of hospital: three DICOMs of which one is of no study, a photograph, and a
    damaged file."""
    place = tmp_path_factory.mktemp("clinic")
    torch.manual_seed(0)
    architecture = Architecture(
        backbone="lenet5", options={}, head="linear", head_options={}, channels=3, size_px=32
    )
    classifier, body = build_classifier(architecture, 2)
    point = OperatingPoint(name="youden", thresholds=(0.01, 0.99))
    described = Checkpoint(
        labels=LabelSpace(kind=Kind.MULTILABEL, names=("Mass", "Effusion")),
        preprocessing=Preprocessing(size_px=32),
        architecture=architecture,
        normalisation=body.normalisation,
        modality=Modality.OTHER,
        flips="",
        readout=Readout(points=(point,)),
        training={},
        provenance={},
    )
    (place / "run" / "checkpoints").mkdir(parents=True)
    file = place / "run" / "checkpoints" / "best.safetensors"
    checkpoints.save(file, classifier, described)
    own = {"provenance": checkpoints.provenance_of(file), "readout": described.readout.to_json()}
    (place / "run" / "predictions_test.json").write_text(json.dumps(own))
    measured = {name: asdict(SEEN) for name in ("sensitivity", "specificity")}
    points = [{"point": "youden", "label": "Mass", **measured}]
    (place / "run" / "metrics.json").write_text(
        json.dumps({"readout": {"test": {"points": points}}})
    )
    (place / "run" / "run.json").write_text(json.dumps({"report": {"group_noun": "lesion"}}))
    (place / "cv").mkdir()
    (place / "cv" / "crossvalidation.json").write_text("{}")
    rng = np.random.default_rng(0)
    for number in range(3):
        name = place / "in" / f"{number}.dcm"
        write_dicom(name, number, rng)
        image = pydicom.dcmread(name)
        image.SeriesInstanceUID = "1.2.3.4"
        if number < 2:
            image.StudyInstanceUID = "1.2.3"
        image.save_as(name)
    Image.fromarray(rng.integers(0, 255, (40, 40), np.uint8)).save(place / "in" / "photo.png")
    (place / "in" / "broken.png").write_bytes(b"no image")
    return place


def predict(place: Path, folder: Path, *words: str) -> int:
    """With its table in `folder`."""
    checkpoint = f"checkpoint={place}/run/checkpoints/best.safetensors"
    output = f"output={folder}/new.csv"
    return run("predict", checkpoint, f"input={place}/in", output, "trainer.device=cpu", *words)


def rows_of(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "objects.csv").open() as file:
        return {row["image_id"]: row for row in csv.DictReader(file)}


def asked(folder: Path, *words: str) -> tuple[str, ...]:
    return (f"dicom={folder}", "dicom.identified=true", *words)


def test_each_dicom_gets_its_objects_and_every_other_file_its_reason(
    place: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "objects"
    assert predict(place, tmp_path, *asked(folder, "explain=gradcam", "audit.max_bad=1")) == 0
    rows = rows_of(folder)
    assert len(rows) == 5
    lines = (tmp_path / "new.csv").read_text().splitlines()
    for image_id, row in rows.items():
        assert lines[int(row["line"]) - 1].startswith(image_id)
    assert rows["photo.png"]["reason"] == "not a DICOM image"
    assert "the header lacks StudyInstanceUID" in rows["2.dcm"]["reason"]
    assert rows["broken.png"]["reason"]
    assert not any(rows[i]["objects"] for i in ("photo.png", "2.dcm", "broken.png"))
    for image_id in ("0.dcm", "1.dcm"):
        source = pydicom.dcmread(place / "in" / image_id)
        names = rows[image_id]["objects"].split()
        assert [name.split("-")[1] for name in names][:2] == ["report.dcm", "map.dcm"]
        for name in names:
            made = pydicom.dcmread(folder / name)
            for tag in ("StudyInstanceUID", "PatientName", "PatientID", "AccessionNumber"):
                assert made[tag].value == source[tag].value
        report = pydicom.dcmread(folder / names[0])
        assert ("Probability from which it is called present", "0.01") in said(report)
        assert ("Call of the model", "Present") in said(report)
        assert ("Call of the model", "Absent") in said(report)
        assert ("Sensitivity of the operating point", "0.9") in said(report)
        assert ("Upper end of the 95 % interval", "0.95") in said(report)
        assert any("lesions count here" in words for _, words in said(report)), "as in the run"
        for line in points_of(pydicom.dcmread(folder / names[2])) if len(names) > 2 else ():
            assert line.max() <= 40
            assert line.min() >= 0


@pytest.mark.fault
def test_names_of_patients_are_in_that_folder_alone_and_only_for_its_owner(
    place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Row 98."""
    folder = tmp_path / "objects"
    (tmp_path / "apart").mkdir()
    words = asked(folder, "explain=gradcam", "audit.max_bad=1", f"log={tmp_path}/apart/log")
    assert predict(place, tmp_path / "apart", *words) == 0
    printed = capfd.readouterr()
    assert not named((printed.out + printed.err).encode())
    written = [p for p in (tmp_path / "apart").rglob("*") if p.is_file()]
    assert len(written) > 3
    assert [p.name for p in written if named(p.read_bytes())] == []
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(p.stat().st_mode) for p in folder.iterdir()} == {0o600}
    assert any(named(p.read_bytes()) for p in folder.iterdir()), "or the check would see nothing"


def test_a_second_time_gives_the_same_bytes(place: Path, tmp_path: Path) -> None:
    found = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        words = asked(tmp_path / name / "objects", "explain=gradcam", "audit.max_bad=1")
        assert predict(place, tmp_path / name, *words) == 0
        files = (tmp_path / name / "objects").iterdir()
        found.append({p.name: p.read_bytes() for p in files})
    assert len(found[0]) > 4
    assert found[0] == found[1]


def test_the_receiver_gives_the_very_bytes_that_predict_gives(place: Path, tmp_path: Path) -> None:
    words = asked(tmp_path / "objects", "explain=gradcam", "audit.max_bad=1")
    assert predict(place, tmp_path, *words) == 0
    names = rows_of(tmp_path / "objects")["0.dcm"]["objects"].split()
    file = place / "run" / "checkpoints" / "best.safetensors"
    how = Choice(name="gradcam", options={})
    answering = Answering(Reader(load_model(file, device="cpu"), how, None), file, maps=True)
    (made,) = answering([place / "in" / "0.dcm"])
    assert made == [(tmp_path / "objects" / name).read_bytes() for name in names]


def test_a_study_gets_one_report_that_lists_all_its_images(place: Path, tmp_path: Path) -> None:
    words = asked(tmp_path / "objects", "explain=gradcam", "audit.max_bad=1", "dicom.per=study")
    patient = pydicom.dcmread(place / "in" / "0.dcm")
    before = (place / "in" / "1.dcm").read_bytes()
    other = pydicom.dcmread(place / "in" / "1.dcm")
    other.PatientID, other.PatientName = patient.PatientID, patient.PatientName
    other.save_as(place / "in" / "1.dcm")
    copy = place / "in" / "copy.dcm"
    copy.write_bytes((place / "in" / "0.dcm").read_bytes())
    try:
        assert predict(place, tmp_path, *words) == 0
    finally:
        (place / "in" / "1.dcm").write_bytes(before)
        copy.unlink()
    rows = rows_of(tmp_path / "objects")
    (name,) = {rows[i]["objects"].split()[0] for i in ("0.dcm", "1.dcm", "copy.dcm")}
    assert name == f"{int(rows['0.dcm']['line']):06}-study-report.dcm"
    report = pydicom.dcmread(tmp_path / "objects" / name)
    assert report.StudyInstanceUID == "1.2.3"
    (series,) = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    listed = [str(one.ReferencedSOPInstanceUID) for one in series.ReferencedSOPSequence]
    assert sorted(listed) == sorted([str(patient.SOPInstanceUID), str(other.SOPInstanceUID)])
    endings = [p.name.partition("-")[2] for p in (tmp_path / "objects").glob("*.dcm")]
    assert endings.count("map.dcm") == 3
    assert "report.dcm" not in endings
    assert "the header lacks StudyInstanceUID" in rows["2.dcm"]["reason"]


def test_a_study_of_two_patients_gets_no_report(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = asked(tmp_path / "objects", "audit.max_bad=1", "dicom.per=study")
    assert predict(place, tmp_path, *words) == 4
    rows = rows_of(tmp_path / "objects")
    assert rows["0.dcm"]["reason"] == "the images of its study name 2 patients"
    assert not any(row["objects"] for row in rows.values())
    assert "3 of 5 images get no DICOM objects" in " ".join(capsys.readouterr().err.split())


def test_images_that_nothing_can_be_filed_with_are_counted(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "in" / "broken.png").rename(place / "broken.png")
    try:
        assert predict(place, tmp_path, *asked(tmp_path / "objects")) == 4
    finally:
        (place / "broken.png").rename(place / "in" / "broken.png")
    told = " ".join(capsys.readouterr().err.split())
    assert "1 of 4 images get no DICOM objects" in told
    assert "the header lacks StudyInstanceUID (0020,000D)" in told
    assert (tmp_path / "new.csv").is_file(), "the table is there all the same"
    assert len(list((tmp_path / "objects").iterdir())) == 3


@pytest.mark.fault
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("dicom={tmp}/objects",), "contains the name of the patient"),
        (("dicom.identified=true",), "has no effect without dicom=FOLDER"),
        (("dicom.per=study",), "dicom.per=study has no effect without dicom=FOLDER"),
        (("dicom.per=series",), "dicom.per=series is not one of image, study"),
        (("dicom={place}/run/objects", "dicom.identified=true"), "no names of patients belong"),
        (("dicom={place}/cv/objects", "dicom.identified=true"), "no names of patients belong"),
        (("dicom={cache}/objects", "dicom.identified=true"), "no names of patients belong"),
        (("dicom={place}/in/objects", "dicom.identified=true"), "would be read as images"),
        (("dicom={place}/run", "dicom.identified=true"), "Nothing is overwritten"),
        (("dicom={place}/in/0.dcm", "dicom.identified=true"), "Nothing is overwritten"),
    ],
)
def test_a_wrong_place_is_refused_before_anything_is_done(
    place: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    told: str,
) -> None:
    """Row 98."""
    monkeypatch.setenv("MEDCNN_CACHE", str(tmp_path / "cache"))
    places = {"tmp": tmp_path, "place": place, "cache": tmp_path / "cache"}
    assert predict(place, tmp_path, *(word.format(**places) for word in words)) == 2
    assert told in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "new.csv").exists()


def test_without_highdicom_the_line_that_installs_it_is_named(
    place: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("medcnn.places.find_spec", lambda _: None)
    assert predict(place, tmp_path, *asked(tmp_path / "objects")) == 2
    assert "pip install -c constraints.txt '.[clinic]'" in " ".join(capsys.readouterr().err.split())


def test_objects_that_were_not_finished_are_removed(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("medcnn.verbs.steps.dicom_out.table", full)
    assert predict(place, tmp_path, *asked(tmp_path / "objects", "audit.max_bad=1")) == 1
    assert not (tmp_path / "objects").exists()
