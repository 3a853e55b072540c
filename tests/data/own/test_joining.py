"""Tables whose rows name a file or a tag of DICOM headers, in exports as a PACS writes them."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    RTPlanStorage,
    generate_uid,
)

from medcnn.data import adapters, splits
from medcnn.data.manifest import Manifest, Split
from medcnn.data.own import dicom_headers
from medcnn.data.own.dicom_headers import digest, read_headers
from medcnn.images import read_pixels
from medcnn.system.errors import DataError, ImageError, MedcnnError, UsageError
from medcnn.system.files import cache_folder
from medcnn.system.privacy import keyed
from medcnn.verbs.steps.datasets import described
from medcnn.verbs.steps.drafting import show_init
from tests.data.own import tables as table


def uid(*words: object) -> str:
    return str(generate_uid(entropy_srcs=[str(w) for w in words]))


def write(path: Path, patient: str, study: str, syntax: str = ExplicitVRLittleEndian) -> Dataset:
    """A small radiograph; its SOP instance is named after the path."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.SOPClassUID = DigitalXRayImageStorageForPresentation
    dataset.SOPInstanceUID = uid(path.name)
    dataset.StudyInstanceUID = uid(study)
    dataset.AccessionNumber = f"A{study}"
    dataset.PatientID, dataset.PatientName = patient, "Doe^Jane"
    dataset.PatientAge, dataset.ViewPosition = "057Y", "PA"
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    dataset.Rows = dataset.Columns = 4
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    dataset.PixelData = np.arange(16, dtype="<u2").tobytes()
    dataset["PixelData"].VR = "OW"
    path.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)
    return dataset


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """Three patients; p1 with two images of one study; a plan, a note and a directory beside."""
    root = tmp_path / "export"
    write(root / "ST1" / "IM1", "p1", "1")
    write(root / "ST1" / "IM2", "p1", "1")
    write(root / "ST2" / "IM1.dcm", "p2", "2")
    write(root / "ST3" / "IM9", "p3", "3", DeflatedExplicitVRLittleEndian)
    plan = Dataset()
    plan.file_meta = FileMetaDataset()
    plan.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    plan.SOPClassUID, plan.SOPInstanceUID, plan.PatientID = RTPlanStorage, uid("plan"), "p1"
    pydicom.dcmwrite(root / "ST1" / "PLAN", plan, enforce_file_format=True)
    (root / "README").write_text("exported")
    (root / "t.csv").write_text("id,label\np1,ill\n p2 ,well\np9,ill\n")
    return root


def by_tag(root: Path, **options: Any) -> Manifest:
    given: dict[str, Any] = {"table": "t.csv", "image": "id", "label": "label"}
    return table.read(root, **(given | {"join": "PatientID"} | options))


def refusal(call: Callable[[], object]) -> MedcnnError:
    with pytest.raises(MedcnnError) as raised:
        call()
    return raised.value


def test_all_images_of_a_patient_get_the_label_of_the_row(export: Path) -> None:
    found = by_tag(export)
    assert [r.path for r in found.records] == ["ST1/IM1", "ST1/IM2", "ST2/IM1.dcm"]
    assert found.targets().tolist() == [[1], [1], [0]]
    assert found.grouped
    assert len({r.group for r in found.records}) == 2
    assert found.excluded == {
        "files that are not DICOM": 1,
        "not a classifiable image: RT Plan Storage contains no pixel data": 1,
        "without a row in t.csv": 1,
    }
    assert found.rows_left_out == {"no image of that name": 1}


@pytest.mark.parametrize(
    ("join", "cell"),
    [
        ("StudyInstanceUID", uid("3")),
        ("AccessionNumber", "A3"),
        ("SOPInstanceUID", uid("IM9")),
        ("PatientID", "p3"),
        ("file_name", "IM9"),
        ("file_name", "D:\\old\\place\\IM9"),
        ("file_name", "im9.DCM"),
    ],
)
def test_a_row_finds_its_file_by_any_of_these(export: Path, join: str, cell: str) -> None:
    (export / "t.csv").write_text(f"id,label\n{cell},ill\n")
    found = by_tag(export, join=join, classes=["well", "ill"])
    assert [r.path for r in found.records] == ["ST3/IM9"]


