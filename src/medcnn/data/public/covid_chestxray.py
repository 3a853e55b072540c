"""covid-chestxray-dataset: radiographs from publications, with the finding of each case.

    metadata.csv (patientid, finding, sex, age, view, modality, location, folder, filename, ...)
    images/

A finding is a word, several words (`COVID-19, ARDS`), or a path from general to specific
(`Pneumonia/Viral/COVID-19`); each word is a label. CT, and images whose finding is `todo` or
`Unknown`, are left out and counted.

Each journal or hospital contributed images of one disease: a network that recognises the source
seems to recognise the disease.

Source: Cohen et al. 2020, arXiv:2006.11988; github.com/ieee8023/covid-chestxray-dataset.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path

from medcnn.data.labels import Kind, LabelSpace
from medcnn.data.manifest import Manifest, Modality, Record
from medcnn.data.public.layouts import PublicSet, attributes_of, each_row, sheet_at
from medcnn.system.errors import DataError

SET = PublicSet(
    title="covid-chestxray-dataset",
    about="chest radiographs from publications, confounded by source",
    labels="findings",
    licence="per image, column `license`",
    url="https://github.com/ieee8023/covid-chestxray-dataset",
    layout=("metadata.csv", "images/"),
    modality=Modality.CHEST,
    group_noun="patient",
)
ATTRIBUTES = {c: c for c in ("age", "sex", "view", "location", "date", "license", "url")}


def read(root: Path | None, *, min_patients: int = 5) -> Manifest:
    """Images grouped by patient; the set has no official split.

    Args:
        min_patients: labels with fewer patients are dropped.
    """
    place = SET.open(root)
    sheet = sheet_at(place, "metadata.csv", "patientid", "finding", "filename")
    whose: dict[str, set[str]] = defaultdict(set)
    excluded: Counter[str] = Counter()
    kept = {}
    for i, row in enumerate(sheet.rows):
        if row.get("modality", "X-ray") != "X-ray":
            excluded[f"modality {row['modality']}"] += 1
        elif row["finding"] in ("", "todo", "Unknown"):
            excluded[f"finding {row['finding'] or 'blank'}"] += 1
        else:
            kept[i] = [w for w in re.split(r"\s*[,/]\s*", row["finding"]) if w != "No Finding"]
            for word in kept[i]:
                whose[word].add(row["patientid"])
    names = sorted(word for word, patients in whose.items() if len(patients) >= min_patients)
    if not names:
        raise DataError(f"{sheet.path}: no finding has {min_patients} patients or more.")
    labels = LabelSpace(kind=Kind.MULTILABEL, names=tuple(names))

    def record(row: Mapping[str, str], i: int) -> Record | None:
        if i not in kept:
            return None
        return Record(
            image_id=row["filename"],
            path=f"{row.get('folder') or 'images'}/{row['filename']}",
            group=row["patientid"],
            target=labels.encode(w for w in kept[i] if w in names),
            attributes=attributes_of(row, ATTRIBUTES),
        )

    return SET.manifest(place, labels, each_row(sheet, record), excluded=excluded)
