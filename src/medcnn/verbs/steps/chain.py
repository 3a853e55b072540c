"""What `predict log=FILE` records about each prediction: no names of files or patients."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from medcnn import __version__
from medcnn.statistics.predictions import Predictions
from medcnn.system.chained_log import End, appended
from medcnn.system.privacy import pseudonym
from medcnn.system.run_facts import now


class Chain:
    """The log entries of one command: its start, each image, each patient, its end.

    Each part is on disk before the table of predictions appears, so no prediction is in use that
    the log does not have.
    """

    def __init__(self, path: str | None, provenance: Mapping[str, Any], images: int) -> None:
        self.path = Path(path) if path else None
        self.end = End()
        self.images = 0
        begun = {"medcnn": __version__, "images": images}
        self._add([{"kind": "begin", **begun, "checkpoint": provenance["checkpoint_sha256"]}])

    def add(self, predictions: Predictions, kind: str = "image", *, hidden: bool = False) -> None:
        """A line for each row, which is an image or a patient.

        Args:
            hidden: the rows are named by pseudonyms already.
        """
        if self.path is None:
            return
        readout, verdicts, refer = predictions.readout, predictions.verdicts, predictions.refer
        outputs = predictions.labels.outputs
        decided = predictions.labels.decision_texts(predictions.decisions)
        # outside of the loop: the property computes all of them at each access
        probabilities = np.round(predictions.probabilities, 6).tolist()
        entries: list[dict[str, Any]] = []
        for i, name in enumerate(predictions.image_ids):
            entry: dict[str, Any] = {"kind": kind, kind: name if hidden else pseudonym(name, kind)}
            p = dict(zip(outputs, probabilities[i], strict=True))
            entry |= {"probabilities": p, "decision": decided[i]}
            if verdicts is not None and readout.unusual is not None:
                entry["looks"] = str(verdicts[i])
            if refer is not None:
                entry["refer"] = bool(refer[i])
            entries.append(entry)
        for image, _ in predictions.unreadable:
            entries.append({"kind": "unreadable", "image": pseudonym(image, "image")})
        self.images += len(entries) if kind == "image" else 0
        self._add(entries)

    def closed(self) -> dict[str, Any]:
        """What the table of predictions says of the log; nothing if there is none."""
        if self.path is None:
            return {}
        self._add([{"kind": "end", "images": self.images}])
        return {"log": self.path.name, "log_line": self.end.line, "log_hash": self.end.head}

    def _add(self, entries: list[dict[str, Any]]) -> None:
        if self.path is not None and entries:
            when = now()
            self.end = appended(self.path, [{**entry, "when": when} for entry in entries])
