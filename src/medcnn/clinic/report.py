"""The Structured Report: TID 1500 (PS3.16), as Enhanced SR (PS3.3 A.35.2), never complete, never
verified; of one image, or of all images of a study.

For each image one measurement group (TID 1501) for the image as a whole, and one for each label:
finding, probability, call, and the operating point with what it reached on test images. Who says so
is in the algorithm identification (TID 4019) of each group, with the digest of the checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256
from itertools import groupby
from typing import Any

from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import EnhancedSRStorage

from medcnn import __version__
from medcnn.clinic.answers import Finding, Measured
from medcnn.clinic.headers import NOT_FOR_DIAGNOSIS, Asked, Kind, headed, reference
from medcnn.pages.format import counted
from medcnn.statistics.estimates import Estimate
from medcnn.system.errors import ImageError, UsageError, pip_install

KIND = Kind(name="report", sop_class=EnhancedSRStorage, modality="SR", number=9001)
# Codes of our own (PS3.16 8.2: designators that begin with 99 are private).
SCHEME = "99MEDCNN"
OWN = {
    "WHOLE": "Image as a whole",
    "CALL": "Call of the model",
    "THRESHOLD": "Probability from which it is called present",
    "SENSITIVITY": "Sensitivity of the operating point",
    "SPECIFICITY": "Specificity of the operating point",
    "LOW": "Lower end of the 95 % interval",
    "HIGH": "Upper end of the 95 % interval",
    "DECISION": "Decision of the model",
    "RULE": "Rule of the decision",
    "SET": "Prediction set",
    "REFER": "To be looked at by a human",
    "LOOKS": "Looks like the training images",
    "USE": "Use",
}
LONGEST_MEANING = 64


def own(code: str) -> Code:
    return Code(code, SCHEME, OWN[code])


def named(what: str, words: str) -> Code:
    """A code for words from outside, such as a label: the same words have the same code, in 16
    characters (PS3.3 8.8, VR SH). The meaning has 64 (VR LO), without a backslash."""
    value = f"{what}{sha256(words.encode()).hexdigest()[:10].upper()}"
    plain = "".join(c if c.isprintable() and c != "\\" else "/" for c in words).strip()
    return Code(value, SCHEME, plain[:LONGEST_MEANING] or "?")


def report(of: Asked) -> Dataset:
    """Raises ImageError as `headers.headed` does, and UsageError if highdicom is missing."""
    return _filled(headed(of, KIND), [of])


def report_of_study(images: Sequence[Asked]) -> Dataset:
    """One report of several images, each with groups of its own, in a series of the study.

    Its UID is a function of all of them: when another image comes, it is another report. The same
    image in two files is there once.

    Raises:
        ImageError: they name several patients; as above.
    """
    patients = {(_said(i, "PatientID"), _said(i, "PatientName")) for i in images}
    if len(patients) > 1:
        raise ImageError(f"the images of its study name {len(patients)} patients")
    images = sorted({str(i.source.SOPInstanceUID): i for i in images}.values(), key=_place)
    first = images[0]
    made = headed(first, KIND)
    made.SOPInstanceUID = first.study_uid(KIND.name, [i.uid(KIND.name) for i in images])
    made.SeriesInstanceUID = first.study_uid("series", KIND.name)
    made.InstanceNumber = 1
    return _filled(made, images)


def _said(of: Asked, name: str) -> str:
    """What is empty is the same as what is missing."""
    return str(of.source.get(name) or "")


def _place(of: Asked) -> tuple[str, int, str]:
    number = str(of.source.get("InstanceNumber") or 0)
    order = int(number) if number.lstrip("-").isdecimal() else 0
    return str(of.source.SeriesInstanceUID), order, str(of.source.SOPInstanceUID)


def _filled(made: Dataset, images: Sequence[Asked]) -> Dataset:
    sr, of = _highdicom(), images[0]
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=of.uid("device"),
        name=of.model.name,
        manufacturer_name="medcnn",
        model_name="medcnn",
        serial_number=of.model.sha256,
    )
    content = sr.MeasurementReport(
        observation_context=sr.ObservationContext(
            observer_device_context=sr.ObserverContext(
                observer_type=codes.DCM.Device, observer_identifying_attributes=device
            )
        ),
        procedure_reported=codes.SCT.ImagingProcedure,
        imaging_measurements=[group for image in images for group in _groups(image, sr)],
        title=codes.DCM.ImagingMeasurementReport,
    )
    made.update(content[0])
    # PS3.3 C.17.2, SR Document General
    made.CompletionFlag, made.VerificationFlag = "PARTIAL", "UNVERIFIED"
    made.PreliminaryFlag = "PRELIMINARY"
    made.PerformedProcedureCodeSequence = []
    made.ReferencedPerformedProcedureStepSequence = []
    made.CurrentRequestedProcedureEvidenceSequence = [_evidence(images)]
    scheme = Dataset()
    scheme.CodingSchemeDesignator, scheme.CodingSchemeName = SCHEME, "medcnn"
    made.CodingSchemeIdentificationSequence = [scheme]
    return made


def _highdicom() -> Any:
    # 7 s, so only here
    try:
        import highdicom.sr
    except ImportError as error:
        raise UsageError(f"results as DICOM need highdicom: {pip_install('clinic')}.") from error
    return highdicom.sr


def _evidence(images: Sequence[Asked]) -> Dataset:
    """PS3.3 Table 10-4, Hierarchical SOP Instance Reference Macro, without frames; of images that
    are sorted by series."""
    study = Dataset()
    study.StudyInstanceUID = images[0].source.StudyInstanceUID
    study.ReferencedSeriesSequence = []
    for uid, own in groupby(images, key=lambda of: str(of.source.SeriesInstanceUID)):
        series = Dataset()
        series.SeriesInstanceUID = uid
        series.ReferencedSOPSequence = [reference(of) for of in own]
        for instance in series.ReferencedSOPSequence:
            instance.pop("ReferencedFrameNumber", None)
        study.ReferencedSeriesSequence.append(series)
    return study


def _groups(of: Asked, sr: Any) -> Iterator[Any]:
    settings = [f"{key}={value}" for key, value in sorted(of.model.settings.items())]
    source = sr.SourceImageForMeasurementGroup(
        of.source.SOPClassUID, of.source.SOPInstanceUID, [of.frame] if of.frame else None
    )

    def group(name: str, finding: Code, **more: Any) -> Any:
        return sr.MeasurementsAndQualitativeEvaluations(
            tracking_identifier=sr.TrackingIdentifier(of.uid("finding", name), name),
            finding_type=finding,
            algorithm_id=sr.AlgorithmIdentification(
                name=f"medcnn, {of.model.name}",
                version=f"{__version__}, SHA-256 {of.model.sha256}",
                parameters=settings,
                manufacturer="medcnn",
            ),
            source_images=[source],
            **more,
        )

    whole = group("image", own("WHOLE"), qualitative_evaluations=list(_verdicts(of, sr)))
    whole[0].ContentSequence.extend(_texts(of, sr))
    yield whole
    for finding in of.answer.findings:
        call = codes.SCT.Present if finding.present else codes.SCT.Absent
        yield group(
            finding.label,
            named("L", finding.label),
            measurements=list(_numbers(finding, sr)),
            qualitative_evaluations=[sr.QualitativeEvaluation(own("CALL"), _short(call))],
        )


def _short(code: Code) -> Code:
    """SNOMED's full names, such as `Present (qualifier value)`, without what kind they are of."""
    return Code(code.value, code.scheme_designator, code.meaning.split(" (")[0])


