"""What the images that are judged are to the model: a clause, borne out by facts or left out."""

from __future__ import annotations

from medcnn.pages.facts import Facts, Made, Statement, say
from medcnn.pages.format import counted

CROSSES_SPLITS = frozenset({"groups", "pixels", "copies"})
"""Checks of the audit that find the same patient or picture on two sides of a split."""


def where_from(facts: Facts) -> str:
    """What the images judged are to the model, as a clause: the first of `SEEN` that the facts
    bear, or nothing."""
    return next(filter(None, (say(SEEN, facts, name) for name in SEEN)), "")


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


def chose(f: Facts) -> list[str]:
    """What the validation split chose."""
    fitted = [w for w in ("thresholds", "calibration") if w in f.fitted]
    return [*(["epoch"] if f.epochs > 1 else []), *fitted]


def choices(f: Facts) -> str:
    """`the epoch, the thresholds and the calibration`."""
    *others, last = (f"the {word}" for word in chose(f))
    return f"{', '.join(others)} and {last}" if others else last


def _leaking(f: Facts) -> str:
    stand = "is" if f.leaks == 1 else "are"
    noun = f.group_noun if f.grouped else "group"
    return (
        f"although {counted(f.leaks or 0, noun)} {stand} in more than one split, which makes the "
        "result look better than it is"
    )


_NEITHER = "in neither its training nor its validation split"
SEEN: dict[str, Statement[Facts]] = {
    "seen: shared": Statement(
        lambda f: (
            f"of which {f.shared:,} {'carries' if f.shared == 1 else 'carry'} the id of "
            "an image that the model was trained or chosen with, which makes the result look "
            "better than it is"
        ),
        lambda f: bool(f.shared) and f.split in ("test", "all"),
    ),
    "seen: leaks": Statement(_leaking, lambda f: _own_test(f) and bool(f.leaks)),
    "seen: copies": Statement(
        "although the audit found equal or similar images in other splits, which may make "
        "the result look better than it is",
        lambda f: _own_test(f) and bool({"pixels", "copies"} & (f.warned or frozenset())),
    ),
    "seen: never": Statement("which the model had never seen", _never_seen),
    "seen: by group": Statement(
        lambda f: f"{'who' if f.group_noun == 'patient' else 'which'} are {_NEITHER}",
        lambda f: _own_test(f) and f.grouped and _apart(f) and not _never_seen(f),
    ),
    "seen: by image": Statement(
        f"which are {_NEITHER} (whether their patients are is not known)",
        lambda f: _own_test(f) and not f.grouped and _apart(f),
    ),
    "seen: by id": Statement(
        "none of which carries the id of an image that the model was trained or chosen with",
        lambda f: f.made is Made.EVALUATED and not f.own_set and f.shared == 0,
    ),
    "seen: validation": Statement(
        lambda f: f"which also chose {choices(f)}, so that they flatter the model",
        lambda f: f.of_training and f.split == "validation" and bool(chose(f)),
    ),
    "seen: train": Statement(
        "on which the model was trained, so that they say little about new images",
        lambda f: f.of_training and f.split == "train",
    ),
    "seen: all": Statement(
        "some of which the model was trained on, so that they flatter it",
        lambda f: f.own_set and f.split == "all" and not f.shared,
    ),
}
