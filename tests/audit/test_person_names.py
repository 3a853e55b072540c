"""What looks like the name of a person, in tags and in paths, and what only looks odd."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from medcnn.audit.person_names import IMAGING_WORDS, looks_assigned, looks_real, names_in_path
from medcnn.audit.thumbnails import harmless_words
from medcnn.data import adapters
from medcnn.data.manifest import Manifest
from tests.data.public.layouts import MINIATURES


@pytest.mark.parametrize(
    "content",
    [
        *("Doe^Jane", "Müller^Hans Peter", "JANE DOE", "de la Cruz^Ana", "MUELLER", "Schmidt"),
        *("DOE^J", "Müller^A.", "王^小东", "No^Kim", "Last^John", "Patient^Jane", "Mueller1950"),
    ],
)
def test_a_name_looks_real(content: str) -> None:
    assert looks_real(content)


@pytest.mark.parametrize(
    "content",
    [
        *("", "ANON", "Anonymous", "Anonymized^Patient", "REMOVED", "Patient^01", "TEST^PHANTOM"),
        *("77", "X", "TCGA-09-0364", "anon_123", "LUNG1-001", "d41d8cd98f00b204", "subject-12^M"),
    ],
)
def test_what_de_identification_leaves_does_not(content: str) -> None:
    assert not looks_real(content)


@pytest.mark.parametrize(
    ("content", "real"),
    [("0171 2345678", True), ("A2273", True), ("1", False), ("0000", False), ("none", False)],
)
def test_a_number_is_one_that_somebody_gave_or_a_dummy(content: str, real: bool) -> None:
    assert looks_assigned(content) is real


@pytest.mark.parametrize(
    "path",
    [
        *("DOE_JANE/1.dcm", "a/Doe^Jane.png", "export/Doe, Jane/x.jpg", "Jane_Doe/1.png"),
        *("jane_doe/1.png", "Jane Doe/1.png", "Anna Mueller 1950/1.png", "JaneDoe/1.png"),
        *("Anna-Mueller-1950.jpg", "doe.jane.png", "chest_Doe_Jane/1.png", "Li Wei/1.png"),
        *("王^小东/1.png", "AnnaMueller1950/x.png", "left/anna-müller/1.png"),
    ],
)
def test_a_name_in_a_path_is_seen(path: str) -> None:
    assert names_in_path(path, (), IMAGING_WORDS)


@pytest.mark.parametrize(
    "path",
    [
        *("images/ISIC_0027419.jpg", "images/00000001_000.png", "HAM10000_images_part_1/a.jpg"),
        *("CHEST_XRAY/TEST/NORMAL_IMAGES/IM-0001-0001.jpeg", "covid-19-pneumonia-day-1.jpg"),
        *("Kaposi Sarcoma/1.jpg", "Basal_cell_carcinoma/1.jpg", "Left Eye/1.jpg", "left_eye.png"),
        *(
            "No_DR/1.png",
            "Diabetic Retinopathy/1.png",
            "Pleural Effusion/1.png",
            "New Folder/1.png",
        ),
        *("linkes_auge/1.png", "0004cfab-14fd-4e49-80ba.dcm", "good quality/1.png"),
        *("Pigmented Benign Keratosis/1.jpg", "Tuberculosis/Others-(12).jpg", "Röntgen Bild 1.png"),
        unicodedata.normalize("NFD", "Röntgen.png"),
    ],
)
def test_folders_of_diseases_and_images_name_nobody(path: str) -> None:
    assert not names_in_path(path, (), IMAGING_WORDS)


def test_the_classes_of_a_set_are_no_names() -> None:
    assert names_in_path("Poison Ivy/1.jpg", (), IMAGING_WORDS)
    assert not names_in_path("Poison Ivy/1.jpg", (), IMAGING_WORDS | {"poison", "ivy"})


def test_a_path_that_repeats_the_name_of_its_own_tags_is_seen() -> None:
    assert names_in_path("export/jane-x-doe/1.dcm", ("doe", "jane"), IMAGING_WORDS)
    assert not names_in_path("export/janet/1.dcm", ("doe", "jane"), IMAGING_WORDS)
    assert names_in_path("export/schmidt/1.dcm", ("schmidt",), IMAGING_WORDS)
    assert not names_in_path("export/left/1.dcm", ("left",), IMAGING_WORDS)


def _named(manifest: Manifest) -> list[str]:
    harmless = harmless_words(manifest)
    groups = [r.own_group for r in manifest.records if manifest.grouped]
    paths = [r.path for r in manifest.records if names_in_path(r.path, (), harmless)]
    return paths + [g for g in groups if looks_real(g) or names_in_path(g, (), harmless)]


@pytest.mark.parametrize("name", sorted(MINIATURES))
def test_public_sets_name_nobody(tmp_path: Path, name: str) -> None:
    MINIATURES[name].write(tmp_path)
    assert _named(adapters.read(name, tmp_path, {})) == []


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("ham10000", "ham10000"),
        ("covid_chestxray", "covid_chestxray"),
        ("chestxray14", "nih_chestxray14_sample"),
    ],
)
def test_the_real_public_sets_name_nobody(shared: Path, name: str, folder: str) -> None:
    assert _named(adapters.read(name, shared / folder, {})) == []
