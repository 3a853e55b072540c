"""Reads tags of many DICOM files once: patient, study, object, and any others asked for.

Identifiers of patients, studies and objects are kept, in memory and in the cache, only as keyed
digests: these can be compared with cells of a table, which is all they are needed for.
"""

from __future__ import annotations

import io
import json
import os
import re
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from medcnn.system.errors import ImageError, UsageError
from medcnn.system.files import cache_folder, cache_place, read_own, write_text
from medcnn.system.privacy import keyed
from medcnn.system.progress import log, track
from medcnn.system.registry import nearest

IDENTIFIERS = ("PatientID", "StudyInstanceUID", "SOPInstanceUID", "AccessionNumber")
# Also identifying, from PS3.15 table E.1-1, which also lists dates, times, free text and names.
_IDENTIFYING = {*IDENTIFIERS, "PatientBirthDate", "PatientBirthTime", "IssuerOfPatientID"}
_IDENTIFYING |= {"OtherPatientIDs", "PatientTelephoneNumbers", "PatientAddress", "StudyID"}
# Value representations (PS3.5 6.2) of single words and numbers, which can be kept.
_KEPT = {"AS", "CS", "DS", "FD", "FL", "IS", "LO", "SH", "SL", "SS", "UL", "US"}
_NAMING = re.compile(
    "(IDs?|Numbers?|Locator|Identification|Calendar|Description|Comments|Location|Request)"
    "(Retired)?$"
)
_PIXELS = {0x7FE00008, 0x7FE00009, 0x7FE00010}
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_HEADER_BYTES = 4 << 20
_KEPT_IN = "dicom-headers"
_VERSION = 4
DAMAGED = "a DICOM whose header cannot be read or is cut off"
DICOM_SUFFIXES = (".dcm", ".dicom")
NEVER_DICOM = (
    *(".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".pgm", ".ppm", ".npz"),
    *(".jp2", ".jls", ".heic", ".heif", ".avif", ".nii", ".jxl"),
)

Tags = Mapping[str, str]


def digest(text: str) -> str:
    """Replaces an identifier; blanks at its ends mean nothing (PS3.5 6.2). It needs a key, since a
    number of seven digits could be found by trying all of them."""
    return keyed(text.strip(), "dicom").hex()


def check_keywords(keywords: Sequence[str]) -> None:
    """Raises UsageError for tags that do not exist, or must not be kept."""
    if not keywords:
        return  # a set of photographs does not need pydicom
    from pydicom.datadict import dictionary_VR, keyword_dict

    faults = []
    for word in keywords:
        if word not in keyword_dict:
            faults.append(f"'{word}' is not a DICOM keyword{nearest(word, keyword_dict)}")
        elif (
            word in _IDENTIFYING
            or _NAMING.search(word)
            or dictionary_VR(keyword_dict[word]) not in _KEPT
        ):
            faults.append(f"'{word}' may identify a patient, or is not a single word.")
    if faults:
        raise UsageError(f"data.tags: {' '.join(faults)}")


def looks_like_dicom(file: Path) -> bool:
    """Decided by its extension, or by the four letters after the preamble of PS3.10 7.1."""
    if file.suffix.lower() in DICOM_SUFFIXES:
        return True
    if file.suffix.lower() in NEVER_DICOM:
        return False  # not opened: a set may have many photographs
    try:
        with file.open("rb") as opened:
            return opened.read(132)[128:] == b"DICM"
    except OSError:
        return False


def read_headers(
    root: Path, paths: Sequence[str], keywords: Sequence[str] = ()
) -> tuple[dict[str, Tags], dict[str, str]]:
    """Path -> keyword -> text, and path -> why it is not an image that can be classified.

    Identifiers become their `digest`, ages are in years, several values are joined by a backslash,
    absent ones are blank. The result is cached per file, by size and modification time.

    Args:
        paths: DICOM files below `root`.
        keywords: tags to read in addition to the identifiers, such as `ViewPosition`.

    Raises:
        UsageError: a keyword that does not exist or must not be kept.
    """
    check_keywords(keywords)
    kept_at = cache_folder() / _KEPT_IN / f"{keyed(os.path.realpath(root), 'folder').hex()}.json"
    cache = _cached(kept_at)
    wanted = (*IDENTIFIERS, *keywords)
    key_of = {path: keyed(path, "path").hex() for path in paths}

    def header(path: str) -> tuple[str, Any, bool]:
        """The entry of a file, and whether it is new."""
        try:
            found = (root / path).stat()
        except OSError as error:
            return path, [0, 0, f"cannot be opened: {error.strerror}"], False
        known: list[Any] | None = cache.get(key_of[path])
        words = set(wanted)
        if known is not None and known[:2] == [found.st_size, found.st_mtime_ns]:
            if isinstance(known[2], str) or words <= set(known[2]):
                return path, known, False
            words |= set(known[2])
        return path, [found.st_size, found.st_mtime_ns, _read(root / path, sorted(words))], True

    if paths:
        # imported before the threads start, which would all import it at once

        import medcnn.images.dicom  # noqa: F401
    headers: dict[str, Tags] = {}
    refused: dict[str, str] = {}
    changed = False
    with warnings.catch_warnings(), ThreadPoolExecutor(max_workers=8) as pool:
        # warns of oddities that do not matter here; reading pixels reports those that do
        warnings.simplefilter("ignore")
        every: Iterator[tuple[str, Any, bool]] = pool.map(header, paths)
        for path, entry, is_new in track(every, len(paths), "reading DICOM headers"):
            if is_new:
                cache[key_of[path]] = entry
                changed = True
            if isinstance(entry[2], str):
                refused[path] = entry[2]
            else:
                headers[path] = entry[2]
    if changed:
        _keep(kept_at, json.dumps({"version": _VERSION, "files": cache}))
    return headers, refused


def _keep(file: Path, content: str) -> None:
    try:
        folder = cache_place(_KEPT_IN)
        for other in folder.glob("*.json"):
            if not other.read_bytes()[:40].startswith(b'{"version": %d,' % _VERSION):
                other.unlink()  # of an earlier version, with dates or with digests without a key
        write_text(file, content)
    except OSError as error:
        log.warning(
            f"the DICOM headers cannot be cached: {file.parent} cannot be written "
            f"({error.strerror}). Name another folder with MEDCNN_CACHE=FOLDER."
        )


def _cached(file: Path) -> dict[str, Any]:
    try:
        stored = json.loads(read_own(file))
        return dict(stored["files"]) if stored["version"] == _VERSION else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}  # missing or truncated: it will be created again


