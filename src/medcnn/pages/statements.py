"""Every sentence that the report, the model card and the pages of `audit`, `compare` and `preview`
print about the facts of a run, with the condition under which it is true.

A statement without supporting facts is not printed. Templates contain only headings and names of
columns, not sentences (tests/pages/test_statements.py checks both rules).
"""

from __future__ import annotations

from medcnn.data.labels import Kind
from medcnn.pages.facts import Facts, Made, Statement
from medcnn.pages.format import counted, short
from medcnn.pages.gallery import MAPS
from medcnn.pages.group_statements import GROUPS, has
from medcnn.pages.reader_points import READERS
from medcnn.pages.seen import SEEN, choices, chose
from medcnn.statistics.subgroups import FEWEST_SHOWN
from medcnn.system.errors import listed


def _independent(f: Facts) -> str:
    drawn = f"; those found by resampling use {f.resamples:,} resamples" if f.resamples else ""
    noun = f"{f.group_noun}s, not images," if f.grouped else "images"
    return f"Intervals are 95 % confidence intervals and treat {noun} as independent{drawn}."


def _promise(f: Facts) -> str:
    """The guarantee requested for prediction sets (`medcnn.statistics.conformal`)."""
    of = f"of the images of new {f.group_noun}s, each {f.group_noun} counting once"
    if not f.grouped:
        of = "of new images"
    elif f.per == "image":
        of = f"of the images of new {f.group_noun}s, each image counting once"
    alone = ", and do so for each finding by itself" if f.kind is Kind.MULTILABEL else ""
    return (
        "A set contains every answer that the validation split cannot rule out. Sets should "
        f"contain the true answer for {f.wanted} {of}{alone}."
    )


def _threshold_words(f: Facts) -> str:
    if len(f.thresholds) == 1:
        return f"The threshold is {short(f.thresholds[0])}."
    return "The table by class shows each threshold."


def _operating(f: Facts) -> str:
    also = (
        "; here every class is a separate yes-or-no question, which does not affect the decisions "
        "above"
        if f.exclusive
        else ""
    )
    return f"Each rule chose its threshold on validation where possible{also}."


def _prevalence(f: Facts) -> str:
    own = (
        ", which is that of these images; if the condition is rarer, more alarms are false"
        if f.own_prevalence
        else ""
    )
    return f"Predictive values assume the prevalence next to them{own}."


def _unlisted(f: Facts) -> str:
    return (
        f"The first {f.listed:,} of {f.listed + f.unlisted:,} are listed; the others are in the "
        "table of predictions."
    )


def _difference(f: Facts) -> str:
    how = {
        "delong": "clustered DeLong for AUROC",
        "linearised": "linearised for means over images, such as the Brier score",
        "bootstrap": f"a bootstrap over {f.group_noun}s for the other scores",
    }
    return f"Intervals of differences: {', '.join(how[m] for m in how if m in f.methods)}."


def _certainty(f: Facts) -> str:
    """Describes `medcnn.statistics.decisions.certainty`, and how the decision may differ."""
    if f.kind is Kind.MULTICLASS:
        return "the probability of the predicted class"
    least = " on the finding that is least certain" if f.kind is Kind.MULTILABEL else ""
    why = (
        "the median or mean grade may differ"
        if f.exclusive
        else "with a threshold other than 0.5, it may be the less probable one"
    )
    return (
        f"the probability of the most probable answer{least}, which need not be the decision: {why}"
    )


