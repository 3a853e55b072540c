"""Every sentence that the report, the model card and the pages of `audit`, `compare` and `preview`
print of the facts of a run: its words, and the facts by which it is true.

A statement that the facts do not bear is not printed. Templates hold headings and the names of
columns, and no sentence (tests/pages/test_statements.py holds both laws).
"""

from __future__ import annotations

from collections.abc import Callable

from medcnn.data.labels import Kind
from medcnn.pages.facts import Facts, Made, Statement
from medcnn.pages.format import counted, short
from medcnn.pages.seen import SEEN, choices, chose


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
        return f"The threshold is {short(f.thresholds[0])}."
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


REPORT: dict[str, Statement[Facts]] = {
    "nothing judged": Statement(
        "No split with labels was evaluated, so nothing can be said about how good the model is.",
        lambda f: "Scores" not in f.sections,
    ),
    "intervals": Statement(_independent, lambda f: f.intervals > 0),
    "bars": Statement(
        "A bar runs from 0 to 1; its mark is the score, its coloured part the interval.",
        lambda f: f.intervals > 0,
    ),
    "flatters": Statement(
        lambda f: f"chose {choices(f)}, so these scores flatter the model",
        lambda f: f.of_training and bool(chose(f)),
    ),
    "calibration": Statement(
        lambda f: (
            f"Probabilities were calibrated on validation ({f.calibration}); the logits "
            "are untouched."
        ),
        lambda f: bool(f.calibration),
    ),
    "rule": Statement(lambda f: f"The decision is {f.rule}.", lambda f: bool(f.rule)),
    "no threshold": Statement(
        "No threshold was chosen: a class is called present from a probability of 0.5 on.",
        lambda f: bool(f.thresholds) and not f.threshold_chosen,
    ),
    "threshold": Statement(_threshold_words, lambda f: bool(f.thresholds) and f.threshold_chosen),
    "operating points": Statement(_operating, _has("points")),
    "prevalence": Statement(_prevalence, _has("points")),
    "cuts": Statement(
        "Each row asks whether an image has the grade or a higher one: it is called so where "
        "the mean grade by probability reaches the cut.",
        _has("grades"),
    ),
    "slider": Statement(
        "What every threshold would have given on these images. One that is picked here was "
        "picked by looking at them, so its numbers flatter the model, and they have no intervals "
        "here; let validation pick it (readout.operating_points).",
        _has("slider"),
    ),
    "sets": Statement(_promise, lambda f: "sets" in f.sections and bool(f.wanted and f.per)),
    "certainty": Statement(
        lambda f: f"Certainty is {_certainty(f)}.",
        lambda f: f.kind is not None and bool({"referral", "Errors"} & f.sections),
    ),
    "wrong image": Statement(
        "An image counts as wrong where any finding is.",
        lambda f: "referral" in f.sections and f.kind is Kind.MULTILABEL,
    ),
    "referral": Statement(
        lambda f: (
            "Images of equal certainty stay or go together. Area under the curve of risk "
            f"and coverage: {f.aurc}; smaller is better."
        ),
        lambda f: "referral" in f.sections and bool(f.aurc),
    ),
    "curves": Statement(
        "The blue line shows every threshold, the orange dot the decisions. A dashed line is "
        "what guessing gives; in the last figure it is what trustworthy probabilities give.",
        _has("curves"),
    ),
    "off the curve": Statement(
        "A choice between several classes need not lie on the curve of one.",
        lambda f: "curves" in f.sections and f.exclusive,
    ),
    "confusion": Statement(
        "Rows are the truth, columns the decision. Numbers are images; colour is their share "
        "of the row, blue where the decision is right.",
        _has("confusion"),
    ),
    "most confused": Statement(
        "There are too many classes to print all pairs: these are taken for each other most often.",
        _has("most confused"),
    ),
    "errors": Statement(
        "Images on which the model was most certain and wrong, at most four of each true "
        "class, as the network saw them.",
        _has("Errors"),
    ),
    "unreadable": Statement("They have no prediction and are in no score.", lambda f: f.listed > 0),
    "unlisted": Statement(_unlisted, lambda f: f.unlisted > 0),
    "numbers": Statement(
        "The numbers behind each chart stand below it.",
        lambda f: bool({"curves", "training"} & f.sections),
    ),
    "limits": Statement(
        "These numbers describe the images counted here. Another hospital, scanner or mix of "
        "patients can give others.",
        _has("Scores"),
    ),
    "research": Statement(
        "The model is a research tool and no medical device; it does not replace a physician.",
        lambda f: f.made is not Made.UNKNOWN or "Scores" in f.sections,
    ),
    "pseudonyms": Statement(
        lambda f: (
            f"Ids of {f.group_noun + 's and ' if f.grouped else ''}images are keyed pseudonyms."
        ),
        lambda f: f.pseudonyms is True,
    ),
    "no pseudonyms": Statement(
        "Ids of images are those that came with the data, not pseudonyms.",
        lambda f: f.pseudonyms is False,
    ),
}

