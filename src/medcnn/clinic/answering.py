"""Images of the spool -> the DICOM objects that answer them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pydicom
from numpy.typing import NDArray

from medcnn.clinic.answers import Answer, HeatMap, Identity, answers_of, measured_with
from medcnn.clinic.objects import file_of, objects_of
from medcnn.clinic.review.reading import Reader
from medcnn.clinic.worker import Made, NotMade
from medcnn.config import Choice
from medcnn.models.computing import out_of_memory
from medcnn.models.deployed import Model
from medcnn.pixels.decoder import passes
from medcnn.system.errors import ImageError, UsageError
from medcnn.system.privacy import pseudonymised


def identity_of(model: Model, name: str, how: Choice | None) -> Identity:
    """What UIDs are a function of: the same for `predict` and for the receiver.

    Args:
        name: of the checkpoint.
        how: method of the map; None: no maps.
    """
    settings = {
        "precision": str(model.dtype).removeprefix("torch."),
        "device": model.device.type,
        "window": str(model.preprocessing.window),
        "frames": str(model.preprocessing.frames),
    }
    if how:
        options = "".join(f" {k}={v}" for k, v in sorted(how.options.items()))
        settings["explain"] = f"{how.name}{options}"
    sha256 = str(model.provenance["checkpoint_sha256"])
    return Identity(name=name, sha256=sha256, settings=settings)


class Answering:
    """Asks the model about several images at once.

    Args:
        maps: whether results have a map, if the reader draws any.
    """

    def __init__(self, reader: Reader, checkpoint: Path, *, maps: bool) -> None:
        self.reader = reader
        self.how = reader.how if maps and not reader.model.members else None
        model = reader.model
        sha256 = str(model.provenance["checkpoint_sha256"])
        self.identity = identity_of(model, checkpoint.name, self.how)
        self.measured = {} if model.members else measured_with(checkpoint, sha256)

    def __call__(self, files: Sequence[Path]) -> list[Made]:
        """Raises MemoryError where there is too little of it, whoever noticed."""
        try:
            return self._made(files)
        except RuntimeError as error:
            if out_of_memory(error):
                raise MemoryError from error
            raise

    def _made(self, files: Sequence[Path]) -> list[Made]:
        part, said = self.reader.asked(list(files), person=False)
        answers = answers_of(said, self.measured)
        reasons = dict(said.unreadable)
        made: list[Made] = []
        for row, record in enumerate(part.manifest.records):
            if reason := reasons.get(record.image_id):
                made.append(NotMade(why=pseudonymised(reason), passing=passes(reason)))
                continue
            file, answer = part.manifest.root / record.path, answers[record.image_id]
            try:
                made.append(
                    self._objects(file, answer, part.store.take(part.rows[row : row + 1])[0])
                )
            except ImageError as error:
                made.append(NotMade(why=pseudonymised(str(error))))
        return made

    def _objects(self, file: Path, answer: Answer, seen: NDArray[Any]) -> list[bytes]:
        how = self.reader.model.preprocessing
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of values in its header that break a rule
            source = pydicom.dcmread(file, stop_before_pixels=True)
            if self.how:
                answer = replace(answer, heat=self._heat(file, seen))
            made = objects_of(source, answer, self.identity, window=how.window, frames=how.frames)
            return [file_of(one) for one in made]

    def _heat(self, file: Path, seen: NDArray[Any]) -> HeatMap | None:
        assert self.how is not None
        model = self.reader.model
        whole = model.preprocessing.read_whole(file.parent, file.name)
        try:
            # of the most probable class, as `predict` draws it
            found = self.reader.explained(seen, whole, None, person=False)
        except UsageError:  # a network without positions: there is no map of it
            return None
        return HeatMap(
            pixels=whole, values=found.map, label=found.label, method=found.method, unit=found.unit
        )
