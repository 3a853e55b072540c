"""`compare`: runs on the same images, the first against each of the others."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medcnn.system.errors import UsageError
from medcnn.system.settings import within
from medcnn.verbs import Command, Given, Verb

if TYPE_CHECKING:
    from medcnn.config import Seed, Subgroups
    from medcnn.statistics.differences import Difference, Pairing
    from medcnn.statistics.group_differences import GroupDifferences
    from medcnn.statistics.predictions import Predictions


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareConfig:
    """`runs` are the words of the command without a key."""

    runs: tuple[str, ...]
    split: str
    scores: tuple[str, ...] | None
    margin: float | None = within(0)
    common: bool
    subgroups: Subgroups
    resamples: int = within(100)
    seed: Seed
    output: str


def prepare(given: Given) -> None:
    given.settings["runs"] = [os.path.expanduser(run) for run in given.settings["runs"]]


def check(config: CompareConfig) -> None:
    """Raises UsageError with every reason why the runs cannot be compared."""
    from medcnn.places import refuse_other_pages

    faults = []
    try:
        refuse_other_pages(Path(config.output), "comparison", "compare")
    except UsageError as error:
        faults.append(str(error))
    if len(config.runs) < 2:
        faults.append("compare needs two runs or more: medcnn compare RUNS/A RUNS/B.")
    if len({Path(r).resolve() for r in config.runs}) < len(config.runs):
        faults.append("a run is named twice; a run cannot differ from itself.")
    table = f"predictions_{config.split}.csv"
    for folder in map(Path, config.runs):
        if not (folder / table).is_file():
            there = sorted(
                p.stem.removeprefix("predictions_") for p in folder.glob("predictions_*.csv")
            )
            has = f"has {', '.join(there)}" if there else "holds no predictions"
            faults.append(f"{folder}: {has if folder.is_dir() else 'no such folder'}, not {table}.")
    if faults:
        raise UsageError("\n".join(faults))


SCHEMA = 1


def run(config: CompareConfig, _: Command) -> Path:
    """Write `comparison.html` and `comparison.json` into a folder of their own; the runs stay.

    The predictions already exist, so the models do not look at the test split again. But choosing a
    model by this comparison does (docs/comparing.md).

    Raises:
        UsageError: fewer than two runs, no predictions of the split, or other things in the folder.
        DataError: the runs differ in classes, images, labels or patients.
    """
    from medcnn.pages.comparison_notes import Beside, notes_of
    from medcnn.pages.comparison_page import comparison_page, group_lines, table_lines
    from medcnn.statistics.comparing import aligned, compare
    from medcnn.statistics.differences import adjusted
    from medcnn.statistics.group_differences import by_group
    from medcnn.statistics.groupings import groupings
    from medcnn.statistics.metrics.table import metric_for
    from medcnn.system.files import write_json, write_text
    from medcnn.system.progress import log, track
    from medcnn.system.run_folder import facts_at

    output = Path(config.output)
    folders = _named(config.runs)
    predictions = _predictions(folders, config)
    kind = next(iter(predictions.values())).labels.kind
    asked = {score: metric_for(score, kind) for score in config.scores or ()}
    main = next(iter(asked), "")
    if config.margin is not None and asked and asked[main].higher_is_better is None:
        raise UsageError(
            f"margin={config.margin:g} applies to the first score, but neither a high nor a low "
            f"{main} is better: put another score first, or remove the margin."
        )
    taken = aligned(predictions, common=config.common)
    (first, reference), *others = taken.items()
    pairings = adjusted(
        {
            name: compare(
                reference, other, config.scores, resamples=config.resamples, seed=config.seed
            )
            for name, other in track(others, len(others), "compare")
        },
        config.margin,
    )
    made = groupings(reference.attributes, reference.groups, config.subgroups)
    apart = by_group(taken, made, resamples=config.resamples, seed=config.seed)
    facts = {name: facts_at(folder) for name, folder in folders.items()}
    nouns = [known.get("report", {}).get("group_noun", "") for known in facts.values()]
    alone = len(set(reference.groups)) == len(reference.image_ids)
    noun = "image" if alone else next(filter(None, nouns), "group")
    counts = {name: len(p.image_ids) - len(reference.image_ids) for name, p in predictions.items()}
    beside = Beside(
        split=config.split,
        runs=len(predictions),
        trained=all("best_epoch" in known for known in facts.values()),
        left_out=counts,
        unread={n: len(p.unreadable) for n, p in predictions.items() if p.unreadable},
        groups=len(set(reference.groups)),
        noun=noun,
    )
    notes = notes_of(beside)
    settings = config_differences(facts)
    lost = [name for name, known in facts.items() if not known]
    content = first, taken, pairings, settings, notes
    page = comparison_page(*content, group_noun=noun, subgroups=apart, unknown=lost)
    output.mkdir(parents=True, exist_ok=True)
    stored = _json(config, first, reference, pairings, apart, settings, notes)
    write_json(output / "comparison.json", stored)
    write_text(output / "comparison.html", page)
    images, groups = len(reference.image_ids), len(set(reference.groups))
    of = f" of {groups:,} {noun}s" if groups < images else ""
    log.info(f"{config.split}: {images:,} images{of}; reference: {first}")
    for name, pairing in pairings.items():
        for line in table_lines(first, name, pairing, noun):
            log.info(line)
        for line in group_lines(apart[name]):
            log.info(line)
    for note in notes:
        log.warning(note)
    log.info(f"comparison: {output / 'comparison.html'}")
    return output


def _named(runs: Sequence[str]) -> dict[str, Path]:
    """Folders by the shortest end of their path that no other has: pages are passed on, and need
    not say where on this machine runs are."""
    paths = [Path(r).resolve().parts for r in runs]

    def name(own: tuple[str, ...]) -> str:
        ends = (own[-k:] for k in range(1, len(own) + 1))
        alone = next(end for end in ends if [p[-len(end) :] for p in paths].count(end) == 1)
        return Path(*alone).as_posix()

    return {name(own): Path(r) for own, r in zip(paths, runs, strict=True)}


def _predictions(folders: Mapping[str, Path], config: CompareConfig) -> dict[str, Predictions]:
    """Raises UsageError for subgroups by attributes that the first run does not have."""
    from medcnn.statistics.groupings import attributed, check_subgroups
    from medcnn.statistics.predictions import Predictions

    table = f"predictions_{config.split}.csv"
    found = {n: attributed(Predictions.read(f / table), f) for n, f in folders.items()}
    check_subgroups(config.subgroups, list(next(iter(found.values())).attributes))
    return found


def config_differences(facts: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """Setting -> its value in each run, for the settings that differ.

    Args:
        facts: `run.json` by run; for an evaluation also the checkpoint that was evaluated. Nothing
            differs from a run without one.
    """
    flat = []
    for known in facts.values():
        settings = dict(_flat(known.get("config", {})))
        settings.pop("run_dir", None)
        settings |= {"images (fingerprint)": str(known.get("manifest", ""))[:12]}
        settings |= {"medcnn": str(known.get("medcnn", ""))}
        settings |= {"weights": str(known.get("weights", ""))}
        if "checkpoint" in known:
            settings |= {"checkpoint": str(dict(known["checkpoint"]).get("checkpoint_sha256"))[:12]}
        flat.append(settings)
    keys = dict.fromkeys(key for settings in flat for key in settings)
    rows = {key: [settings.get(key, "") for settings in flat] for key in keys}
    there = [bool(known) for known in facts.values()]
    return {key: row for key, row in rows.items() if len({*compress(row, there)}) > 1}


def _flat(node: Any, key: str = "") -> list[tuple[str, str]]:
    if isinstance(node, Mapping) and node:
        return [p for k, v in node.items() for p in _flat(v, f"{key}.{k}" if key else str(k))]
    return [(key, node if isinstance(node, str) else json.dumps(node))]


def _json(
    config: CompareConfig,
    first: str,
    reference: Predictions,
    pairings: Mapping[str, Pairing],
    groups: Mapping[str, Sequence[GroupDifferences]],
    settings: Mapping[str, Sequence[str]],
    notes: Sequence[str],
) -> dict[str, Any]:
    from medcnn.pages.comparison_page import ps_of

    def as_json(differences: Sequence[Difference]) -> list[dict[str, Any]]:
        return [
            {**asdict(d), **ps_of(d), "difference": d.difference, "verdict": d.verdict}
            for d in differences
        ]

    return {
        "schema": SCHEMA,
        "split": config.split,
        "images": len(reference.image_ids),
        "groups": len(set(reference.groups)),
        "level": 0.95,
        "margin": config.margin,
        "resamples": config.resamples,
        "seed": config.seed,
        "reference": first,
        "others": {
            name: {
                "differences": as_json(pairing.differences),
                "subgroups": [
                    {"by": g.by, "group": g.name, "images": g.images, "patients": g.patients}
                    | {"differences": as_json(g.differences)}
                    for g in groups.get(name, ())
                ],
                "discordances": [asdict(d) for d in pairing.discordances],
            }
            for name, pairing in pairings.items()
        },
        "settings": dict(settings),
        "notes": list(notes),
    }


NO_KEY = "; name the runs without a key: medcnn compare RUN RUN."

VERB = Verb(
    name="compare",
    lines=("compare runs/a runs/b margin=0.02: two models on the same test images",),
    usage="RUN RUN ... [key=value ...]",
    examples=("compare runs/a runs/b margin=0.02",),
    synonyms=("comparison", "diff"),
    rest="runs",
    mistaken=dict.fromkeys(("run", "runs", "checkpoint", "a", "b"), NO_KEY),
    config=CompareConfig,
    prepare=prepare,
    check=check,
    run=run,
)
