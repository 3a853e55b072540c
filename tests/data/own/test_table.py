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
    # its image is not there, so that it counts as a row and as no image
    assert (found.excluded, found.rows_left_out) == ({}, {"no image of that name": 1})


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
        ({"table": "tt.csv"} | COLUMNS, 2, "no such table; the folder contains t.csv"),
        (
            {"table": "t.csv", "image": "fil", "label": "grad"},
            2,
            "has no column 'fil'; did you mean '‹file›'?, 'grad'; did you mean '‹grade›'?",
        ),
        ({"table": "t.csv"}, 2, "needs data.image=COLUMN"),
        ({"image": "file"}, 2, "give data.table=FILE.csv"),
        ({"table": "t.csv", "kind": "ordinl"} | COLUMNS, 2, "did you mean 'ordinal'?"),
        ({"table": "t.csv", "classes": ["0", "1"]} | COLUMNS, 4, "t.csv:3: label ‹2› is not one"),
        ({"table": "t.csv", "folder": "sub"} | COLUMNS, 4, "t.csv:2: ‹sub/a.png› is not there"),
        ({"table": "t.csv", "split": "age"} | COLUMNS, 4, "t.csv:2: split ‹60› is not one of"),
        ({}, 4, "expected one folder per class"),
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
    assert "t.csv:2: 4 cells, but 2 columns" in str(error)
    assert isinstance(error, DataError)


@pytest.mark.fault
def test_an_image_with_two_labels_in_the_table_is_refused_by_its_lines(root: Path) -> None:
    """Row 78."""
    lines = ["a.png,x", "b.png,y", "a.png,y", "b.png,y", "sub\\c.png,x", "sub/c.png,y"]
    (root / "t.csv").write_text("file,grade\n" + "\n".join(lines))
    error = refusal(root, table="t.csv", image="file", label="grade")
    said = str(error)
    assert said.startswith("2 rows are refused:")
    assert "t.csv:4: ‹a.png› is already in line 2, with other labels" in said
    assert "t.csv:7: ‹sub/c.png› is already in line 6, with other labels" in said
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
    options = _visits(tmp_path, ["12.0", "12.0", "13.0", "14"])
    for words in ([pseudonym("12"), 14], [pseudonym("12.0", "id"), "14"], ["12.0", 14]):
        found = table.read(tmp_path, exclude={"who": words}, classes=["x", "y"], **options)
        assert [r.group for r in found.records] == ["13"], words


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


def test_an_attribute_that_says_who_somebody_is_is_refused_by_its_name(tmp_path: Path) -> None:
    options = _visits(tmp_path, ["a", "a", "b", "c"], "1980-01-01")
    path = tmp_path / str(options["table"])
    path.write_text(path.read_text().replace("more", "Geburtsdatum", 1))
    with pytest.raises(UsageError, match="Geburtsdatum identifies people"):
        table.read(tmp_path, attributes=["Geburtsdatum"], **options)


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


def _table(root: Path, text: str, files: int = 8, **options: Any) -> Any:
    for i in range(files):
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(root / f"{i}.png")
    (root / "t.csv").write_text(text, encoding="utf-8")
    return table.read(root, **({"table": "t.csv", "image": "f", "label": "l"} | options))


@pytest.mark.fault
@pytest.mark.parametrize("error", ["#N/A", "#BEZUG!", "Err:502", "#¿NOMBRE?"])
def test_an_error_of_a_spreadsheet_is_neither_a_class_nor_a_patient(
    tmp_path: Path, error: str
) -> None:
    """Row A11: a third class, and one patient of ten images."""
    text = f"f,l,who\n0.png,x,p1\n1.png,y,p2\n2.png,{error},p3\n3.png,x,{error}\n"
    with pytest.raises(DataError) as refused:
        _table(tmp_path, text, patient="who")
    assert f"t.csv:4: l is ‹{error}›, a spreadsheet error" in str(refused.value)
    assert "t.csv:5: no who, so the patient is not known" in str(refused.value)
    with pytest.raises(DataError, match=r"t\.csv:4: l is"):
        _table(tmp_path, text)
    found = _table(tmp_path, text, exclude={"l": [error]})
    assert (found.labels.names, len(found.records)) == (("x", "y"), 3)


