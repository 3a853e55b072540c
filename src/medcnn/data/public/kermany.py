"""Kermany et al.: chest radiographs of children in Guangzhou, normal or pneumonia.

    train/, val/ (not in every copy) and test/, each with NORMAL/ and PNEUMONIA/
    Kaggle and Mendeley version 2: person1_bacteria_1.jpeg, IM-0115-0001.jpeg,
        NORMAL2-IM-1427-0001.jpeg
    Mendeley version 3: BACTERIA-1008087-0001.jpeg, VIRUS-..., NORMAL-1003233-0001.jpeg: the
        disease, the patient, the patient's image

Only the file name identifies the patient. In the older names, bacteria and virus are numbered
separately: person1000_bacteria and person1000_virus are two children.

Source: Kermany et al. 2018, Cell 172(5), doi 10.17632/rscbjbr9sj; naming from its data page.
"""

from __future__ import annotations

import re
from pathlib import Path

from medcnn.data.labels import Kind, LabelSpace
from medcnn.data.manifest import Manifest, Modality, Record, Split
from medcnn.data.public.layouts import PublicSet
from medcnn.system.errors import DataError, listed

SET = PublicSet(
    title="Kermany pneumonia",
    about="5,856 chest radiographs of children",
    labels="normal or pneumonia",
    licence="CC BY 4.0",
    url="https://data.mendeley.com/datasets/rscbjbr9sj",
    layout=("train/NORMAL/", "train/PNEUMONIA/", "test/NORMAL/", "test/PNEUMONIA/"),
    modality=Modality.CHEST,
    group_noun="patient",
    splits="train, validation (16 images), test",
)
PARTS = {"train": Split.TRAIN, "val": Split.VALIDATION, "test": Split.TEST}
NAMES = (
    re.compile(r"(?P<patient>person\d+_(?P<pathogen>bacteria|virus))_"),
    re.compile(r"(?P<patient>(NORMAL2-)?IM-\d+)-"),
    re.compile(r"(?P<pathogen>BACTERIA|VIRUS|NORMAL)-(?P<patient>\d+)-"),
)


def read(root: Path | None, *, official: bool = True) -> Manifest:
    """Images grouped by patient.

    Args:
        official: keep the authors' splits; false makes all three by patient, since the official
            validation split has 16 images.
    """
    place = SET.open(root)
    labels = LabelSpace(kind=Kind.BINARY, names=("NORMAL", "PNEUMONIA"))
    records, strange = [], []
    for folder, split in PARTS.items():
        for path in sorted(place.glob(f"{folder}/*/*.jp*g")):
            named = next((m for pattern in NAMES if (m := pattern.match(path.name))), None)
            if named is None or path.parent.name not in labels.names:
                strange.append(path.relative_to(place).as_posix())
                continue
            pathogen = (named.groupdict().get("pathogen") or "").lower()
            records.append(
                Record(
                    image_id=path.relative_to(place).as_posix(),
                    path=path.relative_to(place).as_posix(),
                    group=named["patient"],
                    target=labels.encode([path.parent.name]),
                    split=split if official else None,
                    attributes={"pathogen": pathogen} if pathogen in ("bacteria", "virus") else {},
                )
            )
    if strange:
        raise DataError(
            f"data.root={place}: {len(strange)} file names do not identify a patient: "
            f"{listed(strange)}."
        )
    return SET.manifest(place, labels, records)
