"""What `medcnn init` makes of tables as hospitals of several countries write them."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medcnn.data import adapters
from medcnn.data.manifest import Split
from medcnn.data.own import vocabulary
from medcnn.data.own.guesses import Guess, Images, Sure
from medcnn.data.own.guessing import guess_folders, guess_table
from medcnn.data.own.sheets import read_sheet
from medcnn.system.errors import DataError

ROWS = 40


def picture(path: Path, colour: bool = True) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (4, 4, 3) if colour else (4, 4)
    Image.fromarray(np.zeros(shape, np.uint8)).save(path)


def guesses(root: Path, columns: dict[str, list[Any]]) -> dict[str, Guess]:
    lines = [
        ",".join(columns),
        *(",".join(map(str, r)) for r in zip(*columns.values(), strict=True)),
    ]
    (root / "t.csv").write_text("\n".join(lines), encoding="utf-8")
    found = guess_table(read_sheet(root / "t.csv"), Images(root))
    return {g.setting: g for g in found}


def values(found: dict[str, Guess]) -> dict[str, Any]:
    return {name: guess.value for name, guess in found.items()}


def loaded(root: Path, found: dict[str, Guess]) -> Any:
    of_base = ("modality", "channels")
    options = {k: g.value for k, g in found.items() if k not in of_base}
    return adapters.read("table", root, {"table": "t.csv", **options})


def cycle(*words: Any) -> list[Any]:
    return [words[i % len(words)] for i in range(ROWS)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for i in range(ROWS):
        picture(tmp_path / "bilder" / f"b{i:03d}.jpg")
    return tmp_path


@pytest.mark.parametrize(
    ("image", "patient", "label", "split", "age"),
    [
        ("file", "Patient ID", "diagnosis", "split", "age"),
        ("Datei", "Patienten-Nr", "Befund", "Aufteilung", "Alter"),
        ("fichier", "id_sujet", "étiquette", "partition", "âge"),
        ("archivo", "Paciente", "Diagnóstico", "conjunto", "edad"),
        ("arquivo", "ID do paciente", "rótulo", "x", "idade"),
        ("immagine", "codice_paziente", "Etichetta", "x", "eta"),
        ("影像", "病人编号", "诊断", "x", "年龄"),
    ],
)
def test_columns_are_known_by_their_names_in_several_languages(
    root: Path, image: str, patient: str, label: str, split: str, age: str
) -> None:
    found = guesses(
        root,
        {
            image: [f"b{i:03d}" for i in range(ROWS)],
            patient: [f"p{i // 2}" for i in range(ROWS)],
            "note": [f"words {i}" for i in range(ROWS)],
            label: cycle("benign", "benign", "malignant", "malignant"),
            split: ["train"] * 30 + ["val"] * 4 + ["test"] * 6,
            age: [40 + i % 7 for i in range(ROWS)],
        },
    )
    assert values(found) | {"patient": patient} == {
        "image": image,
        "folder": "bilder",
        "suffix": ".jpg",
        "patient": patient,
        "split": split,
        "label": label,
        "classes": ["benign", "malignant"],
        "attributes": [age],
    } | ({"modality": found["modality"].value} if "modality" in found else {})
    assert found["image"].sure is Sure.SURE
    manifest = loaded(root, found)
    assert len(manifest.records) == ROWS
    assert manifest.group_noun == "patient"


def test_split_words_of_another_language_are_translated(root: Path) -> None:
    found = guesses(
        root,
        {
            "f": [f"bilder/b{i:03d}.jpg" for i in range(ROWS)],
            "label": cycle("x", "y", "z"),
            "grupo": ["entrenamiento"] * 30 + ["validacion"] * 5 + ["prueba"] * 5,
        },
    )
    assert (
        "entrenamiento means train, validacion means validation, prueba means test"
        in found["split"].why
    )
    assert "folder" not in found
    assert {str(r.split) for r in loaded(root, found).records} == {"train", "validation", "test"}


def test_several_findings_are_known_in_one_cell_and_in_columns(root: Path) -> None:
    files = [f"b{i:03d}.jpg" for i in range(ROWS)]
    found = guesses(root, {"f": files, "findings": cycle("No Finding", "Mass|Edema", "Mass")})
    assert values(found)["separator"] == "|"
    assert values(found)["none_label"] == "No Finding"
    assert loaded(root, found).labels.names == ("Edema", "Mass")
    flags = {"Mass": cycle(0, 1, -1), "Edema": cycle(1, "", 0), "smoker": cycle(0, 1)}
    found = guesses(root, {"f": files, **flags})
    assert found["label"].value == ["Mass", "Edema"]
    assert found["uncertain"].sure is Sure.CHECK
    assert found["attributes"].value == ["smoker"]
    assert loaded(root, found).labels.names == ("Mass", "Edema")


def test_grades_are_known_as_numbers_and_as_words(root: Path) -> None:
    files = [f"b{i:03d}.jpg" for i in range(ROWS)]
    found = guesses(root, {"f": files, "grade": cycle(0, 1, 2, 3, 4)})
    assert (found["kind"].value, found["kind"].sure) == ("ordinal", Sure.LIKELY)
    found = guesses(root, {"f": files, "class": cycle(0, 1, 2)})
    assert (found["kind"].value, found["kind"].sure) == ("ordinal", Sure.CHECK)
    found = guesses(root, {"f": files, "severity": cycle("severe", "none", "mild", "moderate")})
    assert found["classes"].value == ["none", "mild", "moderate", "severe"]
    assert loaded(root, found).labels.kind == "ordinal"
    found = guesses(root, {"f": files, "class": cycle("melanoma", "nevus", "other")})
    assert "kind" not in found


def test_unlabelled_rows_and_rare_classes_are_noticed(root: Path) -> None:
    label = ["a"] * 18 + ["b"] * 16 + ["todo"] * 4 + ["c", "d"]
    found = guesses(root, {"f": [f"b{i:03d}" for i in range(ROWS)], "finding": label})
    assert found["exclude"].value == {"finding": ["todo"]}
    assert found["rare_below"].value == 5
    manifest = loaded(root, found)
    assert manifest.labels.names == ("a", "b", "other")
    assert manifest.excluded == {"finding is in data.exclude": 4}


def test_images_in_several_folders_or_under_another_systems_paths_are_found(root: Path) -> None:
    picture(root / "neu" / "tief" / "c.png")
    files = [f"D:\\Export\\b{i:03d}.jpg" for i in range(ROWS - 1)] + ["c"]
    found = guesses(root, {"path": files, "label": cycle("x", "y")})
    assert found["join"].value == "file_name"
    assert len(loaded(root, found).records) == ROWS


def test_numbers_that_happen_to_be_names_of_files_are_no_images(tmp_path: Path) -> None:
    for i in range(ROWS):
        picture(tmp_path / f"{i}.png")
    numbers = list(range(ROWS))
    random.Random(0).shuffle(numbers)
    found = guesses(
        tmp_path,
        {"visit": cycle(0, 1, 2), "label": cycle("x", "y"), "scan": numbers},
    )
    assert found["image"].value == "scan"


def test_a_table_that_names_no_image_is_refused_and_one_without_a_label_is_for_the_audit(
    root: Path,
) -> None:
    with pytest.raises(DataError, match=r"no column of t\.csv names the images .*b000\.jpg"):
        guesses(root, {"id": [f"x{i}" for i in range(ROWS)], "label": cycle("x", "y")})
    found = guesses(
        root,
        {"f": [f"b{i:03d}" for i in range(ROWS)], "text": [f"words {i}" for i in range(ROWS)]},
    )
    assert found["label"].value is None
    assert (
        "no label found, so only the audit works; other columns: text (40 words)"
        in found["label"].why
    )


@pytest.mark.parametrize(("column", "people"), [("Name", 8), ("Vorname", 2), ("text", 14)])
def test_a_column_that_may_name_patients_is_not_the_label(
    root: Path, column: str, people: int
) -> None:
    names = cycle(*(f"Doe Jane{i}" for i in range(people)))
    found = guesses(root, {"f": [f"b{i:03d}" for i in range(ROWS)], column: names})
    assert found["label"].value is None
    assert "Doe" not in str(found)


def test_folders_that_may_name_patients_are_no_classes(tmp_path: Path) -> None:
    for i in range(24):
        picture(tmp_path / f"Doe_Jane{i // 2}" / f"{i}.png")
    with pytest.raises(DataError, match=r"12 different words for 24 .* Do they name patients"):
        guess_folders(Images(tmp_path))


def test_folders_per_class_are_known_with_and_without_splits(tmp_path: Path) -> None:
    for name in ("a/mild/1", "a/severe/2", "a/normal/3", "b/train/x/1", "b/val/y/2", "b/test/y/3"):
        picture(tmp_path / f"{name}.png", colour=False)
    found = {g.setting: g.value for g in guess_folders(Images(tmp_path / "a"))}
    assert found["classes"] == ["normal", "mild", "severe"]
    assert found["channels"] == 1
    split = guess_folders(Images(tmp_path / "b"))
    assert "a folder per split, then per class: y (2), x (1)" in split[0].why
    picture(tmp_path / "c" / "one" / "1.png")
    with pytest.raises(DataError, match="expected one folder per class"):
        guess_folders(Images(tmp_path / "c"))


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ("patient", True),
        ("Patient ID", True),
        ("patientid", True),
        ("lesion_id", True),
        ("Fallnummer", True),
        ("Patient Age", False),
        ("PatientSex", False),
        ("casein", False),
        ("id", False),
    ],
)
def test_a_column_names_someone_or_not(column: str, expected: bool) -> None:
    assert vocabulary.names_someone(column) is expected


def test_words_are_compared_without_case_accents_and_signs() -> None:
    assert vocabulary.plain("Diagnóstico (final)") == "diagnosticofinal"
    assert vocabulary.tokens("ViewPosition [x,y]") == {"view", "position", "x", "y"}


def test_whole_numbers_of_a_spreadsheet_and_validate_are_read_as_they_are_guessed(
    root: Path,
) -> None:
    columns = {
        "file": [f"b{i:03d}" for i in range(ROWS)],
        "target": cycle("0.0", "1.0", ""),
        "split": cycle(*["train"] * 5, "validate", "test"),
    }
    found = guesses(root, columns)
    assert values(found)["classes"] == ["0", "1"]
    assert found["classes"].sure is Sure.LIKELY
    manifest = loaded(root, found)
    assert manifest.labels.names == ("0", "1")
    assert {r.split for r in manifest.records} == set(Split)
    by_hand = {k: v for k, v in values(found).items() if k != "channels"}
    again = adapters.read("table", root, {**by_hand, "table": "t.csv", "classes": [0.0, 1.0]})
    assert again.records == manifest.records


def test_a_patient_column_with_an_empty_cell_is_named_all_the_same(root: Path) -> None:
    """Without it the splits would be by image, and nobody would have said so."""
    table = {
        "f": [f"b{i:03d}.jpg" for i in range(ROWS)],
        "PatientenNr": [f"p{i // 2}" if i else "" for i in range(ROWS)],
        "Befund": cycle("krank", "gesund"),
    }
    guess = guesses(root, table)["patient"]
    assert (guess.value, guess.sure) == ("PatientenNr", Sure.CHECK)
    assert f"1 of {ROWS} rows are blank" in guess.why


def test_spellings_of_one_class_are_joined_and_slips_are_pointed_at(root: Path) -> None:
    label = ["COVID-19"] * 18 + ["Pneumonia"] * 19 + ["COVID19", "covid 19", "Pnuemonia"]
    found = guesses(root, {"f": [f"b{i:03d}.jpg" for i in range(ROWS)], "finding": label})
    assert found["rename"].value == {"COVID19": "COVID-19", "covid 19": "COVID-19"}
    assert "1 class has fewer images" in found["rare_below"].why
    assert "Pnuemonia (a typo of Pneumonia?)" in found["rare_below"].why
    signs = guesses(root, {"f": [f"b{i:03d}.jpg" for i in range(ROWS)], "grade": cycle(-1, 1, 2)})
    assert "rename" not in signs