def _verdicts(of: Asked, sr: Any) -> Iterator[Any]:
    if of.answer.looks is not None:
        yield sr.QualitativeEvaluation(own("LOOKS"), named("V", of.answer.looks))
    if of.answer.refer is not None:
        refer = codes.SCT.Yes if of.answer.refer else codes.SCT.No
        yield sr.QualitativeEvaluation(own("REFER"), _short(refer))


def _texts(of: Asked, sr: Any) -> Iterator[Any]:
    said = {
        "DECISION": of.answer.decision or "none of the labels",
        "RULE": of.answer.rule,
        "SET": of.answer.possible,
        "USE": NOT_FOR_DIAGNOSIS,
    }
    for code, words in said.items():
        if words is not None:
            contains = sr.RelationshipTypeValues.CONTAINS
            yield sr.TextContentItem(own(code), words or "empty", contains)


def _numbers(finding: Finding, sr: Any) -> Iterator[Any]:
    yield _number(sr, codes.DCM.Probability, finding.probability)
    if finding.threshold is not None:
        yield _number(sr, own("THRESHOLD"), finding.threshold)
    if known := finding.measured:
        for code, estimate in (
            ("SENSITIVITY", known.sensitivity),
            ("SPECIFICITY", known.specificity),
        ):
            if estimate.value == estimate.value:
                yield _number(sr, own(code), estimate.value, _interval(estimate, known, sr))


def _number(sr: Any, name: Code, value: float, properties: Any = None) -> Any:
    """A number in 0..1 (UCUM 1), with as many digits as the table of `predict` has."""
    return sr.Measurement(
        name=name, value=round(value, 6), unit=codes.UCUM.NoUnits, properties=properties
    )


def _interval(estimate: Estimate, known: Measured, sr: Any) -> Any:
    """TID 310 with TID 311: both ends of the interval, and the images it comes from."""
    ends = {"LOW": estimate.low, "HIGH": estimate.high}
    values = [
        sr.NumContentItem(
            name=own(code),
            value=round(end, 6),
            unit=codes.UCUM.NoUnits,
            relationship_type=sr.RelationshipTypeValues.HAS_PROPERTIES,
        )
        for code, end in ends.items()
        if end == end
    ]
    whose = "" if known.noun == "image" else f" from {counted(estimate.groups, known.noun)}"
    words = f"{known.on}; {estimate.count:,} of them{whose} count here"
    return sr.MeasurementProperties(
        measurement_statistical_properties=sr.MeasurementStatisticalProperties(values, words)
    )
