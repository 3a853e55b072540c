"""PH2: 200 dermoscopic images of melanocytic lesions from one Portuguese hospital.

    PH2_dataset.txt (|| name || histological diagnosis || clinical diagnosis || ...)
    PH2 Dataset images/IMD003/IMD003_Dermoscopic_Image/IMD003.bmp ...

The clinical diagnosis is 0 common nevus, 1 atypical nevus, 2 melanoma; legends follow the table.

Source: Mendonca et al. 2013, IEEE EMBC, doi 10.1109/EMBC.2013.6610779.
"""

from __future__ import annotations

from pathlib import Path

from medcnn.data.labels import Kind, LabelSpace
from medcnn.data.manifest import Manifest, Modality, Record
from medcnn.data.public.layouts import PublicSet
from medcnn.system.errors import DataError, listed

SET = PublicSet(
    title="PH2",
    about="200 dermoscopic images",
    labels="common nevus, atypical nevus, melanoma",
    licence="research and education, on request",
    url="https://www.fc.up.pt/addi/ph2%20database.html",
    layout=("PH2_dataset.txt", "PH2 Dataset images/"),
    modality=Modality.DERMOSCOPY,
    group_noun="image",
)
CLASSES = ("common nevus", "atypical nevus", "melanoma")


def read(root: Path | None) -> Manifest:
    """All images; the set has neither patient ids nor splits."""
    place = SET.open(root)
    labels = LabelSpace(kind=Kind.MULTICLASS, names=CLASSES)
    records, faults = [], []
    text = (place / "PH2_dataset.txt").read_text(encoding="utf-8", errors="replace")
    for number, line in enumerate(text.splitlines(), start=1):
        cells = [cell.strip() for cell in line.split("||")]
        if len(cells) < 4 or not cells[1].startswith("IMD"):
            continue
        name, histology, code = cells[1:4]
        if code not in ("0", "1", "2"):
            faults.append(f"PH2_dataset.txt:{number}: {name} has the diagnosis '{code}'")
            continue
        records.append(
            Record(
                image_id=name,
                path=f"PH2 Dataset images/{name}/{name}_Dermoscopic_Image/{name}.bmp",
                group=name,
                target=labels.encode([CLASSES[int(code)]]),
                attributes={"histology": histology} if histology else {},
            )
        )
    if faults:
        raise DataError(f"data.root={place}: diagnoses are 0, 1 or 2: {listed(faults)}.")
    return SET.manifest(place, labels, records)
