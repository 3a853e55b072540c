"""Reporting checklists, filled in with what a run records about itself; the rest is marked missing.

`checklist.tsv` has each item, in our own words, and its numbers in each list; the papers are
decisive. Sources: CLAIM 2024 (Tejani et al. 2024, Radiology: Artificial Intelligence 6(4)),
TRIPOD+AI (Collins et al. 2024, BMJ 385), STARD 2015 (Bossuyt et al. 2015, BMJ 351) and STARD-AI
(Sounderajah et al. 2025, Nature Medicine 31:3283, Table 2), which renumbers the items of STARD 2015
and adds others: 40 items in 48 rows.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from medcnn.pages.facts import Facts, Made, say
from medcnn.pages.flow import used
from medcnn.pages.format import counted
from medcnn.pages.plan_page import sample_size
from medcnn.pages.statements import STATEMENTS
from medcnn.statistics.operating import point_name, rule_words

Run = Mapping[str, Any]
OUTPUTS = "The outputs for every image are in predictions_{}.csv of the run folder."
LISTS = ("CLAIM 2024", "TRIPOD+AI", "STARD 2015", "STARD-AI")


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A question, its numbers in each list, and the name in SAYS of what answers it."""

    asks: str
    says: str
    numbers: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Filled:
    item: Item
    text: str


@cache
def items() -> tuple[Item, ...]:
    """The rows of `checklist.tsv`."""
    text = resources.files("medcnn.pages").joinpath("checklist.tsv").read_text(encoding="utf-8")
    return tuple(
        Item(
            asks=row["asks"],
            says=row["says"],
            numbers={name: tuple(filter(None, row[name].split(", "))) for name in LISTS},
        )
        for row in csv.DictReader(text.splitlines(), delimiter="\t")
    )


def filled(run: Run, facts: Facts) -> list[Filled]:
    """Every item, with an empty text if a human must write it.

    Args:
        run: `run.json`; items that need what it lacks stay empty.
        facts: of the page, with the sections that texts may point to.
    """
    return [Filled(item, SAYS[item.says](run, facts) if item.says else "") for item in items()]


def missing(rows: Sequence[Filled]) -> dict[str, tuple[int, int]]:
    """For each list, how many of its items have a row without text, and how many it has."""
    counts = {}
    for name in LISTS:
        every = {n for row in rows for n in row.item.numbers[name]}
        empty = {n for row in rows if not row.text for n in row.item.numbers[name]}
        counts[name] = (len(empty), len(every))
    return counts


def summed_up(rows: Sequence[Filled]) -> str:
    """The text above the table, or "" without a table."""
    if not rows:
        return ""
    counts = [f"{empty} of {of} items of {name}" for name, (empty, of) in missing(rows).items()]
    return (
        f"The checklists of {', '.join(LISTS[:-1])} and {LISTS[-1]}, filled in as far as this run "
        f"allows. Missing are {', '.join(counts[:-1])} and {counts[-1]}: only the authors of the "
        "study can write these."
    )


def _at(run: Run, path: str) -> Any:
    value: Any = run
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _with(run: Run, path: str, words: str) -> str:
    """The words around a fact, or "" if it is not known."""
    value = _at(run, path)
    return words.format(value) if value else ""


def _see(facts: Facts, *sections: str) -> str:
    there = [name for name in sections if name in facts.sections]
    return f"See {', '.join(there)}." if there else ""


def _source(run: Run, _: Facts) -> str:
    if not (dataset := _at(run, "report.dataset")):
        return ""
    listed = sum(split.get("images", 0) for split in dataset.values())
    counted = used(run["report"])
    images = f"{sum(counted.values()):,} images used" if counted else f"{listed:,} images listed"
    return f"{_at(run, 'report.source') or 'the data set'}: {images}."


def _preprocessing(run: Run, _: Facts) -> str:
    data = _at(run, "config.data") or {}
    if "size_px" not in data:
        return ""
    steps = ", ".join(step["name"] for step in data.get("steps") or ()) or "none"
    return (
        f"Resized to {data['size_px']} px ({data.get('fit')}), {data.get('channels')} channels, "
        f"{data.get('bits')} bits; steps: {steps}."
    )


def _partitions(run: Run, facts: Facts) -> str:
    if not (dataset := _at(run, "report.dataset")):
        return ""
    noun = facts.group_noun
    parts = ", ".join(
        f"{name} {counted(split.get('images', 0), 'image')}"
        + (f" of {counted(split['groups'], noun)}" if facts.grouped and "groups" in split else "")
        for name, split in dataset.items()
    )
    seed = _at(run, "seed")
    return f"{parts}." + ("" if seed is None else f" The seed of this run is {seed}.")


def _disjoint(run: Run, facts: Facts) -> str:
    leaks, noun = facts.leaks, facts.group_noun
    if leaks is None or len(_at(run, "report.dataset") or ()) < 2:
        return ""
    if leaks:
        stand = "is" if leaks == 1 else "are"
        return f"{counted(leaks, noun)} {stand} in more than one split."
    if not facts.patients_known:
        return f"By {noun or 'image'}: the patients are not known."
    return f"No {noun} is in two splits."


def _left_out(run: Run, _: Facts) -> str:
    excluded, unreadable = _at(run, "report.excluded"), _at(run, "report.unreadable")
    if excluded is None or unreadable is None:
        return ""
    reasons = {**excluded, "could not be used": unreadable}
    for reason, count in (_at(run, "report.rows_left_out") or {}).items():
        reasons[f"{reason} (rows of the table)"] = count
    words = "; ".join(f"{reason}: {count:,}" for reason, count in reasons.items() if count)
    return f"Left out: {words}." if words else "No image was left out."


