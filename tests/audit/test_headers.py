"""What looks like a person, in tags and in paths, and what only looks odd."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from medcnn.audit.headers import IMAGING_WORDS, looks_real, names_in_path, read_header


@pytest.mark.parametrize("content", ["Doe^Jane", "Müller^Hans Peter", "JANE DOE", "de la Cruz^Ana"])
def test_a_name_looks_real(content: str) -> None:
    assert looks_real(content)


@pytest.mark.parametrize(
    "content",
    ["", "ANON", "Anonymous", "Anonymized^Patient", "REMOVED", "Patient^01", "TEST^PHANTOM", "77"],
)
def test_what_de_identification_leaves_does_not(content: str) -> None:
    assert not looks_real(content)


@pytest.mark.parametrize("path", ["DOE_JANE/1.dcm", "a/Doe^Jane.png", "export/Doe, Jane/x.jpg"])
def test_a_name_in_a_path_is_seen(path: str) -> None:
    assert names_in_path(path, (), IMAGING_WORDS)


@pytest.mark.parametrize(
    "path",
    [
        "images/ISIC_0027419.jpg",
        "images/00000001_000.png",
        "train/PNEUMONIA/person1_bacteria_1.jpeg",
        "CHEST_XRAY/TEST/NORMAL_IMAGES/IM-0001-0001.jpeg",
        "HAM10000_images_part_1/a.jpg",
        "covid-19-pneumonia-day-1.jpg",
    ],
)
def test_the_paths_of_public_sets_name_nobody(path: str) -> None:
    assert not names_in_path(path, (), IMAGING_WORDS)


def test_a_path_that_repeats_the_name_of_its_own_tags_is_seen() -> None:
    assert names_in_path("export/jane-x-doe/1.dcm", ("doe", "jane"), IMAGING_WORDS)
    assert not names_in_path("export/janet/1.dcm", ("doe", "jane"), IMAGING_WORDS)


def test_a_photograph_says_which_camera_and_whether_where() -> None:
    exif = Image.Exif()
    exif[271], exif[272] = "Topcon", "TRC-NW8"
    exif[315] = "Dr. Jane Doe"
    buffer = BytesIO()
    Image.fromarray(np.zeros((8, 6), np.uint8)).save(buffer, "JPEG", exif=exif)
    header = read_header(buffer.getvalue(), "x.jpg")
    assert header.persons == ("Artist",)
    assert dict(header.traits) == {
        "format": "JPEG",
        "size": "6x8",
        "bit depth": "8",
        "photometric": "grey",
        "scanner": "Topcon TRC-NW8",
    }


def test_what_has_no_header_has_no_traits() -> None:
    assert read_header(b"", "x.png").traits == {}
    assert read_header(b"\x89PNG\r\n\x1a\nbroken", "x.png").traits == {}
