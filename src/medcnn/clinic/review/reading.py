"""A file that somebody dropped -> what the page says of it."""

from __future__ import annotations

import json
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medcnn.config import Choice
from medcnn.data.labels import Kind
from medcnn.images.resizing import contained, narrowed
from medcnn.models.deployed import Model, joined
from medcnn.models.explained import Explanation, explain_image
from medcnn.models.explaining import METHODS
from medcnn.models.exported import Exported
from medcnn.models.inputs import Images, read_inputs
from medcnn.pages.gallery import failed
from medcnn.pages.overlay import with_scale
from medcnn.pages.pictures import address, encoded
from medcnn.pages.review_page import Answer, Reviewed
from medcnn.pages.way import Picture, way
from medcnn.statistics.predictions import Predictions
from medcnn.statistics.strangeness import USUAL
from medcnn.system.errors import ImageError, UsageError
from medcnn.system.privacy import pseudonymised

MAP_PX = 900
EXPORTED = "an exported file answers here, which has no layers to look into"


def checks_of(checkpoint: Path, sha256: str, how: Choice | None) -> tuple[str, ...] | None:
    """The checks that maps of this checkpoint did not pass, from the gallery of its run; None where
    none are stored for these weights (`sha256` of the file) and this method with its options."""
    if how is None:
        return None
    run = checkpoint.absolute().parent.parent
    try:
        stored = json.loads((run / "explanations.json").read_text(encoding="utf-8"))
        checked = stored["checkpoint_sha256"], stored["method"], stored["options"]
        options = {**METHODS.options(how.name), **how.options}
        known = checked == (sha256, how.name, options)
        return failed(stored) if known and stored["checks"] else None
    except (OSError, ValueError, LookupError, TypeError):
        return None


class Turns:
    """One thread computes at a time. A person who waits goes before what waits in the spool."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._people, self._taken = 0, False

    @contextmanager
    def taken(self, *, person: bool) -> Iterator[None]:
        """The turn, for the length of the block."""
        with self._changed:
            self._people += person
            self._changed.wait_for(lambda: not self._taken and (person or not self._people))
            self._people -= person
            self._taken = True
        try:
            yield
        finally:
            with self._changed:
                self._taken = False
                self._changed.notify_all()


class Reader:
    """Asks the model about one image at a time, whoever wants to know.

    Attributes:
        model: with the preprocessing that files are read with.
        how: method of the map; None: no maps.
        lacks: why this model can have no map; "" where it can.
        failed: see `checks_of`.
    """

    def __init__(self, model: Model, how: Choice | None, failed: tuple[str, ...] | None) -> None:
        self.lacks = EXPORTED if isinstance(model.network, Exported) else ""
        self.model, self.how, self.failed = model, None if self.lacks else how, failed
        self.turns = Turns()

    def asked(self, files: list[Path], *, person: bool = True) -> tuple[Images, Predictions]:
        """The pixels of these files, and what the model says of those that can be read.

        Each image is a batch of its own, so that its numbers do not depend on what arrived with it,
        and a person waits for one image at most.

        Args:
            person: whether somebody waits for the answer.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of oddities that pydicom repairs; damage has a reason
            (part,) = read_inputs(files, self.model.labels, self.model.preprocessing)
            said = []
            for row in range(len(part.rows)):
                with self.turns.taken(person=person):
                    said.append(self.model.said_new(replace(part, rows=part.rows[row : row + 1])))
            return part, joined(said)

    def review(self, file: Path) -> Reviewed:
        """Everything that the page shows of a file."""
        part, said = self.asked([file])
        if said.unreadable:
            return Reviewed(reason=pseudonymised(said.unreadable[0][1]).rstrip("."))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                facts, steps, _ = way(file.parent, file.name, self.model.preprocessing)
                whole = self.model.preprocessing.read_whole(file.parent, file.name)
        except ImageError as error:
            return Reviewed(reason=pseudonymised(str(error)).rstrip("."))
        drawn = self._map(part.store.take(part.rows)[0], whole, _explained(said))
        return Reviewed(**_words(said), **drawn, facts=facts, steps=steps)

    def explained(
        self, seen: NDArray[Any], whole: NDArray[Any], label: str | None, *, person: bool = True
    ) -> Explanation:
        """The map of an image by `how`, which must not be None; raises UsageError."""
        assert self.how is not None
        with self.turns.taken(person=person):
            return explain_image(self.model, seen, whole, self.how, label)

    def _map(self, seen: NDArray[Any], whole: NDArray[Any], label: str | None) -> dict[str, Any]:
        small = contained(whole, MAP_PX) if max(whole.shape[:2]) > MAP_PX else whole
        plain = narrowed(small)
        flat = Image.fromarray(plain[:, :, 0] if plain.shape[2] == 1 else plain)
        image = {"image": _large("image", flat)}
        if self.how is None:
            return {**image, "no_map": self.lacks or "the server was started with explain=null"}
        try:
            found = self.explained(seen, whole, label)
        except UsageError as error:
            return {**image, "no_map": str(error).removeprefix("explain: ").rstrip(".")}
        rows, columns = (
            ((np.arange(few) + 0.5) * many / few).astype(int)
            for few, many in zip(small.shape[:2], whole.shape[:2], strict=True)
        )
        values = found.map[np.ix_(rows, columns)]
        drawn = with_scale(small, values, f"{self.how.name} of {found.label}", found.unit)
        return {
            **image,
            "map": _large("map over the image", drawn),
            "map_by": self.how.name,
            "map_of": found.label,
            "failed": self.failed,
        }


