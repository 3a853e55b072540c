"""What a file says of itself, without its pixels: how it was made, and whether it names anybody."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from medcnn.images.reading import RASTER

SCANNER, DEPTH, COLOUR, FORMAT, SIZE = "scanner", "bit depth", "photometric", "format", "size"

# Attributes that name or locate a person (PS3.15 Table E.1-1), those that exports forget most.
BIRTH = "PatientBirthDate"
PERSON_TAGS = (
    "PatientName",
    "OtherPatientNames",
    "PatientBirthName",
    "PatientMotherBirthName",
    "PatientAddress",
    "PatientTelephoneNumbers",
    "ResponsiblePerson",
    "ReferringPhysicianName",
    "PerformingPhysicianName",
    "OperatorsName",
)
TAGS = (
    *PERSON_TAGS,
    BIRTH,
    "Rows",
    "Columns",
    "BitsStored",
    "PhotometricInterpretation",
    "Manufacturer",
    "ManufacturerModelName",
    "BurnedInAnnotation",
)
# EXIF 2.3, table 4 and 12: who made the picture, and where.
EXIF_PERSON = {315: "Artist", 0xA430: "CameraOwnerName", 0x9C9D: "XPAuthor", 34853: "GPSInfo"}
EXIF_MAKE, EXIF_MODEL = 271, 272

BURNED_IN = "BurnedInAnnotation is YES: text about the patient may stand in the pixels"

# What de-identification leaves in place of a name.
_EMPTY_WORDS = (
    r"anon\w*|removed|redacted|deleted|unknown|none|null|na|nobody|dummy|test|phantom|patient|case|"
    r"subject|study|name|last|first|doe\^?archive|no|not|id|xxx+|x+|deidentified|identified|de"
)
_INITIALS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """Attributes:
    traits: how the file was made: format, size, bit depth, photometric, scanner.
    persons: names of tags whose content looks like that of a real person; never the content.
    names: parts of a person's name, lower case, to look for in paths; kept in memory alone.
    burned_in: the file says that text stands in its pixels.
    """

    traits: Mapping[str, str] = field(default_factory=dict)
    persons: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    burned_in: bool = False


def read_header(data: bytes, name: str) -> Header:
    """The header of a file; an empty one where it cannot be read, which reading its pixels says.

    Args:
        data: the file, or its beginning.
        name: for what has no header of its own.
    """
    if ".npz#" in name:
        return Header(traits={FORMAT: "NPZ"})
    if not data:
        return Header()
    try:
        raster = data[128:132] != b"DICM" and data.startswith(tuple(RASTER))
        return _of_raster(data) if raster else _of_dicom(data)
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException:  # decoders raise anything, and what is wrong is said with the pixels
        return Header()


def _of_raster(data: bytes) -> Header:
    with Image.open(BytesIO(data)) as image:
        exif = image.getexif()
        bits = {"1": 1, "F": 32, "I": 32}.get(image.mode, 16 if image.mode[:2] == "I;" else 8)
        camera = " ".join(str(exif[t]).strip("\0 ") for t in (EXIF_MAKE, EXIF_MODEL) if exif.get(t))
        traits = {
            FORMAT: str(image.format),
            SIZE: f"{image.width}x{image.height}",
            DEPTH: str(bits),
            COLOUR: "grey" if image.mode[0] in "1LIF" else "colour",
        }
        persons = [word for tag, word in EXIF_PERSON.items() if exif.get(tag)]
    return Header(traits=traits | ({SCANNER: camera} if camera else {}), persons=tuple(persons))


def _of_dicom(data: bytes) -> Header:
    import pydicom

    dataset: Any = pydicom.dcmread(
        BytesIO(data), stop_before_pixels=True, specific_tags=list(TAGS), force=True
    )
    camera = f"{dataset.get('Manufacturer', '')} {dataset.get('ManufacturerModelName', '')}"
    traits = {
        FORMAT: "DICOM",
        SIZE: f"{dataset.get('Columns', '?')}x{dataset.get('Rows', '?')}",
        DEPTH: str(dataset.get("BitsStored", "?")),
        COLOUR: str(dataset.get("PhotometricInterpretation", "?")),
    }
    if camera.strip():
        traits[SCANNER] = " ".join(camera.split())
    persons = [tag for tag in PERSON_TAGS if looks_real(str(dataset.get(tag) or ""))]
    # the first of January is what de-identification leaves of a year
    if re.fullmatch(r"\d{8}", birth := str(dataset.get(BIRTH) or "")) and birth[4:] != "0101":
        persons.append(BIRTH)
    words = re.findall(r"[^\W\d_]{3,}", str(dataset.get("PatientName") or "").lower())
    return Header(
        traits=traits,
        persons=tuple(persons),
        names=tuple(words) if "PatientName" in persons else (),
        burned_in=str(dataset.get("BurnedInAnnotation", "")).strip().upper() == "YES",
    )


def looks_real(content: str) -> bool:
    """Whether the content of an identifying tag looks like that of a person: at least two words of
    letters that are no placeholder, or a telephone number or street."""
    words = re.findall(r"[^\W\d_]+", content.lower())
    real = [w for w in words if not re.fullmatch(_EMPTY_WORDS, w) and len(w) > 1]
    hexadecimal = re.fullmatch(r"[0-9a-f^=\s-]{12,}", content.strip().lower()) is not None
    return len(real) >= _INITIALS and not hexadecimal


def names_in_path(path: str, known: Iterable[str], harmless: frozenset[str]) -> bool:
    """Whether a folder or file seems to carry the name of a person.

    Args:
        known: parts of the name that stands in the file's own tags.
        harmless: lower-case words that stand for classes, splits and the like here.
    """
    words = set(re.findall(r"[^\W\d_]+", path.lower()))
    known = set(known)
    if known and known <= words:
        return True
    for part in Path(path).with_suffix("").parts:
        for found in _NAME.finditer(part):
            pair = {w.lower() for w in re.findall(r"[^\W\d_]+", found[0])}
            if len(pair) > 1 and not pair & harmless:
                return True
    return False


# `Doe^Jane` as DICOM writes names, `DOE_JANE` as exports name folders, `Doe, Jane` as people do.
_NAME = re.compile(
    r"[^\W\d_]{2,}\^[^\W\d_]{2,}"
    r"|(?<![^\W_])[A-Z]{3,}[_ ,-]{1,2}[A-Z]{3,}(?![^\W_])"
    r"|[A-Z][a-z]+, ?[A-Z][a-z]+"
)
_WORDS = (
    "chest xray cxr image images img scan left right fundus skin lesion normal abnormal train "
    "test val validation valid set data part study series patient frontal lateral lung opacity "
    "finding findings mono rle jpeg png dicom original raw mask crop view covid ham isic nih "
    "pneumonia virus bacteria macula disc eye retina photo the and not"
)
IMAGING_WORDS = frozenset(_WORDS.split())
