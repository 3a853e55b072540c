"""ISIC 2020 (SIIM-ISIC melanoma), as JPEG or DICOM: dermoscopic images grouped by patient.

    ISIC_2020_Training_GroundTruth.csv (or _v2), or train.csv of Kaggle: image_name, patient_id,
    sex, age_approx, anatom_site_general_challenge, diagnosis, benign_malignant, target
    train/<image_name>.jpg or .dcm, below the root, jpeg/, ISIC_2020_Training_JPEG/ or _Dicom/
    ISIC_2020_Training_Duplicates.csv (image_name_1, image_name_2), if present

The second image of each pair of duplicates is left out. The test labels are not public.

Source: Rotemberg et al. 2021, Sci Data 8:34, doi 10.1038/s41597-021-00815-z;
challenge.isic-archive.com/data/#2020.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from medcnn.data.labels import Kind, LabelSpace
from medcnn.data.manifest import Manifest, Modality, Record
from medcnn.data.public.layouts import PublicSet, attributes_of, each_row, images_in, sheet_at
from medcnn.system.errors import DataError, UsageError

SET = PublicSet(
    title="ISIC 2020",
    about="33,126 dermoscopic images of 2,056 patients, JPEG or DICOM",
    labels="benign or malignant",
    licence="CC BY-NC 4.0",
    url="https://challenge.isic-archive.com/data/#2020",
    layout=(
        "ISIC_2020_Training_GroundTruth*.csv|train.csv",
        "train/|jpeg/train/|ISIC_2020_Training_JPEG/train/|ISIC_2020_Training_Dicom/train/",
    ),
    modality=Modality.DERMOSCOPY,
    group_noun="patient",
)
FILES = {
    "jpeg": ("jpeg/train/*.jpg", "ISIC_2020_Training_JPEG/train/*.jpg", "train/*.jpg"),
    "dicom": ("ISIC_2020_Training_Dicom/train/*.dcm", "train/*.dcm"),
}
ATTRIBUTES = {
    "age_approx": "age",
    "sex": "sex",
    "anatom_site_general_challenge": "site",
    "diagnosis": "diagnosis",
    "lesion_id": "lesion",
}


def read(root: Path | None, *, files: str = "auto") -> Manifest:
    """Images grouped by patient.

    Args:
        files: jpeg or dicom; auto prefers JPEG, which decodes to the same pixels.
    """
    if files not in ("auto", *FILES):
        raise UsageError(f"data.files={files} is not one of auto, {', '.join(FILES)}.")
    place = SET.open(root)
    tables = sorted(p.name for p in place.glob("ISIC_2020_Training_GroundTruth*.csv"))
    # the later version adds lesions to the first
    sheet = sheet_at(
        place, tables[-1] if tables else "train.csv", "image_name", "patient_id", "target"
    )
    kinds = FILES if files == "auto" else {files: FILES[files]}
    path_of = next((p for globs in kinds.values() if (p := images_in(place, *globs))), {})
    if not path_of:
        raise DataError(f"data.root={place}: no {' or '.join(kinds)} images in train/.")
    twice = set()
    if (place / "ISIC_2020_Training_Duplicates.csv").is_file():
        pairs = sheet_at(place, "ISIC_2020_Training_Duplicates.csv", "image_name_1", "image_name_2")
        twice = {row["image_name_2"] for row in pairs.rows}
    labels = LabelSpace(kind=Kind.BINARY, names=("benign", "malignant"))
    kind_of = {"0": "benign", "1": "malignant"}

    def record(row: Mapping[str, str], _: int) -> Record | None:
        name = row["image_name"]
        if name in twice:
            return None
        return Record(
            image_id=name,
            path=path_of.get(name, f"train/{name}"),
            group=row["patient_id"],
            target=labels.encode([kind_of.get(row["target"], row["target"])]),
            attributes=attributes_of(row, ATTRIBUTES),
        )

    records = each_row(sheet, record)
    left_out = len(sheet.rows) - len(records)
    return SET.manifest(place, labels, records, excluded={"listed as a duplicate": left_out})
