"""NIH ChestX-ray14 in its official layout: frontal chest radiographs with fourteen findings.

    Data_Entry_2017*.csv, images/ or images_001/images/ ... images_012/images/,
    train_val_list.txt and test_list.txt, if present

Source: Wang et al. 2017, CVPR, "ChestX-ray8"; the fourteen findings are those of its later release.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from medcnn.data.labels import Kind, LabelSpace
from medcnn.data.manifest import Manifest, Modality, Record, Split
from medcnn.data.public.layouts import PublicSet, attributes_of, each_row, images_in, sheet_at
from medcnn.system.errors import DataError, listed

SET = PublicSet(
    title="ChestX-ray14",
    about="112,120 chest radiographs of 30,805 patients",
    labels="14 findings",
    licence="free with attribution",
    url="https://nihcc.app.box.com/v/ChestXray-NIHCC",
    layout=("Data_Entry_2017*.csv", "images/|images_*/images/"),
    modality=Modality.CHEST,
    group_noun="patient",
    splits="train and test, if both lists are there",
)
FINDINGS = (
    *("Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia"),
    *("Pneumothorax", "Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening"),
    "Hernia",
)
ATTRIBUTES = {
    "Patient Age": "age",
    "Patient Gender": "sex",
    "Patient Sex": "sex",  # in the table of 2020
    "View Position": "view",
    "Follow-up #": "follow_up",
}


def read(root: Path | None, *, views: Sequence[str] | None = None) -> Manifest:
    """Images grouped by patient, with the official train and test lists if present.

    Args:
        views: keep only PA or AP; null keeps both.

    Raises:
        UsageError: no such root.
        DataError: another layout, an unknown finding, or missing images.
    """
    place = SET.open(root)
    sheet = sheet_at(place, "Data_Entry_2017*.csv", "Image Index", "Finding Labels", "Patient ID")
    path_of = images_in(place, "images/*.png", "images_*/images/*.png")
    labels = LabelSpace(kind=Kind.MULTILABEL, names=FINDINGS)
    split_of = _official_splits(place)

    def record(row: Mapping[str, str], _: int) -> Record:
        name, words = row["Image Index"], row["Finding Labels"].split("|")
        return Record(
            image_id=name,
            path=path_of.get(Path(name).stem, f"images/{name}"),
            group=row["Patient ID"],
            # next to a finding, "No Finding" is kept, and refused as a contradiction
            target=labels.encode([] if words == ["No Finding"] else words),
            split=split_of.get(name),
            attributes=attributes_of(row, ATTRIBUTES),
        )

    records = each_row(sheet, record)
    if split_of and (unlisted := [r.image_id for r in records if r.split is None]):
        raise DataError(
            f"data.root={place}: {len(unlisted)} images are neither in train_val_list.txt nor in "
            f"test_list.txt: {listed(unlisted)}."
        )
    return SET.manifest(place, labels, records, views=views)


def _official_splits(root: Path) -> dict[str, Split]:
    files = {"train_val_list.txt": Split.TRAIN, "test_list.txt": Split.TEST}
    there = {name: split for name, split in files.items() if (root / name).is_file()}
    if len(there) == 1:
        raise DataError(f"data.root={root}: {next(iter(there))} exists without its counterpart.")
    return {
        name: split
        for file, split in there.items()
        for name in (root / file).read_text(encoding="utf-8").split()
    }
