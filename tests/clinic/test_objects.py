"""What a model says of a DICOM image, as DICOM objects beside it."""

from __future__ import annotations

import shutil
import subprocess
import warnings
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.uid import DigitalXRayImageStorageForPresentation

from medcnn.clinic.answers import Answer, Finding, Identity, Measured
from medcnn.clinic.objects import file_of, objects_of
from medcnn.images.dicom import open_dataset
from medcnn.images.reading import Frames
from medcnn.statistics.estimates import Estimate
from medcnn.system.errors import ImageError

SEEN = Estimate(value=0.91, low=0.85, high=0.96, count=120, groups=100)
MEASURED = Measured(sensitivity=SEEN, specificity=SEEN, on="240 test images")
ANSWER = Answer(
    findings=(
        Finding(label="Mass", probability=0.8, present=True, threshold=0.4, measured=MEASURED),
        Finding(label="Ergüsse 胸水", probability=0.1, present=False, threshold=0.5),
    ),
    rule="every label whose probability reaches its threshold",
    decision="Mass",
    possible="Mass",
    refer=True,
    looks="unusual",
)
MODEL = Identity(name="best.safetensors", sha256="ab" * 32, settings={"precision": "fp32"})


def radiograph(**tags: Any) -> pydicom.Dataset:
    """A header as a PACS sends it; `tags` replace elements, or take them away (None)."""
    image = pydicom.Dataset()
    image.SpecificCharacterSet = "ISO_IR 100"
    image.SOPClassUID, image.SOPInstanceUID = DigitalXRayImageStorageForPresentation, "1.2.3.4.5"
    image.StudyInstanceUID, image.SeriesInstanceUID = "1.2.3", "1.2.3.4"
    image.PatientName, image.PatientID = "Müller^Änne", "0815"
    image.PatientBirthDate, image.PatientSex = "19480309", "F"
    image.StudyDate, image.StudyTime = "20240102", "101112"
    image.InstanceNumber = 3
    image.Rows, image.Columns, image.SamplesPerPixel = 300, 200, 1
    image.PhotometricInterpretation = "MONOCHROME1"
    for name, value in tags.items():
        if value is None:
            delattr(image, name)
        else:
            setattr(image, name, value)
    stream = BytesIO()
    pydicom.dcmwrite(stream, image, implicit_vr=False, little_endian=True)
    return open_dataset(stream.getvalue())


def read_back(made: pydicom.Dataset) -> pydicom.Dataset:
    return pydicom.dcmread(BytesIO(file_of(made)))


def items(made: pydicom.Dataset) -> Iterator[pydicom.Dataset]:
    """Every content item of a report."""
    for item in made.get("ContentSequence", []):
        yield item
        yield from items(item)


def said(made: pydicom.Dataset) -> list[tuple[str, str]]:
    """Name and value of every content item that has one."""
    found = []
    for item in items(made):
        name = item.ConceptNameCodeSequence[0].CodeMeaning
        if item.ValueType == "NUM":
            found.append((name, str(item.MeasuredValueSequence[0].NumericValue)))
        elif item.ValueType == "CODE":
            found.append((name, item.ConceptCodeSequence[0].CodeMeaning))
        elif item.ValueType == "TEXT":
            found.append((name, item.TextValue))
    return found


def test_a_report_says_all_that_the_answer_says() -> None:
    (made,) = map(read_back, objects_of(radiograph(), ANSWER, MODEL))
    values = said(made)
    for expected in (
        ("Finding", "Mass"),
        ("Finding", "Ergüsse 胸水"),
        ("Probability", "0.8"),
        ("Call of the model", "Present"),
        ("Call of the model", "Absent"),
        ("Probability from which it is called present", "0.4"),
        ("Sensitivity of the operating point", "0.91"),
        ("Lower end of the 95 % interval", "0.85"),
        ("Upper end of the 95 % interval", "0.96"),
        ("Algorithm Parameters", "precision=fp32"),
        ("Looks like the training images", "unusual"),
        ("To be looked at by a human", "Yes"),
        ("Prediction set", "Mass"),
        ("Use", "not for diagnosis"),
    ):
        assert expected in values
    assert any(n == "Algorithm Version" and MODEL.sha256 in v for n, v in values)
    assert (made.CompletionFlag, made.VerificationFlag) == ("PARTIAL", "UNVERIFIED")


