"""Folders of classes and of splits, and what lies beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medcnn.data.manifest import Split
from medcnn.data.own.guesses import Images
from medcnn.data.own.guessing import guess_folders
from medcnn.data.split_words import split_word
from medcnn.system.errors import DataError
from tests.data.own import tables as table


def images(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(root / name, format="png")
    return root


@pytest.mark.fault
@pytest.mark.parametrize(
    ("word", "split"),
    [
        *[(w, "train") for w in ("Training", "train_set", "01_train", "Entraînement", "训练集")],
        *[(w, "train") for w in ("Trainingsdaten", "train2017", "train_images", "обучение")],
        *[(w, "validation") for w in ("val", "dev", "eval", "Validação", "Validierung", "验证")],
        *[(w, "train") for w in ("Lernstichprobe", "jeu d'entraînement", "Trainingsmenge")],
        *[(w, "test") for w in ("PublicTest", "ext_test", "Prüfmenge", "prueba ciega")],
        *[(w, "validation") for w in ("Validierungsstichprobe", "vld", "jeu de validation")],
        *[(w, "test") for w in ("Testing", "test1", "hold-out", "held_out", "Prueba", "テスト")],
        *[
            (w, "train")
            for w in ("Übungsmenge", "opplæring", "koulutus", "学習用", "훈련용", "تدريب")
        ],
        *[(w, "train") for w in ("εκπαίδευση", "навчальна", "学習データ", "प्रशिक्षण", "derivation")],
        *[(w, "validation") for w in ("検証用", "검증용", "валідація", "validointi", "validare")],
        *[(w, "validation") for w in ("valideringssett", "cross-validation", "検証データ")],
        *[
            (w, "test")
            for w in ("테스트용", "テスト用", "δοκιμή", "sınama", "collaudo", "מבחן", "lockbox")
        ],
        *[(w, None) for w in ("glioma", "contrast", "test positive", "trained eye", "1", "")],
    ],
)
def test_one_list_of_words_tells_splits_everywhere(word: str, split: str | None) -> None:
    """Row A6."""
    assert split_word(word) == split


@pytest.mark.fault
def test_folders_of_splits_are_seen_beside_empty_and_system_folders(tmp_path: Path) -> None:
    """Row A6: `Testing` was trained against `Training`."""
    root = images(
        tmp_path,
        *[f"{s}/{c}/{i}.png" for s in ("Training", "Testing", "val") for c in "ab" for i in "12"],
        *("__MACOSX/Training/a/._1.png", "__MACOSX/x.png", "Training/a/@eaDir/1.png/SYNO.jpg"),
        *("Training/.ipynb_checkpoints/1.png", "$RECYCLE.BIN/S/1.png", "Training/a/Thumbs.db"),
    )
    (root / "empty").mkdir()
    (root / "notes").mkdir()
    (root / "notes" / "read.pdf").write_bytes(b"%PDF")
    found = table.read(root)
    assert found.labels.names == ("a", "b")
    assert len(found.records) == 12
    assert {r.split for r in found.records} == set(Split)
    guessed = guess_folders(Images(root))
    assert guessed[0].why.startswith("a folder per split, then per class: a (6), b (6)")


@pytest.mark.fault
@pytest.mark.parametrize(
    "names",
    [
        ("Training/1.png", "Testing/2.png"),
        ("train/1.png", "holdout/2.png", "extra/3.png"),
        ("benign/1.png", "malignant/2.png", "test/3.png"),
        ("train/1.png", "test/a/2.png", "notes/b/3.png"),
    ],
)
def test_classes_that_are_called_like_splits_are_refused(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    """Row A6: by training and by `init` alike."""
    root = images(tmp_path, *names)
    with pytest.raises(DataError, match="named like"):
        table.read(root)
    with pytest.raises(DataError, match=r"named like|expected one folder per class"):
        guess_folders(Images(root))


def test_where_they_are_classes_all_the_same_the_user_says_so(tmp_path: Path) -> None:
    root = images(tmp_path, "control/1.png", "test/2.png")
    assert table.read(root, classes=["control", "test"]).labels.names == ("control", "test")


def test_folders_that_are_not_among_the_classes_are_all_listed_without_a_path(
    tmp_path: Path,
) -> None:
    names = ("benign/1.png", "malignent/2.png", "todo/Doe_Jane/3.png", "todo/Doe_Jane/4.png")
    with pytest.raises(DataError) as raised:
        table.read(images(tmp_path, *names), classes=["benign", "malignant"])
    assert "‹malignent› (1; did you mean 'malignant'?), ‹todo› (2)" in str(raised.value)
    assert "Doe" not in str(raised.value)


@pytest.mark.fault
def test_splits_may_be_folders_within_classes(tmp_path: Path) -> None:
    """Row A6."""
    root = images(tmp_path, *[f"{c}/{s}/1.png" for c in "ab" for s in ("train", "val", "test")])
    found = table.read(root)
    assert {(r.path[0], r.split) for r in found.records} == {(c, s) for c in "ab" for s in Split}


@pytest.mark.fault
def test_a_class_folder_that_is_a_link_is_refused_or_followed(tmp_path: Path) -> None:
    """Row B4: the class was lost with a warning."""
    outside = images(tmp_path / "archive", "1.png", "2.png")
    root = images(tmp_path / "root", "well/1.png")
    (root / "ill").symlink_to(outside)
    with pytest.raises(DataError, match=r"‹ill›.*data\.follow_links=true"):
        table.read(root)
    found = table.read(root, follow_links=True)
    assert found.labels.names == ("well", "ill")
    assert [r.path for r in found.records] == ["ill/1.png", "ill/2.png", "well/1.png"]


@pytest.mark.fault
def test_a_file_that_is_a_link_out_of_the_root_is_refused_or_followed(tmp_path: Path) -> None:
    """Row B4."""
    outside = images(tmp_path / "archive", "1.png")
    root = images(tmp_path / "root", "well/1.png", "ill/2.png")
    (root / "ill" / "3.png").symlink_to(outside / "1.png")
    with pytest.raises(DataError, match=r"data\.follow_links=true"):
        table.read(root)
    assert len(table.read(root, follow_links=True).records) == 3
    (root / "t.csv").write_text("f,l\nill/3.png,x\nwell/1.png,y\n")
    with pytest.raises(DataError, match=r"data\.follow_links=true"):
        table.read(root, table="t.csv", image="f", label="l")
    options = {"table": "t.csv", "image": "f", "label": "l", "follow_links": True}
    assert len(table.read(root, **options).records) == 2


@pytest.mark.fault
def test_links_in_a_circle_or_to_one_folder_twice_are_refused(tmp_path: Path) -> None:
    """Row B4: two ways to one folder would give one image two classes."""
    root = images(tmp_path, "well/1.png", "ill/2.png")
    (root / "ill" / "again").symlink_to(root)
    with pytest.raises(DataError, match="the same folder as the root itself"):
        table.read(root, follow_links=True)
    (root / "ill" / "again").unlink()
    (root / "zero").symlink_to(root / "well")
    with pytest.raises(DataError, match="the same folder as ‹well›"):
        table.read(root, follow_links=True)


@pytest.mark.fault
@pytest.mark.parametrize("shape", ["images/{s}/{c}", "{s}/images/{c}", "data/{s}/JPG/{c}"])
def test_a_folder_that_all_images_share_and_that_says_nothing_is_passed_through(
    tmp_path: Path, shape: str
) -> None:
    """Row A6."""
    places = [shape.format(s=s, c=c) for s in ("train", "val") for c in ("nevus", "melanoma")]
    root = images(tmp_path, *[f"{place}/{i}.png" for place in places for i in "12"])
    found = table.read(root)
    assert set(found.labels.names) == {"nevus", "melanoma"}
    assert {r.split for r in found.records} == {Split.TRAIN, Split.VALIDATION}
    assert guess_folders(Images(root))[0].why.startswith("a folder per split, then per class")


def test_one_class_is_not_taken_for_a_folder_that_says_nothing(tmp_path: Path) -> None:
    root = images(tmp_path, *[f"healthy/{who}/1.png" for who in ("anna", "bert")])
    for read in (table.read, lambda place: guess_folders(Images(place))):
        with pytest.raises(DataError, match="expected one folder per class"):
            read(root)


@pytest.mark.fault
@pytest.mark.parametrize(
    ("folder", "labels", "ending", "said"),
    [
        ("images/train/x", "labels/train/x", ".txt", "as for object detection"),
        ("train/images", "train/labels", ".txt", "as for object detection"),
        ("JPEGImages", "Annotations", ".xml", "as for object detection"),
        ("images", "masks", ".png", "masks is not a class"),
        ("train/images", "train/lesion labels", ".png", "lesion labels is not a class"),
    ],
)
def test_sets_for_detection_and_segmentation_are_not_taken_for_classes(
    tmp_path: Path, folder: str, labels: str, ending: str, said: str
) -> None:
    """Row A6: what was found, and what to do."""
    root = images(tmp_path, *[f"{folder}/{i}.png" for i in range(4)])
    images(root, *[f"{labels}/{i}{ending}" for i in range(4)])
    for read in (table.read, lambda place: guess_folders(Images(place))):
        with pytest.raises(DataError, match=said):
            read(root)
