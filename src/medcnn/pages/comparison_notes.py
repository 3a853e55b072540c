"""What `medcnn compare` warns of besides the differences, each with its condition."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from medcnn.pages.facts import Statement

FEW = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """What is known about the compared runs; the defaults mean unknown.

    Attributes:
        split: the one whose images are compared.
        runs: their number.
        trained: whether every run is a training and this is its own split.
        left_out: run -> how many of its images not all runs have.
        unread: run -> how many images could not be read; only runs that have some.
        groups: number of patients, lesions or images, as `noun` calls them.
    """

    split: str = ""
    runs: int = 0
    trained: bool = False
    left_out: Mapping[str, int] = field(default_factory=dict)
    unread: Mapping[str, int] = field(default_factory=dict)
    groups: int | None = None
    noun: str = "group"


def _by_run(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{run} {count:,}" for run, count in counts.items())


def _of_fitting(b: Beside) -> bool:
    return b.split in ("validation", "train")


NOTES: dict[str, Statement[Beside]] = {
    "left out": Statement(
        lambda b: f"Images that not all runs have are left out: {_by_run(b.left_out)}.",
        lambda b: any(b.left_out.values()),
    ),
    "unread": Statement(
        lambda b: (
            f"Images that could not be read are in none of these numbers: {_by_run(b.unread)}."
        ),
        lambda b: any(b.unread.values()),
    ),
    "chosen by test": Statement(
        "Choosing the best of several runs by their test scores makes its score too optimistic: "
        "choose with split=validation, and compare the chosen run on test.",
        lambda b: b.split == "test" and b.runs > 2,
    ),
    "fitted": Statement(
        lambda b: (
            f"These are {b.split} images, to which each run has fitted something: a run that "
            "fitted more closely looks better here."
        ),
        lambda b: _of_fitting(b) and b.trained,
    ),
    "perhaps fitted": Statement(
        lambda b: (
            f"These are called {b.split} images. A run that was fitted to them looks better here."
        ),
        lambda b: _of_fitting(b) and not b.trained,
    ),
    "few": Statement(
        lambda b: f"With fewer than {FEW} {b.noun}s, only large differences can be seen.",
        lambda b: b.groups is not None and b.groups < FEW,
    ),
}


def notes_of(beside: Beside) -> list[str]:
    return [words for note in NOTES.values() if (words := note.words(beside))]
