"""NIH ChestX-ray14 in its official layout: frontal chest radiographs with fourteen findings.

    Data_Entry_2017*.csv, images/ or images_001/images/ ... images_012/images/,
    train_val_list.txt and test_list.txt where they are there

Source: Wang et al. 2017, CVPR, "ChestX-ray8"; the fourteen findings are those of its later release.
"""

from __future__ import annotations

from pathlib import Path

from medcnn.datasets.sheets import (
    found_under,
    of_every_row,
    only,
    read_sheet,
    refuse_missing,
    require_folder,
)
from medcnn.errors import DataError, listed
from medcnn.labels import Kind, LabelSpace
from medcnn.manifest import Manifest, Modality, Record, Split

FINDINGS = (
    "Atelectasis",
    "Cardiomegaly",
    "Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Pleural_Thickening",
    "Hernia",
)
ATTRIBUTES = {
    "Patient Age": "age",
    "Patient Gender": "sex",
    "View Position": "view",
    "Follow-up #": "follow_up",
}


def read(root: Path | None) -> Manifest:
    """Images grouped by patient, with the official train and test lists where they are there.

    Raises:
        UsageError: no such root.
        DataError: another layout, an unknown finding, or images that are not there.
    """
    place = require_folder(root)
    tables = sorted(place.glob("Data_Entry_2017*.csv"))
    folders = [p for p in (place / "images", *place.glob("images_*/images")) if p.is_dir()]
    if not tables or not folders:
        raise DataError(
            f"data.root={place}: expected Data_Entry_2017_v2020.csv and images/ (or "
            f"images_001/images/ ...), found {found_under(place)}. Where to get it: "
            "https://nihcc.app.box.com/v/ChestXray-NIHCC"
        )
    sheet = read_sheet(only(tables, "tables"))
    sheet.require(["Image Index", "Finding Labels", "Patient ID"], "the set itself")
    path_of = {p.name: p.relative_to(place).as_posix() for f in folders for p in f.glob("*.png")}
    labels = LabelSpace(kind=Kind.MULTILABEL, names=FINDINGS)
    split_of = _official_splits(place)

    def record(i: int) -> Record:
        row = sheet.rows[i]
        name, words = row["Image Index"], row["Finding Labels"].split("|")
        try:
            # beside a finding, "No Finding" is left in and refused as the contradiction it is
            target = labels.encode([] if words == ["No Finding"] else words)
        except DataError as error:
            raise DataError(f"{sheet.line(i)}: {error}") from None
        return Record(
            image_id=name,
            path=path_of.get(name, f"images/{name}"),
            group=row["Patient ID"],
            target=target,
            split=split_of.get(name),
            attributes={ours: row[c] for c, ours in ATTRIBUTES.items() if row.get(c)},
        )

    records = of_every_row(range(len(sheet.rows)), record)
    if split_of and (unlisted := [r.image_id for r in records if r.split is None]):
        raise DataError(
            f"data.root={place}: {len(unlisted)} images stand neither in train_val_list.txt nor in "
            f"test_list.txt: {listed(unlisted)}."
        )
    refuse_missing("ChestX-ray14", place, (r.path for r in records))
    return Manifest(
        source="ChestX-ray14",
        root=place,
        labels=labels,
        records=tuple(records),
        modality=Modality.CHEST,
    )


def _official_splits(root: Path) -> dict[str, Split]:
    files = {"train_val_list.txt": Split.TRAIN, "test_list.txt": Split.TEST}
    there = {name: split for name, split in files.items() if (root / name).is_file()}
    if len(there) == 1:
        raise DataError(f"data.root={root}: {next(iter(there))} is there without its counterpart.")
    return {
        name: split
        for file, split in there.items()
        for name in (root / file).read_text(encoding="utf-8").split()
    }
