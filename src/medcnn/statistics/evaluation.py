"""The scores of a split, and the file `metrics.json` that holds them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from medcnn.data.labels import LabelSpace
from medcnn.statistics.estimates import Estimate
from medcnn.statistics.intervals import (
    LEVEL,
)
from medcnn.system.errors import DataError
from medcnn.system.files import write_text

SCHEMA = 1


class Average(StrEnum):
    """Over the labels: their plain mean; all of their rows in one column; their mean, each as heavy
    as it has positives."""

    MACRO = "macro"
    MICRO = "micro"
    WEIGHTED = "weighted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Score(Estimate):
    """An estimate with its name.

    Attributes:
        name: key of `metrics.METRICS`.
        label: class name, for cut points the lowest grade that counts; None for the value of the
            whole table, of an average, or of a binary set.
        average: over the labels; None where it is none.
        positives: images with the label; None where that has no meaning.
        method: of the interval, a key of docs/metrics.md; empty where there is none.
        note: empty, a caution, `interval not available: ...` or `not available: ...`.
    """

    name: str
    label: str | None
    average: str | None = None
    positives: int | None
    method: str = ""

    @property
    def overall(self) -> bool:
        """Whether it is the one that stands for the whole set: table, macro mean, or binary."""
        return self.label is None and self.average in (None, Average.MACRO)

    def to_json(self) -> dict[str, Any]:
        named = {"name": self.name, "label": self.label, "average": self.average}
        return {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in {**named, **asdict(self)}.items()
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Score:
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
        groups: patients (or lesions) behind them.
        unreadable: images of the split that have no prediction.
        thresholds: in use for the decisions, one per output; None where classes exclude each other.
        resamples: behind each interval.
        predictions: digest of those that were scored; empty in files from before it was kept.
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
        """The score of a label, of an average, or else the overall one.

        Raises KeyError where this kind of label has no such score.
        """
        for score in self.scores:
            if (score.name, score.label) == (name, label) and (
                score.average == average if average else score.overall or label
            ):
                return score
        raise KeyError((name, label, average))

    def to_json(self) -> dict[str, Any]:
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
    """Write `metrics.json`: strict JSON, null where a number is not available.

    Args:
        extra: further top-level entries, such as provenance.
    """
    splits = {split: evaluation.to_json() for split, evaluation in evaluations.items()}
    content = {**(extra or {}), "schema": SCHEMA, "splits": splits}
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_metrics(path: Path) -> dict[str, Evaluation]:
    """The evaluations by split that `write_metrics` left at `path`.

    Raises:
        DataError: the file is missing, damaged or of another schema.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["schema"] != SCHEMA:
            raise ValueError(f"schema {content['schema']}, this version reads {SCHEMA}")
        return {split: Evaluation.from_json(e) for split, e in content["splits"].items()}
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} is not a metrics.json: {error}") from error
