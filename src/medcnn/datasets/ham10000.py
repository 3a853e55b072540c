"""HAM10000 as Harvard Dataverse and ISIC 2018 hand it out: dermoscopic images of seven diagnoses.

    HAM10000_metadata.csv (or without ending), HAM10000_images_part_1/, HAM10000_images_part_2/

Source: Tschandl, Rosendahl and Kittler 2018, Sci Data 5:180161, doi 10.7910/DVN/DBW86T.
"""

from __future__ import annotations

from pathlib import Path

from medcnn.datasets.sheets import found_under, of_every_row, only, read_sheet, require_folder
from medcnn.errors import DataError, listed
from medcnn.labels import Kind, LabelSpace
from medcnn.manifest import Manifest, Modality, Record

CLASSES = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")
ATTRIBUTES = ("dx_type", "age", "sex", "localization", "dataset")


def read(root: Path | None) -> Manifest:
    """Images grouped by lesion; the set has no official split of its training images.

    Raises:
        UsageError: no such root.
        DataError: another layout, an unknown diagnosis, or images that are not there.
    """
    place = require_folder(root)
    tables = [t for e in ("", ".csv", ".tab") if (t := place / f"HAM10000_metadata{e}").is_file()]
    folders = sorted(p for p in place.glob("HAM10000_images*") if p.is_dir())
    if not tables or not folders:
        raise DataError(
            f"data.root={place}: expected HAM10000_metadata.csv and HAM10000_images_part_1/, "
            f"HAM10000_images_part_2/, found {found_under(place)}. Where to get it: "
            "https://doi.org/10.7910/DVN/DBW86T"
        )
    sheet = read_sheet(only(tables, "tables"))
    sheet.require(["lesion_id", "image_id", "dx"], "the set itself")
    path_of = {
        p.stem: p.relative_to(place).as_posix() for f in folders for p in sorted(f.glob("*.jpg"))
    }
    missing = [r["image_id"] for r in sheet.rows if r["image_id"] not in path_of]
    if missing:
        raise DataError(
            f"data.root={place}: {len(missing)} of {len(sheet.rows)} images of {sheet.path.name} "
            f"are in none of {', '.join(f.name for f in folders)}: {listed(missing)}."
        )
    labels = LabelSpace(kind=Kind.MULTICLASS, names=CLASSES)

    def record(i: int) -> Record:
        row = sheet.rows[i]
        try:
            target = labels.encode([row["dx"]])
        except DataError as error:
            raise DataError(f"{sheet.line(i)}: {error}") from None
        return Record(
            image_id=row["image_id"],
            path=path_of[row["image_id"]],
            group=row["lesion_id"],
            target=target,
            attributes={c: row[c] for c in ATTRIBUTES if row.get(c)},
        )

    return Manifest(
        source="HAM10000",
        root=place,
        labels=labels,
        records=tuple(of_every_row(range(len(sheet.rows)), record)),
        modality=Modality.DERMOSCOPY,
        group_noun="lesion",
    )
