"""Where public sets mark findings: boxes and masks of readers, in the layouts of their authors.

    ChestX-ray14    BBox_List_2017.csv (Image Index, Finding Label, Bbox [x, y, w, h]), in 1024 px
    RSNA            x, y, width, height in stage_2_train_labels.csv
    VinDr-CXR       annotations/annotations_train.csv, annotations_test.csv (class_name, x_min, ...)
    HAM10000        HAM10000_segmentations_lesion_tschandl/ISIC_..._segmentation.png
    PH2             IMD003/IMD003_lesion/IMD003_lesion.bmp beside each image
    IDRiD           2. All Segmentation Groundtruths/a. Training Set/1. Microaneurysms/..._MA.tif
                    and three more kinds of lesion, of the images in 1. Original Images (part A)

The images that IDRiD grades (part B) have other names, which do not lead to part A.

Source: Wang et al. 2017, CVPR; Shih et al. 2019, Radiology: AI 1(1); Nguyen et al. 2022, Sci Data
9:429; Tschandl et al. 2020, Nat Med 26; Mendonca et al. 2013, IEEE EMBC; Porwal et al. 2018, Data
3(3):25.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medcnn.data.public.rsna_pneumonia import CLASSES

Mask = NDArray[np.bool_]
# Finding, left, top, width and height in pixels.
Box = tuple[str, float, float, float, float]
NIH_PX = 1024
NIH_NAMES = {"Infiltrate": "Infiltration"}  # of the table of boxes -> of the table of findings
SEGMENTED = "HAM10000_segmentations_lesion_tschandl"
IDRID = "2. All Segmentation Groundtruths"
LESIONS = ("1. Microaneurysms", "2. Haemorrhages", "3. Hard Exudates", "4. Soft Exudates")


def marks_of(root: Path, path: str, label: str, height: int, width: int) -> Mask | None:
    """What readers marked as `label` in an image [height, width]; None if nothing is known.

    Args:
        root: the folder of the set.
        path: of the image below it.
    """
    name = PurePosixPath(path)
    if masks := [p for p in _masks(root, name) if p.is_file()]:
        marked = np.zeros((height, width), bool)
        try:
            for mask in masks:
                marked |= _mask(mask, height, width)
        except OSError:
            return None
        return marked
    for table, side, rows in _tables(name):
        if (root / table).is_file():
            found = np.zeros((height, width), bool)
            times = width / side if side else 1.0
            for of, left, top, wide, high in rows(root / table, name):
                if of == label:
                    x, y = round(left * times), round(top * times)
                    ends = round((left + wide) * times), round((top + high) * times)
                    found[max(y, 0) : ends[1], max(x, 0) : ends[0]] = True
            return found if found.any() else None
    return None


def may_have_marks(root: Path, path: str) -> bool:
    """Whether there is a table of boxes or a mask where the set keeps them."""
    name = PurePosixPath(path)
    tables = (root / table for table, *_ in _tables(name))
    return any(place.is_file() for place in (*_masks(root, name), *tables))


def _tables(name: PurePosixPath) -> tuple[tuple[str, int, Callable[..., Iterator[Box]]], ...]:
    """Place, side of the images that boxes are measured in (0: that of the file), and reader."""
    return (
        ("BBox_List_2017.csv", NIH_PX, _nih),
        ("stage_2_train_labels.csv", 0, _rsna),
        (f"annotations/annotations_{name.parts[0]}.csv", 0, _vindr),
    )


def _mask(path: Path, height: int, width: int) -> Mask:
    """The marked part of a mask, whose size may differ from the image's."""
    with Image.open(path) as file:
        mask = file.convert("L").resize((width, height), Image.Resampling.NEAREST)
    # IDRiD marks in red, whose grey is 76
    return np.asarray(mask) > (0 if path.suffix == ".tif" else 127)


def _masks(root: Path, name: PurePosixPath) -> Iterator[Path]:
    """Where the set keeps masks of an image; a pixel is marked if any of them marks it."""
    if name.parent.parent.name == "1. Original Images":
        place = root / name.parent.parent.parent / IDRID / name.parent.name
        for lesion, short in zip(LESIONS, ("MA", "HE", "EX", "SE"), strict=True):
            yield place / lesion / f"{name.stem}_{short}.tif"
    yield root / SEGMENTED / f"{name.stem}_segmentation.png"
    if name.parent.name == f"{name.stem}_Dermoscopic_Image":
        yield root / name.parent.parent / f"{name.stem}_lesion" / f"{name.stem}_lesion.bmp"


def _rows(table: Path) -> Iterator[dict[str, str]]:
    """Cells by the names of their columns, some of which are blank in ChestX-ray14."""
    with table.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        reader = csv.reader(file)
        head = [name or str(n) for n, name in enumerate(next(reader, []))]
        for cells in reader:
            yield dict(zip(head, cells, strict=False))


def _box(row: Mapping[str, str], *columns: str) -> tuple[float, float, float, float] | None:
    try:
        left, top, wide, high = (float(row[column]) for column in columns)
    except (KeyError, ValueError):  # images without a finding have no box
        return None
    # pandas writes an empty cell as nan
    return (left, top, wide, high) if math.isfinite(left + top + wide + high) else None


def _nih(table: Path, name: PurePosixPath) -> Iterator[Box]:
    for row in _rows(table):
        if row.get("Image Index") == name.name and (box := _box(row, "Bbox [x", "y", "w", "h]")):
            label = row.get("Finding Label", "")
            yield NIH_NAMES.get(label, label), *box


def _rsna(table: Path, name: PurePosixPath) -> Iterator[Box]:
    for row in _rows(table):
        if row.get("patientId") == name.stem and (box := _box(row, "x", "y", "width", "height")):
            yield CLASSES[1], *box


def _vindr(table: Path, name: PurePosixPath) -> Iterator[Box]:
    for row in _rows(table):
        box = _box(row, "x_min", "y_min", "x_max", "y_max")
        if row.get("image_id") == name.stem and box:
            left, top, right, bottom = box
            yield row.get("class_name", ""), left, top, right - left, bottom - top
