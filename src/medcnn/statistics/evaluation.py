"""The scores of a split, and the file `metrics.json`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from medcnn.data.labels import LabelSpace
from medcnn.statistics.estimates import Estimate
from medcnn.statistics.intervals import LEVEL
from medcnn.system.errors import DataError
from medcnn.system.files import without_nan, write_json

SCHEMA = 1


class Average(StrEnum):
    """How scores of labels are averaged.

    Their plain mean; all their rows in one column; their mean weighted by number of positives.
    """

    MACRO = "macro"
    MICRO = "micro"
    WEIGHTED = "weighted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Score(Estimate):
    """An estimate with its name.

    Attributes:
        name: key of `metrics.METRICS`.
        label: class name (for cut points, the lowest grade included); None for the whole table,
            an average, or a binary set.
        average: kind of average over labels, or None.
        positives: number of images with the label; None if that has no meaning.
        method: of the interval, a key of docs/metrics.md; "" if there is none.
        note: "", a caution, `interval not available: ...` or `not available: ...`.
        no_interval: why a value has no interval, or ""; part of `note`, and not stored.
    """

    name: str
    label: str | None
    average: str | None = None
    positives: int | None
    method: str = ""
    no_interval: str = field(default="", compare=False)

    @property
    def overall(self) -> bool:
        """Whether it represents the whole set: table, macro mean, or binary."""
        return self.label is None and self.average in (None, Average.MACRO)

    def to_json(self) -> dict[str, Any]:
        """Its entry in `metrics.json`."""
        named = {"name": self.name, "label": self.label, "average": self.average}
        fields: dict[str, Any] = without_nan({**named, **asdict(self)})
        del fields["no_interval"]
        return fields

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Score:
        """Restore what `to_json` returned."""
        numbers = {
            key: math.nan if stored[key] is None else stored[key]
            for key in ("value", "low", "high")
        }
        return cls(**{**stored, **numbers})


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """The scores of one split.

    Attributes:
        images: rows with a prediction.
        groups: their patients (or lesions).
        unreadable: images of the split without a prediction.
        thresholds: used for decisions, one per output; None if classes are exclusive.
        resamples: for each interval.
        predictions: digest of the predictions; "" in earlier files.
    """

    labels: LabelSpace
    split: str
    images: int
    groups: int
    unreadable: int
    thresholds: tuple[float, ...] | None
    resamples: int
    seed: int
    scores: tuple[Score, ...]
    predictions: str = ""

    def find(self, name: str, label: str | None = None, average: str | None = None) -> Score:
        """The score of a label or an average, or the overall score.

        Raises KeyError if this kind of label has no such score.
        """
        for score in self.scores:
            if (score.name, score.label) == (name, label) and (
                score.average == average if average else score.overall or label
            ):
                return score
        raise KeyError((name, label, average))

    def to_json(self) -> dict[str, Any]:
        """Its entry in `metrics.json`."""
        return {
            "labels": self.labels.to_json(),
            "split": self.split,
            "images": self.images,
            "groups": self.groups,
            "unreadable": self.unreadable,
            "thresholds": self.thresholds,
            "level": LEVEL,
            "resamples": self.resamples,
            "seed": self.seed,
            "predictions": self.predictions,
            "scores": [score.to_json() for score in self.scores],
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Evaluation:
        """Restore what `to_json` returned."""
        rest = {k: v for k, v in stored.items() if k != "level"}
        thresholds = stored["thresholds"]
        return cls(
            **{
                **rest,
                "labels": LabelSpace.from_json(stored["labels"]),
                "thresholds": None if thresholds is None else tuple(thresholds),
                "scores": tuple(Score.from_json(s) for s in stored["scores"]),
            }
        )


def write_metrics(
    path: Path, evaluations: Mapping[str, Evaluation], extra: Mapping[str, Any] | None = None
) -> None:
    """Write `metrics.json`: strict JSON, with null for numbers that are not available.

    Args:
        path: where to write.
        evaluations: by split.
        extra: additional top-level entries, such as provenance.
    """
    splits = {split: evaluation.to_json() for split, evaluation in evaluations.items()}
    content = {**(extra or {}), "schema": SCHEMA, "splits": splits}
    write_json(path, content)


def read_metrics(path: Path) -> dict[str, Evaluation]:
    """The evaluations by split that `write_metrics` wrote to `path`.

    Raises:
        DataError: the file is missing, damaged or of another schema.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["schema"] != SCHEMA:
            raise ValueError(f"schema {content['schema']}, but this version reads {SCHEMA}")
        return {split: Evaluation.from_json(e) for split, e in content["splits"].items()}
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} is not a metrics.json: {error}") from error
