"""PadChest: radiographs from Alicante with the findings of their Spanish reports.

    PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv (or .csv.gz), with ImageID, ImageDir,
    PatientID, PatientBirth, StudyDate_DICOM, PatientSex_DICOM, Projection, MethodLabel,
    Manufacturer_DICOM and Labels: ['pleural effusion', 'cardiomegaly']
    0/<ImageID>.png ... 54/, 16 bit; or images-224/<ImageID>.png and other flat copies

`normal` is not a finding. Rows are left out and counted if they have no labels, only `exclude` or
`suboptimal study`, or an image that the published archives lack.

Source: Bustos et al. 2020, Medical Image Analysis 66, arXiv:1901.07441;
bimcv.cipf.es/bimcv-projects/padchest.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from medcnn.data.labels import Kind, LabelSpace
from medcnn.data.manifest import Manifest, Modality, Record
from medcnn.data.public.layouts import PublicSet, attributes_of, each_row, images_in, sheet_at
from medcnn.system.errors import UsageError, listed

SET = PublicSet(
    title="PadChest",
    about="160,861 chest radiographs of 67,000 patients",
    labels="39 common findings, or those named",
    licence="PadChest research use agreement",
    url="https://bimcv.cipf.es/bimcv-projects/padchest/",
    layout=("PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv*",),
    modality=Modality.CHEST,
    group_noun="patient",
)
# Those with 1,000 patients or more in the table of 2019.
COMMON = (
    *("air trapping", "alveolar pattern", "aortic atheromatosis", "aortic elongation"),
    *("apical pleural thickening", "atelectasis", "bronchiectasis", "calcified granuloma"),
    *("callus rib fracture", "cardiomegaly", "central venous catheter via jugular vein"),
    *("chronic changes", "consolidation", "COPD signs", "costophrenic angle blunting"),
    *("endotracheal tube", "fibrotic band", "heart insufficiency", "hemidiaphragm elevation"),
    *("hiatal hernia", "hilar enlargement", "increased density", "infiltrates"),
    *("interstitial pattern", "kyphosis", "laminar atelectasis", "nodule", "NSG tube"),
    *("pacemaker", "pleural effusion", "pneumonia", "pseudonodule", "scoliosis", "sternotomy"),
    *("supra aortic elongation", "suture material", "vascular hilar enlargement"),
    *("vertebral degenerative changes", "volume loss"),
)
ATTRIBUTES = {
    "PatientSex_DICOM": "sex",
    "Projection": "view",
    "MethodLabel": "labelled_by",
    "Manufacturer_DICOM": "device",
}
# The published archives lack a dozen images of their table; if more are missing, so is a file.
MOST_MISSING = 0.001


def read(
    root: Path | None, *, findings: Sequence[str] | None = None, views: Sequence[str] | None = None
) -> Manifest:
    """Images grouped by patient; the set has no official split.

    Args:
        findings: the labels to learn, as written in the table; null: the common ones.
        views: keep only PA, AP, AP_horizontal, L or COSTAL; null keeps all.
    """
    place = SET.open(root)
    sheet = sheet_at(place, SET.layout[0], "ImageID", "PatientID", "Labels")
    path_of = images_in(place, "*/*.png", "*.png")
    labels = LabelSpace(kind=Kind.MULTILABEL, names=tuple(findings or COMMON))
    words_of = [_words(row["Labels"]) for row in sheet.rows]
    known = {word for words in words_of for word in words}
    if findings and (absent := [f for f in findings if f not in known]):
        raise UsageError(f"data.findings: no image of PadChest shows {listed(absent)}.")
    missing = [r["ImageID"] for r in sheet.rows if Path(r["ImageID"]).stem not in path_of]
    tolerated = set(missing) if len(missing) <= MOST_MISSING * len(sheet.rows) else set()
    excluded: Counter[str] = Counter()

    def record(row: Mapping[str, str], i: int) -> Record | None:
        name, words = row["ImageID"], words_of[i]
        if name in tolerated:
            return None
        if "exclude" in words:
            excluded["label exclude"] += 1
        elif not words - {"unchanged", "suboptimal study"}:
            excluded["no label"] += 1
        else:
            return Record(
                image_id=name,
                path=path_of.get(Path(name).stem, f"{row.get('ImageDir', '')}/{name}"),
                group=row["PatientID"],
                target=labels.encode([f for f in labels.names if f in words]),
                attributes=attributes_of(row, ATTRIBUTES) | _age(row),
            )
        return None

    records = each_row(sheet, record)
    rows = {"missing from the published archives": len(tolerated)} if tolerated else {}
    return SET.manifest(place, labels, records, views=views, excluded=excluded, rows_left_out=rows)


def _words(cell: str) -> set[str]:
    """The labels in a list printed by Python; some begin with a blank, some are blank."""
    return {word.strip() for word in re.findall(r"'([^']*)'", cell)} - {""}


def _age(row: Mapping[str, str]) -> dict[str, str]:
    study, birth = row.get("StudyDate_DICOM", "")[:4], row.get("PatientBirth", "")[:4]
    return {"age": str(int(study) - int(birth))} if study.isdigit() and birth.isdigit() else {}
