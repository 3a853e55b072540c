"""What is known about a run, and which sentences its pages may print.

A sentence is printed only if facts support it. Sentences are in tables, each with its condition:
`statements` and `seen` (about `Facts`), `summary` (about scores), `comparison_page` (about two
models), `audit` (about findings). Unknown facts keep a value that supports no claim (None, 0, or
empty).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, TypeVar

from medcnn.data.labels import Kind
from medcnn.data.manifest import NO_PATIENT
from medcnn.statistics.decisions import PatientReadout

Of = TypeVar("Of", contravariant=True)
STARTS_THAT_ARE_KNOWN = frozenset({"auto", "none", "pretrained"})
"""Settings of `model.weights` that mean random weights or timm's; a file may contain a network that
was trained on these images."""


@dataclass(frozen=True, slots=True)
class Statement(Generic[Of]):
    says: str | Callable[[Of], str]  # the sentence, or the words that differ from run to run
    holds: Callable[[Of], bool]  # whether these facts support it

    def words(self, of: Of) -> str:
        """The sentence, or "" if the facts do not support it."""
        if not self.holds(of):
            return ""
        return self.says if isinstance(self.says, str) else self.says(of)


def say(table: Mapping[str, Statement[Of]], of: Of, *names: str) -> str:
    """The named statements that hold, joined."""
    return " ".join(filter(None, (table[name].words(of) for name in names)))


class Made(StrEnum):
    """What this folder is to the model: its training, or a later evaluation of its checkpoint."""

    TRAINED = "trained"
    EVALUATED = "evaluated"
    UNKNOWN = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known about the page, the data and the run; the defaults mean unknown."""

    sections: frozenset[str] = frozenset()  # headings and parts of the page with content
    kind: Kind | None = None  # of the labels
    split: str = ""  # which images are judged first: test, validation, train, all
    group_noun: str = "group"  # what a group is; `image` if patients are not known
    made: Made = Made.UNKNOWN  # what this folder is to the model
    own_set: bool = False  # the images and splits are those of the model's training
    leaks: int | None = None  # groups in more than one split
    shared: int | None = None  # judged images that share their id with an image used in training
    allowed: frozenset[str] | None = None  # checks whose refusal audit.allow turned off
    warned: frozenset[str] | None = None  # checks of the audit that warned in the training
    copies_sought: bool = False  # near-duplicates were searched for in the training
    known_start: bool = False  # training began with random weights or timm's
    epochs: int = 0  # among which validation could choose
    probe: str = ""  # what validation chose for a probe
    flat: frozenset[str] = frozenset()  # labels whose probability is the same for every image
    fitted: frozenset[str] = frozenset()  # on validation: thresholds, calibration, sets, referral
    own_prevalence: bool = False  # predictive values are for the prevalence of these images
    pseudonyms: bool | None = None  # ids of patients and images are keyed pseudonyms
    resamples: int = 0  # for intervals by resampling; 0 if there are none
    intervals: int = 0  # number of scores with an interval
    thresholds: tuple[float, ...] = ()  # of independent labels
    threshold_chosen: bool = False  # by a rule, on validation
    calibration: str = ""  # its name
    rule: str = ""  # for decisions
    wanted: str = ""  # requested coverage of prediction sets
    per: str = ""  # the unit of that guarantee, `patient` or `image`
    aurc: str = ""  # area under the curve of risk and coverage
    unlike: tuple[str, ...] = ()  # verdicts on images given more often than stated
    looks_untested: tuple[str, ...] = ()  # verdicts of which too few patients can tell that
    readers: int = 0  # points beside the ROC curves
    readers_elsewhere: int = 0  # how many of them saw other images
    readers_paired: int = 0  # how many were compared with the model image by image
    readers_untested: int = 0  # how many of these have no p, since too few patients were read
    readers_partly: bool = False  # some of them read only part of the images
    readers_boxed: bool = False  # some have intervals
    several_each: bool = False  # some groups have several of the judged images
    maps_by: str = ""  # the method of the gallery's maps
    maps_failed: tuple[str, ...] = ()  # the checks that these maps did not pass
    listed: int = 0  # images that could not be read and are in the report's table
    unlisted: int = 0  # the other unreadable images
    margin: float | None = None  # how much worse a model may be
    margin_of: str = ""  # the score with that margin
    methods: frozenset[str] = frozenset()  # of intervals of differences
    tests: int = 0  # differences that were tested
    mcnemar: int = 0  # number of McNemar tests
    differing_settings: int | None = None  # of the runs compared
    unknown_settings: tuple[str, ...] = ()  # the runs among them without a run.json
    shows_images: bool = False  # the page contains images of the data
    numbered: bool = False  # named by their number in the data set
    shrunk_px: int = 0  # width to which larger images were reduced; 0 if none was
    together: PatientReadout | None = None  # how the images of a patient are read together
    useful: tuple[tuple[str, tuple[float, float] | None], ...] = ()  # thresholds, by label
    costs: tuple[float, float] | None = None  # of a miss and a false alarm
    gaps: int = 0  # between subgroups, whose intervals hold jointly
    gap_level: str = ""  # of each of these intervals alone
    alarms: tuple[str, ...] = ()  # gaps whose interval excludes 0, one per group
    small_groups: bool = False  # in which two models are not compared
    sought: bool = False  # the audit measured how well it finds near-duplicates

    @property
    def grouped(self) -> bool:
        return self.group_noun not in ("image", "")

    @property
    def patients_known(self) -> bool:
        return self.grouped and self.group_noun not in NO_PATIENT

    @property
    def exclusive(self) -> bool:
        return self.kind in (Kind.MULTICLASS, Kind.ORDINAL)

    @property
    def of_training(self) -> bool:
        """Whether the judged images are from the splits of this model's training."""
        return self.made is Made.TRAINED or (self.made is Made.EVALUATED and self.own_set)


def facts_of(run: Mapping[str, Any], split: str = "") -> dict[str, Any]:
    """The `Facts` in `run.json`; older files have fewer and support fewer sentences."""
    stored, config = _mapping(run, "report"), _mapping(run, "config")
    origin = run.get("trained_on")
    made = (
        Made.EVALUATED
        if origin
        else Made.TRAINED
        if run.get("best_epoch") or run.get("probe")
        else Made.UNKNOWN
    )
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
        "group_noun": str(stored.get("group_noun") or "group"),
        "made": made,
        "own_set": bool(origin) and origin.get("manifest") == run.get("manifest"),
        "leaks": stored.get("leaks"),
        "shared": shared,
        "allowed": None if allowed is None else frozenset(allowed),
        "warned": None if warned is None else frozenset(warned),
        "copies_sought": bool(audit.get("copies")),
        "known_start": bool(start),
        "epochs": len(stored.get("history") or ()) or int(origin.get("epochs") or 0),
        "probe": str(_mapping(run, "probe").get("chose") or ""),
        "pseudonyms": stored.get("pseudonymous"),
    }


def known_start(config: Mapping[str, Any]) -> bool:
    """Whether training began with random weights or with timm's."""
    model = _mapping(config, "model")
    of_timm = ":" not in str(model.get("backbone", ":"))  # hf-hub: anyone's
    named = str(model.get("weights")) in STARTS_THAT_ARE_KNOWN
    return named and of_timm and not config.get("checkpoint")


def _mapping(of: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = of.get(key)
    return value if isinstance(value, Mapping) else {}
