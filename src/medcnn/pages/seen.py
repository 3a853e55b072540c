"""How the judged images relate to the model's training: a clause, if the facts support one."""

from __future__ import annotations

from medcnn.pages.facts import Facts, Made, Statement, say
from medcnn.pages.format import counted

CROSSES_SPLITS = frozenset({"groups", "pixels", "copies"})
"""Audit checks that find the same patient or picture in two splits."""


def where_from(facts: Facts) -> str:
    """The relation of the judged images to the training, as a clause: the first of `SEEN` that the
    facts support, or ""."""
    return next(filter(None, (say(SEEN, facts, name) for name in SEEN)), "")


def _own_test(f: Facts) -> bool:
    return f.of_training and f.split == "test"


def _apart(f: Facts) -> bool:
    """Whether no patient and no picture is known to be in two splits, or was allowed to be."""
    crossing = CROSSES_SPLITS & ((f.allowed or frozenset()) | (f.warned or frozenset()))
    return f.leaks == 0 and f.allowed is not None and not crossing and not f.shared


def _never_seen(f: Facts) -> bool:
    """Whether both the same patient and the same picture were searched for."""
    looked = f.patients_known and f.copies_sought and f.warned is not None and f.shared == 0
    return _own_test(f) and _apart(f) and looked and f.known_start


def chose(f: Facts) -> list[str]:
    """What was chosen on validation."""
    fitted = [w for w in ("thresholds", "calibration") if w in f.fitted]
    return [*(["epoch"] if f.epochs > 1 else []), *([f.probe] if f.probe else []), *fitted]


def choices(f: Facts) -> str:
    """`the epoch, the thresholds and the calibration`."""
    *others, last = (f"the {word}" for word in chose(f))
    return f"{', '.join(others)} and {last}" if others else last


def _leaking(f: Facts) -> str:
    stand = "is" if f.leaks == 1 else "are"
    noun = f.group_noun if f.grouped else "group"
    return (
        f"although {counted(f.leaks or 0, noun)} {stand} in more than one split, which makes the "
        "result too optimistic"
    )


_NEITHER = "in neither its training nor its validation split"
SEEN: dict[str, Statement[Facts]] = {
    "seen: shared": Statement(
        lambda f: (
            f"{f.shared:,} of which {'shares its' if f.shared == 1 else 'share their'} id with an "
            "image used in training or validation, which makes the result too optimistic"
        ),
        lambda f: bool(f.shared) and f.split in ("test", "all"),
    ),
    "seen: leaks": Statement(_leaking, lambda f: _own_test(f) and bool(f.leaks)),
    "seen: copies": Statement(
        "although the audit found equal or similar images in other splits, which may make the "
        "result too optimistic",
        lambda f: _own_test(f) and bool({"pixels", "copies"} & (f.warned or frozenset())),
    ),
    "seen: never": Statement("which the model had never seen", _never_seen),
    "seen: by group": Statement(
        lambda f: f"{'who' if f.group_noun == 'patient' else 'which'} are {_NEITHER}",
        lambda f: _own_test(f) and f.patients_known and _apart(f) and not _never_seen(f),
    ),
    "seen: by image": Statement(
        f"which are {_NEITHER} (but their patients are unknown and may be)",
        lambda f: _own_test(f) and not f.patients_known and _apart(f),
    ),
    "seen: by id": Statement(
        "none of which shares its id with an image used in training or validation",
        lambda f: f.made is Made.EVALUATED and not f.own_set and f.shared == 0,
    ),
    "seen: validation": Statement(
        lambda f: f"which were also used to choose {choices(f)}, so the result is optimistic",
        lambda f: f.of_training and f.split == "validation" and bool(chose(f)),
    ),
    "seen: train": Statement(
        "on which the model was trained, so the result says little about new images",
        lambda f: f.of_training and f.split == "train",
    ),
    "seen: all": Statement(
        "some of which were used in training, so the result is optimistic",
        lambda f: f.own_set and f.split == "all" and not f.shared,
    ),
}
