"""Reporting checklists, filled with what a run knows of itself; the rest is marked as missing.

Sources: CLAIM 2024 (Tejani et al. 2024, Radiology: Artificial Intelligence 6(4)), TRIPOD+AI
(Collins et al. 2024, BMJ 385), STARD 2015 (Bossuyt et al. 2015, BMJ 351), whose numbers STARD-AI
(Sounderajah et al. 2025, Nature Medicine) extends by items that are not listed here. What each item
asks is said in our own words; the papers decide.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medcnn.statistics.operating import point_name, rule_words

Facts = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Item:
    """What is asked, by which numbers of each list, and what a run can say of it."""

    asks: str
    claim: str
    tripod: str
    stard: str
    say: Callable[[Facts], str] | None = None


@dataclass(frozen=True, slots=True)
class Filled:
    item: Item
    text: str


LISTS: dict[str, Callable[[Item], str]] = {
    "CLAIM 2024": lambda item: item.claim,
    "TRIPOD+AI": lambda item: item.tripod,
    "STARD 2015": lambda item: item.stard,
}


def filled(facts: Facts, sections: Collection[str]) -> list[Filled]:
    """Every item, with an empty text where a human must write it.

    Args:
        facts: `run.json` of a run; whatever it lacks leaves items empty.
        sections: headings of the page that texts may point to.
    """
    known = {**facts, "sections": sections}
    return [Filled(item, item.say(known) if item.say else "") for item in ITEMS]


def missing(rows: Sequence[Filled]) -> dict[str, tuple[int, int]]:
    """Of each list how many numbers have a row without a text, and how many numbers it has."""
    counts = {}
    for name, of in LISTS.items():
        every = {n for row in rows for n in numbers(of(row.item))}
        empty = {n for row in rows if not row.text for n in numbers(of(row.item))}
        counts[name] = (len(empty), len(every))
    return counts


def numbers(listed: str) -> list[str]:
    return listed.split(", ") if listed else []


def _at(facts: Facts, path: str) -> Any:
    value: Any = facts
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _see(facts: Facts, *sections: str) -> str:
    there = [name for name in sections if name in facts["sections"]]
    return f"See {', '.join(there)}." if there else ""


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
    seed = _at(facts, "seed")
    dealt = "" if seed is None else f" Splits that did not come with the data: seed {seed}."
    return f"{parts}.{dealt}"


def _disjoint(facts: Facts) -> str:
    leaks, noun = _at(facts, "report.leaks"), _at(facts, "report.group_noun")
    if leaks is None or len(_at(facts, "report.dataset") or ()) < 2:
        return ""
    if noun == "image":
        return "By image: which images are of one patient is not known."
    if leaks:
        stand = "stands" if leaks == 1 else "stand"
        return f"{leaks:,} {noun}{'' if leaks == 1 else 's'} {stand} in more than one split."
    return f"No {noun} stands in two splits."


def _left_out(facts: Facts) -> str:
    excluded, unreadable = _at(facts, "report.excluded"), _at(facts, "report.unreadable")
    if excluded is None or unreadable is None:
        return ""
    reasons = {**excluded, "could not be used": unreadable}
    said = "; ".join(f"{reason}: {count:,}" for reason, count in reasons.items() if count)
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
    return f"medcnn {_at(facts, 'medcnn')}, {parts}{f'; on {device}' if device else ''}."


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
    names = "; ".join(rule_words(point_name(rule)) for rule in rules)
    calibration = _at(facts, "config.readout.calibration")
    return f"Fitted on validation: {names}; calibration: {calibration}."


def _ensemble(facts: Facts) -> str:
    trainer = _at(facts, "config.trainer")
    if not trainer:
        return ""
    mirrored = "mirrored views of an image are averaged where training mirrors images"
    return f"One network, no ensemble{f'; {mirrored}' if trainer['flip_average'] else ''}."


def _predicting(facts: Facts) -> str:
    return f"By medcnn {_at(facts, 'medcnn')} from the checkpoint." if "medcnn" in facts else ""


def _updating(facts: Facts) -> str:
    if _at(facts, "trained_on"):
        return "None: the checkpoint was taken as it is."
    return "None: nothing was fitted after test was opened." if _at(facts, "best_epoch") else ""


def _metrics(facts: Facts) -> str:
    seen = _see(facts, "Scores")
    return f"{seen[:-1]}; each has its definition and source in docs/metrics.md." if seen else ""


def _uncertainty(facts: Facts) -> str:
    if not _see(facts, "Scores"):
        return ""
    noun = _at(facts, "report.group_noun") or "group"
    of = "images" if noun == "image" else f"{noun}s, not images,"
    return (
        f"Intervals of 95 % take {of} for independent; how each is made, and from how many images, "
        "stands beside its score."
    )


def _characteristics(facts: Facts) -> str:
    return _see(facts, "Dataset")


def _flow(facts: Facts) -> str:
    return _see(facts, "Flow of images")


def _performance(facts: Facts) -> str:
    return _see(facts, "Scores", "Operating points", "Confusions")


def _failures(facts: Facts) -> str:
    return _see(facts, "Errors")


def _internal(facts: Facts) -> str:
    """Of a training, or of an evaluation on the very images and splits of the training."""
    own = _at(facts, "best_epoch") or (
        _at(facts, "trained_on") and _at(facts, "trained_on.manifest") == _at(facts, "manifest")
    )
    return _see(facts, "Scores") if own else ""


def _external(facts: Facts) -> str:
    """Of an evaluation on images of which none is known to have been trained on."""
    made = _at(facts, "trained_on")
    if (
        not made
        or not made["source"]
        or made["manifest"] == _at(facts, "manifest")
        or made["shared_images"] != 0
    ):
        return ""
    return (
        f"Evaluated on {_at(facts, 'report.source')}, trained on {made['source']}; no image "
        "carries the id of one that it was trained or chosen with."
    )


def _code(facts: Facts) -> str:
    git, version = _at(facts, "git.commit"), _at(facts, "medcnn")
    return f"medcnn {version}{f', commit {git[:12]}' if git else ''}." if version else ""


def _deidentified(_facts: Facts) -> str:
    return "Patient ids are keyed pseudonyms in all that medcnn writes."


def _imbalance(facts: Facts) -> str:
    loss = _at(facts, "config.loss.name")
    return f"Loss: {loss}; classes are not resampled." if loss else ""


ITEMS = (
    Item("Names the method as machine learning, its task and its population", "1", "1", "1"),
    Item("Structured summary", "2", "2", "2"),
    Item(
        "Background, intended use, place in care, known inequalities",
        "3",
        "3a, 3b, 3c",
        "3",
    ),
    Item("Objectives and hypotheses", "4, 6", "4", "4"),
    Item("Prospective or retrospective", "5", "5a", "5"),
    Item("Where the data come from", "7", "5a", "", _source),
    Item("Setting, centres and dates", "7", "5b, 6a", "8"),
    Item("Who was eligible, and how found", "8", "6b", "6, 7, 9"),
    Item("What treatment they had", "", "6c", ""),
    Item("Images that were left out, and why", "12", "11", "16", _left_out),
    Item("What became of undecided results of model or reference", "", "", "15"),
    Item("Preprocessing", "9", "7, 12b", "10a", _preprocessing),
    Item("Choice of parts of the data or images", "10", "7", "10a"),
    Item("De-identification", "11", "", "", _deidentified),
    Item("Scanners and acquisition", "13", "9a, 9b", "10a"),
    Item("Who took or chose the images, and how trained", "", "9c", ""),
    Item(
        "Reference standard, who set it, from where on it is positive, how well readers agree",
        "14, 15, 16, 17, 18",
        "8a, 8b",
        "10b, 11, 12b",
    ),
    Item(
        "What those knew of each other who set the reference and who read the model's answers",
        "",
        "8c",
        "13a, 13b",
    ),
    Item("How images were dealt to splits", "19", "12a", "", _partitions),
    Item("At which level splits are disjoint", "20", "12a", "", _disjoint),
    Item("Why this many", "21", "10", "18"),
    Item("The model", "22", "12c, 22", "10a", _model),
    Item("Software and hardware", "23", "12c", "", _software),
    Item("Where the weights start", "24", "12c", "", _weights),
    Item("Training", "25", "12c", "", _training),
    Item("Class imbalance", "25", "13", "", _imbalance),
    Item("How the final model was chosen", "26", "12c", "", _selection),
    Item("Ensembles", "27", "12c", "", _ensemble),
    Item("Thresholds and calibration", "26", "15", "12a", _thresholds),
    Item("How a prediction is made", "", "12g", "", _predicting),
    Item("What was changed in the model after its evaluation", "", "12f, 24", "", _updating),
    Item("Which scores", "28", "12e", "14", _metrics),
    Item("Uncertainty", "29", "12e", "14", _uncertainty),
    Item(
        "Robustness, subgroups, hospitals, fairness: how studied, and what was found",
        "30",
        "12d, 14, 23b",
        "17",
    ),
    Item("Explainability", "31", "", ""),
    Item("Internal data", "32", "", "", _internal),
    Item("External data", "33", "", "", _external),
    Item("How the data of evaluation and training differ", "", "16, 20c", ""),
    Item("Registration, protocol, ethics", "34, 42", "17, 18c, 18d", "28, 29"),
    Item("Flow of participants", "35", "20a", "19", _flow),
    Item("Images and labels of each split", "", "21", "", _characteristics),
    Item("Age, sex, severity and other diseases in each split", "36", "20b", "20, 21a, 21b"),
    Item("Time, and treatment, between image and reference", "", "", "22"),
    Item("Performance with its precision", "37, 38", "23a", "23, 24", _performance),
    Item("What went wrong in the errors", "39", "23a", "", _failures),
    Item("Harm done by test or reference", "", "", "25"),
    Item("Limitations", "40", "26", "26"),
    Item("Meaning for practice", "41", "25, 27a, 27b, 27c", "27"),
    Item("Availability of the code", "43", "18f", "", _code),
    Item("Availability of model and data", "43", "18e", ""),
    Item("Funding and interests", "44", "18a, 18b", "30"),
    Item("Involvement of patients", "", "19", ""),
)
