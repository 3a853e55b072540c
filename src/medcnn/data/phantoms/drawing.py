"""Seeded phantom image sets: small, learnable and written in the formats that hospitals use.

With a phantom set, a new user can train without a download, and a test knows the truth. It is
drawn: there are no patients, and scores on it have no clinical meaning. Lesions are larger than
life, so that they remain visible at 96 px.

    images/…      JPEG or DICOM
    labels.csv    one row per image: path, group, label column(s), attributes
    phantom.json  the parameters; its presence shows that the set is complete

Every patient depends only on (seed, kind, patient): the same call writes the same bytes, and asking
for more patients does not change the others.
"""

from __future__ import annotations

import csv
import importlib
import json
import os
import platform
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medcnn.data.labels import Kind, LabelSpace
from medcnn.system.errors import DataError, UsageError
from medcnn.system.progress import track
from medcnn.system.registry import Table

Floats = NDArray[np.floating[Any]]

TABLE = "labels.csv"
RECEIPT = "phantom.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Phantom:
    """What a set of this name looks like on disk, in terms of the table reader."""

    name: str
    about: str
    version: int  # increased whenever the bytes change
    default_size_px: int
    group: str  # column of groups, which a split must not divide
    targets: tuple[str, ...]  # one column, or one 0/1/blank column per finding
    space: LabelSpace
    attributes: tuple[str, ...]
    image: str = "image"

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.image, self.group, *self.targets, *self.attributes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """One finished file and its row of the table, without the image column.

    Attributes:
        lesions: class -> where it shows [size_px, size_px]; of classes that show somewhere.
    """

    name: str
    data: bytes
    row: dict[str, str]
    lesions: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)


_PHANTOMS = (
    Phantom(
        name="fundus",
        about="colour fundus photographs, two eyes per patient, diabetic retinopathy grade 0-4",
        version=1,
        default_size_px=256,
        group="patient",
        targets=("grade",),
        space=LabelSpace(kind=Kind.ORDINAL, names=("0", "1", "2", "3", "4")),
        attributes=("eye", "age", "sex", "camera"),
    ),
    Phantom(
        name="dermoscopy",
        about="dermoscopic photographs, 1-3 per lesion, four diagnoses",
        version=1,
        default_size_px=256,
        group="lesion",
        targets=("diagnosis",),
        space=LabelSpace(
            kind=Kind.MULTICLASS, names=("nevus", "melanoma", "keratosis", "basal_cell")
        ),
        attributes=("site", "age", "sex"),
    ),
    Phantom(
        name="chest",
        about="16-bit DICOM chest radiographs, 1-3 per patient, four findings, some not assessed",
        version=1,
        default_size_px=320,
        group="patient",
        targets=("effusion", "cardiomegaly", "nodule", "pneumothorax"),
        space=LabelSpace(
            kind=Kind.MULTILABEL, names=("effusion", "cardiomegaly", "nodule", "pneumothorax")
        ),
        attributes=("view", "age", "sex"),
    ),
)
PHANTOMS = Table("phantom", {p.name: p for p in _PHANTOMS})


