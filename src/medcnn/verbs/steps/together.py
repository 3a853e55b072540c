"""New images combined by patient, as `predict` writes them beside the single images."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from medcnn.data.own.dicom_headers import looks_like_dicom, read_headers
from medcnn.models.deployed import Model, joined
from medcnn.statistics.patients import together
from medcnn.statistics.predictions import Predictions
from medcnn.system.errors import DataError, UsageError, listed, private
from medcnn.system.files import quoted, replacing
from medcnn.system.privacy import pseudonym
from medcnn.system.progress import log

if TYPE_CHECKING:
    from medcnn.verbs.predict import PredictConfig

FOLDER = "folder"


def patients_of(root: Path, paths: Sequence[str], by: str) -> dict[str, str]:
    """Path -> patient: its folder, or the pseudonym of a DICOM tag. DICOM objects that are not
    images have none.

    Raises:
        DataError: images without that tag, or in no folder of their own; all are counted.
    """
    if by == FOLDER:
        loose = [path for path in paths if PurePosixPath(path).parent == PurePosixPath()]
        _, refused = read_headers(root, [p for p in loose if looks_like_dicom(root / p)])
        if loose := [path for path in loose if path not in refused]:
            raise DataError(
                f"{len(loose)} of {len(paths)} images are not in a patient's folder: "
                f"{listed([private(p) for p in loose], 3)}. With patients=folder, the images of "
                "each patient should be in a folder below input."
            )
        return {path: PurePosixPath(path).parent.as_posix() for path in paths}
    headers, refused = read_headers(root, [p for p in paths if looks_like_dicom(root / p)])
    known = {path: tags[by] for path, tags in headers.items() if tags[by]}
    if lost := [path for path in paths if path not in known and path not in refused]:
        raise DataError(
            f"{len(lost)} of {len(paths)} images have no {by}: "
            f"{listed([private(p) for p in lost], 3)}. Put the images of each patient into a "
            "folder, and use patients=folder."
        )
    return {path: pseudonym(value, "patient") for path, value in known.items()}


class PatientTable:
    """Collects the predictions of `predict`, and writes one row per patient.

    Raises:
        UsageError: patients are asked for, and the checkpoint was not fitted to any, or to eyes or
            the like.
        DataError: see `patients_of`.
    """

    def __init__(self, config: PredictConfig, model: Model, root: Path, paths: list[str]):
        by, unit = config.patients, config.unit or ""
        self.path, self.parts = config.patients_at, list[Predictions]()
        chosen = model.readout.patients
        if by and chosen is None:
            raise UsageError(
                f"patients={by}: the checkpoint has no rule for several images of a patient. No "
                "patient in its validation split had several, or it is an ensemble, or too old. "
                "Leave patients= out."
            )
        if by and chosen and chosen.unit not in (unit, by):
            raise UsageError(
                f"patients={by}: the checkpoint's rule and thresholds are for "
                + (f"each {chosen.unit} of a patient" if chosen.unit else "whole patients")
                + f", but readout.unit is {unit or 'null'}. If {by} has the images of one "
                f"{chosen.unit or 'patient'}, set readout.unit={chosen.unit or 'null'}; "
                "otherwise leave patients= out."
            )
        self.chosen, self.hidden = (chosen if by else None), by != FOLDER
        self.patient_of = patients_of(root, paths, by) if by else {}

    def add(self, predictions: Predictions) -> None:
        if self.chosen:
            self.parts.append(predictions)

    def finished(self) -> Predictions | None:
        """A row per patient with a readable image; None if patients were not asked for."""
        if self.chosen is None:
            return None
        every = joined(self.parts)
        groups = tuple(self.patient_of[image_id] for image_id in every.image_ids)
        self.images = Counter(quoted(group) for group in groups)
        found = together(replace(every, groups=groups), "", self.chosen.rule)
        return replace(found, readout=self.chosen.readout)

    def write(self, found: Predictions) -> None:
        """Write what is `finished`."""
        columns = [c for c in found.new_columns if c not in ("image_id", "unreadable")]
        with (
            replacing(self.path) as temporary,
            temporary.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file,
        ):
            writer = csv.DictWriter(file, ["patient", "images", *columns], extrasaction="ignore")
            writer.writeheader()
            for row in found.new_rows():
                name = row["image_id"]
                writer.writerow({"patient": name, "images": str(self.images[name]), **row})
        log.info(f"{len(found.image_ids):,} patients: {self.path}")
