"""What a model says of a DICOM image, as DICOM objects beside it."""

from __future__ import annotations

import shutil
import subprocess
import warnings
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.uid import (
    ColorSoftcopyPresentationStateStorage,
    DigitalXRayImageStorageForPresentation,
    UltrasoundMultiFrameImageStorage,
    VLPhotographicImageStorage,
)

from medcnn.clinic.answers import Answer, Finding, HeatMap, Identity, Measured
from medcnn.clinic.headers import Asked
from medcnn.clinic.objects import asked, file_of, objects_of, study_report
from medcnn.clinic.outlines import hot_spots
from medcnn.images.dicom import open_dataset
from medcnn.images.reading import Frames
from medcnn.statistics.estimates import Estimate
from medcnn.system.errors import ImageError

SEEN = Estimate(value=0.91, low=0.85, high=0.96, count=120, groups=100)
MEASURED = Measured(sensitivity=SEEN, specificity=SEEN, on="240 test images", noun="patient")
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


def heated(shape: tuple[int, int] = (300, 200), channels: int = 1) -> Answer:
    """The answer with a map whose one hot spot is 20 pixels wide, around row 60 and column 150."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    far = np.hypot(rows + 0.5 - 60, columns + 0.5 - 150)
    values = np.where(far < 40, np.exp2(-((far / 10) ** 2)), -0.1).astype(np.float32)
    values[-50:] = np.nan
    pixels = np.full((*shape, channels), 90, np.uint8)
    heat = HeatMap(
        pixels=pixels, values=values, label="Mass", method="gradcam", unit="logits per pixel"
    )
    return replace(ANSWER, heat=heat)


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
        ("Procedure reported", "Imaging procedure"),
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


@pytest.mark.parametrize(
    ("noun", "words"),
    [
        ("patient", "120 of them from 100 patients count here"),
        ("lesion", "120 of them from 100 lesions count here"),
        ("image", "120 of them count here"),
    ],
)
def test_a_report_names_patients_only_where_the_run_knew_them(noun: str, words: str) -> None:
    finding = replace(ANSWER.findings[0], measured=replace(MEASURED, noun=noun))
    (made,) = objects_of(radiograph(), replace(ANSWER, findings=(finding,)), MODEL)
    assert f"240 test images; {words}" in {value for _, value in said(made)}
    patients = replace(finding, measured=MEASURED)
    (other,) = objects_of(radiograph(), replace(ANSWER, findings=(patients,)), MODEL)
    assert (made.SOPInstanceUID == other.SOPInstanceUID) is (noun == "patient"), "other bytes"


def in_study(number: int, **more: Any) -> Asked:
    image = radiograph(SOPInstanceUID=f"1.9.{number}", InstanceNumber=number, **more)
    answer = replace(ANSWER, decision=f"of image {number}")
    return asked(image, answer, MODEL, window=0, frames=Frames.ERROR)


def test_a_report_of_a_study_holds_what_is_said_of_each_image_whatever_their_order() -> None:
    images = [in_study(3), in_study(1), in_study(2, SeriesInstanceUID="1.2.3.9")]
    made = read_back(study_report(images))
    assert file_of(study_report(images[::-1])) == file_of(study_report(images))
    decisions = [value for name, value in said(made) if name == "Decision of the model"]
    assert decisions == ["of image 1", "of image 3", "of image 2"]
    (study,) = made.CurrentRequestedProcedureEvidenceSequence
    assert [len(one.ReferencedSOPSequence) for one in study.ReferencedSeriesSequence] == [2, 1]
    sources = {
        str(item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
        for item in items(made)
        if item.ValueType == "IMAGE"
    }
    assert sources == {"1.9.1", "1.9.2", "1.9.3"}
    assert made.PatientName == "Müller^Änne"
    (alone,) = objects_of(radiograph(SOPInstanceUID="1.9.1"), ANSWER, MODEL)
    assert alone.SeriesInstanceUID != made.SeriesInstanceUID
    fewer = study_report(images[:2])
    assert fewer.SOPInstanceUID != made.SOPInstanceUID
    assert fewer.SeriesInstanceUID == made.SeriesInstanceUID


def test_a_report_of_a_study_breaks_no_rule_of_dicom(tmp_path: Path) -> None:
    assert errors_of(study_report([in_study(1), in_study(2)]), tmp_path) == []


def test_a_study_of_several_patients_is_refused() -> None:
    with pytest.raises(ImageError, match="name 2 patients"):
        study_report([in_study(1), in_study(2, PatientID="4711")])


def test_a_patient_without_an_id_is_one_patient_whether_it_is_empty_or_missing() -> None:
    missing, empty = in_study(1), in_study(2, PatientID="", PatientName="")
    for name in ("PatientID", "PatientName"):
        delattr(missing.source, name)
    made = study_report([missing, empty])
    assert not made.PatientID


def test_the_same_image_in_two_files_is_in_the_report_once() -> None:
    images = [in_study(1), in_study(2)]
    assert file_of(study_report([*images, in_study(1)])) == file_of(study_report(images))


def test_a_report_is_filed_with_its_image_in_a_series_of_its_own() -> None:
    source = radiograph()
    (made,) = map(read_back, objects_of(source, ANSWER, MODEL))
    for name in ("StudyInstanceUID", "PatientName", "PatientID", "StudyDate", "StudyTime"):
        assert made[name].value == source[name].value
    assert made.SeriesInstanceUID != source.SeriesInstanceUID
    evidence = made.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    assert evidence.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID


def test_times_keep_the_time_zone_that_they_are_in() -> None:
    source = radiograph()
    source.TimezoneOffsetFromUTC = "+0200"
    (made,) = map(read_back, objects_of(source, ANSWER, MODEL))
    assert made.TimezoneOffsetFromUTC == "+0200"


def test_the_same_question_gives_the_same_bytes_and_another_one_other_uids(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def uid(source: pydicom.Dataset, model: Identity = MODEL) -> str:
        return str(objects_of(source, ANSWER, model)[0].SOPInstanceUID)

    first, again = (objects_of(radiograph(), heated(), MODEL) for _ in range(2))
    assert len(first) == len({made.SOPInstanceUID for made in first}) == 3
    assert len({made.SeriesInstanceUID for made in first}) == 3
    assert [file_of(a) for a in first] == [file_of(b) for b in again]
    other = Identity(name="best.safetensors", sha256="cd" * 32, settings=MODEL.settings)
    asked = Identity(name="best.safetensors", sha256=MODEL.sha256, settings={"precision": "bf16"})
    uids = [
        uid(radiograph()),
        uid(radiograph(), other),
        uid(radiograph(), asked),
        uid(radiograph(SOPInstanceUID="1.2.3.4.6")),
        uid(radiograph(), replace(MODEL, name="copy.safetensors")),
    ]
    monkeypatch.setattr("medcnn.clinic.headers.__version__", "99.0")
    uids.append(uid(radiograph()))
    assert len(set(uids)) == 6, "the name and the version stand in the report"
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


def test_what_older_files_say_in_their_way_is_said_as_the_standard_wants_it(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is written here
        earlier = {"StudyDate": "1997.04.24", "StudyTime": "14:04:38.25"}
        source = radiograph(**earlier, PatientIdentityRemoved="YES")
    (made,) = objects_of(source, ANSWER, MODEL)
    assert (made.StudyDate, made.StudyTime) == ("19970424", "140438.25")
    assert "PatientIdentityRemoved" not in made, "the image does not say how"
    assert errors_of(made, tmp_path) == []
    how = radiograph(PatientIdentityRemoved="YES", DeidentificationMethod="by hand")
    (made,) = objects_of(how, ANSWER, MODEL)
    assert made.PatientIdentityRemoved == "YES"


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


def points_of(made: pydicom.Dataset) -> list[np.ndarray]:
    """The outlines [N, 2] of a presentation state."""
    objects = made.GraphicAnnotationSequence[0].GraphicObjectSequence
    return [np.reshape(line.GraphicData, (-1, 2)) for line in objects]


def test_an_outline_lies_where_the_map_is_hot_in_pixels_of_the_original() -> None:
    made = read_back(objects_of(radiograph(), heated(), MODEL)[2])
    (line,) = points_of(made)
    assert np.array_equal(line[0], line[-1]), "closed"
    assert np.abs(np.hypot(*(line - [150, 60]).T) - 10).max() < 1.5, "a circle of half the height"
    assert made.GraphicAnnotationSequence[0].GraphicObjectSequence[0].GraphicAnnotationUnits == (
        "PIXEL"
    )
    series = made.ReferencedSeriesSequence[0]
    assert series.ReferencedImageSequence[0].ReferencedSOPInstanceUID == "1.2.3.4.5"


@pytest.mark.parametrize(("shape", "most"), [((300, 200), 1), ((3000, 2000), 5)])
def test_outlines_are_few_and_short_and_within_the_image(shape: tuple[int, int], most: int) -> None:
    noise = np.random.default_rng(0).random(shape).astype(np.float32)
    for values in (heated(shape).heat.values, noise):  # type: ignore[union-attr]
        lines = hot_spots(values)
        assert 1 <= len(lines) <= 5
        assert all(len(line) <= 202 for line in lines)
        every = np.concatenate(lines)
        assert (every >= 0).all()
        assert (every <= [shape[1], shape[0]]).all()


def test_where_nothing_speaks_for_the_label_nothing_is_outlined() -> None:
    answer = heated()
    assert answer.heat
    cold = replace(answer.heat, values=-np.abs(np.nan_to_num(answer.heat.values)) - 1)
    made = objects_of(radiograph(), replace(answer, heat=cold), MODEL)
    assert [one.Modality for one in made] == ["SR", "OT"]


def test_a_picture_says_that_it_is_derived_and_not_for_diagnosis() -> None:
    made = read_back(objects_of(radiograph(), heated(), MODEL)[1])
    assert made.ImageType == ["DERIVED", "SECONDARY"]
    assert made.BurnedInAnnotation == "YES"
    assert "not for diagnosis" in made.DerivationDescription
    assert made.SourceImageSequence[0].ReferencedSOPInstanceUID == "1.2.3.4.5"
    shown = made.pixel_array
    yellow = (shown[:, :, 0] > 200) & (shown[:, :, 1] > 200) & (shown[:, :, 2] < 60)
    assert yellow[:20].sum() > 50, "the words are in the pixels"
    assert np.ptp(shown[60:110, 120:180].astype(int), axis=2).max() > 60, "and so is the map"


def test_a_large_image_gives_a_picture_that_a_viewer_can_show() -> None:
    answer = heated((3000, 2000))
    made = objects_of(radiograph(Rows=3000, Columns=2000), answer, MODEL)[1]
    assert made.Rows <= 1124
    assert made.Columns <= 1024


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({}, {"PresentationLUTShape": "INVERSE"}),
        ({"PhotometricInterpretation": "MONOCHROME2"}, {"PresentationLUTShape": "IDENTITY"}),
        ({"RescaleSlope": "2", "RescaleIntercept": "-7"}, {"RescaleIntercept": -7}),
        ({"RescaleSlope": "1", "RescaleIntercept": "0"}, {"RescaleIntercept": None}),
        ({"WindowCenter": [10, 0.1 + 0.2], "WindowWidth": [5, 80]}, {"WindowCenter": 0.3}),
        ({"WindowCenter": [10, 20], "WindowWidth": [5, 0]}, {"WindowCenter": None}),
    ],
)
def test_an_outline_shows_the_image_as_the_model_read_it(
    tags: dict[str, Any], expected: dict[str, Any]
) -> None:
    made = read_back(objects_of(radiograph(**tags), heated(), MODEL, window=1)[2])
    (voi,) = made.get("SoftcopyVOILUTSequence") or [pydicom.Dataset()]
    for name, value in expected.items():
        found = (voi if name.startswith("Window") else made).get(name)
        assert found == (pytest.approx(value) if isinstance(value, float) else value)


def test_a_colour_image_gets_a_colour_presentation_state(tmp_path: Path) -> None:
    source = radiograph(
        PhotometricInterpretation="RGB", SamplesPerPixel=3, SOPClassUID=VLPhotographicImageStorage
    )
    twice = [objects_of(source, heated(channels=3), MODEL)[2] for _ in range(2)]
    assert twice[0].SOPClassUID == ColorSoftcopyPresentationStateStorage
    assert "PresentationLUTShape" not in twice[0]
    assert file_of(twice[0]) == file_of(twice[1]), "its colour profile has no date of today"
    assert errors_of(twice[0], tmp_path) == []


def test_of_several_frames_the_one_that_was_read_is_referred_to(tmp_path: Path) -> None:
    source = radiograph(NumberOfFrames=5, SOPClassUID=UltrasoundMultiFrameImageStorage)
    for made in objects_of(source, heated(), MODEL, frames=Frames.MIDDLE)[1:]:
        (image,) = made.get("SourceImageSequence") or (
            made.ReferencedSeriesSequence[0].ReferencedImageSequence
        )
        assert image.ReferencedFrameNumber == 3
        assert errors_of(made, tmp_path) == []


def test_another_program_finds_no_error(tmp_path: Path) -> None:
    for made in objects_of(radiograph(), heated(), MODEL):
        assert errors_of(made, tmp_path) == [], made.SOPClassUID.name
    made.PatientSex = "thirteen"
    assert errors_of(made, tmp_path), "or it would find none anywhere"


def test_real_radiographs_get_objects_without_error(shared: Path, tmp_path: Path) -> None:
    files = sorted((shared / "dicom").glob("*.dcm"))
    assert files
    for file in files:
        source = open_dataset(file.read_bytes())
        answer = heated((source.Rows, source.Columns))
        for made in objects_of(source, answer, MODEL):
            assert errors_of(made, tmp_path) == [], file.name