def test_several_files_of_one_instance_or_name_are_refused_with_their_count(export: Path) -> None:
    (export / "t.csv").write_text("id,label\nIM1,ill\nIM2,well\n")
    error = refusal(lambda: by_tag(export, join="file_name"))
    assert "t.csv:2: 2 files have this file_name" in str(error)
    (export / "t.csv").write_text(f"id,label\n{uid('IM1')},ill\n{uid('IM2')},well\n")
    write(export / "ST4" / "IM1", "p4", "4")
    error = refusal(lambda: by_tag(export, join="SOPInstanceUID"))
    assert "t.csv:2: 2 files have this SOPInstanceUID" in str(error)
    assert error.exit_code == 4


def test_a_value_in_several_rows_is_refused(export: Path) -> None:
    (export / "t.csv").write_text("id,label\np1,ill\np1,well\n")
    said = str(refusal(lambda: by_tag(export)))
    assert "t.csv:3: same PatientID as in line 2" in said
    assert "p1" not in said.replace(str(export), "")


def test_a_join_that_finds_nothing_says_what_the_table_holds(export: Path) -> None:
    (export / "t.csv").write_text("id,label\n77,ill\n78,well\n")
    error = refusal(lambda: by_tag(export))
    assert "none of 2 rows matches the PatientID of any of the 4 images" in str(error)
    assert "77" not in str(error), "it may be the number of a patient"
    error = refusal(lambda: by_tag(export, join="PatientId"))
    assert "did you mean 'PatientID'?" in str(error)


def test_tags_become_attributes_with_ages_in_years(export: Path) -> None:
    found = by_tag(export, tags=["PatientAge", "ViewPosition", "ImageType", "Manufacturer"])
    assert found.records[0].attributes == {
        "PatientAge": "57",
        "ViewPosition": "PA",
        "ImageType": "ORIGINAL\\PRIMARY",
    }
    (export / "t.csv").write_text("id,label\nST1/IM1,ill\nST2/IM1.dcm,well\n")
    found = by_tag(export, join=None, tags=["PatientAge"])
    assert [r.attributes for r in found.records] == [{"PatientAge": "57"}] * 2
    assert [r.image_id for r in found.records] == ["ST1/IM1", "ST2/IM1.dcm"]


@pytest.mark.parametrize(
    ("tag", "said"),
    [
        ("ViewPositon", "not a DICOM keyword; did you mean 'ViewPosition'?"),
        ("PatientName", "'PatientName' may identify a patient"),
        ("PatientID", "'PatientID' may identify a patient"),
        ("SeriesInstanceUID", "may identify a patient, or is not a single word"),
        ("StudyDate", "may identify a patient"),
        ("StudyTime", "may identify a patient"),
        ("StudyDescription", "may identify a patient"),
        ("PatientBirthDateInAlternativeCalendar", "may identify a patient"),
        ("FillerOrderNumberImagingServiceRequest", "may identify a patient"),
        ("ReferringPhysicianTelephoneNumbers", "may identify a patient"),
        ("CurrentPatientLocation", "may identify a patient"),
    ],
)
def test_a_tag_that_does_not_exist_or_names_someone_is_refused(
    export: Path, tag: str, said: str
) -> None:
    error = refusal(lambda: by_tag(export, tags=[tag]))
    assert said in str(error)
    assert error.exit_code == 2


