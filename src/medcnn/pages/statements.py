"""Every sentence that the pages print by themselves: its words, and the facts by which it is true.

A statement that the facts do not bear is not printed. Templates hold headings and the names of
columns, and no sentence (tests/pages/test_statements.py holds both laws). Sentences about scores
are made in `summary`, those of the checklists in `checklist`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from medcnn.data.labels import Kind
from medcnn.pages.digits import plural
from medcnn.pages.facts import Facts, Made

CROSSES_SPLITS = frozenset({"groups", "pixels", "copies"})
"""Checks of the audit that find the same patient or picture on two sides of a split."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """Attributes:
    says: the sentence, or the words that differ from run to run.
    holds: whether these facts bear it.
    """

    says: str | Callable[[Facts], str]
    holds: Callable[[Facts], bool]

    def words(self, facts: Facts) -> str:
        """The sentence, or nothing where it is not borne out."""
        if not self.holds(facts):
            return ""
        return self.says if isinstance(self.says, str) else self.says(facts)


def said(name: str, facts: Facts) -> str:
    return STATEMENTS[name].words(facts)


def where_from(facts: Facts) -> str:
    """What the images judged are to the model, as a clause: the first of `SEEN` that the facts
    bear, or nothing."""
    return next(filter(None, (said(name, facts) for name in SEEN)), "")


def _own_test(f: Facts) -> bool:
    return f.of_training and f.split == "test"


def _apart(f: Facts) -> bool:
    """No patient and no picture is known to stand on two sides of a split, or was let through."""
    crossing = CROSSES_SPLITS & ((f.allowed or frozenset()) | (f.warned or frozenset()))
    return f.leaks == 0 and f.allowed is not None and not crossing and not f.shared


def _never_seen(f: Facts) -> bool:
    """Nothing is left open: the same patient and the same picture were looked for."""
    looked = f.grouped and f.copies_sought and f.warned is not None and f.shared == 0
    return _own_test(f) and _apart(f) and looked and f.known_start


def _chose(f: Facts) -> list[str]:
    """What the validation split chose."""
    fitted = [w for w in ("thresholds", "calibration") if w in f.fitted]
    return [*(["epoch"] if f.epochs > 1 else []), *fitted]


def _choices(f: Facts) -> str:
    """`the epoch, the thresholds and the calibration`."""
    *others, last = (f"the {word}" for word in _chose(f))
    return f"{', '.join(others)} and {last}" if others else last


def _leaking(f: Facts) -> str:
    stand = "is" if f.leaks == 1 else "are"
    noun = f.group_noun if f.grouped else "group"
    return (
        f"although {plural(f.leaks or 0, noun)} {stand} in more than one split, which makes the "
        "result look better than it is"
    )


_NEITHER = "in neither its training nor its validation split"
SEEN: dict[str, Statement] = {
    "seen: shared": Statement(
        says=lambda f: (
            f"of which {f.shared:,} {'carries' if f.shared == 1 else 'carry'} the id of "
            "an image that the model was trained or chosen with, which makes the result look "
            "better than it is"
        ),
        holds=lambda f: bool(f.shared) and f.split in ("test", "all"),
    ),
    "seen: leaks": Statement(says=_leaking, holds=lambda f: _own_test(f) and bool(f.leaks)),
    "seen: copies": Statement(
        says="although the audit found equal or similar images in other splits, which may make "
        "the result look better than it is",
        holds=lambda f: _own_test(f) and bool({"pixels", "copies"} & (f.warned or frozenset())),
    ),
    "seen: never": Statement(says="which the model had never seen", holds=_never_seen),
    "seen: by group": Statement(
        says=lambda f: f"{'who' if f.group_noun == 'patient' else 'which'} are {_NEITHER}",
        holds=lambda f: _own_test(f) and f.grouped and _apart(f) and not _never_seen(f),
    ),
    "seen: by image": Statement(
        says=f"which are {_NEITHER} (whether their patients are is not known)",
        holds=lambda f: _own_test(f) and not f.grouped and _apart(f),
    ),
    "seen: by id": Statement(
        says="none of which carries the id of an image that the model was trained or chosen with",
        holds=lambda f: f.made is Made.EVALUATED and not f.own_set and f.shared == 0,
    ),
    "seen: validation": Statement(
        says=lambda f: f"which also chose {_choices(f)}, so that they flatter the model",
        holds=lambda f: f.of_training and f.split == "validation" and bool(_chose(f)),
    ),
    "seen: train": Statement(
        says="on which the model was trained, so that they say little about new images",
        holds=lambda f: f.of_training and f.split == "train",
    ),
    "seen: all": Statement(
        says="some of which the model was trained on, so that they flatter it",
        holds=lambda f: f.own_set and f.split == "all" and not f.shared,
    ),
}


def _independent(f: Facts) -> str:
    drawn = (
        f"; where they come from drawing, it was done {f.resamples:,} times" if f.resamples else ""
    )
    noun = f"{f.group_noun}s, not images," if f.grouped else "images"
    return f"Intervals cover 95 % and take {noun} to be independent{drawn}."


def _promise(f: Facts) -> str:
    """For what prediction sets were asked to hold the truth (`medcnn.statistics.conformal`)."""
    of = f"of the images of new {f.group_noun}s, each {f.group_noun} counting once"
    if not f.grouped:
        of = "of new images"
    elif f.per == "image":
        of = f"of the images of new {f.group_noun}s, each image counting once"
    return (
        "A set holds every answer that the validation split cannot rule out. Sets were asked to "
        f"hold the true one for {f.wanted} {of}."
    )


def _threshold_words(f: Facts) -> str:
    if len(f.thresholds) == 1:
        return f"The threshold is {f.thresholds[0]:.3g}."
    return "Each threshold stands in the table by class."


def _operating(f: Facts) -> str:
    also = (
        "; here every class is a yes-or-no question of its own, which does not change the "
        "decisions above"
        if f.exclusive
        else ""
    )
    return f"Each rule picked its threshold on validation, where it could{also}."


def _prevalence(f: Facts) -> str:
    own = (
        ", that of these images: where the condition is rarer, more of the alarms are false"
        if f.own_prevalence
        else ""
    )
    return f"Predictive values hold for the prevalence beside them{own}."


def _unlisted(f: Facts) -> str:
    return (
        f"The first {f.listed:,} of {f.listed + f.unlisted:,} are listed; the others stand beside "
        "the predictions."
    )


def _difference(f: Facts) -> str:
    how = {
        "delong": "clustered DeLong for AUROC",
        "linearised": "linearised for means over images, such as the Brier score",
        "bootstrap": f"a bootstrap of {f.group_noun}s for the other scores",
    }
    return f"Intervals of differences: {', '.join(how[m] for m in how if m in f.methods)}."


def _certainty(f: Facts) -> str:
    """What `medcnn.statistics.decisions.certainty` is, and how it differs from the decision."""
    if f.kind is Kind.MULTICLASS:
        return "the probability of the class that is named"
    least = " on the finding that is least certain" if f.kind is Kind.MULTILABEL else ""
    why = (
        "the median or mean grade may be another"
        if f.exclusive
        else "a threshold other than 0.5 may call the less probable one"
    )
    return (
        f"the probability of the most probable answer{least}, which need not be the decision: {why}"
    )


def _has(section: str) -> Callable[[Facts], bool]:
    return lambda f: section in f.sections


REPORT: dict[str, Statement] = {
    "nothing judged": Statement(
        says="No split with labels was evaluated, so nothing can be said about how good the model "
        "is.",
        holds=lambda f: "Scores" not in f.sections,
    ),
    "intervals": Statement(says=_independent, holds=lambda f: f.intervals > 0),
    "bars": Statement(
        says="A bar runs from 0 to 1; its mark is the score, its coloured part the interval.",
        holds=lambda f: f.intervals > 0,
    ),
    "groups": Statement(
        says=lambda f: f"Where a note says group, it means a {f.group_noun}.",
        holds=lambda f: "Scores" in f.sections and f.grouped and f.group_noun != "group",
    ),
    "flatters": Statement(
        says=lambda f: f"chose {_choices(f)}, so these scores flatter the model",
        holds=lambda f: f.of_training and bool(_chose(f)),
    ),
    "calibration": Statement(
        says=lambda f: (
            f"Probabilities were calibrated on validation ({f.calibration}); the logits "
            "are untouched."
        ),
        holds=lambda f: bool(f.calibration),
    ),
    "rule": Statement(
        says=lambda f: f"The decision is {f.rule}.",
        holds=lambda f: bool(f.rule),
    ),
    "no threshold": Statement(
        says="No threshold was chosen: a class is called present from a probability of 0.5 on.",
        holds=lambda f: bool(f.thresholds) and not f.threshold_chosen,
    ),
    "threshold": Statement(
        says=_threshold_words, holds=lambda f: bool(f.thresholds) and f.threshold_chosen
    ),
    "operating points": Statement(says=_operating, holds=_has("points")),
    "prevalence": Statement(says=_prevalence, holds=_has("points")),
    "cuts": Statement(
        says="Each row asks whether an image has the grade or a higher one: it is called so where "
        "the mean grade by probability reaches the cut.",
        holds=_has("grades"),
    ),
    "slider": Statement(
        says="What every threshold would have given on these images. One that is picked here was "
        "picked by looking at them, so its numbers flatter the model, and they have no intervals "
        "here; let validation pick it (readout.operating_points).",
        holds=_has("slider"),
    ),
    "sets": Statement(
        says=_promise, holds=lambda f: "sets" in f.sections and bool(f.wanted and f.per)
    ),
    "certainty": Statement(
        says=lambda f: f"Certainty is {_certainty(f)}.",
        holds=lambda f: f.kind is not None and bool({"referral", "Errors"} & f.sections),
    ),
    "wrong image": Statement(
        says="An image counts as wrong where any finding is.",
        holds=lambda f: "referral" in f.sections and f.kind is Kind.MULTILABEL,
    ),
    "referral": Statement(
        says=lambda f: (
            "Images of equal certainty stay or go together. Area under the curve of risk "
            f"and coverage: {f.aurc}; smaller is better."
        ),
        holds=lambda f: "referral" in f.sections and bool(f.aurc),
    ),
    "curves": Statement(
        says="The blue line shows every threshold, the orange dot the decisions. A dashed line is "
        "what guessing gives; in the last figure it is what trustworthy probabilities give.",
        holds=_has("curves"),
    ),
    "off the curve": Statement(
        says="A choice between several classes need not lie on the curve of one.",
        holds=lambda f: "curves" in f.sections and f.exclusive,
    ),
    "confusion": Statement(
        says="Rows are the truth, columns the decision. Numbers are images; colour is their share "
        "of the row, blue where the decision is right.",
        holds=_has("confusion"),
    ),
    "most confused": Statement(
        says="There are too many classes to print all pairs: these are taken for each other most "
        "often.",
        holds=_has("most confused"),
    ),
    "errors": Statement(
        says="Images on which the model was most certain and wrong, at most four of each true "
        "class, as the network saw them.",
        holds=_has("Errors"),
    ),
    "unreadable": Statement(
        says="They have no prediction and are in no score.", holds=lambda f: f.listed > 0
    ),
    "unlisted": Statement(says=_unlisted, holds=lambda f: f.unlisted > 0),
    "numbers": Statement(
        says="The numbers behind each chart stand below it.",
        holds=lambda f: bool({"curves", "training"} & f.sections),
    ),
    "limits": Statement(
        says="These numbers describe the images counted here. Another hospital, scanner or mix of "
        "patients can give others.",
        holds=_has("Scores"),
    ),
    "research": Statement(
        says="The model is a research tool; it does not replace a physician.",
        holds=lambda f: f.made is not Made.UNKNOWN or "Scores" in f.sections,
    ),
}

AUDIT: dict[str, Statement] = {
    "audit: images": Statement(
        says="This page shows images: keep it where the images may be kept.",
        holds=lambda f: f.shows_images,
    ),
    "audit: pseudonyms": Statement(
        says=lambda f: f"{f.group_noun.capitalize()}s appear under pseudonyms.",
        holds=lambda f: f.grouped and "groups" in f.sections,
    ),
    "audit: turned": Statement(
        says="Mirrored and turned copies are not looked for.", holds=lambda f: f.sought
    ),
    "audit: no proof": Statement(
        says="An audit finds what it looks for; that it finds nothing is no proof that a set is "
        "sound.",
        holds=lambda f: f.warned is not None,
    ),
}

COMPARISON: dict[str, Statement] = {
    "compare: same images": Statement(
        says=lambda f: (
            "All models see the same images, so a difference is found from what each "
            f"{f.group_noun} adds to it."
        ),
        holds=lambda f: f.tests > 0,
    ),
    "compare: bars": Statement(
        says="A bar shows the 95 % interval; the thin line marks no difference.",
        holds=lambda f: f.tests > 0,
    ),
    "compare: p": Statement(
        says=lambda f: (
            "p is the chance of a difference at least as large if there were none; after Holm it "
            f"allows for the {plural(f.tests, 'difference')} tested on this page. The last p "
            f"exchanges the two models' answers {f.group_noun} by {f.group_noun} and needs no "
            "formula."
        ),
        holds=lambda f: f.tests > 0,
    ),
    "compare: no test": Statement(
        says="No difference on this page has an interval, so none was tested; the notes say why.",
        holds=lambda f: f.tests == 0 and "differences" in f.sections,
    ),
    "compare: margin": Statement(
        says=lambda f: (
            f"A model is not inferior in {f.margin_of} where being worse by {f.margin:g} or more "
            "is excluded, by a one-sided test at 2.5 % after Holm; no other score has a margin."
        ),
        holds=lambda f: f.margin is not None and bool(f.margin_of) and f.tests > 0,
    ),
    "compare: other patients": Statement(
        says=lambda f: (
            f"These numbers say how sure the result is for other {f.group_noun}s. They do "
            "not say what training again with another seed would give: compare several seeds for "
            "that."
        ),
        holds=lambda f: f.tests > 0,
    ),
    "compare: methods": Statement(says=_difference, holds=lambda f: bool(f.methods)),
    "compare: McNemar": Statement(
        says=lambda f: f"McNemar: exact, by {f.group_noun}.", holds=lambda f: f.mcnemar > 0
    ),
    "compare: no settings": Statement(
        says="Their run.json files tell of no difference.",
        holds=lambda f: f.differing_settings == 0 and "differences" in f.sections,
    ),
    "compare: research": Statement(says="Not a medical device.", holds=_has("differences")),
}

CARD: dict[str, Statement] = {
    "card: use": Statement(
        says="It is a research tool and no medical device; it does not replace a physician.",
        holds=_has("Model"),
    ),
    "card: limits": Statement(
        says="The numbers describe the images counted here; another hospital, scanner or mix of "
        "patients can give others.",
        holds=_has("Results"),
    ),
    "card: pseudonyms": Statement(
        says=lambda f: (
            f"Ids of {f.group_noun + 's and ' if f.grouped else ''}images are keyed pseudonyms."
        ),
        holds=lambda f: f.pseudonyms is True,
    ),
    "card: no pseudonyms": Statement(
        says="Ids of images are those that came with the data, not pseudonyms.",
        holds=lambda f: f.pseudonyms is False,
    ),
}

STATEMENTS: dict[str, Statement] = SEEN | REPORT | AUDIT | COMPARISON | CARD
