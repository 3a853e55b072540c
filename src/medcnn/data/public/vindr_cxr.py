"""VinDr-CXR: DICOM radiographs from Hanoi, read by three radiologists each, test images by five.

    annotations/image_labels_train.csv (image_id, rad_id, 22 findings, 6 diagnoses; row per reader)
    annotations/image_labels_test.csv (image_id and the same; row per image, by consensus)
    train/<image_id>.dicom, test/<image_id>.dicom

The last diagnosis is written `Other diseases` in one table and `Other disease` in the other.

Source: Nguyen et al. 2022, Sci Data 9:429, doi 10.1038/s41597-022-01498-w;
physionet.org/content/vindr-cxr.
"""

from __future__ import annotations

from pathlib import Path

from medcnn.data.labels import Kind, LabelSpace
from medcnn.data.manifest import Manifest, Modality, Record, Split
from medcnn.data.own.classes import flags
from medcnn.data.public.layouts import PublicSet, sheet_at
from medcnn.system.errors import UsageError

SET = PublicSet(
    title="VinDr-CXR",
    about="18,000 chest radiographs (DICOM) with several readers",
    labels="27 findings",
    licence="PhysioNet credentialed health data",
    url="https://physionet.org/content/vindr-cxr/",
    layout=(
        "annotations/image_labels_train.csv",
        "annotations/image_labels_test.csv",
        "train/",
        "test/",
    ),
    modality=Modality.CHEST,
    group_noun="image",
    splits="train, test",
)
FINDINGS = (
    *("Aortic enlargement", "Atelectasis", "Calcification", "Cardiomegaly", "Clavicle fracture"),
    *("Consolidation", "Edema", "Emphysema", "Enlarged PA", "ILD", "Infiltration"),
    *("Lung Opacity", "Lung cavity", "Lung cyst", "Mediastinal shift", "Nodule/Mass"),
    *("Pleural effusion", "Pleural thickening", "Pneumothorax", "Pulmonary fibrosis"),
    *("Rib fracture", "Other lesion", "COPD", "Lung tumor", "Pneumonia", "Tuberculosis"),
    "Other diseases",
)
READERS = 3


def read(root: Path | None, *, readers: int = 2) -> Manifest:
    """The official splits; the set does not identify patients.

    Args:
        readers: how many of a training image's three radiologists must see a finding: 2 is the
            majority, 1 any of them, 3 all.
    """
    if not 1 <= readers <= READERS:
        raise UsageError(f"data.readers={readers}: each training image has {READERS} readers.")
    place = SET.open(root)
    labels = LabelSpace(kind=Kind.MULTILABEL, names=FINDINGS)

    def part(split: Split, needed: int) -> list[Record]:
        sheet = sheet_at(place, f"annotations/image_labels_{split}.csv", "image_id", *FINDINGS[:-1])
        other = "Other disease" if "Other disease" in sheet.columns else FINDINGS[-1]
        columns = (*FINDINGS[:-1], other)
        sheet.require(columns, "the set itself")
        votes: dict[str, list[tuple[float, ...]]] = {}
        for i, row in enumerate(sheet.rows):
            votes.setdefault(row["image_id"], []).append(flags(sheet, i, columns))
        return [
            Record(
                image_id=image,
                path=f"{split}/{image}.dicom",
                group=image,
                target=tuple(
                    float(sum(v == 1 for v in of_one) >= needed)
                    for of_one in zip(*cast, strict=True)
                ),
                split=split,
            )
            for image, cast in votes.items()
        ]

    records = [*part(Split.TRAIN, readers), *part(Split.TEST, 1)]
    return SET.manifest(place, labels, records)
