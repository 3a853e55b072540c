"""APTOS 2019 as distributed by Kaggle: fundus photographs from India, retinopathy grade 0 to 4.

    train.csv (id_code, diagnosis), train_images/<id_code>.png

The images of test.csv have no public grade and are not read. Patients are not identified.

Source: Kaggle, APTOS 2019 Blindness Detection, www.kaggle.com/c/aptos2019-blindness-detection/data.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from medcnn.data.labels import Kind, LabelSpace
from medcnn.data.manifest import Manifest, Modality, Record
from medcnn.data.public.layouts import GRADES, PublicSet, each_row, images_in, sheet_at

SET = PublicSet(
    title="APTOS 2019",
    about="3,662 fundus photographs",
    labels="retinopathy grade 0 to 4",
    licence="Kaggle rules",
    url="https://www.kaggle.com/c/aptos2019-blindness-detection",
    layout=("train.csv", "train_images/"),
    modality=Modality.FUNDUS,
    group_noun="image",
)


def read(root: Path | None) -> Manifest:
    """The graded images; the set has neither patient ids nor splits."""
    place = SET.open(root)
    sheet = sheet_at(place, "train.csv", "id_code", "diagnosis")
    path_of = images_in(place, "train_images/*.png")
    labels = LabelSpace(kind=Kind.ORDINAL, names=GRADES)

    def record(row: Mapping[str, str], _: int) -> Record:
        name = row["id_code"]
        return Record(
            image_id=name,
            path=path_of.get(name, f"train_images/{name}.png"),
            group=name,
            target=labels.encode([row["diagnosis"]]),
        )

    return SET.manifest(place, labels, each_row(sheet, record))
