"""ISIC 2018 task 3: HAM10000 for training, with the official validation and test of the challenge.

    ISIC2018_Task3_<Training|Validation|Test>_Input/ISIC_0024306.jpg ...
    ISIC2018_Task3_<...>_GroundTruth/ISIC2018_Task3_<...>_GroundTruth.csv
        (image, MEL, NV, BCC, AKIEC, BKL, DF, VASC: 1.0 in one of them)
    ISIC2018_Task3_Training_LesionGroupings.csv (image, lesion_id, diagnosis_confirm_type)

Validation and test may be absent. Classes are named as in HAM10000, so that a model of one set can
be tested on the other. Lesions are told for training alone.

Source: Codella et al. 2019, arXiv:1902.03368; challenge.isic-archive.com/data/#2018.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from medcnn.data.labels import Kind, LabelSpace
from medcnn.data.manifest import Manifest, Modality, Record, Split
from medcnn.data.public.ham10000 import CLASSES
from medcnn.data.public.layouts import (
    PublicSet,
    attributes_of,
    each_row,
    images_in,
    one_hot,
    sheet_at,
)

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
    """Images grouped by lesion where it is told; the official splits where the test is there."""
    place = SET.open(root)
    table = "ISIC2018_Task3_Training_LesionGroupings.csv"
    grouping = sheet_at(place, table, "image", "lesion_id")
    known: dict[str, Mapping[str, str]] = {r["image"]: r for r in grouping.rows}
    labels = LabelSpace(kind=Kind.MULTICLASS, names=CLASSES)
    columns = [c.upper() for c in CLASSES]

    def part(name: str) -> list[Record]:
        path_of = images_in(place, f"ISIC2018_Task3_{name}_Input/*.jpg")

        def record(row: Mapping[str, str], _: int) -> Record:
            image = row["image"]
            lesion = known.get(image, {})
            return Record(
                image_id=image,
                path=path_of.get(image, f"ISIC2018_Task3_{name}_Input/{image}.jpg"),
                group=lesion.get("lesion_id") or image,
                target=labels.encode([c.lower() for c in one_hot(row, columns)]),
                split=PARTS[name],
                attributes=attributes_of(lesion, {"diagnosis_confirm_type": "dx_type"}),
            )

        folder = f"ISIC2018_Task3_{name}_GroundTruth"
        return each_row(sheet_at(place, f"{folder}/{folder}.csv", "image", *columns), record)

    there = [n for n in PARTS if (place / f"ISIC2018_Task3_{n}_GroundTruth").is_dir()]
    return SET.manifest(place, labels, [r for name in there for r in part(name)])
