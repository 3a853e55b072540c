"""PAD-UFES-20: skin lesions photographed with smartphones in Brazil, grouped by patient.

    metadata.csv (patient_id, lesion_id, ..., age, gender, fitspatrick, region, diagnostic, img_id,
    biopsed), images/imgs_part_1/PAT_46_881_939.png ... imgs_part_3/

Source: Pacheco et al. 2020, Data in Brief 32:106221, doi 10.17632/zr7vgbcyr2.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from medcnn.data.labels import Kind, LabelSpace
from medcnn.data.manifest import Manifest, Modality, Record
from medcnn.data.public.layouts import PublicSet, attributes_of, each_row, images_in, sheet_at

SET = PublicSet(
    title="PAD-UFES-20",
    about="2,298 smartphone photographs of skin, 1,373 patients",
    labels="6 diagnoses",
    licence="CC BY 4.0",
    url="https://doi.org/10.17632/zr7vgbcyr2.1",
    layout=("metadata.csv", "images/|imgs_part_1/"),
    # not dermoscopy, but skin has no upright position either, and that is what this decides
    modality=Modality.DERMOSCOPY,
    group_noun="patient",
)
CLASSES = ("ACK", "BCC", "MEL", "NEV", "SCC", "SEK")
ATTRIBUTES = {
    "age": "age",
    "gender": "sex",
    "region": "site",
    "fitspatrick": "skin_type",
    "biopsed": "biopsied",
    "lesion_id": "lesion",
}


def read(root: Path | None) -> Manifest:
    """Images grouped by patient, who may have several lesions; no official split."""
    place = SET.open(root)
    sheet = sheet_at(place, "metadata.csv", "patient_id", "diagnostic", "img_id")
    path_of = images_in(place, "images/**/*.png", "imgs_part_*/**/*.png")
    labels = LabelSpace(kind=Kind.MULTICLASS, names=CLASSES)

    def record(row: Mapping[str, str], _: int) -> Record:
        name = row["img_id"]
        return Record(
            image_id=name,
            path=path_of.get(Path(name).stem, f"images/{name}"),
            group=row["patient_id"],
            target=labels.encode([row["diagnostic"]]),
            attributes=attributes_of(row, ATTRIBUTES),
        )

    return SET.manifest(place, labels, each_row(sheet, record))
