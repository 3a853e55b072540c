"""What a model said of a split: the waist of the hourglass.

Validation while training, `evaluate`, the scores, the figures and the report consume this and
nothing else. Saved as `predictions_<split>.csv` with its header `.json` beside it; reading it
back gives the same float32 logits, bit for bit.
"""

from __future__ import annotations

import csv
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.errors import DataError
from medcnn.labels import Kind, LabelSpace


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """One row per readable record, in manifest order.

    Attributes:
        split: train, validation, test, or `new` for images without labels.
        groups: patient or lesion of each image; the unit that intervals resample.
        targets: [N, K] 0, 1, a share of 1, or nan for "not assessed".
        logits: [N, K] float32, never calibrated or rounded.
        thresholds: one per output, chosen on validation; None where classes exclude each other
            or none was chosen yet.
        unreadable: (image id, reason) of the images that have no row here.
        provenance: what made the logits (checkpoint hash, manifest fingerprint, ...).
    """

    labels: LabelSpace
    split: str
    image_ids: tuple[str, ...]
    groups: tuple[str, ...]
    targets: NDArray[np.float32]
    logits: NDArray[np.float32]
    thresholds: tuple[float, ...] | None = None
    unreadable: tuple[tuple[str, str], ...] = ()
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = (len(self.image_ids), len(self.labels.outputs))
        assert self.logits.shape == self.targets.shape == shape, "rows and columns must agree"
        assert len(self.groups) == len(self.image_ids), "every row has a group"

    @property
    def probabilities(self) -> NDArray[np.float64]:
        return self.labels.probabilities(self.logits)

    @property
    def decisions(self) -> NDArray[np.bool_]:
        return self.labels.decide(self.probabilities, self.thresholds)

    def write(self, path: Path) -> None:
        names = self.labels.outputs
        columns = [f"{what}:{n}" for what in ("target", "logit", "probability") for n in names]
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["image_id", "group", *columns, "decision"])
            rows = zip(
                self.image_ids,
                self.groups,
                self.targets,
                self.logits,
                self.probabilities,
                self.labels.decision_texts(self.decisions),
                strict=True,
            )
            for image_id, group, target, logit, probability, decision in rows:
                cells = ["" if math.isnan(t) else f"{t:g}" for t in target]
                # nine digits give back every float32 exactly
                cells += [f"{value:.9g}" for value in logit]
                cells += [f"{value:.6f}" for value in probability]
                writer.writerow([image_id, group, *cells, decision])
        header = {
            "schema": 1,
            "labels": self.labels.to_json(),
            "split": self.split,
            "thresholds": self.thresholds,
            "unreadable": self.unreadable,
            "provenance": self.provenance,
        }
        path.with_suffix(".json").write_text(json.dumps(header, indent=2) + "\n", encoding="utf-8")

    def new_rows(self) -> list[dict[str, str]]:
        """Rows of the table that `predict` writes: images without labels, unreadable ones too."""
        decisions = self.labels.decision_texts(self.decisions)
        rows = []
        for image_id, values, decision in zip(
            self.image_ids, self.probabilities, decisions, strict=True
        ):
            cells = {f"probability:{n}": f"{v:.6f}" for n, v in self._named(values)}
            rows.append({"image_id": image_id, **cells, "decision": decision, "unreadable": ""})
        rows += [{"image_id": i, "unreadable": reason} for i, reason in self.unreadable]
        return sorted(rows, key=lambda row: row["image_id"])

    def _named(self, values: NDArray[np.float64]) -> list[tuple[str, float]]:
        """Probabilities [K] by class name; a binary space names its negative class too."""
        if self.labels.kind is Kind.BINARY:
            values = np.array([1 - values[0], values[0]])
        return [(n, float(v)) for n, v in zip(self.labels.names, values, strict=True)]

    @classmethod
    def read(cls, path: Path) -> Predictions:
        """Raises DataError where the table or its header is missing or does not fit."""
        try:
            header = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
            with path.open(newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
            labels = LabelSpace.from_json(header["labels"])

            def table(what: str) -> NDArray[np.float32]:
                cells = [[r[f"{what}:{n}"] or "nan" for n in labels.outputs] for r in rows]
                return np.array(cells, dtype=np.float32).reshape(len(rows), len(labels.outputs))

            return cls(
                labels=labels,
                split=header["split"],
                image_ids=tuple(r["image_id"] for r in rows),
                groups=tuple(r["group"] for r in rows),
                targets=table("target"),
                logits=table("logit"),
                thresholds=tuple(header["thresholds"]) if header["thresholds"] else None,
                unreadable=tuple((i, why) for i, why in header["unreadable"]),
                provenance=header["provenance"],
            )
        except (OSError, KeyError, ValueError) as error:
            raise DataError(
                f"{path} with its .json is not a table of predictions: {error}"
            ) from error
