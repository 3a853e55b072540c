"""Checks of pairs of images with the same, or nearly the same, pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from medcnn.audit.duplicates import Pair
from medcnn.audit.examined import Examined, Names
from medcnn.audit.finding import Finding, Severity, counted
from medcnn.data.manifest import Split

_PAIR = ("image", "of", "split", "label", "other image", "of", "split", "label", "alike")


_CROSSED = {
    (Split.TRAIN, Split.TEST): "Test contains training images, so the score is too optimistic.",
    (
        Split.TRAIN,
        Split.VALIDATION,
    ): "The images that choose epoch and thresholds were also trained on.",
    (
        Split.VALIDATION,
        Split.TEST,
    ): "Test contains images that were used to choose epoch and thresholds.",
}


def harm_of(of: Examined, pairs: Sequence[Pair]) -> str:
    """The harm of pairs across splits, by the splits that they connect."""
    sides = [{of.manifest.records[r].split for r in (p.first, p.second)} for p in pairs]
    return " ".join(said for splits, said in _CROSSED.items() if set(splits) in sides)


def weight_of(of: Examined, pairs: Sequence[Pair]) -> str:
    """The effect of pairs within a split."""
    inside = {of.manifest.records[p.first].split for p in pairs}
    said = ["They count twice in training."] if Split.TRAIN in inside else []
    if scored := [str(s) for s in (Split.VALIDATION, Split.TEST) if s in inside]:
        said.append(f"They count twice in the scores of {' and '.join(scored)}.")
    if any(_foreign(of, p) for p in pairs):
        said.append(
            "According to the table, some are of different patients: with another seed, one may be "
            "trained on and the other tested."
            if of.manifest.patients_known
            else "With another seed, one of a pair may be trained on and the other tested."
        )
    return " ".join(said) or "An image counts twice."


def pixels_in_two_splits(of: Examined) -> Iterator[Finding]:
    """The same pixels in two splits, whatever the names of the files."""
    found = [p for p in of.pairs if p.same and _across(of, p)]
    if found:
        yield _of_pairs(
            of,
            found,
            check="pixels",
            severity=Severity.REFUSE,
            title=f"{counted(len(found), 'pair')} of images with the same pixels in two splits",
            meaning=f"{harm_of(of, found)} The files may differ in name, format and size; "
            "decoded, they are equal.",
            advice="Remove one of each pair from the table, or give both the same patient.",
        )


def copies_in_two_splits(of: Examined) -> Iterator[Finding]:
    """Recompressed, cropped or resized copies in two splits."""
    found = [p for p in of.pairs if not p.same and _across(of, p) and _foreign(of, p)]
    if found:
        yield _of_pairs(
            of,
            found,
            check="copies",
            severity=Severity.WARN,
            title=f"{counted(len(found), 'pair')} of near-duplicates in two splits",
            meaning=f"They look like one photograph that was {_done_to(found)}. If so, the score "
            "is too optimistic.",
            advice="Look at the pairs. If a pair shows one patient, give both the same patient id, "
            "or remove one.",
        )


def pixels_with_two_labels(of: Examined) -> Iterator[Finding]:
    """The same pixels with two labels."""
    differ = [p for p in of.pairs if _labels_differ(of, p)]
    same, near = [p for p in differ if p.same], [p for p in differ if not p.same]
    near = [p for p in near if _foreign(of, p)]
    advice = "Find out which label is right, and remove the other row."
    if same:
        yield _of_pairs(
            of,
            same,
            check="labels",
            severity=Severity.REFUSE,
            title=f"{counted(len(same), 'pair')} of equal images with different labels",
            meaning="At least one label of each pair is wrong, or one image shows two patients.",
            advice=advice,
        )
    if near:
        yield _of_pairs(
            of,
            near,
            check="labels",
            severity=Severity.WARN,
            title=f"{counted(len(near), 'pair')} of near-duplicates with different labels",
            meaning="They look like one photograph, but have different labels."
            + (
                " The table says they show different patients."
                if of.manifest.patients_known
                else ""
            ),
            advice=f"Look at the pairs. {advice}",
        )


def pixels_twice(of: Examined) -> Iterator[Finding]:
    """Equal or similar images within one split."""
    same = [p for p in of.pairs if p.same and not _across(of, p)]
    near = [p for p in of.pairs if not p.same and not _across(of, p) and _foreign(of, p)]
    if same or near:
        yield _of_pairs(
            of,
            [*same, *near],
            check="twice",
            severity=Severity.NOTE,
            title=f"{counted(len(same) + len(near), 'pair')} of equal or near-equal images within "
            "a split",
            meaning=weight_of(of, [*same, *near]),
            advice="Remove one of each pair, or give both the same patient.",
        )


def _done_to(pairs: Sequence[Pair]) -> str:
    if any(p.turn for p in pairs):
        return "recompressed, cropped, resized, mirrored or turned"
    return "recompressed, cropped or resized"


def _across(of: Examined, pair: Pair) -> bool:
    one, other = (of.manifest.records[r].split for r in (pair.first, pair.second))
    return one is not None and other is not None and one is not other


def _foreign(of: Examined, pair: Pair) -> bool:
    """Whether they are of two patients; similar images of one are follow-ups, not copies."""
    records = of.manifest.records
    return records[pair.first].group != records[pair.second].group


def _labels_differ(of: Examined, pair: Pair) -> bool:
    one, other = (np.array(of.manifest.records[r].target) for r in (pair.first, pair.second))
    both = ~np.isnan(one) & ~np.isnan(other)
    return bool((one[both] != other[both]).any())


def _of_pairs(
    of: Examined,
    pairs: Sequence[Pair],
    *,
    check: str,
    severity: Severity,
    title: str,
    meaning: str,
    advice: str,
) -> Finding:
    names = Names(of)
    return Finding(
        check=check,
        severity=severity,
        title=title,
        meaning=meaning,
        advice=advice,
        columns=_PAIR,
        rows=tuple(
            (
                *names.cells(p.first),
                *names.cells(p.second),
                "same pixels" if p.same else f"{p.correlation:.2f}{p.turn and ', '}{p.turn}",
            )
            for p in pairs
        ),
        shown=tuple((p.first, p.second) for p in pairs),
    )