@pytest.mark.fault
def test_an_error_cell_of_a_workbook_is_refused_by_its_row(tmp_path: Path) -> None:
    """Row A11."""
    import openpyxl

    book = openpyxl.Workbook()
    for row in (["f", "l"], ["0.png", "x"], ["1.png", "#REF!"], ["2.png", "y"]):
        book.active.append(row)
    book.active["B3"].data_type = "e"
    book.save(tmp_path / "t.xlsx")
    with pytest.raises(DataError, match=r"t\.xlsx:3: l is ‹#REF!›, a spreadsheet error"):
        _table(tmp_path, "", table="t.xlsx")


@pytest.mark.fault
def test_equal_rows_are_merged_and_counted_and_unequal_ones_refused(tmp_path: Path) -> None:
    """Row C: an export that repeats a row was refused."""
    found = _table(tmp_path, "f,l,seen\n0.png,x,1\n1.png,y,2\n0.png,x,1\n0.png,x,1\n")
    assert len(found.records) == 2
    assert found.rows_left_out == {"the same row again": 2}
    assert found.excluded == {}
    with pytest.raises(
        DataError, match=r"t\.csv:4: ‹0.png› is already in line 2, with the same labels"
    ):
        _table(tmp_path, "f,l,seen\n0.png,x,1\n1.png,y,2\n0.png,x,3\n")


@pytest.mark.fault
def test_rows_without_a_picture_are_rows_and_no_images(tmp_path: Path) -> None:
    """Row B22: the flow of images counted them."""
    text = "f,l\n0.png,x\n1.png,y\n2.png,\n9.png,\nnone.png,todo\n"
    found = _table(tmp_path, text, exclude={"l": ["todo"]})
    assert found.excluded == {"no l": 1}
    assert found.rows_left_out == {"no image of that name": 2}
    found = _table(tmp_path, text, files=4, join="file_name", exclude={"l": ["todo"]})
    assert found.excluded == {"no l": 1, "without a row in t.csv": 5}
    assert found.rows_left_out == {"no image of that name": 2}
    found.write(tmp_path / "m.csv")
    assert found.read(tmp_path / "m.csv", tmp_path).rows_left_out == found.rows_left_out


@pytest.mark.fault
def test_absolute_paths_inside_the_root_are_accepted_and_kept_nowhere(tmp_path: Path) -> None:
    """Row C: they were called outside."""
    found = _table(tmp_path, f"f,l\n{tmp_path}/0.png,x\n1.png,y\n", folder="")
    assert [(r.path, r.image_id) for r in found.records] == [("0.png", "0.png"), ("1.png", "1.png")]
    with pytest.raises(DataError, match="outside the data root"):
        _table(tmp_path, f"f,l\n{tmp_path}x/0.png,x\n1.png,y\n")


@pytest.mark.fault
def test_what_cannot_be_seen_makes_no_second_class_or_patient(tmp_path: Path) -> None:
    """Row C: `mel` and `mel` with a zero-width space were two classes."""
    text = "f,\ufeffl,who\n0.png,mel\u200b,p1\n1.png,nev,p\u200b1\n2.png,mel,p1\u00a0\n"
    found = _table(tmp_path, text, patient="who")
    assert found.labels.names == ("mel", "nev")
    assert {r.group for r in found.records} == {"p1"}


@pytest.mark.fault
@pytest.mark.parametrize(
    ("ids", "said"),
    [
        (["1.23457E+11", "1.23457e+11"], "scientific notation"),
        (["01", "1"], "‹01› and ‹1›"),
        (["p1", "P1"], "‹P1› and ‹p1›"),
        (["p-001", "P 1"], "count as different patients"),
    ],
)
def test_ids_that_a_spreadsheet_or_a_hand_has_changed_are_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, ids: list[str], said: str
) -> None:
    """Row C."""
    _table(tmp_path, f"f,l,who\n0.png,x,{ids[0]}\n1.png,y,{ids[1]}\n", patient="who")
    assert said in caplog.text
    caplog.clear()
    _table(tmp_path, "f,l,who\n0.png,x,p1\n1.png,y,p10\n", patient="who")
    assert "ids are" not in caplog.text


