"""Sentences of the report about subgroups, patients, and what acting on the model is worth."""

from __future__ import annotations

from collections.abc import Callable

from medcnn.data.labels import Kind
from medcnn.pages.facts import Facts, Statement
from medcnn.pages.format import counted, number, short
from medcnn.statistics.patients import IMAGES
from medcnn.statistics.subgroups import FEWEST_SHOWN
from medcnn.system.errors import listed

MOST_LISTED = 20


MOST_ALARMS = 3
"""Groups that are named; the table has all."""


def _useful(f: Facts) -> str:
    found = [f"{name} {short(ends[0])} to {short(ends[1])}" for name, ends in f.useful if ends]
    return (
        "Acting on the model is shown to be better than both treating everyone and treating no one "
        f"at these thresholds (each at 95 %): {listed(found, MOST_LISTED)}."
    )


RULE_WORDS = {
    "mean": "the mean",
    "maximum": "the largest",
    "noisy_or": "the noisy-or, 1 minus the product of 1 minus each,",
}


_TRUTH = {
    Kind.BINARY: "The condition counts as present if any image shows it",
    Kind.MULTILABEL: "A finding counts as present if any image shows it",
    Kind.ORDINAL: "The grade is the highest of any image",
    Kind.MULTICLASS: "The class is that of all images; if they differ, nothing is scored",
}


def _together(f: Facts) -> str:
    """The rule of `medcnn.statistics.patients`."""
    of = f.together
    assert of is not None, "the statement holds only if there is a rule"
    unit = f"{f.group_noun} and {of.unit}" if of.unit else f.group_noun
    words = {"mean": "mean", "maximum": "maximum", "noisy_or": "noisy-or"}
    tried = ", ".join(f"{words.get(r, r)} {number(v)}" for r, v in of.scores.items() if r in words)
    why = f"no other rule could be chosen by AUROC on validation ({of.units:,})"
    if tried:
        why = f"this rule had the highest AUROC on the {of.units:,} in validation ({tried})"
    return (
        f"The probability for a {unit} is {RULE_WORDS[of.rule]} of those of its images; {why}. "
        "Decisions use thresholds of their own."
    )


def _alarms(f: Facts) -> str:
    more = len(f.alarms) - MOST_ALARMS
    rest = f"; and {counted(more, 'other group')}" if more > 0 else ""
    verb = "group differs" if len(f.alarms) == 1 else "groups differ"
    return (
        f"{len(f.alarms)} {verb} from the others by more than chance would explain: "
        f"{'; '.join(f.alarms[:MOST_ALARMS])}{rest}."
    )


def has(section: str) -> Callable[[Facts], bool]:
    return lambda f: section in f.sections


GROUPS: dict[str, Statement[Facts]] = {
    "benefit: useful": Statement(
        _useful, lambda f: "benefit" in f.sections and any(ends for _, ends in f.useful)
    ),
    "benefit: not shown": Statement(
        lambda f: (
            "Acting on the model is not shown to be better than both treating everyone and "
            "treating no one at any threshold for "
            f"{listed([n for n, ends in f.useful if not ends], MOST_LISTED)}."
        ),
        lambda f: "benefit" in f.sections and any(not ends for _, ends in f.useful),
    ),
    "benefit": Statement(
        "Net benefit, per image, counts 1 for each case found and takes off t / (1 - t) for each "
        "false alarm: the threshold t states how many false alarms one case is worth. The dashed "
        "lines are its 95 % interval and 0, the net benefit of treating no one.",
        has("benefit"),
    ),
    "costs": Statement(
        lambda f: "A miss costs {:g} and a false alarm {:g}.".format(*(f.costs or ())),
        lambda f: "benefit" in f.sections and f.costs is not None,
    ),
    "patients": Statement(_together, lambda f: "patients" in f.sections and f.together is not None),
    "patients: number": Statement(
        lambda f: (
            f"The mere number of a {f.group_noun}'s images has an AUROC of "
            f"{number(f.together.scores[IMAGES]) if f.together else ''} there; the maximum and the "
            "noisy-or grow with it."
        ),
        lambda f: (
            "patients" in f.sections and f.together is not None and IMAGES in f.together.scores
        ),
    ),
    "patients: truth": Statement(
        lambda f: f"{_TRUTH[f.kind]}." if f.kind else "",
        lambda f: "patients" in f.sections and f.kind is not None,
    ),
    "subgroups: alarms": Statement(_alarms, lambda f: "subgroups" in f.sections and bool(f.alarms)),
    "subgroups: no alarm": Statement(
        "Every gap between a group and the others may be due to chance here. That does not show "
        "that there are none: each cell says how large a gap must be to be likely to show.",
        lambda f: "subgroups" in f.sections and f.gaps > 0 and not f.alarms,
    ),
    "subgroups: gaps": Statement(
        lambda f: (
            "A gap is the score of a group minus that of all other images. The intervals of all "
            f"{f.gaps:,} gaps hold jointly at 95 %, each alone at {f.gap_level}; Holm's p "
            "is adjusted for the same gaps. A gap of the size after 'detectable from' would be "
            "seen in 80 of 100 samples like this one."
        ),
        lambda f: "subgroups" in f.sections and f.gaps > 0,
    ),
    "subgroups: means": Statement(
        "Means are over the labels that have enough cases in the group and in the rest.",
        has("mean over labels"),
    ),
    "subgroups: small": Statement(
        lambda f: f"Scores that rest on fewer than {FEWEST_SHOWN} {f.group_noun}s are not shown.",
        has("small groups"),
    ),
    "subgroups: mix": Statement(
        "A gap need not be the model's fault: a group may have different cases.", has("subgroups")
    ),
    "subgroups: skin tone": Statement(
        "Skin tone is estimated from the colour at the border of the image (individual typology "
        "angle). It depends on lighting, camera and gel, and on lesions that reach the border: it "
        "is not a person's skin type.",
        has("skin tone"),
    ),
}
