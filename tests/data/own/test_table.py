from __future__ import annotations

import math
import re
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medcnn.data import adapters
from medcnn.data.labels import Kind
from medcnn.data.manifest import Split
from medcnn.system.errors import DataError, MedcnnError, UsageError
from medcnn.system.privacy import pseudonym
from tests.data.own import tables as table

TEXT = """file;patient;grade;age;set
a.png;p1;0;60;train
b.png;p1;2;60;train
sub/c.png;p2;1;;valid
d.png;p3;;41;test
"""
COLUMNS = {"image": "file", "label": "grade", "patient": "patient"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    for name in ("a", "b", "sub/c", "d"):
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / f"{name}.png")
    (tmp_path / "t.csv").write_text(TEXT, encoding="utf-8-sig")
    return tmp_path


def refusal(root: Path | None, **options: Any) -> MedcnnError:
    with pytest.raises(MedcnnError) as raised:
        table.read(root, **options)
    return raised.value


def test_a_table_becomes_a_manifest(root: Path) -> None:
    found = table.read(root, table="t.csv", kind="ordinal", attributes=["age"], **COLUMNS)
    assert found.labels.kind is Kind.ORDINAL
    assert found.labels.names == ("0", "1", "2")
    assert [r.path for r in found.records] == ["a.png", "b.png", "sub/c.png"]
    assert [r.group for r in found.records] == ["p1", "p1", "p2"]
    assert found.records[0].attributes == {"age": "60"}
    assert found.excluded == {"no grade": 1}
    assert found.records[0].line == 2


def test_the_split_column_is_read_with_the_tables_own_words(root: Path) -> None:
    found = table.read(root, table="t.csv", split="set", split_names={"valid": "test"}, **COLUMNS)
    assert [r.split for r in found.records] == [Split.TRAIN, Split.TRAIN, Split.TEST]


def test_without_a_patient_column_every_image_stands_alone(root: Path) -> None:
    found = table.read(root, table="t.csv", image="file", label="grade")
    assert not found.grouped
    assert len({r.group for r in found.records}) == 3


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_spreadsheets_of_all_usual_dialects_are_read(
    root: Path, encoding: str, delimiter: str
) -> None:
    text = TEXT.replace(";0;", ";gesünder;").replace(";", delimiter).replace("\n", "\r\n")
    (root / "t.csv").write_bytes(text.encode(encoding))
    assert "gesünder" in table.read(root, table="t.csv", **COLUMNS).labels.names


def test_columns_of_flags_are_findings_and_blank_is_not_assessed(root: Path) -> None:
    (root / "t.csv").write_text("file,Mass,Nodule\na.png,1,0\nb.png,,1.0\n")
    found = table.read(root, table="t.csv", image="file", label=["Mass", "Nodule"])
    assert found.labels.kind is Kind.MULTILABEL
    assert found.records[0].target == (1, 0)
    assert math.isnan(found.records[1].target[0])
    (root / "t.csv").write_text("file,Mass,Nodule\na.png,1,0\nb.png,-1,1.0\n")
    error = refusal(root, table="t.csv", image="file", label=["Mass", "Nodule"])
    assert "t.csv:3: Mass is ‹-1›" in str(error)
    assert error.exit_code == 4


def test_findings_in_one_cell_are_told_apart(root: Path) -> None:
    (root / "t.csv").write_text("file,f\na.png,Mass|Edema\nb.png,No Finding\n")
    found = table.read(
        root, table="t.csv", image="file", label="f", separator="|", none_label="No Finding"
    )
    assert found.labels.names == ("Edema", "Mass")
    assert [r.target for r in found.records] == [(1, 1), (0, 0)]


