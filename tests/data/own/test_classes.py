"""Words to classes: a setting that has no effect, or an order that nobody gave, is refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medcnn.data.labels import Kind
from medcnn.data.manifest import Manifest, Split
from medcnn.data.own.classes import uncertain_value, words_of
from medcnn.system.errors import MedcnnError, UsageError
from tests.data.own import tables as table


def read(root: Path, text: str, **options: Any) -> Manifest:
    for name in "abcdefg":
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(root / f"{name}.png")
    (root / "t.csv").write_text(text)
    return table.read(root, **({"table": "t.csv", "image": "f", "label": "l"} | options))


def refusal(root: Path, text: str, **options: Any) -> MedcnnError:
    with pytest.raises(MedcnnError) as raised:
        read(root, text, **options)
    return raised.value


GRADES = "f,l\na.png,mild\nb.png,none\nc.png,severe\n"


def test_grades_in_words_need_their_order(tmp_path: Path) -> None:
    error = refusal(tmp_path, GRADES, kind="ordinal")
    assert error.exit_code == 2
    assert "words have no order" in str(error)
    found = read(tmp_path, GRADES, kind="ordinal", classes=["none", "mild", "severe"])
    assert found.targets().argmax(axis=1).tolist() == [1, 0, 2]


def test_a_grade_that_is_absent_from_the_table_does_not_close_the_gap(tmp_path: Path) -> None:
    text = "f,l\na.png,0\nb.png,1\nc.png,3\n"
    assert "one may be absent" in str(refusal(tmp_path, text, kind="ordinal"))
    found = read(tmp_path, text, kind="ordinal", classes=[0, 1, 2, 3])
    assert found.targets().argmax(axis=1).tolist() == [0, 1, 3]


def test_numbers_are_sorted_by_size_and_a_spreadsheets_1_0_is_1(tmp_path: Path) -> None:
    rows = zip("abcdef", ["10", "9.0", "9", "8", "10.00", ""], strict=True)
    found = read(tmp_path, "f,l\n" + "".join(f"{f}.png,{v}\n" for f, v in rows), kind="ordinal")
    assert found.labels.names == ("8", "9", "10")
    assert found.excluded == {"no l": 1}


@pytest.mark.parametrize("values", [1, [1], ["1"], "1"])
def test_values_to_leave_out_may_be_numbers_or_one_word(tmp_path: Path, values: Any) -> None:
    text = "f,l,v\na.png,x,1\nb.png,y,11\nc.png,x,\n"
    found = read(tmp_path, text, exclude={"v": values})
    assert [r.image_id for r in found.records] == ["b.png", "c.png"]
    assert found.excluded == {"v is in data.exclude": 1}


def test_classes_renamed_and_split_words_may_be_numbers(tmp_path: Path) -> None:
    text = "f,l,s\na.png,0,0\nb.png,1,1\nc.png,mild,2\n"
    words = {0: "train", 1: "validation", 2: "test"}
    found = read(tmp_path, text, rename={"mild": 1}, split="s", split_names=words)
    assert found.labels.names == ("0", "1")
    assert [r.split for r in found.records] == list(Split)
    assert read(tmp_path, text, rename={1: "mild"}).labels.names == ("0", "mild")


BOTH = "f,l,m\na.png,1,0\nb.png,0,1\n"
CELLS = "f,l\na.png,A|B\nb.png,None\n"


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        (GRADES, {"exclude": {"l": ["milld"]}}, "no row whose l is ‹milld›. Found: ‹mild›"),
        (GRADES, {"none_label": "none"}, "without data.separator these have no effect"),
        (GRADES, {"split_names": {"x": "train"}}, "without data.split=COLUMN these have no"),
        (GRADES, {"kind": "multilabel"}, "multilabel needs a separator or a list"),
        (CELLS, {"separator": "|", "kind": "multiclass"}, "several findings per cell are"),
        (CELLS, {"separator": "|", "none_label": "Non"}, "does not occur in l. Found: ‹A›"),
        (BOTH, {"label": ["l", "m"], "kind": "auto?"}, "no effect: data.kind=auto?"),
        (BOTH, {"label": ["l", "m"], "rename": {"l": "x"}}, "no effect: data.rename"),
        (BOTH, {"label": ["l", "m"], "classes": ["m", "l"]}, "no effect: data.classes"),
        (GRADES, {"table": None}, "no effect: data.image=f, data.label=l. Remove them."),
    ],
)
def test_a_setting_without_effect_is_refused(
    tmp_path: Path, text: str, options: dict[str, Any], said: str
) -> None:
    error = refusal(tmp_path, text, **options)
    assert said in str(error)
    assert error.exit_code == 2


def test_a_word_to_rename_that_never_occurs_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("WARNING", logger="medcnn"):
        read(tmp_path, GRADES, rename={"sevre": "bad"})
    assert "data.rename: sevre do not occur in l" in caplog.text


def test_all_unknown_words_are_reported_at_once_with_their_lines(tmp_path: Path) -> None:
    error = refusal(tmp_path, "f,l\na.png,0\nb.png,3\n\nc.png,4\n", classes=[0, 1])
    assert "2 rows are refused" in str(error)
    assert "t.csv:3: label ‹3›" in str(error)
    assert "t.csv:5: label ‹4›" in str(error)
    assert error.exit_code == 4


@pytest.mark.fault
def test_a_blank_finding_is_not_assessed_and_a_blank_class_is_left_out(tmp_path: Path) -> None:
    """Row 81."""
    found = read(tmp_path, "f,l,m\na.png,1,\nb.png,0,1\n", label=["l", "m"])
    assert math.isnan(found.records[0].target[1])
    found = read(tmp_path, "f,l\na.png,x\nb.png,\nc.png,y\n")
    assert (len(found.records), found.excluded) == (2, {"no l": 1})


def test_paths_written_under_windows_are_found(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "sub" / "z.png")
    found = read(tmp_path, "f,l\nsub\\z.png,x\na.png,y\n")
    assert [r.path for r in found.records] == ["sub/z.png", "a.png"]


def test_files_beside_the_images_of_class_folders_are_counted(tmp_path: Path) -> None:
    for name in ("x/1.png", "y/2.PNG", "x/IM0001", "y/Thumbs.db", ".cache/3.png", "loose.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / name, format="png")
    found = table.read(tmp_path)
    assert found.labels.kind is Kind.BINARY
    assert [r.image_id for r in found.records] == ["x/1.png", "y/2.PNG"]
    assert found.excluded == {
        "not in a class folder": 1,
        "in a class folder, without the extension of an image": 1,
    }


def test_uncertain_means_what_the_policy_says_for_each_label() -> None:
    labels = ["Edema", "Mass"]
    assert uncertain_value("zeros", labels) == {"Edema": 0.0, "Mass": 0.0}
    assert uncertain_value({"Edema": "ones", "default": "zeros"}, labels) == {
        "Edema": 1.0,
        "Mass": 0.0,
    }
    assert math.isnan(uncertain_value({"Edema": "ones"}, labels)["Mass"])


def test_an_uncertain_policy_with_unknown_words_names_them_all() -> None:
    with pytest.raises(UsageError) as raised:
        uncertain_value({"Edma": "ones", "default": "zero"}, ["Edema"])
    assert "unknown label 'Edma'; did you mean 'Edema'?" in str(raised.value)
    assert "'zero' is not one of ignore, zeros, ones; did you mean 'zeros'?" in str(raised.value)


def test_two_classes_may_change_places() -> None:
    swap = {"a": "b", "b": "a", "2": "3", "3": "4"}
    assert words_of("a|b", "|", None, swap) == ["b", "a"]
    assert words_of("2.0|3", "|", None, swap) == ["3", "4"]
    assert words_of("normal|a", "|", "none", {"normal": "none"}) == ["a"]


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("NaN", "'NaN' looks like a missing value"),
        ("Mild", "'Mild' and 'mild' look like the same word"),
    ],
)
def test_a_word_that_nobody_meant_as_a_class_is_refused(
    tmp_path: Path, word: str, said: str
) -> None:
    text = f"f,l\na.png,mild\nb.png,none\nc.png,{word}\n"
    error = refusal(tmp_path, text)
    assert said in str(error)
    assert error.exit_code == 2
    assert read(tmp_path, text, classes=["none", "mild", word]).labels.names[2] == word


@pytest.mark.parametrize(
    ("negative", "positive"),
    [
        ("normal", "abnormal"),
        ("healthy", "glaucoma"),
        ("Normalbefund", "Karzinom"),
        ("no finding", "finding"),
        ("healthy lung", "COVID"),
        ("benign", "Basal cell carcinoma"),
        ("normal", "benign"),
        ("uninfected", "parasitized"),
        ("without tumour", "tumour"),
        ("healthy", "not healthy"),
        ("negative", "positive"),
        ("no", "yes"),
        ("無し", "有り"),
        ("0", "1"),
    ],
)
def test_of_two_classes_the_one_without_a_finding_is_negative(
    tmp_path: Path, negative: str, positive: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        for first, second in [(negative, positive), (positive, negative)]:
            text = f"f,l\na.png,{first}\nb.png,{second}\n"
            assert read(tmp_path, text).labels.names == (negative, positive)
    assert caplog.text.count(f"positive class: '{positive}'") == 2
    said = read(tmp_path, text, classes=[positive, negative])
    assert said.labels.names == (positive, negative)  # a human's order is taken
