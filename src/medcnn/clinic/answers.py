"""What a model says of one image, in plain values, and where it was measured how good that is."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.images.reading import Pixels
from medcnn.statistics.conformal import set_texts
from medcnn.statistics.estimates import Estimate
from medcnn.statistics.predictions import Predictions

NUMBERS = ("value", "low", "high")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What the operating point of a label reached on images that nothing was fitted to.

    Attributes:
        on: which images these were, in words.
        noun: what a group of theirs is: patient, lesion, or image if that is not known.
    """

    sensitivity: Estimate
    specificity: Estimate
    on: str
    noun: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One label.

    Attributes:
        probability: calibrated, if the readout is.
        present: the call.
        threshold: the probability from which it is called present; None where the call does not
            depend on one (exclusive classes).
        measured: None where that is not known.
    """

    label: str
    probability: float
    present: bool
    threshold: float | None = None
    measured: Measured | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeatMap:
    """Where in the image the logit of a label comes from.

    Attributes:
        pixels: the image as it was read, [H, W, C], before any preprocessing.
        values: [H, W], at the same positions; nan where the network was not shown the image.
        method: gradcam, ...
        unit: of the values.
    """

    pixels: Pixels
    values: NDArray[np.float32]
    label: str
    method: str
    unit: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answer:
    """All that is said of one image.

    Attributes:
        rule: how the calls are made, in words.
        decision: the calls in words; "" if none is present.
        possible: the prediction set in words; None if the checkpoint has none.
        refer: whether a human should look at it; None if the checkpoint does not say.
        looks: `usual`, or a verdict of `strangeness`; None if the checkpoint does not say.
    """

    findings: tuple[Finding, ...]
    rule: str
    decision: str
    possible: str | None = None
    refer: bool | None = None
    looks: str | None = None
    heat: HeatMap | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Which model gave an answer, and how it was asked.

    Attributes:
        name: of the checkpoint.
        sha256: of its file.
        settings: everything else that the answer depends on (precision, device, window, frames,
            method of explanation): UIDs are a function of them.
    """

    name: str
    sha256: str
    settings: Mapping[str, str] = field(default_factory=dict)


def answers_of(said: Predictions, measured: Mapping[str, Measured]) -> dict[str, Answer]:
    """Image id -> answer, without a heat map.

    Args:
        measured: label -> what `measured_with` found.
    """
    labels, sets, refer, looks = said.labels, said.sets, said.refer, said.verdicts
    possible = None if sets is None else set_texts(labels, sets)
    decisions = labels.decision_texts(said.decisions)
    thresholds = said.thresholds or (None,) * len(labels.outputs)
    rule = said.readout.rule(labels)
    answers = {}
    rows = zip(said.image_ids, said.probabilities, said.decisions, strict=True)
    for i, (image_id, probabilities, calls) in enumerate(rows):
        columns = zip(labels.outputs, probabilities, calls, thresholds, strict=True)
        findings = tuple(
            Finding(
                label=label,
                probability=float(probability),
                present=bool(call),
                threshold=threshold,
                measured=None if threshold is None else measured.get(label),
            )
            for label, probability, call, threshold in columns
        )
        answers[image_id] = Answer(
            findings=findings,
            rule=rule,
            decision=decisions[i],
            possible=None if possible is None else possible[i],
            refer=None if refer is None else bool(refer[i]),
            looks=None if looks is None else str(looks[i]),
        )
    return answers


def measured_with(checkpoint: Path, sha256: str) -> dict[str, Measured]:
    """Label -> sensitivity and specificity of the operating point that decides, on the test split
    of the run that the checkpoint lies in; empty where it lies in none, or in another's.

    Args:
        checkpoint: its file, RUN/checkpoints/NAME.safetensors.
        sha256: of that file: the test predictions of the run say which one they were made with.
    """
    run = checkpoint.absolute().parent.parent
    try:
        said = json.loads((run / "predictions_test.json").read_text(encoding="utf-8"))
        results = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
        facts = json.loads((run / "run.json").read_text(encoding="utf-8"))
        if said["provenance"]["checkpoint_sha256"] != sha256:
            return {}
        points, decides = results["readout"]["test"]["points"], said["readout"]["points"]
        own = [p for p in points if decides and p["point"] == decides[0]["name"]]
        noun = str(facts.get("report", {}).get("group_noun") or "image")
        return {p["label"]: _measured(p, noun) for p in own}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}


def _measured(point: Mapping[str, Any], noun: str) -> Measured:
    sensitivity, specificity = _estimate(point["sensitivity"]), _estimate(point["specificity"])
    on = f"{sensitivity.count + specificity.count:,} test images of the run that trained the model"
    return Measured(sensitivity=sensitivity, specificity=specificity, on=on, noun=noun)


def _estimate(stored: Mapping[str, Any]) -> Estimate:
    numbers = {key: math.nan if stored[key] is None else stored[key] for key in NUMBERS}
    return Estimate(**{**stored, **numbers})
