"""DDR, grading part: fundus photographs from 147 Chinese hospitals, with official splits.

    train.txt, valid.txt, test.txt (file name, blank, grade; no header), train/, valid/, test/

This is the folder DR_grading of the set. Grade 5 means ungradable; those images are left out.

Source: Li et al. 2019, Information Sciences 501, doi 10.1016/j.ins.2019.06.011;
github.com/nkicsl/DDR-dataset.
"""

from __future__ import annotations

from pathlib import Path

from medcnn.data.labels import Kind, LabelSpace
from medcnn.data.manifest import Manifest, Modality, Record, Split
from medcnn.data.public.layouts import GRADES, PublicSet
from medcnn.system.errors import DataError, listed

SET = PublicSet(
    title="DDR",
    about="12,522 gradable fundus photographs",
    labels="retinopathy grade 0 to 4",
    licence="research, see the page",
    url="https://github.com/nkicsl/DDR-dataset",
    layout=("train.txt", "valid.txt", "test.txt", "train/", "valid/", "test/"),
    modality=Modality.FUNDUS,
    group_noun="image",
    splits="train, validation, test",
)
PARTS = {Split.TRAIN: "train", Split.VALIDATION: "valid", Split.TEST: "test"}
UNGRADABLE = "5"


def read(root: Path | None) -> Manifest:
    """Gradable images in the official splits; the set does not identify patients."""
    place = SET.open(root)
    labels = LabelSpace(kind=Kind.ORDINAL, names=GRADES)
    records, faults, ungradable = [], [], 0
    for split, part in PARTS.items():
        lines = (place / f"{part}.txt").read_text("utf-8", "replace").splitlines()
        for number, line in enumerate(lines, start=1):
            name, _, grade = line.strip().rpartition(" ")
            if grade == UNGRADABLE:
                ungradable += 1
            elif name and grade in GRADES:
                records.append(
                    Record(
                        image_id=f"{part}/{name}",
                        path=f"{part}/{name}",
                        group=f"{part}/{name}",
                        target=labels.encode([grade]),
                        split=split,
                    )
                )
            elif line.strip():
                faults.append(f"{part}.txt:{number}: '{line.strip()}'")
    if faults:
        raise DataError(
            f"data.root={place}: {len(faults)} lines are not a file name and a grade from 0 to 5: "
            f"{listed(faults)}."
        )
    return SET.manifest(place, labels, records, excluded={"not gradable": ungradable})
