"""A folder of PNG files whose names give patient and label: `PATIENT_LABEL_NUMBER.png`."""

from __future__ import annotations

from pathlib import Path

from medcnn.data.adapters import Dataset
from medcnn.data.labels import Kind, LabelSpace
from medcnn.data.manifest import Manifest, Modality, Record
from medcnn.system.errors import DataError, listed, private


def read(root: Path | None, *, positive: str = "ill", negative: str = "well") -> Manifest:
    """The images of a folder, grouped by patient.

    Args:
        root: `data.root`.
        positive: the word for what is looked for.
        negative: the word for its absence.

    Raises:
        DataError: names without patient and label; all of them at once.
    """
    assert root is not None, "`wants` asks for it"
    labels = LabelSpace(kind=Kind.BINARY, names=(negative, positive))
    records, strange = [], []
    for path in sorted(root.glob("*.png")):
        patient, _, rest = path.stem.partition("_")
        label = rest.partition("_")[0]
        if label not in labels.names:
            strange.append(private(path.name))
            continue
        target = labels.encode([label])
        records.append(Record(image_id=path.stem, path=path.name, group=patient, target=target))
    if strange:
        raise DataError(
            f"data.root={root}: names of {len(strange)} files are not "
            f"PATIENT_LABEL_NUMBER.png with the label {negative} or {positive}: {listed(strange)}."
        )
    return Manifest(
        source="named files",
        root=root,
        labels=labels,
        records=tuple(records),
        modality=Modality.OTHER,
    )


NAMED_FILES = Dataset(
    read=read,
    about="PNG files called PATIENT_LABEL_NUMBER.png",
    licence="yours",
    url="your hospital",
    private=True,  # names of files may be those of patients: pseudonyms take their place
)