@pytest.mark.parametrize("of_folders", [True, False])
def test_a_tag_whose_values_differ_for_nearly_every_patient_is_refused(
    tmp_path: Path, *, of_folders: bool
) -> None:
    rows = ["file,label"]
    for n in range(20):
        file = tmp_path / "ab"[n % 2] / f"{n}.dcm"
        dataset = write(file, f"p{n}", str(n))
        dataset.StationName, dataset.KVP = f"Meier{n}", f"{60 + n / 7:.5f}"
        pydicom.dcmwrite(file, dataset)
        rows.append(f"{file.relative_to(tmp_path)},{'ab'[n % 2]}")
    options: dict[str, Any] = {}
    if not of_folders:
        (tmp_path / "t.csv").write_text("\n".join(rows))
        options = {"table": "t.csv", "image": "file", "label": "label"}
    read = table.read(tmp_path, tags=["KVP", "ViewPosition", "PatientAge"], **options)
    assert read.records[0].attributes["ViewPosition"] == "PA"
    error = refusal(lambda: table.read(tmp_path, tags=["StationName"], **options))
    assert "data.tags: StationName has 20 values for 20 patients" in str(error)
    assert "Meier" not in str(error)


def test_tags_of_photographs_are_refused(tmp_path: Path) -> None:
    for name in ("a/1.png", "b/2.png"):
        (tmp_path / name).parent.mkdir()
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / name)
    error = refusal(lambda: table.read(tmp_path, tags=["ViewPosition"]))
    assert "data.tags has no effect" in str(error)
    (tmp_path / "t.csv").write_text("f,l\na/1.png,x\nb/2.png,y\n")
    error = refusal(
        lambda: table.read(tmp_path, table="t.csv", image="f", label="l", tags=["ViewPosition"])
    )
    assert "data.tags has no effect" in str(error)


