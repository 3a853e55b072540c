"""What an object inherits from its source image, and what is a function of it.

Nothing here depends on when or where it runs: the same image, model and settings give the same
bytes, so that an archive which gets them twice holds them once.
"""

from __future__ import annotations

import json
import re
import uuid
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import pydicom
from pydicom import DataElement, Dataset
from pydicom.charset import python_encoding
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from pydicom.valuerep import validate_value

from medcnn import __version__
from medcnn.clinic.answers import Answer, Identity
from medcnn.images.reading import Frames
from medcnn.system.errors import ImageError

NOT_FOR_DIAGNOSIS = "not for diagnosis"
# Without these nobody could file a result with its image (PS3.3 C.7.2.1, C.7.3.1, C.12.1).
NEEDED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
# Type 2: filled empty where the source lacks them (PS3.3 C.7.1.1, C.7.2.1).
MAY_BE_EMPTY = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName"),
)
DEIDENTIFIED_BY = ("DeidentificationMethod", "DeidentificationMethodCodeSequence")
# What else says whose study it is: of the modules Patient and General Study, and one of SOP Common.
MAY_BE_MISSING = (
    *("IssuerOfPatientID", "PatientAge", "PatientIdentityRemoved", *DEIDENTIFIED_BY),
    *("StudyDescription", "IssuerOfAccessionNumberSequence"),
    *("PatientSpeciesDescription", "PatientSpeciesCodeSequence", "PatientBreedDescription"),
    *("PatientBreedCodeSequence", "BreedRegistrationSequence", "ResponsiblePerson"),
    *("ResponsiblePersonRole", "ResponsibleOrganization"),
    "TimezoneOffsetFromUTC",  # of the times below (PS3.3 C.12.1)
)
# The date and time of ACR-NEMA, which older files still have (PS3.5 6.2, DA and TM).
EARLIER = {"DA": r"\d{4}(\.\d\d){2}", "TM": r"\d\d(:\d\d){1,2}(\.\d{1,6})?"}
# Where the date of an object comes from, the first that is there.
DATED_BY = ("Content", "Acquisition", "Series", "Study")
ALSO = ("SpecificCharacterSet", "InstanceNumber", "NumberOfFrames")
NO_DATE = ("19700101", "000000")
NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "medcnn")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One of the objects.

    Attributes:
        number: of its series.
    """

    name: str
    sop_class: str
    modality: str
    number: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Asked:
    """A source image, and what a model says of it.

    Attributes:
        frame: the one that was read, counted from 1; None where there is only one.
        window: the one that was read with, counted from 0.
    """

    source: Dataset
    answer: Answer
    model: Identity
    frame: int | None
    window: int

    def uid(self, *of: str) -> str:
        """A UID that is a function of checkpoint, source, settings, version, and what it is for."""
        known = [(f.label, f.threshold, f.measured) for f in self.answer.findings]
        place = [str(self.source.SOPInstanceUID), self.frame, self.window]
        return uid_of(*of, *self._model, *place, repr(known))

    def series_uid(self, kind: Kind) -> str:
        """One series for each of the source, so that instance numbers are those of its images."""
        return uid_of("series", kind.name, *self._model, str(self.source.SeriesInstanceUID))

    def study_uid(self, *of: Any) -> str:
        """The same of a whole study."""
        return uid_of(*of, *self._model, str(self.source.StudyInstanceUID))

    @property
    def _model(self) -> list[Any]:
        # the name and the version stand in the objects too
        known = [self.model.name, self.model.sha256, __version__]
        return [*known, sorted(self.model.settings.items())]


def uid_of(*parts: Any) -> str:
    """A UID from a name-based UUID (PS3.5 B.2)."""
    return f"2.25.{uuid.uuid5(NAMESPACE, json.dumps(parts)).int}"


def asked(
    source: Dataset, answer: Answer, model: Identity, *, window: int, frames: Frames
) -> Asked:
    """Raises ImageError if the source lacks what a result is filed by."""
    if missing := [name for name in NEEDED if not _is_uid(source.get(name))]:
        named = ", ".join(f"{name} {tag_of(name)}" for name in missing)
        raise ImageError(f"the header lacks {named}, by which a result is filed with its image")
    count = int(source.get("NumberOfFrames") or 1)
    frame = 1 + (count // 2 if frames is Frames.MIDDLE else 0)
    return Asked(
        source=source, answer=answer, model=model, frame=frame if count > 1 else None, window=window
    )


def tag_of(name: str) -> str:
    tag = tag_for_keyword(name)
    assert tag is not None
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def _is_uid(value: Any) -> bool:
    return re.fullmatch(r"[0-9.]{1,64}", str(value or "")) is not None


def filed_by(source: Dataset) -> Dataset:
    """As much of a header as a report needs: those of a whole study are held in memory."""
    dates = [f"{what}{part}" for what in DATED_BY for part in ("Date", "Time")]
    kept = Dataset()
    for name in (*NEEDED, *MAY_BE_EMPTY, *MAY_BE_MISSING, *dates, *ALSO):
        if name in source:
            kept.add(source[name])
    return kept


def headed(of: Asked, kind: Kind) -> Dataset:
    """A new object in the study of its source: the modules Patient, General Study, General Series,
    General Equipment and SOP Common (PS3.3 C.7.1.1, C.7.2.1, C.7.3.1, C.7.5.1, C.12.1).

    Text is in UTF-8 (PS3.3 C.12.1.1.2), since names of classes may be in any script.

    Raises:
        ImageError: the text that says whose image it is cannot be decoded.
    """
    made = Dataset()
    made.SpecificCharacterSet = "ISO_IR 192"
    for name in (*NEEDED[:1], *MAY_BE_EMPTY, *MAY_BE_MISSING):
        element = _decoded(of.source, name) if name in of.source else None
        if element and (name not in MAY_BE_MISSING or _valid(element)):
            made.add(element)
        elif name in MAY_BE_EMPTY:
            setattr(made, name, None)
    if not any(name in made for name in DEIDENTIFIED_BY):
        made.pop("PatientIdentityRemoved", None)  # which must not be said without saying how
    made.SOPClassUID, made.SOPInstanceUID = kind.sop_class, of.uid(kind.name)
    made.SeriesInstanceUID, made.SeriesNumber = of.series_uid(kind), kind.number
    made.Modality = kind.modality
    made.SeriesDescription = f"medcnn {kind.name}, {NOT_FOR_DIAGNOSIS}"
    made.InstanceNumber = _number(of.source.get("InstanceNumber"))
    made.ContentDate, made.ContentTime = dated(of.source)
    made.Manufacturer = made.ManufacturerModelName = "medcnn"
    made.DeviceSerialNumber, made.SoftwareVersions = of.model.sha256, __version__
    return made


def _decoded(source: Dataset, name: str) -> DataElement:
    element = source[name]
    text, declared = str(element.value), source.get("SpecificCharacterSet") or ""
    sets = [declared] if isinstance(declared, str) else list(declared)
    unknown = [s for s in sets if s not in python_encoding]
    if "\ufffd" in text or (unknown and not text.isascii()):
        raise ImageError(
            f"{name} {tag_of(name)} cannot be decoded with SpecificCharacterSet "
            f"{' and '.join(sets) or 'missing'}, so a result might be filed under a wrong name"
        )
    value, ignore = element.value, pydicom.config.IGNORE
    if re.fullmatch(EARLIER.get(kind := dictionary_VR(name), "-"), text):
        value = text.replace(":", "") if kind == "TM" else text.replace(".", "")
    return DataElement(element.tag, kind, value, validation_mode=ignore)


def _valid(element: DataElement) -> bool:
    try:
        validate_value(element.VR, element.value, pydicom.config.RAISE)
    except ValueError:
        return False
    return True


def _number(value: Any) -> int:
    found = re.fullmatch(r"\s*\+?(\d{1,9})\s*", str(value))
    return max(1, int(found[1])) if found else 1


def dated(source: Dataset) -> tuple[str, str]:
    """Date and time of the source image. Those of the present would make other bytes each time;
    when an object arrived is what the archive knows."""
    for what in DATED_BY:
        date, time = (str(source.get(f"{what}{part}") or "") for part in ("Date", "Time"))
        if re.fullmatch(r"\d{8}", date):
            at = re.fullmatch(r"(\d\d){1,3}|\d{6}\.\d{1,6}", time)
            return date, time if at else NO_DATE[1]
    return NO_DATE


def reference(of: Asked) -> Dataset:
    """The source image (PS3.3 10.3, Image SOP Instance Reference Macro)."""
    found = Dataset()
    found.ReferencedSOPClassUID = of.source.SOPClassUID
    found.ReferencedSOPInstanceUID = of.source.SOPInstanceUID
    if of.frame:
        found.ReferencedFrameNumber = of.frame
    return found


def file_of(made: Dataset) -> bytes:
    """The object as a file (PS3.10 7.1)."""
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    stream = BytesIO()
    pydicom.dcmwrite(stream, made, enforce_file_format=True)
    return stream.getvalue()
