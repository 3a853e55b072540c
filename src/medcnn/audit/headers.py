"""What the header of a file says: how it was made, and whether it names anyone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

from PIL import Image, UnidentifiedImageError

from medcnn.audit.person_names import looks_assigned, looks_real, words_of_name
from medcnn.images.png import without_pixels
from medcnn.images.reading import is_dicom, kind_of, refuse_large

SCANNER, DEPTH, COLOUR, FORMAT, SIZE = "scanner", "bit depth", "photometric", "format", "size"
# How a file was made. What follows is found in its pixels, or is a fault of its header.
MADE = (FORMAT, SIZE, DEPTH, COLOUR, SCANNER)
# Present only if a header contradicts itself.
POLARITY = "polarity"
# The highest stored value of 16-bit grey samples.
TOP = "top"

# Tags that PS3.15 Table E.1-1 removes or blanks because they name or locate a person, or contain
# free text about one. Not included: tags about the examination and the device, which have words in
# every file; dates; UIDs; and sequences.
NAMES_AND_TEXTS = (
    *("PatientName", "OtherPatientNames", "PatientBirthName", "PatientMotherBirthName"),
    *("PatientID",),  # a number may be a pseudonym, a name is not
    *("ReferringPhysicianName", "ConsultingPhysicianName", "PhysiciansOfRecord"),
    *("PerformingPhysicianName", "NameOfPhysiciansReadingStudy", "OperatorsName"),
    *("RequestingPhysician", "ScheduledPerformingPhysicianName", "OrderEnteredBy"),
    *("HumanPerformerName", "VerifyingObserverName", "ContentCreatorName", "ReviewerName"),
    *("NamesOfIntendedRecipientsOfResults", "ResponsiblePerson", "ResponsibleOrganization"),
    *("PatientAddress", "CountryOfResidence", "RegionOfResidence", "CurrentPatientLocation"),
    *("PatientInstitutionResidence", "ReferringPhysicianAddress", "PersonAddress"),
    *("InstitutionName", "InstitutionAddress", "InstitutionalDepartmentName"),
    *("HumanPerformerOrganization", "VerifyingOrganization", "RequestingService"),
    *("IssuerOfPatientID", "MedicalRecordLocator", "MilitaryRank", "BranchOfService"),
    *("Occupation", "EthnicGroup", "PatientReligiousPreference", "InsurancePlanIdentification"),
    *("PatientComments", "AdditionalPatientHistory", "MedicalAlerts", "Allergies"),
    *("SpecialNeeds", "PatientState", "IdentifyingComments", "TextComments", "VisitComments"),
    *("StudyComments", "RequestedProcedureComments", "ImagingServiceRequestComments"),
    *("CommentsOnThePerformedProcedureStep", "ServiceEpisodeDescription", "Impressions"),
    *("AdmittingDiagnosesDescription", "ReasonForStudy", "ReasonForTheImagingServiceRequest"),
)
NUMBERS = (
    *("AccessionNumber", "OtherPatientIDs", "AdmissionID", "ServiceEpisodeID", "StudyID"),
    *("PlacerOrderNumberImagingServiceRequest", "FillerOrderNumberImagingServiceRequest"),
    *("PatientTelephoneNumbers", "ReferringPhysicianTelephoneNumbers", "OrderCallbackPhoneNumber"),
)
BIRTH = "PatientBirthDate"
TAGS = (
    *NAMES_AND_TEXTS,
    *NUMBERS,
    BIRTH,
    "Rows",
    "Columns",
    "BitsStored",
    "PhotometricInterpretation",
    "PresentationLUTShape",
    "PresentationLUTSequence",
    "Manufacturer",
    "ManufacturerModelName",
    "BurnedInAnnotation",
)
# EXIF 2.3, tables 4 and 12: who made the picture, and where.
EXIF_PERSON = {315: "Artist", 0xA430: "CameraOwnerName", 0x9C9D: "XPAuthor", 34853: "GPSInfo"}
EXIF_MAKE, EXIF_MODEL = 271, 272
# EXIF 2.3, 4.6.3: where the owner's name lies, among the settings of the exposure.
EXIF_IFD = 0x8769

BURNED_IN = "BurnedInAnnotation is YES: the pixels may contain text about the patient"


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """Attributes:
    traits: how the file was made: format, size, bit depth, photometric, scanner; and any
        contradiction in its header.
    persons: names of tags whose content seems to be about a real person; never the content.
    names: parts of a person's name, lower case, to search for in paths; only kept in memory.
    burned_in: the file says that its pixels contain text.
    """

    traits: Mapping[str, str] = field(default_factory=dict)
    persons: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    burned_in: bool = False


def read_header(data: bytes, name: str) -> Header:
    """The header of a file; empty if unreadable, which reading its pixels will report.

    Args:
        data: the file, or its beginning.
        name: for files without a header.
    """
    if ".npz#" in name:
        return Header(traits={FORMAT: "NPZ"})
    if not data:
        return Header()
    try:
        kind = "" if is_dicom(data) else kind_of(data)
        return _of_raster(data, kind) if kind else _of_dicom(data)
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException:  # decoders raise anything, and reading the pixels will report it
        return Header()


def _of_raster(data: bytes, kind: str) -> Header:
    if kind == "HEIC":
        from medcnn.images.heif import exif_of

        exif = Image.Exif()
        exif.load(exif_of(data))
        return _with_exif({FORMAT: kind}, exif)
    refuse_large(data, kind)
    try:
        opened = Image.open(BytesIO(without_pixels(data) if kind == "PNG" else data))
    except UnidentifiedImageError:
        # it has another reader; a damaged file has no header
        return Header(traits={FORMAT: kind} if kind == "NIfTI" else {})
    with opened as image:
        bits = {"1": 1, "F": 32, "I": 32}.get(image.mode, 16 if image.mode[:2] == "I;" else 8)
        traits = {
            FORMAT: str(image.format),
            SIZE: f"{image.width}x{image.height}",
            DEPTH: str(bits),
            COLOUR: "grey" if image.mode[0] in "1LIF" else "colour",
        }
        return _with_exif(traits, Image.Image.getexif(image))  # that of a PNG decodes it


def _with_exif(traits: dict[str, str], exif: Image.Exif) -> Header:
    inner: dict[int, Any] = {}
    with suppress(Exception):  # a damaged pointer hides only what it leads to
        inner = exif.get_ifd(EXIF_IFD)

    def said(tag: int) -> str:
        value = exif.get(tag) or inner.get(tag) or ""
        if isinstance(value, bytes):  # Windows writes its XP tags so
            value = value.decode("utf-16-le", errors="replace")
        # cameras fill what nobody entered with zeros or blanks
        return str(value).strip("\0 ")

    camera = " ".join(said(t) for t in (EXIF_MAKE, EXIF_MODEL) if said(t))
    persons = [word for tag, word in EXIF_PERSON.items() if said(tag)]
    return Header(traits=traits | ({SCANNER: camera} if camera else {}), persons=tuple(persons))


def _of_dicom(data: bytes) -> Header:
    import pydicom

    from medcnn.images.dicom import deflated_at, inflated
    from medcnn.images.grayscale import contradiction

    if at := deflated_at(data):
        data = inflated(data[at:])
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
    if odd := contradiction(dataset):
        traits[POLARITY] = odd
    said = {tag: str(dataset.get(tag) or "") for tag in (*NAMES_AND_TEXTS, *NUMBERS)}
    persons = [tag for tag in NAMES_AND_TEXTS if looks_real(said[tag])]
    persons += [tag for tag in NUMBERS if looks_assigned(said[tag])]
    # de-identification often leaves the first of January
    if re.fullmatch(r"\d{8}", birth := str(dataset.get(BIRTH) or "")) and birth[4:] != "0101":
        persons.append(BIRTH)
    return Header(
        traits=traits,
        persons=tuple(persons),
        names=words_of_name(said["PatientName"]) if "PatientName" in persons else (),
        burned_in=str(dataset.get("BurnedInAnnotation", "")).strip().upper() == "YES",
    )
