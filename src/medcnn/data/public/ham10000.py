"""HAM10000 as distributed by Harvard Dataverse: dermoscopic images of seven diagnoses.

    HAM10000_metadata.csv (or without extension), HAM10000_images_part_1/, HAM10000_images_part_2/

Source: Tschandl, Rosendahl and Kittler 2018, Sci Data 5:180161, doi 10.7910/DVN/DBW86T.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from medcnn.data.labels import Kind, LabelSpace
from medcnn.data.manifest import Manifest, Modality, Record
from medcnn.data.public.layouts import PublicSet, attributes_of, each_row, images_in, sheet_at

SET = PublicSet(
    title="HAM10000",
    about="10,015 dermoscopic images",
    labels="7 diagnoses",
    licence="CC BY-NC 4.0",
    url="https://doi.org/10.7910/DVN/DBW86T",
    layout=("HAM10000_metadata*", "HAM10000_images*/"),
    modality=Modality.DERMOSCOPY,
    group_noun="lesion",
)
CLASSES = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")
ATTRIBUTES = {c: c for c in ("dx_type", "age", "sex", "localization", "dataset")}


def read(root: Path | None) -> Manifest:
    """Images grouped by lesion; the set has no official split of its training images.

    Raises:
        UsageError: no such root.
        DataError: another layout, an unknown diagnosis, or missing images.
    """
    place = SET.open(root)
    sheet = sheet_at(place, "HAM10000_metadata*", "lesion_id", "image_id", "dx")
    path_of = images_in(place, "HAM10000_images*/*.jpg")
    labels = LabelSpace(kind=Kind.MULTICLASS, names=CLASSES)

    def record(row: Mapping[str, str], _: int) -> Record:
        name = row["image_id"]
        return Record(
            image_id=name,
            path=path_of.get(name, f"HAM10000_images_part_1/{name}.jpg"),
            group=row["lesion_id"],
            target=labels.encode([row["dx"]]),
            attributes=attributes_of(row, ATTRIBUTES),
        )

    return SET.manifest(place, labels, each_row(sheet, record))
