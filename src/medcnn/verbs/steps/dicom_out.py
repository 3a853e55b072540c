"""What `predict dicom=FOLDER` writes: DICOM objects for each DICOM image, and `objects.csv`.

The folder holds the names of patients, so nobody but its owner may enter it.
"""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medcnn.clinic.answering import identity_of
from medcnn.clinic.answers import Answer, HeatMap, answers_of, measured_with
from medcnn.images.reading import file_part, is_dicom, read_file
from medcnn.models.deployed import Model
from medcnn.models.inputs import Images
from medcnn.statistics.predictions import Predictions
from medcnn.system.errors import ImageError
from medcnn.system.files import own_folder, quoted, table, write_bytes
from medcnn.system.progress import log
from medcnn.verbs.steps.maps import Draw, maps_beside

if TYPE_CHECKING:
    from medcnn.clinic.headers import Asked
    from medcnn.verbs.predict import PredictConfig

COLUMNS = ("line", "image_id", "objects", "reason")
# By the modality of an object: the end of its file's name.
ENDINGS = {"SR": "report", "OT": "map", "PR": "outline"}


class Objects:
    """Writes the objects of images, one after the other.

    Attributes:
        refused: images that are DICOM but get no objects, each with its reason.
    """

    def __init__(self, config: PredictConfig, model: Model) -> None:
        self.folder = Path(config.dicom.folder or "")
        self.how, checkpoint = model.preprocessing, Path(config.checkpoint)
        sha256 = str(model.provenance["checkpoint_sha256"])
        self.waits_for_maps = config.explain is not None
        self.model = identity_of(model, checkpoint.name, config.explain)
        self.measured = {} if model.members else measured_with(checkpoint, sha256)
        self.line = 1  # of the header of the table
        self.lines: dict[str, int] = {}
        self.paths: dict[str, Path] = {}
        self.answers: dict[str, Answer] = {}
        self.per_study = config.dicom.per == "study"
        # UID of a study -> its images so far, and their rows
        self.studies: dict[str, list[tuple[Asked, dict[str, object]]]] = {}
        self.rows: list[dict[str, object]] = []
        self.refused: list[tuple[str, str]] = []

    def add(self, part: Images, said: Predictions, ids: Sequence[str]) -> None:
        """Write them, unless they wait for `heat`.

        Args:
            ids: of all rows of the table, in order.
        """
        self.lines = {image_id: self.line + i for i, image_id in enumerate(ids, start=1)}
        self.line += len(ids)
        root, records = part.manifest.root, part.manifest.records
        self.paths = {quoted(r.image_id): root / file_part(r.path) for r in records}
        self.answers = {quoted(i): a for i, a in answers_of(said, self.measured).items()}
        reasons = {quoted(image_id): why for image_id, why in said.unreadable}
        for image_id in ids:
            if image_id in reasons:
                self._row(image_id, [], reasons[image_id])
            elif not self.waits_for_maps:
                self._write(image_id, self.answers[image_id])

    def heat(self, image_id: str, heat: HeatMap) -> None:
        """Write the objects of an image that was added, now that there is a map of it."""
        self._write(image_id, replace(self.answers[image_id], heat=heat))

    def _write(self, image_id: str, answer: Answer) -> None:
        from medcnn.clinic.objects import asked, file_of, objects_of
        from medcnn.images.dicom import open_dataset

        names: list[str] = []
        question: Asked | None = None
        try:
            data = read_file(self.paths[image_id])
            if not is_dicom(data):
                self._row(image_id, names, "not a DICOM image")
                return
            how: dict[str, Any] = {"window": self.how.window, "frames": self.how.frames}
            source = open_dataset(data)
            if self.per_study:
                question = asked(source, replace(answer, heat=None), self.model, **how)
            for made in objects_of(source, answer, self.model, reported=not self.per_study, **how):
                names.append(f"{self.lines[image_id]:06}-{ENDINGS[made.Modality]}.dcm")
                write_bytes(self.folder / names[-1], file_of(made))
        except ImageError as error:
            self.refused.append((image_id, str(error)))
            self._row(image_id, names, str(error))
            return
        row = self._row(image_id, names, "")
        if question:
            self.studies.setdefault(str(question.source.StudyInstanceUID), []).append(
                (question, row)
            )

    def _row(self, image_id: str, names: list[str], reason: str) -> dict[str, object]:
        cells = (self.lines[image_id], image_id, " ".join(names), quoted(reason))
        self.rows.append(dict(zip(COLUMNS, cells, strict=True)))
        return self.rows[-1]

    def _report_studies(self) -> None:
        from medcnn.clinic.objects import file_of, study_report

        for images in self.studies.values():
            rows = [row for _, row in images]
            name = f"{min(int(str(row['line'])) for row in rows):06}-study-report.dcm"
            try:
                made = file_of(study_report([image for image, _ in images]))
            except ImageError as error:
                for row in rows:
                    row["reason"] = quoted(str(error))
                    self.refused.append((str(row["image_id"]), str(error)))
                continue
            write_bytes(self.folder / name, made)
            for row in rows:
                row["objects"] = f"{name} {row['objects']}".strip()

    def close(self) -> None:
        self._report_studies()
        with table(self.folder / "objects.csv") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(sorted(self.rows, key=lambda row: int(str(row["line"]))))
        count = sum(bool(row["objects"]) for row in self.rows)
        log.info(
            f"DICOM objects for {count:,} of {len(self.rows):,} images, with patients' names: "
            f"{self.folder}; objects.csv there says why others have none"
        )


class Beside:
    """What is written beside the table: maps of some images, and their DICOM objects."""

    def __init__(self, draw: Draw, objects: Objects | None) -> None:
        self.draw, self.objects = draw, objects

    @property
    def refused(self) -> list[tuple[str, str]]:
        return self.objects.refused if self.objects else []

    def __call__(self, part: Images, said: Predictions, ids: Sequence[str]) -> None:
        """In the form that `maps_beside` expects."""
        if self.objects:
            self.objects.add(part, said, ids)
        self.draw(part, said, ids)


@contextmanager
def beside(config: PredictConfig, model: Model) -> Iterator[Beside]:
    """What was written is removed if the block raises; raises as `maps_beside` does."""
    output = Path(config.output)
    if config.dicom.folder is None:
        with maps_beside(output, model, config.explain) as draw:
            yield Beside(draw, None)
        return
    folder = own_folder(Path(config.dicom.folder))
    objects = Objects(config, model)
    try:
        with maps_beside(output, model, config.explain, objects.heat) as draw:
            yield Beside(draw, objects)
            objects.close()
    except BaseException:
        shutil.rmtree(folder)
        raise
