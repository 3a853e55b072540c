"""MedMNIST v2 and MedMNIST+ (2-D): one npz a set, with the official splits, without patients.

Source: Yang et al. 2023, Sci Data 10:41, doi 10.1038/s41597-022-01721-8; class names from the
package's INFO table (Apache-2.0).
"""

from __future__ import annotations

import re
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medcnn.data.labels import Kind, LabelSpace
from medcnn.data.manifest import Manifest, Modality, Record, Split
from medcnn.data.public import medmnist_files
from medcnn.data.public.chestxray14 import FINDINGS
from medcnn.images.npz import array_header, images_header
from medcnn.system.errors import DataError, ImageError, UsageError, listed


@dataclass(frozen=True, slots=True)
class MedSet:
    kind: Kind
    names: tuple[str, ...]
    modality: Modality = Modality.OTHER


_ORGANS = (
    *("bladder", "femur-left", "femur-right", "heart", "kidney-left", "kidney-right"),
    *("liver", "lung-left", "lung-right", "pancreas", "spleen"),
)
SETS = {
    "bloodmnist": MedSet(
        Kind.MULTICLASS,
        (
            *("basophil", "eosinophil", "erythroblast", "immature granulocytes"),
            *("lymphocyte", "monocyte", "neutrophil", "platelet"),
        ),
    ),
    "breastmnist": MedSet(Kind.BINARY, ("malignant", "normal, benign")),
    "chestmnist": MedSet(Kind.MULTILABEL, tuple(f.lower() for f in FINDINGS), Modality.CHEST),
    "dermamnist": MedSet(
        Kind.MULTICLASS, ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"), Modality.DERMOSCOPY
    ),
    "octmnist": MedSet(Kind.MULTICLASS, ("CNV", "DME", "drusen", "normal")),
    "organamnist": MedSet(Kind.MULTICLASS, _ORGANS),
    "organcmnist": MedSet(Kind.MULTICLASS, _ORGANS),
    "organsmnist": MedSet(Kind.MULTICLASS, _ORGANS),
    "pathmnist": MedSet(
        Kind.MULTICLASS, ("ADI", "BACK", "DEB", "LYM", "MUC", "MUS", "NORM", "STR", "TUM")
    ),
    "pneumoniamnist": MedSet(Kind.BINARY, ("normal", "pneumonia"), Modality.CHEST),
    "retinamnist": MedSet(Kind.ORDINAL, ("0", "1", "2", "3", "4"), Modality.FUNDUS),
    "tissuemnist": MedSet(
        Kind.MULTICLASS,
        (
            *("collecting duct, connecting tubule", "distal convoluted tubule"),
            *("glomerular endothelial cells", "interstitial endothelial cells", "leukocytes"),
            *("podocytes", "proximal tubule segments", "thick ascending limb"),
        ),
    ),
}
SPLITS = {"train": Split.TRAIN, "val": Split.VALIDATION, "test": Split.TEST}


def read(root: Path | None, *, file: str | None = None, download: bool = False) -> Manifest:
    """A MedMNIST file, with its official splits.

    Args:
        file: npz in root; `data.path` gives both.
        download: fetch it where it is not there; nothing is fetched unasked.

    Raises:
        UsageError: no file was given, it is not there, or its name is no set of MedMNIST.
        MedcnnError: it could not be fetched.
        DataError: its arrays are not those of the set.
    """
    if root is None or file is None:
        raise UsageError("data=medmnist needs data.path=FILE.npz. Where to get it: medmnist.com")
    stem = re.sub(r"_(64|128|224)$", "", Path(file).stem.lower())
    unknown = f"data.path={root / file}: no set of MedMNIST; known: {', '.join(SETS)}."
    if not (root / file).is_file():
        _obtain(root / file, download, unknown)
    if stem not in SETS:
        raise UsageError(unknown)
    chosen = SETS[stem]
    space = LabelSpace(kind=chosen.kind, names=chosen.names)
    several = space.kind is Kind.MULTILABEL
    width, most = (len(space.names), 2) if several else (1, len(space.names))
    try:
        with np.load(root / file, allow_pickle=False) as arrays:
            wanted = [f"{s}_{what}" for s in SPLITS for what in ("images", "labels")]
            if absent := [name for name in wanted if name not in arrays.files]:
                raise DataError(f"data.path={root / file}: arrays {', '.join(absent)} are missing.")
            labels = {}
            for split in SPLITS:
                # the images stay packed, and so do labels that are none
                count = images_header(arrays.zip, f"{split}_images").shape[0]
                shape = array_header(arrays.zip, f"{split}_labels").shape
                if shape != (count, width):
                    raise DataError(
                        f"data.path={root / file}: {split}_labels has the shape {list(shape)}; "
                        f"{count} images of {stem} need [{count}, {width}]."
                    )
                labels[split] = arrays[f"{split}_labels"]
    except ImageError as error:
        raise DataError(f"data.path={root / file}: {error}.") from error
    except (zipfile.BadZipFile, EOFError, OSError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"data.path={root / file} is no npz or is damaged: {error}.") from error
    records = []
    for split, rows in labels.items():
        if not set(np.unique(rows)) <= set(range(most)):
            raise DataError(
                f"data.path={root / file}: {split}_labels has the values "
                f"{listed([str(v) for v in np.unique(rows)])}; {stem} has values below {most}."
            )
        for i, row in enumerate(rows):
            of = np.flatnonzero(row) if several else row
            records.append(
                Record(
                    image_id=f"{split}/{i}",
                    path=f"{file}#{split}_images/{i}",
                    group=f"{split}/{i}",
                    target=space.encode(space.names[k] for k in of),
                    split=SPLITS[split],
                )
            )
    return Manifest(
        source=Path(file).stem,
        root=root,
        labels=space,
        records=tuple(records),
        modality=chosen.modality,
        group_noun="image",
    )


def _obtain(file: Path, download: bool, unknown: str) -> None:
    """Fetch what is not there, where that was asked for."""
    official = file.name in medmnist_files.published()
    if download and official:
        medmnist_files.fetch(file)
    elif download:
        raise UsageError(f"{unknown} Other sizes: pathmnist_64.npz, _128, _224.")
    else:
        how = " Fetch it with data.download=true." if official else ""
        raise UsageError(f"data.path={file}: no such file.{how}")