REPORT: dict[str, Statement[Facts]] = {
    "nothing judged": Statement(
        "No split with labels was evaluated, so nothing can be said about how good the model is.",
        lambda f: "Scores" not in f.sections,
    ),
    "intervals": Statement(_independent, lambda f: f.intervals > 0),
    "bars": Statement(
        "Each bar runs from 0 to 1. The mark is the score, and the coloured part is its interval.",
        lambda f: f.intervals > 0,
    ),
    "flatters": Statement(
        lambda f: f"chose {choices(f)}, so these scores are optimistic",
        lambda f: f.of_training and bool(chose(f)),
    ),
    "calibration": Statement(
        lambda f: (
            f"Probabilities were calibrated on validation ({f.calibration}); the logits "
            "are unchanged."
        ),
        lambda f: bool(f.calibration),
    ),
    "rule": Statement(lambda f: f"The decision is {f.rule}.", lambda f: bool(f.rule)),
    "no threshold": Statement(
        "No threshold was chosen: a class is called present if its probability is at least 0.5.",
        lambda f: bool(f.thresholds) and not f.threshold_chosen,
    ),
    "threshold": Statement(_threshold_words, lambda f: bool(f.thresholds) and f.threshold_chosen),
    "operating points": Statement(_operating, has("points")),
    "prevalence": Statement(_prevalence, has("points")),
    "cuts": Statement(
        "Each row asks whether an image has this grade or above. The answer is yes if the mean "
        "grade (weighted by probability) reaches the cut.",
        has("grades"),
    ),
    "slider": Statement(
        "Results for every threshold on these images, without intervals. A threshold chosen here "
        "is chosen by looking at the results, which are then optimistic; choose it on validation "
        "(readout.operating_points).",
        has("slider"),
    ),
    "sets": Statement(_promise, lambda f: "sets" in f.sections and bool(f.wanted and f.per)),
    "certainty": Statement(
        lambda f: f"Certainty is {_certainty(f)}.",
        lambda f: f.kind is not None and bool({"referral", "Errors"} & f.sections),
    ),
    "wrong image": Statement(
        "An image counts as wrong if any finding is.",
        lambda f: "referral" in f.sections and f.kind is Kind.MULTILABEL,
    ),
    "referral": Statement(
        lambda f: (
            "Images of equal certainty are treated alike. Area under the risk-coverage curve: "
            f"{f.aurc}; smaller is better."
        ),
        lambda f: "referral" in f.sections and bool(f.aurc),
    ),
    "looks": Statement(
        lambda f: (
            f"Of the images of new {f.group_noun if f.grouped else 'patient'}s like those in "
            "validation, at most the stated share gets a verdict by mistake. An image gets the "
            "first verdict that applies; the share found counts all images beyond the bound."
        ),
        has("looks"),
    ),
    "looks: as stated": Statement(
        "No verdict is given more often than stated, allowing for chance.",
        lambda f: "looks" in f.sections and not f.unlike and not f.looks_untested,
    ),
    "looks: too few": Statement(
        lambda f: (
            f"{listed(list(f.looks_untested)).capitalize()}: too few {f.group_noun}s to say "
            "whether given more often than stated."
        ),
        lambda f: "looks" in f.sections and bool(f.looks_untested),
    ),
    "looks: more": Statement(
        lambda f: (
            f"{listed(list(f.unlike)).capitalize()}: given more often than stated, even allowing "
            "for chance. These images are unlike those in validation, so its scores may not hold "
            "for them."
        ),
        lambda f: "looks" in f.sections and bool(f.unlike),
    ),
    "curves": Statement(
        "The blue line shows every threshold, and the orange dot the decisions. The dashed line "
        "shows guessing or, in the last figure, perfectly calibrated probabilities.",
        has("curves"),
    ),
    "off the curve": Statement(
        "A choice between several classes need not lie on the curve of one class.",
        lambda f: "curves" in f.sections and f.exclusive,
    ),
    "confusion": Statement(
        "Rows are the truth, columns the decision. Numbers count images. Colour shows their share "
        "of the row; blue marks right decisions.",
        has("confusion"),
    ),
    "most confused": Statement(
        "There are too many classes to show every pair; these are confused most often.",
        has("most confused"),
    ),
    "errors": Statement(
        "The most confident mistakes, at most four per true class, as the network saw them.",
        has("Errors"),
    ),
    "unreadable": Statement("They have no prediction and enter no score.", lambda f: f.listed > 0),
    "unlisted": Statement(_unlisted, lambda f: f.unlisted > 0),
    "numbers": Statement(
        "The numbers behind each chart are below it.",
        lambda f: bool({"curves", "training"} & f.sections),
    ),
    "limits": Statement(
        "These numbers describe the images counted here. They may differ for another hospital, "
        "scanner or mix of patients.",
        has("Scores"),
    ),
    "research": Statement(
        "The model is a research tool, not a medical device; it does not replace a physician.",
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
        "This page shows images: keep it only where the images may be kept.",
        lambda f: f.shows_images,
    ),
    "audit: pseudonyms": Statement(
        lambda f: f"{f.group_noun.capitalize()}s appear under pseudonyms.",
        lambda f: f.grouped and "groups" in f.sections,
    ),
    "audit: turned": Statement(
        "Mirrored and rotated copies are not looked for.", lambda f: f.sought
    ),
    "audit: no proof": Statement(
        "An audit finds only what it looks for; finding nothing does not prove a set faultless.",
        lambda f: f.warned is not None,
    ),
}

