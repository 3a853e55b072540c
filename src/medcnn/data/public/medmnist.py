"""MedMNIST v2 and MedMNIST+ (2-D): one npz per set, with official splits, without patients.

Source: Yang et al. 2023, Sci Data 10:41, doi 10.1038/s41597-022-01721-8; class names from the
package's INFO table (Apache-2.0).
"""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import numpy as np

from medcnn.data.labels import Kind, LabelSpace
from medcnn.data.manifest import Manifest, Modality, Record, Split
from medcnn.data.own.vocabulary import negative_first
from medcnn.data.public import medmnist_files
from medcnn.data.public.medmnist_files import SETS
from medcnn.images.npz import array_header, images_header
from medcnn.system.errors import DataError, ImageError, UsageError, listed
from medcnn.system.progress import log

SPLITS = {"train": Split.TRAIN, "val": Split.VALIDATION, "test": Split.TEST}


def read(root: Path | None, *, file: str | None = None, download: bool = False) -> Manifest:
    """A MedMNIST file, with its official splits.

    Args:
        file: npz in root; `data.path` gives both.
        download: fetch a missing file; nothing is fetched unasked.

    Raises:
        UsageError: no file was given, it is missing, or its name is not a set of MedMNIST.
        MedcnnError: the download failed.
        DataError: its arrays are not those of the set.
    """
    if root is None or file is None:
        raise UsageError("data=medmnist needs data.path=FILE.npz. Get it from medmnist.com")
    stem = re.sub(r"_(64|128|224)$", "", Path(file).stem.lower())
    unknown = f"data.path={root / file}: not a set of MedMNIST; known: {', '.join(SETS)}."
    if not (root / file).is_file():
        _obtain(root / file, download, unknown)
    if stem not in SETS:
        raise UsageError(unknown)
    chosen = SETS[stem]
    names, kind = chosen["classes"], Kind(chosen["kind"])
    # the numbers in the file follow the list; which class is the finding is another question
    space = LabelSpace(
        kind=kind, names=tuple(negative_first(names) if kind is Kind.BINARY else names)
    )
    if known := chosen.get("known"):
        log.warning(known)
    several = space.kind is Kind.MULTILABEL
    width, most = (len(space.names), 2) if several else (1, len(space.names))
    try:
        with np.load(root / file, allow_pickle=False) as arrays:
            wanted = [f"{s}_{what}" for s in SPLITS for what in ("images", "labels")]
            if absent := [name for name in wanted if name not in arrays.files]:
                raise DataError(f"data.path={root / file}: arrays {', '.join(absent)} are missing.")
            labels = {}
            for split in SPLITS:
                # images stay compressed, and so does anything that is not labels
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
        raise DataError(
            f"data.path={root / file} is not an npz, or is damaged: {error}."
        ) from error
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
                    target=space.encode(names[k] for k in of),
                    split=SPLITS[split],
                )
            )
    return Manifest(
        source=Path(file).stem,
        root=root,
        labels=space,
        records=tuple(records),
        modality=Modality(chosen.get("modality", "other")),
        group_noun="image",
    )


def _obtain(file: Path, download: bool, unknown: str) -> None:
    """Fetch a missing file, if asked to."""
    official = file.name in medmnist_files.published()
    if download and official:
        medmnist_files.fetch(file)
    elif download:
        raise UsageError(f"{unknown} Other sizes: pathmnist_64.npz, _128, _224.")
    else:
        how = " Fetch it with data.download=true." if official else ""
        raise UsageError(f"data.path={file}: no such file.{how}")
