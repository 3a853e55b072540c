"""What is known of a run, and the sentences that its pages may make by it.

A statement in words is computed from facts, or it is not made. Sentences stand in tables, each with
the condition by which it is true: `statements` and `seen` (of `Facts`), `summary` (of scores),
`comparison_page` (of two models), `audit` (of what was found). Whatever is not known stays at a
value by which nothing can be claimed (None, 0, or empty).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, TypeVar

from medcnn.data.labels import Kind

Of = TypeVar("Of")
STARTS_THAT_ARE_KNOWN = frozenset({"auto", "none", "pretrained"})
"""Settings of `model.weights` by which weights come from nowhere or from timm; a file may hold
those of a network that was trained on these very images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement(Generic[Of]):
    """Attributes:
    says: the sentence, or the words that differ from run to run.
    holds: whether these facts bear it.
    """

    says: str | Callable[[Of], str]
    holds: Callable[[Of], bool]

    def words(self, of: Of) -> str:
        """The sentence, or nothing where it is not borne out."""
        if not self.holds(of):
            return ""
        return self.says if isinstance(self.says, str) else self.says(of)


def say(table: Mapping[str, Statement[Of]], of: Of, *names: str) -> str:
    """Those of the named statements that hold, one after the other."""
    return " ".join(filter(None, (table[name].words(of) for name in names)))


class Made(StrEnum):
    """What this folder is to the model: its training, or a later evaluation of its checkpoint."""

    TRAINED = "trained"
    EVALUATED = "evaluated"
    UNKNOWN = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Attributes:
    sections: headings and parts of that page that hold something.
    kind: of the labels.
    split: which images are judged first: test, validation, train, all.
    group_noun: what a group is, `image` where the data do not say whose image it is.
    made: what this folder is to the model.
    own_set: the images and splits are those of the model's training.
    leaks: groups in more than one split.
    shared: images judged that carry the id of one that the model was trained or chosen with.
    allowed: checks of the audit whose refusal was switched off (audit.allow) in the training.
    warned: checks of the audit that warned in the training.
    copies_sought: near-duplicates were searched for in the training.
    known_start: the training began with random weights or those of timm, no file, no checkpoint.
    epochs: that the validation split could choose from.
    flat: labels whose probability is the same for every image.
    fitted: what was fitted on validation: thresholds, calibration, sets, referral.
    own_prevalence: predictive values are told for the prevalence of these very images.
    pseudonyms: ids of patients and images were replaced by keyed pseudonyms.
    resamples: behind the intervals that come from drawing; 0 where none does.
    intervals: how many scores have one.
    thresholds: in use, one per label that stands alone; empty where classes exclude each other.
    threshold_chosen: a rule picked them, on validation.
    calibration, rule, wanted, aurc: as the report words them.
    per: what prediction sets promise it for, `patient` or `image`.
    unlisted, listed: images that could not be read and are not, or are, in the report's table.
    margin, margin_of: by how much a model may be worse, and in which score.
    methods, tests, mcnemar, differing_settings: of the page of `compare`.
    shows_images: pictures of the data stand on the page.
    numbered: images stand under their number in the data set.
    shrunk_px: width to which larger pictures were made smaller; 0 where none was.
    sought: the audit measured how well it finds near-duplicates.
    """

    sections: frozenset[str] = frozenset()
    kind: Kind | None = None
    split: str = ""
    group_noun: str = "group"
    made: Made = Made.UNKNOWN
    own_set: bool = False
    leaks: int | None = None
    shared: int | None = None
    allowed: frozenset[str] | None = None
    warned: frozenset[str] | None = None
    copies_sought: bool = False
    known_start: bool = False
    epochs: int = 0
    flat: frozenset[str] = frozenset()
    fitted: frozenset[str] = frozenset()
    own_prevalence: bool = False
    pseudonyms: bool | None = None
    resamples: int = 0
    intervals: int = 0
    thresholds: tuple[float, ...] = ()
    threshold_chosen: bool = False
    calibration: str = ""
    rule: str = ""
    wanted: str = ""
    per: str = ""
    aurc: str = ""
    unlisted: int = 0
    listed: int = 0
    margin: float | None = None
    margin_of: str = ""
    methods: frozenset[str] = frozenset()
    tests: int = 0
    mcnemar: int = 0
    differing_settings: int = 0
    shows_images: bool = False
    numbered: bool = False
    shrunk_px: int = 0
    sought: bool = False

    @property
    def grouped(self) -> bool:
        return self.group_noun not in ("image", "")

    @property
    def exclusive(self) -> bool:
        return self.kind in (Kind.MULTICLASS, Kind.ORDINAL)

    @property
    def of_training(self) -> bool:
        """The images judged have splits that the training of this model knew."""
        return self.made is Made.TRAINED or (self.made is Made.EVALUATED and self.own_set)


def facts_of(run: Mapping[str, Any], split: str = "") -> dict[str, Any]:
    """Of `Facts` what `run.json` knows; old files know less, and then less is said."""
    told, config = _mapping(run, "report"), _mapping(run, "config")
    origin = run.get("trained_on")
    made = Made.EVALUATED if origin else Made.TRAINED if run.get("best_epoch") else Made.UNKNOWN
    origin = origin if isinstance(origin, Mapping) else {}
    if made is Made.EVALUATED:
        audit: Mapping[str, Any] = _mapping(origin, "audit")
        shared, start = origin.get("shared_images"), origin.get("known_start")
    else:
        limits, start = _mapping(config, "audit"), known_start(config)
        shared = _mapping(run, "trained_before").get("shared_images") if start is False else 0
        audit = {**_mapping(run, "audit"), **({"allow": limits["allow"]} if limits else {})}
        audit = {"copies": limits.get("copies"), **audit}
    allowed, warned = audit.get("allow"), audit.get("warned")
    return {
        "split": split,
        "group_noun": str(told.get("group_noun") or "group"),
        "made": made,
        "own_set": bool(origin) and origin.get("manifest") == run.get("manifest"),
        "leaks": told.get("leaks"),
        "shared": shared,
        "allowed": None if allowed is None else frozenset(allowed),
        "warned": None if warned is None else frozenset(warned),
        "copies_sought": bool(audit.get("copies")),
        "known_start": bool(start),
        "epochs": len(told.get("history") or ()) or int(origin.get("epochs") or 0),
        "pseudonyms": told.get("pseudonymous"),
    }


def known_start(config: Mapping[str, Any]) -> bool:
    """Whether the weights that a training began with came from nowhere or from timm."""
    model = _mapping(config, "model")
    of_timm = ":" not in str(model.get("backbone", ":"))  # hf-hub: anybody's
    named = str(model.get("weights")) in STARTS_THAT_ARE_KNOWN
    return named and of_timm and not config.get("checkpoint")


def _mapping(of: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = of.get(key)
    return value if isinstance(value, Mapping) else {}
