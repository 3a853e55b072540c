"""MIMIC-CXR-JPG: radiographs from Boston with fourteen observations, some of them uncertain.

    mimic-cxr-2.0.0-split.csv.gz (dicom_id, study_id, subject_id, split)
    mimic-cxr-2.0.0-chexpert.csv.gz and -negbio.csv.gz (subject_id, study_id, observations)
    mimic-cxr-2.0.0-metadata.csv.gz (dicom_id, ViewPosition, ...)
    files/p10/p10000032/s50414267/<dicom_id>.jpg

Tables may be unpacked. Observations are per study, as in CheXpert: 1, 0, -1 or blank.

Source: Johnson et al. 2019, arXiv:1901.07042; physionet.org/content/mimic-cxr-jpg.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from medcnn.data.labels import Kind, LabelSpace
from medcnn.data.manifest import Manifest, Modality, Record, parse_split
from medcnn.data.public.chexpert import OBSERVATIONS, observed
from medcnn.data.public.layouts import PublicSet, attributes_of, each_row, sheet_at
from medcnn.system.errors import UsageError

SET = PublicSet(
    title="MIMIC-CXR-JPG",
    about="377,110 chest radiographs of 65,379 patients",
    labels="14 observations, some uncertain",
    licence="PhysioNet credentialed health data",
    url="https://physionet.org/content/mimic-cxr-jpg/",
    layout=(
        "mimic-cxr-2.0.0-split.csv*",
        "mimic-cxr-2.0.0-chexpert.csv*|mimic-cxr-2.0.0-negbio.csv*",
        "mimic-cxr-2.0.0-metadata.csv*",
        "files/",
    ),
    modality=Modality.CHEST,
    group_noun="patient",
    splits="train, validation, test",
)


def read(
    root: Path | None,
    *,
    labeler: str = "chexpert",
    uncertain: str | Mapping[str, str] = "ignore",
    unmentioned: str = "zeros",
    views: Sequence[str] | None = None,
) -> Manifest:
    """Images grouped by patient, with the official splits.

    Args:
        labeler: the program that read the reports, chexpert or negbio.
        uncertain: meaning of -1: ignore, zeros, ones, or one of them for each label.
        unmentioned: meaning of a blank: zeros, since reports omit what is absent, or ignore for
            not assessed.
        views: keep only these values of ViewPosition (PA, AP, LATERAL, LL, ...); null keeps all.
    """
    if labeler not in ("chexpert", "negbio"):
        raise UsageError(f"data.labeler={labeler} is not one of chexpert, negbio.")
    place = SET.open(root)
    labels = LabelSpace(kind=Kind.MULTILABEL, names=OBSERVATIONS)
    target_of = observed(uncertain, unmentioned)
    studies = sheet_at(place, f"mimic-cxr-2.0.0-{labeler}.csv*", "study_id", *OBSERVATIONS)
    study_at = {row["study_id"]: i for i, row in enumerate(studies.rows)}
    metadata = sheet_at(place, "mimic-cxr-2.0.0-metadata.csv*", "dicom_id", "ViewPosition")
    view_of = {row["dicom_id"]: {"view": row["ViewPosition"]} for row in metadata.rows}
    images = sheet_at(
        place, "mimic-cxr-2.0.0-split.csv*", "dicom_id", "study_id", "subject_id", "split"
    )
    unlabelled = 0

    def record(row: Mapping[str, str], i: int) -> Record | None:
        nonlocal unlabelled
        study, patient, image = row["study_id"], row["subject_id"], row["dicom_id"]
        if study not in study_at:
            unlabelled += 1
            return None
        return Record(
            image_id=image,
            path=f"files/p{patient[:2]}/p{patient}/s{study}/{image}.jpg",
            group=patient,
            target=target_of(studies, study_at[study]),
            split=parse_split(row["split"], images.line(i)),
            attributes=attributes_of(view_of.get(image, {}), {"view": "view"}) | {"study": study},
        )

    records = each_row(images, record)
    excluded = {"study without labels": unlabelled}
    return SET.manifest(place, labels, records, views=views, excluded=excluded)
