"""How the images of a new hospital differ from those of an old model, in sentences for both pages
about another hospital."""

from __future__ import annotations

from medcnn.pages.facts import Statement
from medcnn.pages.format import estimate, number, of_hundred, whose
from medcnn.pages.hospital_facts import MOVED, Shift, Shifted
from medcnn.statistics.estimates import Estimate


def with_interval(of: Estimate, noun: str) -> str:
    """`0.912 (95 % interval 0.880 to 0.934)`, or why there is none."""
    value, interval = estimate(of.value, of.low, of.high)
    return f"{value} ({f'95 % interval {interval}' if interval else whose(of.note, noun)})"


def _sizes(f: Shifted) -> str:
    assert f.shift.sizes_px
    there, here = (f"{w:,} x {h:,} px" for w, h in f.shift.sizes_px)
    return f"Files measure {here} here and {there} there (medians)."


def _looks(f: Shifted) -> str:
    parts = [
        f"{words} ({number(here, 2)} against {number(there, 2)}, {far:.1f} standard deviations)"
        for words, here, there, far in f.shift.changed
    ]
    return f"Images here are {', '.join(parts)} than there."


def _prevalence(f: Shifted) -> str:
    assert f.shift.moved
    name, there, here = f.shift.moved
    return (
        f"The prevalence of {name} differs most: {of_hundred(here)} of 100 images here, "
        f"{of_hundred(there)} of 100 there."
    )


def _moved_by(f: Shifted) -> float:
    """How much the prevalence that differs most differs; below 0 if none is known."""
    return abs(f.shift.moved[2] - f.shift.moved[1]) if f.shift.moved else -1.0


def _apart(f: Shifted) -> str:
    assert f.shift.apart
    return (
        "A probe that sees only brightness, colour and layout distinguishes the two hospitals with "
        f"AUROC {with_interval(f.shift.apart, f.group_noun)}, on {f.group_noun}s it was not fitted "
        "to; 0.5 would be guessing."
    )


def _not_apart(f: Shifted) -> str:
    assert f.shift.apart
    return (
        "A probe that sees only brightness, colour and layout is not shown to distinguish the two "
        f"hospitals: AUROC {with_interval(f.shift.apart, f.group_noun)}, where 0.5 is guessing."
    )


def _features_apart(f: Shifted) -> str:
    assert f.shift.features
    return (
        "A probe on the features of the model itself distinguishes the two hospitals with AUROC "
        f"{with_interval(f.shift.features, f.group_noun)}: these images are distributed "
        "differently from those at home."
    )


def _features_alike(f: Shifted) -> str:
    assert f.shift.features
    return (
        "A probe on the features of the model itself is not shown to distinguish the two "
        f"hospitals: AUROC {with_interval(f.shift.features, f.group_noun)}, where 0.5 is guessing."
    )


def copies_text(shift: Shift) -> str:
    """What copies of old training images mean for the scores here."""
    assert shift.copies
    return (
        f"Judging by pixels, {shift.copies.found:,} of the {shift.copies.among:,} images scored "
        "here are, or look like copies of, images used to train or choose the old model "
        f"({shift.copies.same:,} with exactly the same pixels): scores on them are too optimistic. "
        "Leave them out, or keep them out of test with a split column of your own."
    )


SHIFTED: dict[str, Statement[Shifted]] = {
    "sizes": Statement(_sizes, lambda f: f.shift.sizes_px is not None),
    "looks": Statement(_looks, lambda f: bool(f.shift.changed)),
    "looks alike": Statement(
        "In brightness, contrast and colour, images here and there differ by less than half a "
        "standard deviation.",
        lambda f: bool(f.shift.looks) and not f.shift.changed,
    ),
    "prevalence": Statement(_prevalence, lambda f: _moved_by(f) >= MOVED),
    "prevalence alike": Statement(
        "No class differs in prevalence between here and there by 5 or more of 100 images.",
        lambda f: 0 <= _moved_by(f) < MOVED,
    ),
    "apart": Statement(_apart, lambda f: f.shift.apart is not None and f.shift.apart.low > 0.5),
    "not apart": Statement(
        _not_apart, lambda f: f.shift.apart is not None and not f.shift.apart.low > 0.5
    ),
    "features apart": Statement(
        _features_apart, lambda f: f.shift.features is not None and f.shift.features.low > 0.5
    ),
    "features not apart": Statement(
        _features_alike, lambda f: f.shift.features is not None and not f.shift.features.low > 0.5
    ),
    "few to tell apart": Statement(
        lambda f: f"There are too few {f.group_noun}s to say whether the hospitals differ visibly.",
        lambda f: f.shift.apart is None and not f.shift.missing,
    ),
    "missing": Statement(
        lambda f: (
            f"The images of the old hospital cannot be looked at: {f.shift.missing}. So sizes and "
            "intensities are not compared, no probe tried to tell the hospitals apart, and copies "
            "of images that the old model was trained with would go unnoticed."
        ),
        lambda f: bool(f.shift.missing),
    ),
    "copies": Statement(
        lambda f: copies_text(f.shift),
        lambda f: f.shift.copies is not None and f.shift.copies.found > 0,
    ),
    "no copies": Statement(
        lambda f: (
            f"Judging by pixels, none of the {f.shift.copies.among:,} images scored here looks "
            "like a copy of one used to train or choose the old model."
            if f.shift.copies
            else ""
        ),
        lambda f: (
            f.shift.copies is not None and f.shift.copies.found == 0 and f.shift.copies.among > 0
        ),
    ),
    "unlike": Statement(
        lambda f: (
            f"{f.shift.unlike[0]:,} of {f.shift.unlike[1]:,} images here "
            f"{'looks' if f.shift.unlike[0] == 1 else 'look'} unlike those that the old model was "
            "trained on, according to a simple check of brightness, colour and layout."
        ),
        lambda f: f.shift.unlike[0] > 0,
    ),
    "none unlike": Statement(
        lambda f: (
            f"All {f.shift.unlike[1]:,} images here look like those that the old model was trained "
            "on, according to a simple check of brightness, colour and layout."
        ),
        lambda f: f.shift.unlike[0] == 0 and f.shift.unlike[1] > 0,
    ),
}