def _large(name: str, image: Image.Image) -> Picture:
    uri = address("jpeg", encoded(image, "jpeg", quality=88))
    return Picture(name=name, uri=uri, width=image.width, height=image.height)


def decided(said: Predictions) -> tuple[str, ...]:
    """The classes that the decision about the first image names."""
    labels, row = said.labels, said.decisions[0]
    if labels.kind is Kind.BINARY:
        return (labels.names[int(row[0])],)
    return tuple(name for name, yes in zip(labels.names, row, strict=True) if yes)


def _explained(said: Predictions) -> str | None:
    """The class that the map is of: the one that was decided, the most probable one of several."""
    named = dict(zip(said.labels.outputs, said.probabilities[0].tolist(), strict=True))
    return max(decided(said), key=lambda name: named.get(name, 0.0), default=None)


def _words(said: Predictions) -> dict[str, Any]:
    """What `Reviewed` has of a prediction."""
    labels, readout, (probabilities,) = said.labels, said.readout, said.probabilities
    called, thresholds = decided(said), said.thresholds
    answers = [
        Answer(name=n, probability=float(p), threshold=t, called=n in called)
        for n, p, t in zip(
            labels.outputs, probabilities, thresholds or (None,) * len(labels.outputs), strict=True
        )
    ]
    if labels.kind is Kind.BINARY:
        no, rest = labels.names[0], 1 - answers[0].probability
        answers.append(Answer(name=no, probability=rest, threshold=None, called=no in called))
    if labels.kind is not Kind.ORDINAL:  # grades stay in their order
        answers.sort(key=lambda answer: -answer.probability)
    row: Mapping[str, str] = said.new_rows()[0]
    found: dict[str, Any] = {
        "answers": tuple(answers),
        "decided": called,
        "rule": readout.rule(labels),
        "findings": labels.kind is Kind.MULTILABEL,
        "verdict": row.get("looks"),
        "disagreement": None if said.disagreement is None else float(said.disagreement[0]),
    }
    if readout.conformal:
        found |= {"wanted": readout.conformal.coverage, "per": readout.conformal.per}
        found["within"] = row["set"].replace("|", ", ")
    if readout.referral:
        found |= {"refer": row["refer"] == "yes", "refer_share": readout.referral.share}
    if readout.unusual and found["verdict"] not in (None, USUAL):
        found["mistaken"] = readout.unusual.rates[found["verdict"]]
    return found
