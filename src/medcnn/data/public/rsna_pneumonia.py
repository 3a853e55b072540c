"""RSNA Pneumonia Detection Challenge, stage 2: DICOM radiographs with or without lung opacity.

    stage_2_train_labels.csv (patientId, x, y, width, height, Target; one row per box)
    stage_2_train_images/<patientId>.dcm
    stage_2_detailed_class_info.csv (patientId, class), if present
    pneumonia-challenge-dataset-mappings_2018.json (img_id, subset_img_id), if present

Each patientId is one image of ChestX-ray14, and a person may have several. The mapping that RSNA
publishes with the challenge identifies them; without it, images are the groups. The archive does
not contain the test labels.

Source: Shih et al. 2019, Radiology: AI 1(1), doi 10.1148/ryai.2019180041;
www.rsna.org/rsnai/ai-image-challenge/rsna-pneumonia-detection-challenge-2018.
"""

from __future__ import annotations

import json
from pathlib import Path

from medcnn.data.labels import Kind, LabelSpace
from medcnn.data.manifest import Manifest, Modality, Record
from medcnn.data.public.layouts import PublicSet, sheet_at
from medcnn.system.errors import DataError
from medcnn.system.progress import log

SET = PublicSet(
    title="RSNA Pneumonia",
    about="26,684 chest radiographs (DICOM)",
    labels="lung opacity or none",
    licence="Kaggle rules",
    url="https://www.kaggle.com/c/rsna-pneumonia-detection-challenge",
    layout=("stage_2_train_labels.csv", "stage_2_train_images/"),
    modality=Modality.CHEST,
    group_noun="image",
)
CLASSES = ("no lung opacity", "lung opacity")
MAPPING = "pneumonia-challenge-dataset-mappings_2018.json"


def read(root: Path | None) -> Manifest:
    """One record per image; with the mapping, groups are the patients of ChestX-ray14."""
    place = SET.open(root)
    boxes = sheet_at(place, "stage_2_train_labels.csv", "patientId", "Target")
    target_of: dict[str, str] = {}
    for i, row in enumerate(boxes.rows):
        if target_of.setdefault(row["patientId"], row["Target"]) != row["Target"]:
            raise DataError(
                f"{boxes.line(i)}: {row['patientId']} has rows with and without opacity."
            )
        if row["Target"] not in ("0", "1"):
            raise DataError(f"{boxes.line(i)}: Target is '{row['Target']}', not 0 or 1.")
    class_of: dict[str, str] = {}
    if (place / "stage_2_detailed_class_info.csv").is_file():
        details = sheet_at(place, "stage_2_detailed_class_info.csv", "patientId", "class")
        class_of = {row["patientId"]: row["class"] for row in details.rows}
    patient_of = _patients(place / MAPPING) if (place / MAPPING).is_file() else {}
    if not patient_of:
        log.warning(
            f"{MAPPING} is missing, so images of one patient may be in two splits. RSNA's page of "
            "the challenge links to it."
        )
    labels = LabelSpace(kind=Kind.BINARY, names=CLASSES)
    records = [
        Record(
            image_id=image,
            path=f"stage_2_train_images/{image}.dcm",
            group=patient_of.get(image, image),
            target=labels.encode([CLASSES[int(target)]]),
            attributes={"class": class_of[image]} if image in class_of else {},
        )
        for image, target in target_of.items()
    ]
    return SET.manifest(place, labels, records, group_noun="patient" if patient_of else None)


def _patients(mapping: Path) -> dict[str, str]:
    """Image of the challenge -> patient of ChestX-ray14, whose number begins the file name."""
    try:
        rows = json.loads(mapping.read_text(encoding="utf-8"))
        return {row["subset_img_id"]: row["img_id"].partition("_")[0] for row in rows}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{mapping} is not a list of img_id and subset_img_id: {error!r}."
        ) from None