def _model(run: Run, _: Facts) -> str:
    model, head = _at(run, "config.model.backbone"), _at(run, "config.head.name")
    if not model:
        model, head = _at(run, "trained_on.backbone"), _at(run, "trained_on.head")
    return f"{model}{f' with a {head} head' if head else ''}." if model else ""


def _software(run: Run, _: Facts) -> str:
    if not (versions := _at(run, "versions")):
        return ""
    parts = ", ".join(f"{name} {version}" for name, version in versions.items())
    device = _at(run, "hardware.device")
    return f"medcnn {_at(run, 'medcnn')}, {parts}{f'; on {device}' if device else ''}."


def _training(run: Run, _: Facts) -> str:
    trainer, optimizer = _at(run, "config.trainer"), _at(run, "config.optimizer")
    if not trainer or not optimizer:
        return ""
    done = len(_at(run, "report.history") or ())
    of = f"{done} of at most {trainer['epochs']}" if done else f"at most {trainer['epochs']}"
    return (
        f"{of} epochs, batches of {trainer['batch_size']}, {optimizer['name']} with learning rate "
        f"{optimizer['lr']:g}; all settings are listed under Provenance."
    )


def _selection(run: Run, _: Facts) -> str:
    """Test was not consulted if this run, or an evaluation of it, opened it only once."""
    epoch, once = _at(run, "best_epoch"), len(_at(run, "test_looks") or ()) == 1
    after = "; the test split was opened once, after that" if once else ""
    return f"Best validation score, epoch {epoch}{after}." if epoch else ""


def _thresholds(run: Run, facts: Facts) -> str:
    rules = _at(run, "config.readout.operating_points")
    if not rules or not facts.fitted & {"thresholds", "calibration"}:
        return ""
    names = "; ".join(rule_words(point_name(rule)) for rule in rules)
    fitted = f"Thresholds fitted on validation: {names}. " if "thresholds" in facts.fitted else ""
    calibrated = facts.calibration if "calibration" in facts.fitted else "none"
    return f"{fitted}Calibration: {calibrated}."


def _ensemble(run: Run, _: Facts) -> str:
    flips = _at(run, "flips")
    averaged = "; predictions for an image and its mirror images are averaged" if flips else ""
    members = len(_at(run, "checkpoint.members") or ())
    mean = f"The mean of the calibrated probabilities of {members} networks"
    return "" if flips is None else f"{mean if members else 'One network, no ensemble'}{averaged}."


def _updating(run: Run, facts: Facts) -> str:
    if facts.made is Made.EVALUATED:
        return "None: the checkpoint was used unchanged."
    once = facts.made is Made.TRAINED and len(_at(run, "test_looks") or ()) == 1
    return "None: nothing was fitted after the test split was opened." if once else ""


def _metrics(_run: Run, facts: Facts) -> str:
    seen = _see(facts, "Scores")
    return f"{seen[:-1]}; definitions and sources are in docs/metrics.md." if seen else ""


def _uncertainty(_run: Run, facts: Facts) -> str:
    if not _see(facts, "Scores") or not facts.intervals:
        return ""
    of = f"{facts.group_noun}s, not images," if facts.grouped else "images"
    return (
        f"95 % intervals treat {of} as independent; their methods and numbers of images are shown "
        "next to the scores."
    )


def _external(run: Run, facts: Facts) -> str:
    """For an evaluation on images that training never used."""
    source, here = _at(run, "trained_on.source"), _at(run, "report.source")
    other = facts.made is Made.EVALUATED and not facts.own_set and facts.shared == 0
    if not source or not other or here == source:
        return ""
    return (
        f"Evaluated on {here}, trained on {source}; no image shares its id "
        "with an image used in training or validation."
    )


SAYS: dict[str, Callable[[Run, Facts], str]] = {
    "source": _source,
    "left_out": _left_out,
    "preprocessing": _preprocessing,
    "deidentified": lambda _, facts: say(STATEMENTS, facts, "pseudonyms", "no pseudonyms"),
    "partitions": _partitions,
    "disjoint": _disjoint,
    "plan": lambda run, facts: sample_size(run, facts.split),
    "model": _model,
    "software": _software,
    "weights": lambda run, _: str(_at(run, "weights") or ""),
    "training": _training,
    "imbalance": lambda run, _: _with(run, "config.loss.name", "Loss: {}."),
    "selection": _selection,
    "ensemble": _ensemble,
    "thresholds": _thresholds,
    "predicting": lambda run, _: _with(run, "medcnn", "By medcnn {} from the checkpoint."),
    "updating": _updating,
    "metrics": _metrics,
    "uncertainty": _uncertainty,
    # for a training, or an evaluation on the same images and splits
    "internal": lambda _, facts: _see(facts, "Scores") if facts.of_training else "",
    "external": _external,
    "subgroups": lambda _, facts: (
        "Subgroups only: see Subgroups." if "subgroups" in facts.sections else ""
    ),
    "maps": lambda _, facts: "See Where decisions come from." if "maps" in facts.sections else "",
    "flow": lambda _, facts: _see(facts, "Flow of images"),
    "characteristics": lambda _, facts: _see(facts, "Dataset"),
    "performance": lambda _, facts: _see(facts, "Scores", "Operating points", "Confusions"),
    "failures": lambda _, facts: _see(facts, "Errors"),
    "code": lambda run, _: (
        _with(run, "medcnn", "medcnn {}.") + _with(run, "git.commit", " Commit {:.12}.")
    ),
    "outputs": lambda _, facts: OUTPUTS.format(facts.split) if _see(facts, "Confusions") else "",
}
