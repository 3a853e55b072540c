"""CheXpert: radiographs from Stanford with fourteen observations, some of them uncertain.

    train.csv, valid.csv (Path, Sex, Age, Frontal/Lateral, AP/PA, fourteen observations)
    train/patient00001/study1/view1_frontal.jpg ..., valid/
    test.csv or test_labels.csv, test/, if present

The images of full size come in batches: tables and valid/ in "CheXpert-v1.0 batch 1 (validate &
csv)", patient folders in "... batch 2 (train 1)" to "... batch 4 (train 3)".

Each Path begins with the root, CheXpert-v1.0/ or CheXpert-v1.0-small/. In train.csv an
observation is 1, 0, -1 (the report is uncertain) or blank (the report does not mention it).

Source: Irvin et al. 2019, AAAI 33, "CheXpert", doi 10.1609/aaai.v33i01.3301590; for blank as
negative: github.com/stanfordmlgroup/chexpert-labeler/issues/9.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from medcnn.data.labels import Kind, LabelSpace
from medcnn.data.manifest import Manifest, Modality, Record, Split
from medcnn.data.own.classes import flags, uncertain_value
from medcnn.data.own.sheets import Sheet
from medcnn.data.public.layouts import PublicSet, attributes_of, each_row, sheet_at
from medcnn.system.errors import DataError, UsageError
from medcnn.system.progress import log

BATCH = "CheXpert-v1.0 batch "
SET = PublicSet(
    title="CheXpert",
    about="224,316 chest radiographs of 65,240 patients",
    labels="14 observations, some uncertain",
    licence="research use agreement",
    url="https://stanfordmlgroup.github.io/competitions/chexpert/",
    layout=(
        f"train.csv|{BATCH}1*/train.csv",
        f"valid.csv|{BATCH}1*/valid.csv",
        f"train/|{BATCH}2*/",
        f"valid/|{BATCH}1*/valid/",
    ),
    modality=Modality.CHEST,
    group_noun="patient",
    splits="train, validation, test (if test is absent, validation is the test)",
)
OBSERVATIONS = (
    *("No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion"),
    *("Edema", "Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion"),
    *("Pleural Other", "Fracture", "Support Devices"),
)


def read(
    root: Path | None,
    *,
    uncertain: str | Mapping[str, str] = "ignore",
    unmentioned: str = "zeros",
    views: Sequence[str] | None = None,
) -> Manifest:
    """Images grouped by patient, with the official splits.

    Args:
        uncertain: meaning of -1: ignore, zeros, ones, or one of them for each label.
        unmentioned: meaning of a blank: zeros, since reports omit what is absent (and never deny
            "No Finding"), or ignore for not assessed.
        views: keep only AP, PA, LL, RL or lateral; null keeps all.
    """
    place = SET.open(root)
    first = next(iter(place.glob(f"{BATCH}1*")), place)
    batch_of = {p.name: p.parent.name for p in place.glob(f"{BATCH}[234]*/patient*")}
    labels = LabelSpace(kind=Kind.MULTILABEL, names=OBSERVATIONS)
    target_of = observed(uncertain, unmentioned)
    tests = [t for t in ("test.csv", "test_labels.csv") if (place / t).is_file()]
    if not tests and (place / "test").is_dir():
        log.warning("test/ is not used: there is no test.csv or test_labels.csv with its Path.")
    parts = [("train.csv", Split.TRAIN)]
    parts.append(("valid.csv", Split.VALIDATION if tests else Split.TEST))
    parts += [(t, Split.TEST) for t in tests[:1]]

    def part(table: str, split: Split) -> list[Record]:
        sheet = sheet_at(place if table in tests else first, table, "Path", *OBSERVATIONS)

        def record(row: Mapping[str, str], i: int) -> Record:
            path = row["Path"]
            if path.startswith("CheXpert-v1.0"):
                path = path.partition("/")[2]
            folder, _, _ = path.partition("/study")
            if not folder.rpartition("/")[2].startswith("patient"):
                raise DataError(f"Path '{row['Path']}' does not name a patient")
            where = path
            if path.startswith("valid/") and first != place:
                where = f"{first.name}/{path}"
            elif batch := batch_of.get(folder.rpartition("/")[2]):
                where = f"{batch}/{path.partition('/')[2]}"
            attributes = attributes_of(row, {"Age": "age", "Sex": "sex"})
            view = row.get("AP/PA") or ("lateral" if "lateral" in path else "")
            return Record(
                image_id=path,
                path=where,
                group=folder.rpartition("/")[2],
                target=target_of(sheet, i),
                split=split,
                attributes=attributes | ({"view": view} if view else {}),
            )

        return each_row(sheet, record)

    return SET.manifest(place, labels, [r for p in parts for r in part(*p)], views=views)


def observed(
    uncertain: str | Mapping[str, str], unmentioned: str
) -> Callable[[Sheet, int], tuple[float, ...]]:
    """A function for the target of a row, one value for each of OBSERVATIONS.

    Raises:
        UsageError: an unknown label or word in the two policies.
    """
    value_of = uncertain_value(uncertain, OBSERVATIONS)
    if unmentioned not in ("zeros", "ignore"):
        raise UsageError(f"data.unmentioned={unmentioned} is not one of zeros, ignore.")

    def target(sheet: Sheet, row: int) -> tuple[float, ...]:
        found = flags(sheet, row, OBSERVATIONS, value_of)
        if unmentioned == "ignore":
            return found
        cells = (sheet.rows[row][name] for name in OBSERVATIONS)
        return tuple(v if cell else 0.0 for v, cell in zip(found, cells, strict=True))

    return target