def test_photographs_in_many_folders_are_found_by_name(tmp_path: Path) -> None:
    for name in ("x/a.jpg", "y/deep/b.JPG", "y/1.2.3.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / name, format="png")
    (tmp_path / "t.csv").write_text("f,l\na.jpg,u\nb,v\n1.2.3,u\n")
    found = table.read(tmp_path, table="t.csv", image="f", label="l", join="file_name")
    assert [r.path for r in found.records] == ["x/a.jpg", "y/deep/b.JPG", "y/1.2.3.png"]
    assert [r.image_id for r in found.records] == ["a.jpg", "b", "1.2.3"]


def test_dicom_in_a_folder_per_class_is_grouped_by_its_patients(export: Path) -> None:
    (export / "README").unlink()
    (export / "t.csv").unlink()
    found = table.read(export, tags=["ViewPosition"])
    assert found.labels.names == ("ST1", "ST2", "ST3")
    assert found.group_noun == "patient"
    assert found.records[0].group == found.records[1].group
    assert found.records[0].attributes == {"ViewPosition": "PA"}
    assert list(found.excluded.values()) == [1]
    write(export / "ST3" / "IM10", "", "9")
    assert table.read(export).group_noun == "image"


def test_a_patient_id_that_is_the_same_everywhere_names_no_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("ill/1", "ill/2", "well/3"):
        write(tmp_path / name, "ANONYMOUS", "1")
    with caplog.at_level("WARNING", logger="medcnn"):
        assert not table.read(tmp_path).grouped
    assert "all 3 images have the same PatientID" in caplog.text


@pytest.mark.parametrize("join", ["AccessionNumber", "StudyInstanceUID"])
@pytest.mark.parametrize("patient", ["ANONYMOUS", ""])
def test_the_images_of_one_study_share_a_split_even_if_nobody_knows_whose_they_are(
    tmp_path: Path, join: str, patient: str
) -> None:
    lines = ["id,label"]
    for study in range(20):
        for view in ("front", "side"):
            write(tmp_path / f"{study}" / view, patient, f"{study}")
        cell = f"A{study}" if join == "AccessionNumber" else uid(f"{study}")
        lines.append(f"{cell},{'ab'[study % 2]}")
    (tmp_path / "t.csv").write_text("\n".join(lines))
    found = by_tag(tmp_path, join=join)
    assert (found.group_noun, found.patients_known) == ("exam", False)
    dealt = splits.assign(found, validation=0.15, test=0.15, seed=0)
    where: dict[int | None, set[Split | None]] = {}
    for record in dealt.records:
        where.setdefault(record.line, set()).add(record.split)
    assert [len(of_study) for of_study in where.values()] == [1] * 20
    said: list[str] = []
    described(dealt, said.append)
    assert "splits and intervals are by exam, and a patient may be in two splits" in said[0]


def test_a_study_of_two_patients_is_refused(export: Path) -> None:
    write(export / "ST3" / "IM8", "p2", "3")
    (export / "t.csv").write_text("id,label,who\nA1,ill,x\nA3,well,y\n")
    said = str(refusal(lambda: by_tag(export, join="AccessionNumber")))
    assert "t.csv:3: files of this AccessionNumber have different PatientIDs" in said
    assert len(by_tag(export, join="AccessionNumber", patient="who").records) == 4


def test_files_without_a_row_are_counted_without_the_folder_of_the_table(export: Path) -> None:
    folder = export.parent / "Doe_Jane"
    folder.mkdir()
    (export / "t.csv").rename(folder / "labels.csv")
    found = by_tag(export, table=str(folder / "labels.csv"))
    assert found.excluded["without a row in labels.csv"] == 1
    assert "Doe" not in str(found.excluded)


def test_headers_are_read_once_and_again_when_a_file_changes(
    export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    real = dicom_headers._read
    monkeypatch.setattr(
        dicom_headers, "_read", lambda file, words: (read.append(file.name), real(file, words))[1]
    )
    by_tag(export)
    assert len(read) == 5
    read.clear()
    by_tag(export)
    assert read == []
    write(export / "ST1" / "IM2", "p3", "1")
    os.utime(export / "ST1" / "IM2", (1, 1))
    found = by_tag(export)
    assert read == ["IM2"]
    assert [r.path for r in found.records] == ["ST1/IM1", "ST2/IM1.dcm"]
    read.clear()
    by_tag(export, tags=["PatientAge"])
    assert len(read) == 4, "a tag that was not kept is read, the refused plan is not"


def test_the_cache_of_headers_holds_no_identifier_and_may_be_damaged(export: Path) -> None:
    by_tag(export)
    (kept,) = (cache_folder() / "dicom-headers").glob(
        f"{keyed(os.path.realpath(export), 'folder').hex()}*"
    )
    text = kept.read_text()
    for secret in ("p1", "p2", uid("1"), uid("IM1"), "A1", "Doe", "ST1", "IM9"):
        assert f'"{secret}"' not in text
        assert secret not in json.loads(text)["files"]
    assert "Doe" not in text
    kept.write_text(text[: len(text) // 2])
    assert len(by_tag(export).records) == 3


def test_a_damaged_header_is_left_out_and_counted(export: Path) -> None:
    whole = (export / "ST2" / "IM1.dcm").read_bytes()
    (export / "ST2" / "cut.dcm").write_bytes(whole[:300])
    (export / "ST2" / "text.dcm").write_text("no DICOM at all, only its name")
    _, refused = read_headers(export, ["ST2/cut.dcm", "ST2/text.dcm"])
    assert set(refused) == {"ST2/cut.dcm", "ST2/text.dcm"}


def test_only_the_beginning_of_a_deflated_file_is_inflated(tmp_path: Path) -> None:
    dataset = write(tmp_path / "x.dcm", "p", "1", DeflatedExplicitVRLittleEndian)
    dataset.PixelData = bytes(64 << 20)
    pydicom.dcmwrite(tmp_path / "x.dcm", dataset, enforce_file_format=True)
    source = dicom_headers._inflated((tmp_path / "x.dcm").read_bytes())
    assert len(source.getvalue()) <= 4 << 20
    headers, _ = read_headers(tmp_path, ["x.dcm"])
    assert headers["x.dcm"]["PatientID"] == digest("p")


@pytest.mark.fault
def test_rows_whose_paths_leave_the_root_are_refused_by_line_all_at_once(tmp_path: Path) -> None:
    """Row 70."""
    root = tmp_path / "root"
    root.mkdir()
    for place in (root / "ok.png", tmp_path / "secret.png"):
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(place)
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    os.mkfifo(root / "pipe.png")
    cells = ["ok.png", "../secret.png", str(tmp_path / "secret.png"), "link.png", "pipe.png"]
    lines = [f"{cell},{'xy'[i % 2]}" for i, cell in enumerate([*cells, "a\0b.png"])]
    (root / "t.csv").write_text("f,l\n" + "\n".join(lines))
    options = {"table": "t.csv", "image": "f", "label": "l"}
    error = refusal(lambda: adapters.read("table", root, options))
    text = str(error)
    assert error.exit_code == 4
    assert text.startswith("5 rows are refused:")
    assert "t.csv:3: ‹../secret.png› is outside the data root" in text
    assert f"t.csv:4: ‹{tmp_path}/secret.png› is outside" in text
    assert "t.csv:5: ‹link.png› is a link that leads out of the data root" in text
    assert "t.csv:6: ‹pipe.png› is not a regular file" in text
    assert "t.csv:7: ‹a\\x00b.png› is outside the data root" in text
    # the same files where nobody names them
    for name in ("a", "b"):
        (root / name).mkdir()
    (root / "link.png").rename(root / "a" / "link.png")
    (root / "pipe.png").rename(root / "b" / "pipe.png")
    error = refusal(lambda: adapters.read("table", root, {}))
    assert "2 files are not opened: ‹a/link.png› is a link" in str(error)


@pytest.mark.fault
def test_an_archive_is_never_unpacked_whatever_its_names_say(tmp_path: Path) -> None:
    """Row 71."""
    root = tmp_path / "root"
    for folder in ("ill", "well"):
        (root / folder).mkdir(parents=True)
        with zipfile.ZipFile(root / folder / "a.png", "w") as archive:
            archive.writestr("../../../escaped.png", b"x")
            archive.writestr("/tmp/escaped.npy", b"x")
    before = sorted(tmp_path.rglob("*"))
    found = table.read(root)
    with pytest.raises(ImageError, match="that is a zip archive; unpack it"):
        read_pixels(root, found.records[0].path)
    (root / "ill" / "a.png").rename(root / "a.npz")
    with pytest.raises(ImageError):
        read_pixels(root, "a.npz#../../../escaped/0")
    (root / "a.npz").rename(root / "ill" / "a.png")
    with pytest.raises(DataError, match="not a readable Excel workbook"):
        table.read(root, table="ill/a.png", image="f", label="l")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.fault
def test_names_with_spaces_other_scripts_great_length_or_only_another_case_work(
    tmp_path: Path,
) -> None:
    """Row 74."""
    names = [
        "a.png",
        "A.png",
        "Größe µ, 患者 (1) [x] 'y'.png",
        "#50% & more; end.png",
        "x" * 120 + "/" + "y" * 120 + "/" + "z" * 60 + ".png",
    ]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / name)
    lines = [f'"{name}",{"uv"[i % 2]}' for i, name in enumerate(names)]
    (tmp_path / "t.csv").write_text("f,l\n" + "\n".join(lines), encoding="utf-8")
    options = {"table": "t.csv", "image": "f", "label": "l"}
    found = adapters.read("table", tmp_path, options)
    assert [r.path for r in found.records] == names
    found.write(tmp_path / "m.csv")
    assert Manifest.read(tmp_path / "m.csv", tmp_path) == found
    (tmp_path / "t.csv").write_text("f,l\na,u\nA,v\n", encoding="utf-8")
    found = adapters.read("table", tmp_path, {**options, "join": "file_name"})
    assert [r.path for r in found.records] == ["a.png", "A.png"]
    (tmp_path / "t.csv").write_text("f,l\na.PNG,u\nA.png,v\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"‹A.png› differs in case or Unicode"):
        adapters.read("table", tmp_path, options)


@pytest.mark.fault
@pytest.mark.parametrize(
    ("uncertain", "expected"),
    [
        ("zeros", [1, 0, 0]),
        ("ones", [1, 1, 1]),
        ("ignore", [1, None, None]),
        ({"Mass": "ones"}, [1, 1, None]),
        ({"Edema": "zeros", "default": "ones"}, [1, 1, 0]),
    ],
)
def test_an_uncertain_finding_becomes_what_the_policy_says(
    tmp_path: Path, uncertain: Any, expected: list[float | None]
) -> None:
    """Row 81."""
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "t.csv").write_text("f,Clear,Mass,Edema\na.png,1,-1,Unclear\n")
    options: dict[str, Any] = {"table": "t.csv", "image": "f", "label": ["Clear", "Mass", "Edema"]}
    found = table.read(tmp_path, uncertain=uncertain, uncertain_words=["unclear"], **options)
    assert [None if v != v else v for v in found.records[0].target] == expected
    with pytest.raises(DataError, match=r"Mass is ‹-1›.*data\.uncertain says what -1 means"):
        table.read(tmp_path, **options)
    with pytest.raises(UsageError, match=r"without data\.uncertain=.*uncertain_words"):
        table.read(tmp_path, uncertain_words=["unclear"], **options)
    with pytest.raises(UsageError, match=r"data\.label is one column .*data\.uncertain"):
        table.read(tmp_path, **(options | {"label": "Clear", "uncertain": "zeros"}))


def test_init_finds_the_tag_that_joins_a_table_to_an_export(
    export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = ["p1,ill", "p2,well", "p3,well", "p4,ill"]
    write(export / "ST4" / "IM1", "p4", "4")
    (export / "t.csv").write_text("Patient,Diagnosis\n" + "\n".join(rows))
    show_init([str(export)])
    text = (tmp_path / "conf" / "data" / "export.yaml").read_text()
    for line in ("image: Patient", "join: PatientID", "patient: Patient", "label: Diagnosis"):
        assert f"\n{line}\n" in text
    assert "p1" not in text
    assert "With these settings, it reads 5 images of 4 patients" in capsys.readouterr().out
    (export / "t.csv").unlink()
    (export / "README").unlink()
    for place in ("ST3", "ST4"):
        (export / place).rename(export / "ST2" / place)
    show_init([str(export), "output=conf/data/folders.yaml"])
    said = capsys.readouterr().out
    assert "a folder per class: ST1 (3), ST2 (3)" in said
    assert "With these settings, it reads 5 images of 4 patients" in said


def test_a_number_that_a_spreadsheet_wrote_with_a_point_finds_its_tag(tmp_path: Path) -> None:
    write(tmp_path / "IM1", "123", "1")
    (tmp_path / "t.csv").write_text("id,label\n123.0,ill\n0123,well\n")
    found = by_tag(tmp_path, classes=["well", "ill"])
    assert [r.path for r in found.records] == ["IM1"]
    assert found.rows_left_out == {"no image of that name": 1}  # 0123 is another


def test_a_radiograph_cut_off_before_its_pixels_is_left_for_the_audit(tmp_path: Path) -> None:
    for i in range(4):
        write(tmp_path / "xy"[i % 2] / f"IM{i}", f"p{i}", f"{i}")
    file = tmp_path / "x" / "IM2"
    file.write_bytes(file.read_bytes()[:-60])
    found = table.read(tmp_path)
    assert "x/IM2" in [r.path for r in found.records]
    assert not found.excluded
    assert found.group_noun == "patient"