def generate(
    folder: Path,
    kind: str,
    *,
    patients: int,
    seed: int = 0,
    size_px: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write the phantom set `kind` to `folder`, unless it is already there.

    The set is drawn next to `folder` and renamed into place, so a killed call leaves nothing.

    Args:
        patients: number of patients (lesions for dermoscopy); each has 1-3 images.
        size_px: width and height of an image; by default, the size of that kind.
        progress: called with (patients done, patients) after each patient.

    Returns:
        The path of `labels.csv`; image paths in it are relative to its folder.

    Raises:
        UsageError: no such kind, or fewer than one patient or 64 px.
        DataError: `folder` contains something else; names what was found and what was wanted.
    """
    phantom = PHANTOMS.choose(kind)
    size_px = phantom.default_size_px if size_px is None else size_px
    if patients < 1 or size_px < 64 or seed < 0:
        raise UsageError(
            "a phantom set needs patients >= 1, size_px >= 64 and seed >= 0, "
            f"found {patients}, {size_px} and {seed}"
        )
    wanted = {
        "kind": kind,
        "version": phantom.version,
        "patients": patients,
        "seed": seed,
        "size_px": size_px,
    }
    folder = Path(folder)
    if _is_whole(folder, wanted):
        return folder / TABLE

    # No other live process of this host has our number, so what is there is from a dead one.
    owner = f"{platform.node()}.{os.getpid()}"
    home = folder.absolute()  # `.` has no name
    unfinished = home.with_name(f".{home.name}.{owner}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    (unfinished / "images").mkdir(parents=True)
    try:
        _write(unfinished, phantom, patients, seed, size_px, progress)
        (unfinished / RECEIPT).write_text(json.dumps(wanted, indent=2) + "\n", encoding="utf-8")
        try:
            unfinished.rename(folder)
        except OSError as error:
            # If another process was faster, its set will do if it is the wanted one.
            if not _is_whole(folder, wanted):
                # A mount point, or the current folder.
                raise UsageError(
                    f"the set cannot replace {home} ({error.strerror}); name a folder that does "
                    "not exist yet"
                ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder / TABLE


def _is_whole(folder: Path, wanted: dict[str, Any]) -> bool:
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    receipt = folder / RECEIPT
    if not receipt.is_file():
        raise DataError(
            f"{folder} is not empty and contains no {RECEIPT}, so it is not a phantom set; "
            "name a folder that is empty or does not exist yet"
        )
    try:
        found = json.loads(receipt.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{receipt} is damaged ({error}); remove {folder}") from error
    if found != wanted:
        raise DataError(
            f"{folder} contains another phantom set: found {_said(found)}; wanted {_said(wanted)}. "
            "Name another folder or remove this one"
        )
    return True


def _said(parameters: Any) -> str:
    if not isinstance(parameters, dict):
        return repr(parameters)
    return ", ".join(f"{name} {value}" for name, value in parameters.items())


def _write(
    folder: Path,
    phantom: Phantom,
    patients: int,
    seed: int,
    size_px: int,
    progress: Callable[[int, int], None] | None,
) -> None:
    draw = draws(phantom.name)
    with (folder / TABLE).open("w", encoding="utf-8", newline="") as stream:
        table = csv.DictWriter(stream, phantom.columns, lineterminator="\n")
        table.writeheader()
        title = f"drawing {phantom.name} phantoms"
        for patient in track(range(patients), patients, title):
            for drawing in draw(patient, seed, size_px):
                path = f"images/{drawing.name}"
                (folder / path).write_bytes(drawing.data)
                table.writerow({phantom.image: path, **drawing.row})
            if progress is not None:
                progress(patient + 1, patients)


def draws(kind: str) -> Callable[[int, int, int], Iterator[Drawing]]:
    """Draws the images of one patient: number of the patient, seed, size_px -> drawings."""
    # Imported late: only chest needs pydicom, and the modules use the functions below.
    draw: Callable[[int, int, int], Iterator[Drawing]] = importlib.import_module(
        f"medcnn.data.phantoms.{kind}"
    ).draw
    return draw


def lesions_of(root: Path, path: str) -> Mapping[str, NDArray[np.bool_]]:
    """`Drawing.lesions` of an image of a phantom set, which is drawn again for it; empty if `root`
    is not a phantom set of this version.

    Args:
        root: the folder of the set.
        path: of the image below it.
    """
    try:
        made = json.loads((root / RECEIPT).read_text(encoding="utf-8"))
        kind, seed, size_px = str(made["kind"]), int(made["seed"]), int(made["size_px"])
        if kind not in PHANTOMS or made["version"] != PHANTOMS[kind].version:
            return {}
        name = path.rpartition("/")[2]
        drawn = draws(kind)(int(re.findall(r"\d+", name)[0]), seed, size_px)
        return next((one.lesions for one in drawn if one.name == name), {})
    except (OSError, ValueError, LookupError, TypeError):
        return {}


# Drawing functions for the generators.


def smooth_noise(rng: np.random.Generator, size_px: int, cells: int) -> Floats:
    """A field of about unit variance, with hills `size_px / cells` wide."""
    coarse = rng.standard_normal((cells + 1, cells + 1), dtype=np.float32)
    fine = Image.fromarray(coarse).resize((size_px, size_px), Image.Resampling.BICUBIC)
    return np.asarray(fine) * np.float32(1.4)


def grid(size_px: int) -> tuple[Floats, Floats]:
    """x and y of every pixel, from -1 to 1 across the image, y downwards."""
    axis = (np.arange(size_px, dtype=np.float32) + 0.5) * (2 / size_px) - 1
    return np.broadcast_to(axis, (size_px, size_px)), np.broadcast_to(
        axis[:, None], (size_px, size_px)
    )


def step(distance: Floats, width: float) -> Floats:
    """1 if `distance` is well below zero, 0 if well above, with a smooth edge of `width`."""
    return np.asarray(0.5 - 0.5 * np.tanh(distance * (2 / width)))