def test_rows_are_left_out_classes_renamed_and_rare_ones_joined(root: Path) -> None:
    lines = [f"a.png{i},p{i},{c}" for i, c in enumerate(["A"] * 5 + ["A, bad"] * 2 + ["B", "C"])]
    (root / "t.csv").write_text(
        "file,p,f\n"
        + "\n".join(x if x.count(",") == 2 else x.replace("A, bad", '"A, bad"') for x in lines)
        + "\nz.png,p99,todo\n"
    )
    for i in range(9):
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(root / f"a.png{i}", format="png")
    found = table.read(
        root,
        table="t.csv",
        image="file",
        label="f",
        patient="p",
        exclude={"f": ["todo"]},
        rename={"A, bad": "A"},
        rare_below=2,
    )
    assert found.labels.names == ("A", "other")
    assert found.targets()[:, 0].tolist() == [0] * 7 + [1, 1]
    assert found.excluded == {"f is in data.exclude": 1}


def test_a_folder_per_class_with_and_without_splits(root: Path, tmp_path: Path) -> None:
    for name in ("x/benign/1", "x/malignant/deep/2", "y/train/a/1", "y/val/b/2", "y/test/a/3"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / f"{name}.png")
    plain = table.read(tmp_path / "x")
    assert plain.labels.names == ("benign", "malignant")
    assert plain.targets().tolist() == [[0], [1]]
    split = table.read(tmp_path / "y")
    assert {r.split for r in split.records} == set(Split)
    assert split.labels.names == ("a", "b")


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        ({"table": "tt.csv"} | COLUMNS, 2, "no such table; the folder holds t.csv"),
        (
            {"table": "t.csv", "image": "fil", "label": "grad"},
            2,
            "has no column 'fil'; did you mean 'file'?, 'grad'; did you mean 'grade'?",
        ),
        ({"table": "t.csv"}, 2, "needs data.image=COLUMN"),
        ({"image": "file"}, 2, "give data.table=FILE.csv"),
        ({"table": "t.csv", "kind": "ordinl"} | COLUMNS, 2, "did you mean 'ordinal'?"),
        ({"table": "t.csv", "classes": ["0", "1"]} | COLUMNS, 4, "t.csv:3: label ‹2› is not one"),
        ({"table": "t.csv", "folder": "sub"} | COLUMNS, 4, "t.csv:2: ‹sub/a.png› is not there"),
        ({"table": "t.csv", "split": "age"} | COLUMNS, 4, "t.csv:2: split ‹60› is not one of"),
        ({}, 4, "expected a folder per class"),
    ],
)
def test_a_wrong_setting_or_table_is_refused_in_words(
    root: Path, options: dict[str, Any], code: int, said: str
) -> None:
    if not options:
        for name in ("a", "b", "d", "sub/c"):
            (root / f"{name}.png").unlink()
    error = refusal(root, **options)
    assert said in str(error)
    assert error.exit_code == code


def test_a_root_that_is_missing_a_file_or_empty_is_refused(root: Path) -> None:
    assert "does not exist" in str(refusal(root / "nowhere"))
    assert "is a file" in str(refusal(root / "t.csv"))
    (root / "empty").mkdir()
    error = refusal(root / "empty")
    assert "is empty" in str(error)
    assert error.exit_code == 4
    assert isinstance(refusal(None), UsageError)


def test_a_table_of_no_rows_or_ragged_rows_is_refused(root: Path) -> None:
    (root / "t.csv").write_text("file,grade\n")
    assert "has no rows" in str(refusal(root, table="t.csv", image="file", label="grade"))
    (root / "t.csv").write_text("file,grade\na.png,1,2,3\n")
    error = refusal(root, table="t.csv", image="file", label="grade")
    assert "t.csv:2: 4 cells under 2 columns" in str(error)
    assert isinstance(error, DataError)


@pytest.mark.fault
def test_an_image_with_two_labels_in_the_table_is_refused_by_its_lines(root: Path) -> None:
    """Row 78."""
    lines = ["a.png,x", "b.png,y", "a.png,y", "b.png,y", "sub\\c.png,x", "sub/c.png,y"]
    (root / "t.csv").write_text("file,grade\n" + "\n".join(lines))
    error = refusal(root, table="t.csv", image="file", label="grade")
    said = str(error)
    assert said.startswith("3 rows are refused:")
    assert "t.csv:4: ‹a.png› stands with other labels in line 2 already" in said
    assert "t.csv:5: ‹b.png› stands with the same labels in line 3 already" in said
    assert "t.csv:7: ‹sub/c.png› stands with other labels in line 6 already" in said
    assert error.exit_code == 4


