"""Messidor-2: both eyes of each examination, with the adjudicated grades of Krause et al.

    messidor-2.csv (left;right: the two images of an examination), IMAGES/
    messidor_data.csv (image_id, adjudicated_dr_grade, adjudicated_dme, adjudicated_gradable)

The images are from ADCIS, www.adcis.net/en/third-party/messidor2, without grades; the grades are
from www.kaggle.com/datasets/google-brain/messidor2-dr-grades. Extensions differ in case between the
two, so names are compared without extension and case.

Source: Decenciere et al. 2014, doi 10.5566/ias.1155; Krause et al. 2018, Ophthalmology 125(8).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from medcnn.data.labels import Kind, LabelSpace
from medcnn.data.manifest import Manifest, Modality, Record
from medcnn.data.public.layouts import GRADES, PublicSet, each_row, images_in, sheet_at

SET = PublicSet(
    title="Messidor-2",
    about="1,748 fundus photographs of 874 examinations",
    labels="retinopathy grade 0 to 4",
    licence="research and education, on request",
    url="https://www.adcis.net/en/third-party/messidor2/",
    layout=("messidor-2.csv", "messidor_data.csv", "IMAGES/"),
    modality=Modality.FUNDUS,
    group_noun="patient",
)


def read(root: Path | None) -> Manifest:
    """Gradable images; the two of an examination form one group."""
    place = SET.open(root)
    pairs = sheet_at(place, "messidor-2.csv", "left", "right")
    whose = {_key(row[eye]): _key(row["left"]) for row in pairs.rows for eye in ("left", "right")}
    eye_of = {_key(row[eye]): eye for row in pairs.rows for eye in ("left", "right")}
    grades = sheet_at(
        place, "messidor_data.csv", "image_id", "adjudicated_dr_grade", "adjudicated_gradable"
    )
    path_of = {_key(p): p for p in images_in(place, "IMAGES/*").values()}
    labels = LabelSpace(kind=Kind.ORDINAL, names=GRADES)

    def record(row: Mapping[str, str], _: int) -> Record | None:
        if row["adjudicated_gradable"] in ("0", "0.0"):
            return None
        key = _key(row["image_id"])
        attributes = {"eye": eye_of.get(key), "macular_oedema": row.get("adjudicated_dme")}
        return Record(
            image_id=row["image_id"],
            path=path_of.get(key, f"IMAGES/{row['image_id']}"),
            group=whose.get(key, key),
            # spreadsheets write 1.0 in a column with blanks
            target=labels.encode([row["adjudicated_dr_grade"].removesuffix(".0")]),
            attributes={k: v for k, v in attributes.items() if v},
        )

    records = each_row(grades, record)
    ungradable = len(grades.rows) - len(records)
    return SET.manifest(place, labels, records, excluded={"not gradable": ungradable})


def _key(name: str) -> str:
    return Path(name).stem.lower()
