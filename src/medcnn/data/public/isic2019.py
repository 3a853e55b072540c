"""ISIC 2019: HAM10000, BCN_20000 and MSK together, with the official test of the challenge.

    ISIC_2019_Training_Input/, ISIC_2019_Training_GroundTruth.csv (image, MEL, NV, BCC, AK, BKL,
    DF, VASC, SCC, UNK: 1.0 in one of them), ISIC_2019_Training_Metadata.csv (image, age_approx,
    anatom_site_general, lesion_id, sex), and the same of ISIC_2019_Test_..., if there

Test images of none of the eight diagnoses (UNK) have no counterpart in training and are left out.
Lesions are told for most of the training images and for none of the test.

Source: challenge.isic-archive.com/data/#2019; Combalia et al. 2019, arXiv:1908.02288.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from medcnn.data.labels import Kind, LabelSpace
from medcnn.data.manifest import Manifest, Modality, Record, Split
from medcnn.data.public.layouts import (
    PublicSet,
    attributes_of,
    each_row,
    images_in,
    one_hot,
    sheet_at,
)

SET = PublicSet(
    title="ISIC 2019",
    about="33,569 dermoscopic images",
    labels="8 diagnoses",
    licence="CC BY-NC 4.0",
    url="https://challenge.isic-archive.com/data/#2019",
    layout=(
        "ISIC_2019_Training_Input/",
        "ISIC_2019_Training_GroundTruth.csv",
        "ISIC_2019_Training_Metadata.csv",
    ),
    modality=Modality.DERMOSCOPY,
    group_noun="lesion",
    splits="train, test",
)
CLASSES = ("ak", "bcc", "bkl", "df", "mel", "nv", "scc", "vasc")
ATTRIBUTES = {"age_approx": "age", "sex": "sex", "anatom_site_general": "site"}
PARTS = {"Training": Split.TRAIN, "Test": Split.TEST}


def read(root: Path | None) -> Manifest:
    """Images grouped by lesion where it is told; the official test where it is there."""
    place = SET.open(root)
    labels = LabelSpace(kind=Kind.MULTICLASS, names=CLASSES)
    columns = [c.upper() for c in CLASSES]
    excluded = Counter[str]()

    def part(name: str) -> list[Record]:
        about = sheet_at(place, f"ISIC_2019_{name}_Metadata.csv", "image")
        about_of: dict[str, Mapping[str, str]] = {row["image"]: row for row in about.rows}
        path_of = images_in(place, f"ISIC_2019_{name}_Input/*.jpg")

        def record(row: Mapping[str, str], _: int) -> Record | None:
            image = row["image"]
            if one_hot(row, ["UNK"]):
                excluded["none of the eight diagnoses (UNK)"] += 1
                return None
            known = about_of.get(image, {})
            return Record(
                image_id=image,
                path=path_of.get(image, f"ISIC_2019_{name}_Input/{image}.jpg"),
                group=known.get("lesion_id") or image,
                target=labels.encode([c.lower() for c in one_hot(row, columns)]),
                split=PARTS[name],
                attributes=attributes_of(known, ATTRIBUTES),
            )

        table = f"ISIC_2019_{name}_GroundTruth.csv"
        return each_row(sheet_at(place, table, "image", *columns, "UNK"), record)

    there = [n for n in PARTS if (place / f"ISIC_2019_{n}_GroundTruth.csv").is_file()]
    records = [r for name in there for r in part(name)]
    return SET.manifest(place, labels, records, excluded=excluded)