def test_a_patient_who_is_left_out_is_counted_and_not_named(tmp_path: Path) -> None:
    for name in "abcd":
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / f"{name}.png")
    (tmp_path / "t.csv").write_text("f,l,who\na.png,x,DOE\nb.png,y,DOE\nc.png,x,ROE\nd.png,y,POE\n")
    options = {"table": "t.csv", "image": "f", "label": "l", "patient": "who"}
    found = adapters.read("table", tmp_path, {**options, "exclude": {"who": ["DOE"]}})
    assert dict(found.excluded) == {"who is in data.exclude": 2}
    with pytest.raises(UsageError, match=r"‹ZOE›\. Found: ‹DOE›, ‹POE›, ‹ROE›"):
        adapters.read("table", tmp_path, {**options, "exclude": {"who": ["ZOE"]}})


def _visits(root: Path, patients: list[str], more: str = "") -> dict[str, str]:
    for i in range(len(patients)):
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(root / f"{i}.png")
    lines = [f"{i}.png,{'xy'[i % 2]},{who},{more.format(i=i)}" for i, who in enumerate(patients)]
    (root / "v.csv").write_text("f,l,who,more\n" + "\n".join(lines), encoding="utf-8")
    return {"table": "v.csv", "image": "f", "label": "l", "patient": "who"}


def test_a_patient_may_be_left_out_by_the_pseudonym_that_a_page_shows(tmp_path: Path) -> None:
    options = _visits(tmp_path, ["DOE", "DOE", "ROE", "POE"])
    words = [pseudonym("DOE"), pseudonym("POE", "id")]
    found = table.read(tmp_path, exclude={"who": words}, classes=["x", "y"], **options)
    assert [r.group for r in found.records] == ["ROE"]


def test_two_spellings_of_one_patient_are_one(tmp_path: Path) -> None:
    """Else a patient stands in two splits, and no check can see it."""
    accents = [unicodedata.normalize(form, "José") for form in ("NFC", "NFD")]
    found = table.read(tmp_path, **_visits(tmp_path, ["12", "12.0", *accents, "012"]))
    assert len({r.group for r in found.records}) == 3


@pytest.mark.parametrize("named", ["N{i:03d}", "{i}1980", "2020-01-{i:02d}"])
def test_attributes_that_tell_every_patient_apart_are_refused(tmp_path: Path, named: str) -> None:
    patients = [f"p{i}" for i in range(24)]
    options = _visits(tmp_path, patients, named.replace("{i}", "{i:04d}"))
    with pytest.raises(UsageError, match="more has 24 values for 24 patients"):
        table.read(tmp_path, attributes=["more"], **options)
    # a measurement may have as many, and a year of birth has less
    for harmless in ("2{i}.5", "{i}"):
        options = _visits(tmp_path, patients, harmless)
        assert table.read(tmp_path, attributes=["more"], **options).records[3].attributes


def test_words_as_many_as_images_are_no_classes(tmp_path: Path) -> None:
    options = _visits(tmp_path, [f"p{i // 2}" for i in range(24)]) | {"label": "who"}
    with pytest.raises(DataError, match="12 different words for 24 images") as refused:
        table.read(tmp_path, **options)
    assert "p11" not in re.sub("‹.*?›", "", str(refused.value))
    names = [f"p{i}" for i in range(12)]
    assert table.read(tmp_path, **options, classes=names).labels.names == tuple(names)


def test_a_word_for_nobody_is_no_patient(tmp_path: Path) -> None:
    """Else the images of all unknown patients would count as those of one."""
    options = _visits(tmp_path, ["p1", "n/a", "unknown", "p2"])
    with pytest.raises(DataError, match=r"no who, .* \(2 rows, lines 3, 4\)"):
        table.read(tmp_path, **options)
