"""What the header of a file tells: of how it was made, and of whom."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from medcnn.audit.headers import BIRTH, NAMES_AND_TEXTS, NUMBERS, read_header


@pytest.mark.parametrize(
    ("tag", "content"),
    [
        ("PatientName", "MUELLER"),
        ("RequestingPhysician", "Schmidt^A"),
        ("PatientComments", "calls from home, ask for Jane"),
        ("InstitutionName", "St. Mary"),
        ("InstitutionAddress", "1 Hill Road"),
        ("AccessionNumber", "20240131"),
        ("PatientTelephoneNumbers", "0171 2345678"),
        ("PatientBirthDate", "19500203"),
    ],
)
def test_a_tag_that_tells_of_someone_is_named_without_its_content(tag: str, content: str) -> None:
    header = read_header(_dicom(**{tag: content}), "x.dcm")
    assert header.persons == (tag,)
    assert content not in str(header.traits)


def test_a_file_that_was_de_identified_tells_of_nobody() -> None:
    blanked = _dicom(
        PatientName="ANON_0001",
        AccessionNumber="0",
        StudyID="1",
        InstitutionName="REMOVED",
        PatientBirthDate="19500101",
        PatientComments="",
        StudyDescription="Thorax p.a.",
    )
    assert read_header(blanked, "x.dcm").persons == ()


def test_the_tags_that_are_looked_at_exist() -> None:
    """A misspelt one would never be found in any file."""
    from pydicom.datadict import tag_for_keyword

    assert [t for t in (*NAMES_AND_TEXTS, *NUMBERS) if tag_for_keyword(t) is None] == []


def _dicom(**said: str) -> bytes:
    from pydicom import examples

    dataset, buffer = examples.ct, BytesIO()
    for tag in (*NAMES_AND_TEXTS, *NUMBERS, BIRTH):
        if tag in dataset:
            del dataset[tag]
    for tag, content in said.items():
        setattr(dataset, tag, content)
    dataset.save_as(buffer)
    return buffer.getvalue()


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