AUDIT: dict[str, Statement[Facts]] = {
    "images": Statement(
        "This page shows images: keep it where the images may be kept.", lambda f: f.shows_images
    ),
    "audit: pseudonyms": Statement(
        lambda f: f"{f.group_noun.capitalize()}s appear under pseudonyms.",
        lambda f: f.grouped and "groups" in f.sections,
    ),
    "audit: turned": Statement(
        "Mirrored and turned copies are not looked for.", lambda f: f.sought
    ),
    "audit: no proof": Statement(
        "An audit finds what it looks for; that it finds nothing is no proof that a set is sound.",
        lambda f: f.warned is not None,
    ),
}

COMPARISON: dict[str, Statement[Facts]] = {
    "compare: same images": Statement(
        lambda f: (
            "All models see the same images, so a difference is found from what each "
            f"{f.group_noun} adds to it."
        ),
        lambda f: f.tests > 0,
    ),
    "compare: bars": Statement(
        "A bar shows the 95 % interval; the thin line marks no difference.", lambda f: f.tests > 0
    ),
    "compare: p": Statement(
        lambda f: (
            "p is the chance of a difference at least as large if there were none; after Holm it "
            f"allows for the {counted(f.tests, 'difference')} tested on this page. The last p "
            f"exchanges the two models' answers {f.group_noun} by {f.group_noun} and needs no "
            "formula."
        ),
        lambda f: f.tests > 0,
    ),
    "compare: no test": Statement(
        "No difference on this page has an interval, so none was tested; the notes say why.",
        lambda f: f.tests == 0 and "differences" in f.sections,
    ),
    "compare: margin": Statement(
        lambda f: (
            f"A model is not inferior in {f.margin_of} where being worse by {f.margin:g} or more "
            "is excluded, by a one-sided test at 2.5 % after Holm; no other score has a margin."
        ),
        lambda f: f.margin is not None and bool(f.margin_of) and f.tests > 0,
    ),
    "compare: other patients": Statement(
        lambda f: (
            f"These numbers say how sure the result is for other {f.group_noun}s. They do "
            "not say what training again with another seed would give: compare several seeds for "
            "that."
        ),
        lambda f: f.tests > 0,
    ),
    "compare: methods": Statement(_difference, lambda f: bool(f.methods)),
    "compare: McNemar": Statement(
        lambda f: f"McNemar: exact, by {f.group_noun}.", lambda f: f.mcnemar > 0
    ),
    "compare: no settings": Statement(
        "Their run.json files tell of no difference.",
        lambda f: f.differing_settings == 0 and "differences" in f.sections,
    ),
    "compare: research": Statement("Not a medical device.", _has("differences")),
}

PREVIEW: dict[str, Statement[Facts]] = {
    "preview: numbers": Statement(
        "Images are numbered in the order of the data set, from 1.", lambda f: f.numbered
    ),
    "preview: small": Statement(
        lambda f: (
            f"Small copies are shown, at most {f.shrunk_px} px wide; the network takes all of what "
            "is described."
        ),
        lambda f: f.shrunk_px > 0,
    ),
}

STATEMENTS: dict[str, Statement[Facts]] = SEEN | REPORT | AUDIT | COMPARISON | PREVIEW