COMPARISON: dict[str, Statement[Facts]] = {
    "compare: same images": Statement(
        lambda f: (
            "All models saw the same images, so differences are computed from the contribution of "
            f"each {f.group_noun}."
        ),
        lambda f: f.tests > 0,
    ),
    "compare: bars": Statement(
        "Each bar shows the 95 % interval; the thin line marks zero.", lambda f: f.tests > 0
    ),
    "compare: p": Statement(
        lambda f: (
            "p is the probability of a difference at least this large if there is no true "
            f"difference; Holm's p is adjusted for the {counted(f.tests, 'difference')} tested on "
            "this page. The last p comes from exchanging the two models' answers "
            f"{f.group_noun} by {f.group_noun}, without a formula."
        ),
        lambda f: f.tests > 0,
    ),
    "compare: no test": Statement(
        "No difference on this page has an interval, so none was tested; see the notes.",
        lambda f: f.tests == 0 and "differences" in f.sections,
    ),
    "compare: margin": Statement(
        lambda f: (
            f"A model is not inferior in {f.margin_of} if a one-sided test at 2.5 %, adjusted by "
            f"Holm, rules out being worse by {f.margin:g} or more; no other score has a margin."
        ),
        lambda f: f.margin is not None and bool(f.margin_of) and f.tests > 0,
    ),
    "compare: other patients": Statement(
        lambda f: (
            f"These numbers show the uncertainty for other {f.group_noun}s. They do not include "
            "the variation between trainings: compare several seeds for that."
        ),
        lambda f: f.tests > 0,
    ),
    "compare: methods": Statement(_difference, lambda f: bool(f.methods)),
    "compare: McNemar": Statement(
        lambda f: f"McNemar: exact, by {f.group_noun}.", lambda f: f.mcnemar > 0
    ),
    "compare: groups": Statement(
        lambda f: (
            f"The same difference among the {f.group_noun}s of each group, with its 95 % interval. "
            f"p is adjusted by Holm for all {f.gaps:,} of these differences."
        ),
        lambda f: f.gaps > 0 and "differences" in f.sections,
    ),
    "compare: small groups": Statement(
        lambda f: (
            f"A group counts as too small if every score rests on fewer than {FEWEST_SHOWN} "
            f"{f.group_noun}s."
        ),
        lambda f: f.small_groups,
    ),
    "compare: no settings": Statement(
        "Their run.json files show no differences.",
        lambda f: f.differing_settings == 0 and not f.unknown_settings,
    ),
    "compare: unknown settings": Statement(
        lambda f: f"Settings are not known without a run.json: {listed([*f.unknown_settings])}.",
        lambda f: bool(f.unknown_settings),
    ),
    "compare: research": Statement("Not a medical device.", has("differences")),
}

PREVIEW: dict[str, Statement[Facts]] = {
    "preview: numbers": Statement(
        "Images are numbered in the order of the data set, from 1.", lambda f: f.numbered
    ),
    "preview: small": Statement(
        lambda f: (
            f"The images shown are small copies, at most {f.shrunk_px} px wide; the network gets "
            "the full size."
        ),
        lambda f: f.shrunk_px > 0,
    ),
}

STATEMENTS: dict[str, Statement[Facts]] = (
    SEEN | REPORT | GROUPS | MAPS | READERS | AUDIT | COMPARISON | PREVIEW
)
