"""What the header of a file tells: of how it was made, and of whom."""

from __future__ import annotations

import struct
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


OWNER, EXIF_IFD = 0xA430, 0x8769


def photograph(kind: str, owner: str = "Jane Doe") -> bytes:
    """With the owner's name where cameras write it; a HEIC is an AVIF by another name, whose
    pixels are not looked at."""
    exif, buffer = Image.Exif(), BytesIO()
    exif[271] = "Canon"
    exif.get_ifd(EXIF_IFD)[OWNER] = owner
    exif.load(exif.tobytes())
    picture = Image.fromarray(np.zeros((64, 48, 3), np.uint8))
    picture.save(buffer, "AVIF" if kind == "HEIC" else kind, exif=exif)
    data = buffer.getvalue()
    if kind == "HEIC":
        (length,) = struct.unpack_from(">I", data)
        data = data[:length].replace(b"avif", b"heic") + data[length:]
    return data


def with_exif_last(png: bytes) -> bytes:
    at = png.index(b"eXIf") - 4
    end = at + 12 + struct.unpack_from(">I", png, at)[0]
    return png[:at] + png[end:-12] + png[at:end] + png[-12:]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF", "HEIC"])
def test_the_owner_of_a_camera_is_found_where_cameras_write_it(kind: str) -> None:
    if kind == "HEIC":
        pytest.importorskip("pi_heif")
    header = read_header(photograph(kind), "x")
    assert header.persons == ("CameraOwnerName",)
    assert header.traits["scanner"] == "Canon"
    assert header.traits["format"] == kind
    assert "Jane" not in str(header.traits)
    assert read_header(photograph(kind, owner=" " * 16), "x").persons == ()


def test_exif_behind_the_pixels_of_a_png_is_found() -> None:
    assert read_header(with_exif_last(photograph("PNG")), "x").persons == ("CameraOwnerName",)


@pytest.mark.fault
def test_a_header_is_read_without_the_pixels_that_would_exhaust_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Row 42."""
    from medcnn.images import limits

    picture = photograph("PNG")
    monkeypatch.setattr(Image.core, "zip_decoder", None)
    assert read_header(picture, "x.png").traits["size"] == "48x64"
    opened = []
    monkeypatch.setattr(Image, "open", lambda *_: opened.append(1))
    monkeypatch.setattr(limits, "MAX_PIXELS", 48 * 64 - 1)
    for kind in ("WEBP", "AVIF"):
        assert read_header(photograph(kind), "x").traits == {}
    assert not opened


@pytest.mark.fault
def test_a_deflated_header_is_read_and_a_bomb_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 42."""
    import pydicom

    from medcnn.images import dicom

    dataset, buffer = pydicom.dcmread(BytesIO(_dicom(PatientName="MUELLER"))), BytesIO()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    dataset.save_as(buffer)
    header = read_header(buffer.getvalue(), "x.dcm")
    assert header.persons == ("PatientName",)
    assert header.traits["size"] == "128x128"
    monkeypatch.setattr(dicom, "MAX_INFLATED_BYTES", 1000)
    assert read_header(buffer.getvalue(), "x.dcm").traits == {}


def test_what_has_no_header_has_no_traits() -> None:
    assert read_header(b"", "x.png").traits == {}
    assert read_header(b"\x89PNG\r\n\x1a\nbroken", "x.png").traits == {}