def test_a_report_is_filed_with_its_image_in_a_series_of_its_own() -> None:
    source = radiograph()
    (made,) = map(read_back, objects_of(source, ANSWER, MODEL))
    for name in ("StudyInstanceUID", "PatientName", "PatientID", "StudyDate", "StudyTime"):
        assert made[name].value == source[name].value
    assert made.SeriesInstanceUID != source.SeriesInstanceUID
    evidence = made.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    assert evidence.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID


def test_the_same_question_gives_the_same_bytes_and_another_one_other_uids() -> None:
    def uid(source: pydicom.Dataset, model: Identity = MODEL) -> str:
        return str(objects_of(source, ANSWER, model)[0].SOPInstanceUID)

    first, again = (objects_of(radiograph(), ANSWER, MODEL) for _ in range(2))
    assert [file_of(a) for a in first] == [file_of(b) for b in again]
    other = Identity(name="best.safetensors", sha256="cd" * 32, settings=MODEL.settings)
    asked = Identity(name="best.safetensors", sha256=MODEL.sha256, settings={"precision": "bf16"})
    uids = [
        uid(radiograph()),
        uid(radiograph(), other),
        uid(radiograph(), asked),
        uid(radiograph(SOPInstanceUID="1.2.3.4.6")),
    ]
    assert len(set(uids)) == 4
    assert all(pydicom.uid.UID(u).is_valid for u in uids)


EMPTY = ("PatientName", "PatientBirthDate", "PatientSex", "StudyTime", "StudyDate")


@pytest.mark.parametrize(
    "tags",
    [
        dict.fromkeys(EMPTY),
        {"PatientName": "MUELLER ANNE"},
        {"PatientName": "Yamada^Tarou=山田^太郎", "SpecificCharacterSet": "ISO_IR 192"},
        {"PatientSex": "X", "PatientAge": "81"},
        {"NumberOfFrames": 5},
        {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.6"},
        {"InstanceNumber": None},
    ],
)
def test_odd_headers_are_no_reason_to_fail(tags: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is written here
        source = radiograph(**tags)
    (made,) = map(read_back, objects_of(source, ANSWER, MODEL, frames=Frames.MIDDLE))
    assert made.get("PatientName") == source.get("PatientName", "")
    assert "PatientAge" not in made
    assert all(name in made for name in EMPTY), "type 2: there, if empty"
    frame = next(i.ReferencedSOPSequence[0] for i in items(made) if i.ValueType == "IMAGE")
    assert frame.get("ReferencedFrameNumber") == (3 if "NumberOfFrames" in tags else None)


@pytest.mark.parametrize("name", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"])
def test_an_image_that_nothing_can_be_filed_with_is_refused(name: str) -> None:
    with pytest.raises(ImageError, match=rf"the header lacks {name} \("):
        objects_of(radiograph(**{name: None}), ANSWER, MODEL)


def test_a_name_that_cannot_be_decoded_is_refused() -> None:
    source = radiograph()
    source.SpecificCharacterSet = "ISO_IR 999"
    with pytest.raises(ImageError, match=r"PatientName .* cannot be decoded"):
        objects_of(source, ANSWER, MODEL)


def errors_of(made: pydicom.Dataset, folder: Path) -> list[str]:
    """What dciodvfy (dicom3tools) calls an error."""
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy (Debian: dicom3tools) is not installed")
    (folder / "object.dcm").write_bytes(file_of(made))
    done = subprocess.run(["dciodvfy", folder / "object.dcm"], capture_output=True, text=True)
    return [line for line in (done.stdout + done.stderr).splitlines() if "Error" in line]


def test_another_program_finds_no_error(tmp_path: Path) -> None:
    for made in objects_of(radiograph(), ANSWER, MODEL):
        assert errors_of(made, tmp_path) == []
    made.PatientSex = "thirteen"
    assert errors_of(made, tmp_path), "or it would find none anywhere"


def test_real_radiographs_get_objects_without_error(shared: Path, tmp_path: Path) -> None:
    files = sorted((shared / "dicom").glob("*.dcm"))
    assert files
    for file in files:
        for made in objects_of(open_dataset(file.read_bytes()), ANSWER, MODEL):
            assert errors_of(made, tmp_path) == [], file.name
