"""Reporting checklists, filled with what a run knows of itself; the rest is marked as missing.

Sources: CLAIM 2024 (Tejani et al. 2024, Radiology: Artificial Intelligence 6(4)), TRIPOD+AI
(Collins et al. 2024, BMJ 385), STARD 2015 (Bossuyt et al. 2015, BMJ 351), whose numbers STARD-AI
(Sounderajah et al. 2025, Nature Medicine) extends. What each item asks is said in our own words;
the papers decide.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Facts = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Item:
    """An item with its number in each list, and what a run can say of it."""

    asks: str
    claim: str
    tripod: str
    stard: str
    say: Callable[[Facts], str] | None = None


@dataclass(frozen=True, slots=True)
class Filled:
    item: Item
    text: str


def filled(facts: Facts) -> list[Filled]:
    """Every item, with an empty text where a human must write it.

    Args:
        facts: `run.json` of a run; whatever it lacks leaves items empty.
    """
    return [Filled(item, item.say(facts) if item.say else "") for item in ITEMS]


def _at(facts: Facts, path: str) -> Any:
    value: Any = facts
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _source(facts: Facts) -> str:
    dataset = _at(facts, "report.dataset")
    if not dataset:
        return ""
    images = sum(split.get("images", 0) for split in dataset.values())
    return f"{_at(facts, 'report.source') or 'the data set'}: {images:,} images used."


def _preprocessing(facts: Facts) -> str:
    data = _at(facts, "config.data") or {}
    if "size_px" not in data:
        return ""
    steps = ", ".join(step["name"] for step in data.get("steps") or ()) or "none"
    return (
        f"Resized to {data['size_px']} px ({data.get('fit')}), {data.get('channels')} channels, "
        f"{data.get('bits')} bits; steps: {steps}."
    )


def _partitions(facts: Facts) -> str:
    dataset = _at(facts, "report.dataset")
    if not dataset:
        return ""
    parts = ", ".join(
        f"{name} {split.get('images', 0):,} images"
        + (f" of {split['groups']:,} {noun}s" if "groups" in split else "")
        for noun in [_at(facts, "report.group_noun") or "group"]
        for name, split in dataset.items()
    )
    return f"Seed {_at(facts, 'seed')}: {parts}."


def _disjoint(facts: Facts) -> str:
    noun = _at(facts, "report.group_noun")
    return f"No {noun} stands in two splits; medcnn refuses such data." if noun else ""


def _left_out(facts: Facts) -> str:
    excluded = _at(facts, "report.excluded")
    if excluded is None:
        return ""
    said = "; ".join(f"{reason}: {count:,}" for reason, count in excluded.items())
    return f"Left out: {said}." if said else "No image was left out."


def _model(facts: Facts) -> str:
    model = _at(facts, "config.model.backbone")
    head = _at(facts, "config.head.name")
    return f"{model} with a {head} head; the checkpoint holds it whole." if model else ""


def _software(facts: Facts) -> str:
    versions = _at(facts, "versions")
    if not versions:
        return ""
    parts = ", ".join(f"{name} {version}" for name, version in versions.items())
    device = _at(facts, "hardware.device")
    return f"medcnn {_at(facts, 'medcnn')}, {parts}; on {device}."


def _weights(facts: Facts) -> str:
    return str(_at(facts, "weights") or "")


def _training(facts: Facts) -> str:
    trainer, optimizer = _at(facts, "config.trainer"), _at(facts, "config.optimizer")
    if not trainer or not optimizer:
        return ""
    return (
        f"{trainer['epochs']} epochs, batches of {trainer['batch_size']}, {optimizer['name']} with "
        f"learning rate {optimizer['lr']:g}; all settings stand under Provenance."
    )


def _selection(facts: Facts) -> str:
    epoch = _at(facts, "best_epoch")
    return f"Best validation score, epoch {epoch}; test was not consulted." if epoch else ""


def _thresholds(facts: Facts) -> str:
    rules = _at(facts, "config.readout.operating_points")
    if not rules:
        return ""
    names = ", ".join(rule["name"] for rule in rules)
    calibration = _at(facts, "config.readout.calibration")
    return f"Fitted on validation: {names}; calibration: {calibration}."


def _metrics(_facts: Facts) -> str:
    return "See Scores; each has its definition and source in docs/metrics.md."


def _uncertainty(facts: Facts) -> str:
    noun = _at(facts, "report.group_noun") or "group"
    return f"95 % intervals that draw {noun}s, not images; counts stand beside each score."


def _characteristics(facts: Facts) -> str:
    return "Labels by split: see Dataset." if _at(facts, "report.dataset") else ""


def _flow(facts: Facts) -> str:
    return "See Flow of images." if _at(facts, "report.dataset") else ""


def _performance(_facts: Facts) -> str:
    return "See Scores and Operating points."


def _failures(facts: Facts) -> str:
    return "See Errors." if _at(facts, "report.errors") else ""


def _external(facts: Facts) -> str:
    command = str(_at(facts, "command") or "")
    return "This report is of other data than the training's." if "evaluate" in command else ""


def _availability(facts: Facts) -> str:
    git = _at(facts, "git.commit")
    code = f"commit {git[:12]} of the program" if git else f"medcnn {_at(facts, 'medcnn')}"
    return f"Code: {code}. Where the model and the data can be had: to be written."


def _deidentified(_facts: Facts) -> str:
    return "Patient ids are keyed pseudonyms in all that medcnn writes."


def _imbalance(facts: Facts) -> str:
    loss = _at(facts, "config.loss.name")
    return f"Loss: {loss}; classes are not resampled." if loss else ""


ITEMS = (
    Item("Names the method as machine learning, its task and its population", "1", "1", "1"),
    Item("Structured summary", "2", "2", "2"),
    Item("Background, intended use, place in care", "3", "3a-c", "3"),
    Item("Objectives and hypotheses", "4, 6", "4", "4"),
    Item("Prospective or retrospective", "5", "5a", "5"),
    Item("Where the data come from", "7", "5a", "7", _source),
    Item("Setting, centres and dates", "7", "5b, 6a", "8"),
    Item("Who was eligible", "8", "6b", "6, 9"),
    Item("Images that were left out, and why", "8, 12", "11", "15, 16", _left_out),
    Item("Preprocessing", "9", "7", "10a", _preprocessing),
    Item("Choice of parts of the data or images", "10", "7", "10a"),
    Item("De-identification", "11", "", "", _deidentified),
    Item("Scanners and acquisition", "13", "9a", "10a"),
    Item(
        "Reference standard, who set it, and how well readers agree",
        "14-18",
        "8a-c",
        "10b, 11, 13b",
    ),
    Item("How images were dealt to splits", "19", "12a", "", _partitions),
    Item("At which level splits are disjoint", "20", "12a", "", _disjoint),
    Item("Why this many", "21", "10", "18"),
    Item("The model", "22", "12c, 22", "10a", _model),
    Item("Software and hardware", "23", "12c, 18", "", _software),
    Item("Where the weights start", "24", "12c", "", _weights),
    Item("Training", "25", "12c", "", _training),
    Item("Class imbalance", "25", "13", "", _imbalance),
    Item("How the final model was chosen", "26", "12c", "", _selection),
    Item("Thresholds and calibration", "26", "12g, 15", "12a", _thresholds),
    Item("Which scores", "28", "12e", "14", _metrics),
    Item("Uncertainty", "29", "12e", "14, 24", _uncertainty),
    Item("Robustness, subgroups, fairness", "30", "14, 23a", "17"),
    Item("Explainability", "31", "", ""),
    Item("External data", "33", "16, 20c", "", _external),
    Item("Registration, protocol, ethics", "34, 42", "17, 18c-d", "28, 29"),
    Item("Flow of participants", "35", "20a", "19", _flow),
    Item("Characteristics of each split", "36", "20b", "20, 21", _characteristics),
    Item("Performance with its precision", "37, 38", "23a", "23, 24", _performance),
    Item("What went wrong in the errors", "39", "23a", "", _failures),
    Item("Limitations", "40", "26", "26"),
    Item("Meaning for practice", "41", "25, 27a-c", "27"),
    Item("Availability of code, model and data", "43", "18e-f", "", _availability),
    Item("Funding and interests", "44", "18a-b", "30"),
    Item("Involvement of patients", "", "19", ""),
)