@pytest.mark.fault
@pytest.mark.parametrize(
    "options", [{"classes": [False, True]}, {"rename": {True: "x"}}, {"exclude": {"l": [False]}}]
)
def test_words_that_yaml_took_for_true_and_false_are_to_be_quoted(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    """Row C: `classes: [no, yes]`."""
    with pytest.raises(UsageError, match=r'Quote these words.* classes: \["no", "yes"\]'):
        _table(tmp_path, "f,l\n0.png,no\n1.png,yes\n", **options)


@pytest.mark.fault
def test_grades_stand_in_their_order_without_classes(tmp_path: Path) -> None:
    """Row C."""
    grades = ["Mild", "Moderate", "No DR", "Proliferative", "Severe"]
    text = "f,l\n" + "".join(f"{i}.png,{grade}\n" for i, grade in enumerate(grades))
    wanted = ("No DR", "Mild", "Moderate", "Severe", "Proliferative")
    assert _table(tmp_path, text).labels.names == wanted


@pytest.mark.fault
@pytest.mark.parametrize("name", ["a/b|c", "a,b", "a;b", "a\tb", "label:x", "‹x›", "none"])
def test_a_class_may_be_called_anything(tmp_path: Path, name: str) -> None:
    """Row B5: `a/b|c` was called absent from every split."""
    from medcnn.audit.finding import classes_of

    words = [name, "well"]
    rows = "".join(f'{i}.png,"{words[i % 2]}"\n' for i in range(8))
    found = _table(tmp_path, "f,l\n" + rows, classes=["well", name.replace("\t", " ")])
    assert classes_of(found, 0) == [name.replace("\t", " ")]
    assert classes_of(found, 1) == ["well"]
    rows = "".join(f"{i}.png,{i % 2},{1 - i % 2}\n" for i in range(8))
    found = _table(tmp_path, f'f,"{name}",m\n' + rows, label=[name.replace("\t", " "), "m"])
    assert classes_of(found, 1) == [name.replace("\t", " ")]


@pytest.mark.fault
def test_columns_of_crosses_are_classes(tmp_path: Path) -> None:
    """Row C: PH2.xlsx marks its diagnosis so, below two rows of names and a legend."""
    text = (
        "Legend,0 - absent,1 - present\n\nImage,Diagnosis,,,Colour\n,Common,Atypical,Melanoma,\n"
        "0.png,X,,,0\n1.png,,X,,1\n2.png,,,X,1\n3.png,x,,,0\n"
    )
    labels = ["Common", "Atypical", "Melanoma"]
    found = _table(tmp_path, text, image="Image", label=labels, kind="multiclass")
    assert found.labels.names == tuple(labels)
    assert found.targets().argmax(axis=1).tolist() == [0, 1, 2, 0]
    found = _table(tmp_path, text, image="Image", label=labels)
    assert found.targets().tolist()[1] == [0, 1, 0]
    with pytest.raises(DataError, match=r"t\.csv:9: multiclass labels need exactly one"):
        _table(tmp_path, text + "4.png,x,x,,0\n", image="Image", label=labels, kind="multiclass")


@pytest.mark.parametrize(
    "rows",
    ["0.png,✓,✗\n1.png,✗,✓\n", "0.png,☑,\n1.png,☒,☑\n", "0.png,✔,\n1.png,,x\n2.png,✔,\n"],
)
def test_a_cross_beside_ticks_is_refused_since_it_may_mean_no(tmp_path: Path, rows: str) -> None:
    with pytest.raises(DataError, match=r"t\.csv: findings are marked with .* Write 1 for yes"):
        _table(tmp_path, f"file,Effusion,Mass\n{rows}", image="file", label=["Effusion", "Mass"])
    alone = "file,Effusion,Mass\n0.png,✗,1\n1.png,,0\n"
    found = _table(tmp_path, alone, image="file", label=["Effusion", "Mass"])
    assert found.targets().tolist() == [[1, 1], [0, 0]]
