"""ISIC 2018 task 3: HAM10000 for training, with the challenge's own validation and test splits.

    ISIC2018_Task3_<Training|Validation|Test>_Input/ISIC_0024306.jpg ...
    ISIC2018_Task3_<...>_GroundTruth/ISIC2018_Task3_<...>_GroundTruth.csv
        (image, MEL, NV, BCC, AKIEC, BKL, DF, VASC: 1.0 in one of them)
    ISIC2018_Task3_Training_LesionGroupings.csv (image, lesion_id, diagnosis_confirm_type)

Validation and test may be absent. Classes are named as in HAM10000, so that a model of one set can
be tested on the other. Lesions are known only for training: with validation or test, the set as a
whole does not say which images belong together.

Source: Codella et al. 2019, arXiv:1902.03368; challenge.isic-archive.com/data/#2018.
"""

from __future__ import annotations

from pathlib import Path

from medcnn.data.labels import Kind, LabelSpace
from medcnn.data.manifest import Manifest, Modality, Split
from medcnn.data.public.ham10000 import CLASSES
from medcnn.data.public.isic2019 import challenge_records, noun_of
from medcnn.data.public.layouts import PublicSet, sheet_at

SET = PublicSet(
    title="ISIC 2018",
    about="11,720 dermoscopic images",
    labels="7 diagnoses",
    licence="CC BY-NC 4.0",
    url="https://challenge.isic-archive.com/data/#2018",
    layout=(
        "ISIC2018_Task3_Training_Input/",
        "ISIC2018_Task3_Training_GroundTruth/",
        "ISIC2018_Task3_Training_LesionGroupings.csv",
    ),
    modality=Modality.DERMOSCOPY,
    group_noun="lesion",
    splits="train, validation, test",
)
PARTS = {"Training": Split.TRAIN, "Validation": Split.VALIDATION, "Test": Split.TEST}


def read(root: Path | None) -> Manifest:
    """Images grouped by lesion if known; official splits if the test is present."""
    place = SET.open(root)
    about = sheet_at(place, SET.layout[-1], "image", "lesion_id")
    labels = LabelSpace(kind=Kind.MULTICLASS, names=CLASSES)
    records = []
    for name, split in PARTS.items():
        folder = f"ISIC2018_Task3_{name}_GroundTruth"
        if (place / folder).is_dir():
            columns = ("image", *map(str.upper, CLASSES))
            sheet = sheet_at(place, f"{folder}/{folder}.csv", *columns)
            images = f"ISIC2018_Task3_{name}_Input"
            kept = {"diagnosis_confirm_type": "dx_type"}
            records += challenge_records(place, images, sheet, about, labels, split, kept)
    return SET.manifest(place, labels, records, group_noun=noun_of(records))
