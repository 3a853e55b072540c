"""IDRiD, part B (disease grading): fundus photographs from an Indian clinic, with a test split.

    1. Original Images/a. Training Set/IDRiD_001.jpg ..., b. Testing Set/IDRiD_001.jpg ...
    2. Groundtruths/a. IDRiD_Disease Grading_Training Labels.csv, b. ..._Testing Labels.csv
        (Image name, Retinopathy grade, Risk of macular edema)

Names repeat in the test split, so the id of an image includes its part.

Source: Porwal et al. 2018, Data 3(3):25, doi 10.3390/data3030025; IEEE DataPort 10.21227/H25W98.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from medcnn.data.labels import Kind, LabelSpace
from medcnn.data.manifest import Manifest, Modality, Record, Split
from medcnn.data.public.layouts import GRADES, PublicSet, attributes_of, each_row, sheet_at

SET = PublicSet(
    title="IDRiD",
    about="516 fundus photographs",
    labels="retinopathy grade 0 to 4",
    licence="CC BY 4.0",
    url="https://doi.org/10.21227/H25W98",
    layout=("1. Original Images/", "2. Groundtruths/"),
    modality=Modality.FUNDUS,
    group_noun="image",
    splits="train, test",
)
PARTS = (
    (Split.TRAIN, "a. Training Set", "a. IDRiD_Disease Grading_Training Labels.csv"),
    (Split.TEST, "b. Testing Set", "b. IDRiD_Disease Grading_Testing Labels.csv"),
)


def read(root: Path | None) -> Manifest:
    """Both parts in their official splits; the set does not identify patients."""
    place = SET.open(root)
    labels = LabelSpace(kind=Kind.ORDINAL, names=GRADES)

    def part(split: Split, folder: str, table: str) -> list[Record]:
        def record(row: Mapping[str, str], _: int) -> Record:
            name = row["Image name"]
            return Record(
                image_id=f"{split}/{name}",
                path=f"1. Original Images/{folder}/{name}.jpg",
                group=f"{split}/{name}",
                target=labels.encode([row["Retinopathy grade"]]),
                split=split,
                attributes=attributes_of(row, {"Risk of macular edema": "macular_oedema_risk"}),
            )

        columns = ("Image name", "Retinopathy grade")
        return each_row(sheet_at(place, f"2. Groundtruths/{table}", *columns), record)

    return SET.manifest(place, labels, [r for p in PARTS for r in part(*p)])
