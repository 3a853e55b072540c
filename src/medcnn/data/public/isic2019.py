"""ISIC 2019: HAM10000, BCN_20000 and MSK together, with the challenge's own test split.

    ISIC_2019_Training_Input/, ISIC_2019_Training_GroundTruth.csv (image, MEL, NV, BCC, AK, BKL,
    DF, VASC, SCC, UNK: 1.0 in one of them), ISIC_2019_Training_Metadata.csv (image, age_approx,
    anatom_site_general, lesion_id, sex), and the same for ISIC_2019_Test_..., if present

Test images of none of the eight diagnoses (UNK) have no counterpart in training and are left out.
Lesions are known for most training images, and for no test image: images of a known lesion stay
together, but the set as a whole does not say which images do.

Source: challenge.isic-archive.com/data/#2019; Combalia et al. 2019, arXiv:1908.02288.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from medcnn.data.labels import Kind, LabelSpace
from medcnn.data.manifest import Manifest, Modality, Record, Split
from medcnn.data.own.sheets import Sheet
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
    """Images grouped by lesion if known; official test if present."""
    place = SET.open(root)
    labels = LabelSpace(kind=Kind.MULTICLASS, names=CLASSES)
    records, unknown = [], 0
    for name, split in PARTS.items():
        table = f"ISIC_2019_{name}_GroundTruth.csv"
        if (place / table).is_file():
            sheet = sheet_at(place, table, "image", *map(str.upper, CLASSES), "UNK")
            about = sheet_at(place, f"ISIC_2019_{name}_Metadata.csv", "image")
            images = f"ISIC_2019_{name}_Input"
            found = challenge_records(place, images, sheet, about, labels, split, ATTRIBUTES)
            records += found
            unknown += len(sheet.rows) - len(found)
    excluded = {"none of the eight diagnoses (UNK)": unknown} if unknown else {}
    return SET.manifest(place, labels, records, excluded=excluded, group_noun=noun_of(records))


def noun_of(records: Sequence[Record]) -> str | None:
    """Images whose lesion is not known are groups of their own, and may show the same lesion."""
    return "image" if any(r.group == r.image_id for r in records) else None


def challenge_records(
    place: Path,
    images: str,
    sheet: Sheet,
    about: Sheet,
    labels: LabelSpace,
    split: Split,
    attributes: Mapping[str, str],
) -> list[Record]:
    """The images of one part of a challenge, without those of unknown class (UNK).

    Args:
        images: folder of the images.
        sheet: one-hot classes of each image.
        about: lesion and `attributes` of some of the images.
    """
    path_of = images_in(place, f"{images}/*.jpg")
    about_of: dict[str, Mapping[str, str]] = {row["image"]: row for row in about.rows}
    columns = [name.upper() for name in labels.names]

    def record(row: Mapping[str, str], _: int) -> Record | None:
        image = row["image"]
        if "UNK" in row and one_hot(row, ["UNK"]):
            return None
        known = about_of.get(image, {})
        return Record(
            image_id=image,
            path=path_of.get(image, f"{images}/{image}.jpg"),
            group=known.get("lesion_id") or image,
            target=labels.encode([c.lower() for c in one_hot(row, columns)]),
            split=split,
            attributes=attributes_of(known, attributes),
        )

    return each_row(sheet, record)
