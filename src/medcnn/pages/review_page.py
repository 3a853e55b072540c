"""The page of `medcnn serve`, and what it shows about one image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import resources

from medcnn.pages.facts import Statement, say
from medcnn.pages.format import counted, number, percent, short
from medcnn.pages.gallery import CHECKS, METHODS
from medcnn.pages.page import rendered, script
from medcnn.pages.way import Picture
from medcnn.statistics.strangeness import USUAL, VERDICTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One class: its probability, and the one from which it is called; None if another rule
    decides."""

    name: str
    probability: float
    threshold: float | None
    called: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Reviewed:
    """What is known about one image.

    Attributes:
        reason: why there is no prediction; "" if there is one.
        answers: one for each output, in the order to show; for a binary label, also one for the
            negative class.
        decided: the classes called.
        rule: how they were decided.
        wanted: share of truths that prediction sets contain; None without sets.
        per: what counts once in that share, `patient` or `image`.
        findings: whether labels do not exclude each other, so that each has a set of its own.
        within: the prediction set in words.
        refer: whether a human should look at it; None if the model cannot tell.
        refer_share: share of validation that would be referred.
        verdict: USUAL or one of VERDICTS; None if the model cannot tell.
        mistaken: how often an image like those of validation gets this verdict.
        disagreement: of an ensemble, 0 to 0.5.
        image: as it was read, for display.
        map: over the image; None if there is none, for the reason in `no_map`.
        map_by, map_of: method and class.
        failed: checks that maps of this model did not pass; None if no checks are stored.
        facts: what in the header of a DICOM decided how it is read.
        steps: the image on its way to the network.
    """

    reason: str = ""
    answers: tuple[Answer, ...] = ()
    decided: tuple[str, ...] = ()
    rule: str = ""
    wanted: float | None = None
    per: str = ""
    findings: bool = False
    within: str = ""
    refer: bool | None = None
    refer_share: float = 0.0
    verdict: str | None = None
    mistaken: float = 0.0
    disagreement: float | None = None
    image: Picture | None = None
    map: Picture | None = None
    map_by: str = ""
    map_of: str = ""
    no_map: str = ""
    failed: tuple[str, ...] | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    steps: Sequence[Picture] = ()

    @property
    def read(self) -> bool:
        return not self.reason

    @property
    def shown(self) -> list[Picture]:
        """What the page shows large."""
        return [picture for picture in (self.image, self.map) if picture]


REVIEW: dict[str, Statement[Reviewed]] = {
    "unread": Statement(lambda r: f"This file has no answer: {r.reason}.", lambda r: not r.read),
    "rule": Statement(lambda r: f"Decided by {r.rule}.", lambda r: r.read and bool(r.rule)),
    "set": Statement(
        lambda r: (
            f"Prediction set: {r.within or 'no class'}. Sets should contain the true answer for "
            f"{short(100 * (r.wanted or 0), ' %')} of the images of new patients, each {r.per} "
            f"counting once{', and do so for each finding by itself' if r.findings else ''}."
        ),
        lambda r: r.read and r.wanted is not None and bool(r.per),
    ),
    "refer": Statement(
        lambda r: (
            "Referred: a person should look at it first. The model is no more certain than for the "
            f"least certain {percent(r.refer_share)} % of validation images."
        ),
        lambda r: r.read and r.refer is True,
    ),
    "certain": Statement(
        lambda r: (
            "Not referred: the model is more certain than for the least certain "
            f"{percent(r.refer_share)} % of validation images."
        ),
        lambda r: r.read and r.refer is False,
    ),
    "strange": Statement(
        lambda r: (
            f"This image looks unlike the training images: {r.verdict}. At most "
            f"{percent(r.mistaken)} % of images like those in validation get this verdict."
        ),
        lambda r: r.read and r.verdict in VERDICTS,
    ),
    "wrong kind": Statement(
        "The answer means nothing for an image of the wrong kind.",
        lambda r: r.read and r.verdict == VERDICTS[0],
    ),
    "usual": Statement(
        "This image looks like the training images.", lambda r: r.read and r.verdict == USUAL
    ),
    "unwatched": Statement(
        "The model cannot tell whether this image is unlike its training images.",
        lambda r: r.read and r.verdict is None,
    ),
    "ensemble": Statement(
        lambda r: (
            f"Disagreement between the models: {number(r.disagreement or 0)} (standard deviation "
            "of their probabilities, 0 to 0.5)."
        ),
        lambda r: r.read and r.disagreement is not None,
    ),
    "map": Statement(
        lambda r: (
            f"Map of {r.map_of} by {METHODS[r.map_by]}: where its logit comes from, but not why, "
            "nor that it is right."
        ),
        lambda r: r.map is not None,
    ),
    "map passed": Statement(
        "Maps of this model passed the checks of its report.",
        lambda r: r.map is not None and r.failed == (),
    ),
    "map failed": Statement(
        lambda r: (
            "Do not interpret the map. Maps of this model failed the checks of its report: "
            f"{'; '.join(CHECKS[name] for name in r.failed or ())}."
        ),
        lambda r: r.map is not None and bool(r.failed),
    ),
    "map unchecked": Statement(
        "Nobody has checked whether maps of this model mean anything: its report is not in the "
        "same folder, or has maps by another method.",
        lambda r: r.map is not None and r.failed is None,
    ),
    "no map": Statement(
        lambda r: f"No map: {r.no_map}.", lambda r: r.read and r.map is None and bool(r.no_map)
    ),
}
"""What the page says of one image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What is known about the server.

    Attributes:
        classes: those that an answer may name.
        several: whether an answer may name more than one of them, or none.
        keeps_images: whether images are kept with the answers.
        most_mb: largest size of a file.
        receiver: what the DICOM receiver says about itself; "" if there is none.
        lacks: why no image can have a map; "" if one can.
    """

    title: str
    model: str
    classes: tuple[str, ...]
    several: bool
    keeps_images: bool
    most_mb: int
    receiver: str = ""
    lacks: str = ""


