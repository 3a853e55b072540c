"""EyePACS as distributed by Kaggle in 2015: both eyes of each patient, retinopathy grade 0 to 4.

    trainLabels.csv (image, level), train/<patient>_<left|right>.jpeg
    retinopathy_solution.csv (image, level, Usage), test/<patient>_<left|right>.jpeg, if present

Source: Kaggle, Diabetic Retinopathy Detection,
www.kaggle.com/c/diabetic-retinopathy-detection/data; the solution was published afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from medcnn.data.labels import Kind, LabelSpace
from medcnn.data.manifest import Manifest, Modality, Record, Split
from medcnn.data.public.layouts import GRADES, PublicSet, each_row, images_in, sheet_at
from medcnn.system.errors import DataError

SET = PublicSet(
    title="EyePACS",
    about="88,702 fundus photographs, both eyes of a patient",
    labels="retinopathy grade 0 to 4",
    licence="Kaggle rules",
    url="https://www.kaggle.com/c/diabetic-retinopathy-detection",
    layout=("trainLabels.csv", "train/"),
    modality=Modality.FUNDUS,
    group_noun="patient",
    splits="train, test",
)


def read(root: Path | None) -> Manifest:
    """Both eyes of a patient are one group; with the solution, the official test is used."""
    place = SET.open(root)
    labels = LabelSpace(kind=Kind.ORDINAL, names=GRADES)

    def part(split: Split, table: str, folder: str) -> list[Record]:
        path_of = images_in(place, f"{folder}/*.jpeg")

        def record(row: Mapping[str, str], _: int) -> Record:
            name = row["image"]
            patient, _mark, eye = name.rpartition("_")
            if not patient or eye not in ("left", "right"):
                raise DataError(f"image '{name}' is not named <patient>_left or <patient>_right")
            return Record(
                image_id=name,
                path=path_of.get(name, f"{folder}/{name}.jpeg"),
                group=patient,
                target=labels.encode([row["level"]]),
                split=split,
                attributes={"eye": eye},
            )

        return each_row(sheet_at(place, table, "image", "level"), record)

    records = part(Split.TRAIN, "trainLabels.csv", "train")
    if (place / "retinopathy_solution.csv").is_file():
        records += part(Split.TEST, "retinopathy_solution.csv", "test")
    return SET.manifest(place, labels, records)
