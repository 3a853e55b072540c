"""What a reviewer said of images: a table that data=table reads as labels, without names."""

from __future__ import annotations

import csv
import hashlib
import threading
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from medcnn.data.labels import Kind, LabelSpace
from medcnn.images.reading import Pixels, is_dicom
from medcnn.images.resizing import narrowed
from medcnn.system.errors import UsageError
from medcnn.system.files import heading, own_folder, quoted, replacing, table
from medcnn.system.privacy import pseudonym
from medcnn.system.run_facts import now

TABLE, IMAGES = "answers.csv", "images"
LAST = ("answer", "said", "checkpoint", "answered")


class Answers:
    """The table in memory and on disk: one row for each image, its latest answer.

    Raises:
        UsageError: the folder has answers of other classes, or of the other way of keeping images.
    """

    def __init__(self, folder: Path, labels: LabelSpace, *, keep_images: bool) -> None:
        self.folder, self.labels, self.keeps = folder, labels, keep_images
        self.path = folder / TABLE
        several = labels.kind is Kind.MULTILABEL
        own = [heading(n) for n in labels.names] if several else ["label"]
        key = "image" if keep_images else "SOPInstanceUID"
        self.columns = [key, "patient", *own, *LAST]
        self.rows: dict[str, dict[str, str]] = {}
        self._turn = threading.Lock()
        if self.path.is_file():
            self._read(key)

    def _read(self, key: str) -> None:
        with self.path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if list(reader.fieldnames or ()) != self.columns:
                raise UsageError(
                    f"folder={self.folder}: its {TABLE} has the columns "
                    f"{', '.join(reader.fieldnames or ('none',))}, and this command would write "
                    f"{', '.join(self.columns)}. Name another folder."
                )
            self.rows = {row[key]: row for row in reader}

    def add(
        self,
        data: bytes,
        pixels: Pixels,
        classes: Sequence[str],
        *,
        kind: str,
        drop: str,
        said: Sequence[str],
        checkpoint: str,
    ) -> str:
        """Keep an answer, on disk when this returns; the sentence to show.

        Args:
            data: the file.
            pixels: [H, W, C] as it was read.
            classes: the right ones.
            kind: agreed or corrected.
            drop: names the files that were dropped together.
            said: the classes that the model called.
            checkpoint: digest.

        Raises:
            UsageError: the classes are none that an answer can have, or nobody could tell later
                which image it belongs to.
        """
        right = self._labels(classes)
        patient, instance = identity(data, drop)
        if not self.keeps and not instance:
            raise UsageError(
                "Not kept: without the picture, nobody could tell later which image this answer "
                "belongs to. Start the server with keep_images=true; only DICOM files can be found "
                "again by their own number."
            )
        digest = hashlib.sha256(data).hexdigest()
        key = f"{IMAGES}/{pseudonym(digest, 'image')}.png" if self.keeps else instance
        about = {self.columns[0]: key, "patient": patient, **right}
        about |= {"answer": kind, "said": "|".join(said)}
        about |= {"checkpoint": checkpoint[:12], "answered": now()}
        with self._turn:
            if self.keeps:
                own_folder(self.folder / IMAGES)
                keep(pixels, self.folder / key)
            rows = {**self.rows, key: {k: quoted(v) for k, v in about.items()}}
            with table(self.path) as file:
                writer = csv.DictWriter(file, self.columns)
                writer.writeheader()
                writer.writerows(rows.values())
            self.rows = rows
        return f"kept: {', '.join(classes) or 'none of these'}"

    def _labels(self, classes: Sequence[str]) -> dict[str, str]:
        if unknown := set(classes) - set(self.labels.names):
            raise UsageError(f"Not kept: unknown class {', '.join(sorted(unknown))}.")
        if self.labels.kind is Kind.MULTILABEL:
            return {heading(n): str(int(n in classes)) for n in self.labels.names}
        if len(classes) != 1:
            raise UsageError("Not kept: choose one class.")
        return {"label": classes[0]}


def identity(data: bytes, drop: str) -> tuple[str, str]:
    """Pseudonym of the patient, and the number of a DICOM instance, "" of other files. Files that
    do not name their patient belong to that of their drop."""
    if is_dicom(data):
        header = header_of(data)
        patient, instance = header.get("PatientID", ""), header.get("SOPInstanceUID", "")
        if patient:
            return pseudonym(patient, "patient"), instance
        return pseudonym(header.get("StudyInstanceUID") or drop, "patient"), instance
    return pseudonym(drop, "patient"), ""


def header_of(data: bytes) -> dict[str, str]:
    """Numbers of patient, study and object in a DICOM; without those that cannot be read."""
    from io import BytesIO

    import pydicom

    names = ("PatientID", "StudyInstanceUID", "SOPInstanceUID")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = pydicom.dcmread(
                BytesIO(data), force=True, stop_before_pixels=True, specific_tags=list(names)
            )
            return {n: str(found.get(n, "")).strip() for n in names}
        except Exception:  # of a damaged header, pydicom raises anything
            return {}


def keep(pixels: Pixels, path: Path) -> None:
    """The picture without its header: 16 bits stay where it is grey."""
    if pixels.dtype == np.uint16 and pixels.shape[2] == 3:
        pixels = narrowed(pixels)
    with replacing(path) as temporary:
        Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(temporary, "png")