ROOM: dict[str, Statement[Room]] = {
    "research": Statement(
        "Not a medical device. No decision about a patient may rest on this page.", lambda r: True
    ),
    "local": Statement(
        "Files go to this server and nowhere else. It deletes each one when it has answered.",
        lambda r: not r.keeps_images,
    ),
    "local, kept": Statement(
        "Files go to this server and nowhere else. It keeps the pictures that you give an answer "
        "for, without name or header, and deletes all others.",
        lambda r: r.keeps_images,
    ),
    "formats": Statement(
        lambda r: (
            f"DICOM, PNG, JPEG and TIFF up to {r.most_mb} MB; archives must be unpacked. Files "
            "dropped together count as one patient, unless they are DICOM, which names its own."
        ),
        lambda r: True,
    ),
    "no maps": Statement(lambda r: f"No image gets a map: {r.lacks}.", lambda r: bool(r.lacks)),
    "keys": Statement(
        "Keys: o opens files, j and k go to the next and the previous image, a agrees, c corrects.",
        lambda r: True,
    ),
}
"""What the page says of itself."""


def review_page(room: Room) -> tuple[str, str]:
    """The page, and the hash by which its policy allows its script."""
    code, digest = script("review.js")
    page = rendered(
        "review.html.j2",
        title=room.title,
        task=room.model,
        warnings=[say(ROOM, room, "research")],
        room=room,
        code=code,
        allowed=digest,
        style=resources.files("medcnn.pages").joinpath("review.css").read_text(encoding="utf-8"),
        say=partial(say, ROOM, room),
    )
    return page, digest


def entry_page(title: str) -> tuple[str, str]:
    """The page that asks for the token, and the hash of its script."""
    code, digest = script("review.js")
    return rendered(
        "entry.html.j2", title=title, task="", warnings=[], code=code, allowed=digest
    ), digest


def result(of: Reviewed, room: Room) -> str:
    """The part of the page about one image."""
    return rendered(
        "review_result.html.j2", r=of, room=room, percent=percent, say=partial(say, REVIEW, of)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipts:
    """What became of the images that arrived by DICOM.

    Attributes:
        counts: state -> how many.
        failures: when, what, how often it was tried and why it failed; no names.
    """

    counts: Mapping[str, int]
    failures: Sequence[tuple[str, str, int, str]]


RECEIPTS: dict[str, Statement[Receipts]] = {
    "kept": Statement(
        lambda r: (
            f"{counted(r.counts['failed'], 'image')} failed. Files of such images stay in the "
            "spool with their headers, because they may be the only copies. Try again when the "
            "cause is fixed, or drop them."
        ),
        lambda r: r.counts["failed"] > 0,
    ),
    "again": Statement(
        lambda r: f"Try {counted(r.counts['failed'], 'failed image')} again?",
        lambda r: r.counts["failed"] > 0,
    ),
    "drop": Statement(
        lambda r: (
            f"Delete {counted(r.counts['failed'], 'failed image')}? An image that is sent again "
            "gets an answer."
        ),
        lambda r: r.counts["failed"] > 0,
    ),
}
"""What the page says of images that failed."""


def receipts(of: Receipts) -> str:
    """The part of the page about the receiver."""
    return rendered("receipts.html.j2", r=of, counted=counted, say=partial(say, RECEIPTS, of))