def _read(file: Path, keywords: Sequence[str]) -> dict[str, str] | str:
    """Keyword -> text, or why the file is not an image. Pixels are not read."""
    from pydicom.datadict import keyword_dict
    from pydicom.filereader import read_dataset, read_partial

    from medcnn.images.dicom import refuse_what_is_no_image

    seen: list[int] = []

    def at_pixels(tag: int, vr: str | None, length: int) -> bool:
        if tag in _PIXELS:
            seen.append(tag)
        return tag in _PIXELS

    tags = [keyword_dict[k] for k in (*keywords, "SOPClassUID")]
    try:
        with file.open("rb") as opened:
            head = opened.read(1024)
            opened.seek(0)
            dataset: Any
            if _DEFLATED in head:
                source = _inflated(opened.read(_HEADER_BYTES))
                dataset = read_dataset(source, False, True, None, at_pixels, specific_tags=tags)
            else:
                dataset = read_partial(opened, at_pixels, specific_tags=tags, force=True)
        for tag in seen:
            dataset.add_new(tag, "OB", b"")
        refuse_what_is_no_image(dataset)
        return {k: _text(k, dataset.get(k)) for k in keywords}
    except ImageError as error:
        # an image object without pixels was cut off before them
        is_image = "Image Storage" in getattr(dataset.get("SOPClassUID"), "name", "")
        return DAMAGED if is_image and not seen else str(error)
    except Exception:  # pydicom may raise almost anything for a damaged header
        return DAMAGED


def _inflated(data: bytes) -> io.BytesIO:
    """The beginning of a deflated data set (PS3.5 A.5); all of it might be a zip bomb."""
    meta = int.from_bytes(data[140:144], "little")  # (0002,0000), the first element: PS3.10 7.1
    return io.BytesIO(
        zlib.decompressobj(-zlib.MAX_WBITS).decompress(data[144 + meta :], _HEADER_BYTES)
    )


def _text(keyword: str, value: Any) -> str:
    from pydicom.multival import MultiValue

    if value is None:
        return ""
    values = list(value) if isinstance(value, MultiValue) else [value]
    text = "\\".join(str(v).strip() for v in values)
    if keyword in IDENTIFIERS:
        return digest(text) if text.strip() else ""
    if age := re.fullmatch(r"(\d{3})([DWMY])", text):  # PS3.5 6.2, AS
        years = int(age[1]) / {"D": 365.25, "W": 52.18, "M": 12, "Y": 1}[age[2]]
        return f"{years:.3g}"
    return text
