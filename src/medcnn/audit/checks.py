"""The table of checks: each is a plain function from facts about a set to findings."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from medcnn.audit.confounds import (
    border_tells,
    columns_tell,
    file_tells,
    files_differ,
    polarity_is_contradicted,
    thumbnail_tells,
)
from medcnn.audit.examined import Examined, Names
from medcnn.audit.finding import Finding, Severity, classes_of, counted, group_name, place
from medcnn.audit.headers import TOP
from medcnn.audit.pairs import (
    copies_in_two_splits,
    pixels_in_two_splits,
    pixels_twice,
    pixels_with_two_labels,
)
from medcnn.audit.person_names import IMAGING_WORDS, looks_real, names_in_path
from medcnn.audit.sides import sides_are_patients
from medcnn.data import splits
from medcnn.data.manifest import Split
from medcnn.data.own.identity import identifies
from medcnn.data.own.sheets import parted
from medcnn.images.preprocessing import scale_of
from medcnn.system.privacy import pseudonymised

FEWEST_TO_LEARN, FEWEST_TO_JUDGE = 10, 5
"""With fewer patients of a class, little is learnt, or an interval says nothing."""

# Of 16-bit values; 14 bits or fewer never exceed it.
QUARTER = 1 << 14

Check = Callable[[Examined], Iterator[Finding]]


def row_is_refused(of: Examined) -> Iterator[Finding]:
    """Rows of the table that could not become records."""
    if of.manifest.faults:
        rows = [parted(pseudonymised(fault)) for fault in of.manifest.faults]
        yield Finding(
            check="rows",
            severity=Severity.REFUSE,
            title=f"{counted(len(rows), 'row')} of the table cannot be used",
            meaning="Rows are never left out silently. Everything else on "
            "this page is about the other rows.",
            advice="Correct these rows, or remove them from the table.",
            columns=("line", "what is wrong"),
            rows=tuple((line, reason) for _, line, reason in rows),
        )


def split_is_missing(of: Examined) -> Iterator[Finding]:
    """Not all three splits exist, or not all images have one."""
    if of.unsplit:
        yield Finding(
            check="splits",
            severity=Severity.REFUSE,
            title="This set cannot be split into training, validation and test",
            meaning=of.unsplit,
            advice="Correct the split column, or leave it out (data.split=null): the images are "
            "then split by patient."
            if any(r.split for r in of.manifest.records)
            else "Collect more patients.",
        )


def patients_are_unknown(of: Examined) -> Iterator[Finding]:
    """Patients are not known, so a split may divide the images of one."""
    noun = of.manifest.group_noun
    if not of.manifest.patients_known:
        yield Finding(
            check="patients",
            severity=Severity.WARN,
            title="The patients are not known",
            meaning=f"Every {noun} counts as a separate patient. A patient with several {noun}s "
            "may be in training and in test; then the score is too good and intervals are too "
            "narrow.",
            advice="If the table has a patient column, name it: data.patient=COLUMN.",
        )


def group_in_two_splits(of: Examined) -> Iterator[Finding]:
    """A patient or lesion in several splits."""
    manifest, found = of.manifest, splits.leaks(of.manifest)
    if not found:
        return
    where: dict[str, Counter[Split]] = defaultdict(Counter)
    first: dict[str, int] = {}
    for row, r in enumerate(manifest.records):
        if r.group in found and r.split is not None:
            where[r.group][r.split] += 1
            first.setdefault(r.group, row)
    noun = manifest.group_noun
    rows = [
        (group_name(manifest, first[g]), *(str(where[g][s] or "") for s in Split)) for g in where
    ]
    yield Finding(
        check="groups",
        severity=Severity.REFUSE,
        title=f"{counted(len(found), noun)} in more than one split",
        meaning=f"Images of one {noun} resemble each other. In test, a network recognises a {noun} "
        "that it has seen in training, so the score does not apply to new patients.",
        advice="Leave the split column out (data.split=null): the images are then split by "
        f"{noun}. Or move all images of a {noun} to one split.",
        columns=(noun, *(f"images in {s}" for s in Split)),
        rows=tuple(sorted(rows)),
    )


def file_is_bad(of: Examined) -> Iterator[Finding]:
    """Images that are unreadable, truncated, blank, or have text burned in."""
    bad = [row for row, f in enumerate(of.looks.facts) if f.bad]
    if not bad:
        return
    names, records = Names(of), of.manifest.records
    refused = len(bad) > of.max_bad
    allowed = "" if refused else f" audit.max_bad={of.max_bad} allows them."
    rows = [(names.image(r), str(records[r].split or ""), of.looks.facts[r].bad) for r in bad]
    yield Finding(
        check="files",
        severity=Severity.REFUSE if refused else Severity.WARN,
        title=f"{len(bad):,} of {counted(len(records), 'image')} cannot be used",
        meaning="They are unreadable, truncated, blank, or declare text in their pixels. They are "
        f"left out, counted and listed, never replaced by another image.{allowed}",
        advice="Repair them, or remove them from the table"
        + (f", or allow them with audit.max_bad={len(bad)}." if refused else "."),
        columns=("image", "split", "reason"),
        rows=tuple(rows),
    )


def depth_is_unused(of: Examined) -> Iterator[Finding]:
    """16-bit samples that never exceed a quarter of their range, as in 12-bit radiographs."""
    tops = [int(of.looks.facts[row].traits.get(TOP, -1)) for row in of.usable]
    tops = [top for top in tops if top >= 0]
    if not tops or max(tops) >= QUARTER:
        return
    bits = scale_of(tops)
    read = of.full_scale < 16
    yield Finding(
        check="depth",
        severity=Severity.NOTE if read else Severity.WARN,
        title=f"{counted(len(tops), '16-bit image')} with no value above {max(tops):,} of 65,535",
        meaning=(
            f"They use {bits} bits of 16. They are read as {of.full_scale} bits, and the model "
            "stores that: it will refuse an image with higher values."
            if read
            else f"They use {bits} bits of 16. Read as 16 bits, they are almost black, and a "
            f"network that sees 8 bits gets {max(1, (max(tops) + 128) // 257 + 1)} of 256 grey "
            "levels."
        ),
        advice="If the detector has another depth, set data.full_scale=BITS."
        if read
        else "Leave data.full_scale at auto, or name the depth of the detector: "
        f"data.full_scale={bits}.",
    )


def class_is_absent(of: Examined) -> Iterator[Finding]:
    """A class without images in a split."""
    if not of.labelled or of.unsplit:
        return
    absent = [
        (n, s) for n, counts in _groups_of_classes(of).items() for s in Split if not counts[s]
    ]
    in_train = [n for n, s in absent if s is Split.TRAIN]
    if absent:
        never = in_train and (of.manifest.labels.kind != "multilabel")
        yield Finding(
            check="classes",
            severity=Severity.REFUSE if never else Severity.WARN,
            title=f"{counted(len({n for n, _ in absent}), 'class')} absent from a split",
            meaning="A class that is missing in training is never learnt; one that is missing in "
            "validation or test has no score there.",
            advice="Collect more patients of it, or join it with another class (data.rename or "
            "data.rare_below). If the table defines the splits, you may leave them to medcnn "
            "(data.split=null).",
            columns=("class", "absent from"),
            rows=tuple(absent),
        )


def class_is_small(of: Examined) -> Iterator[Finding]:
    """Too few patients of a class to learn or judge it."""
    if not of.labelled or of.unsplit:
        return
    counts = _groups_of_classes(of)
    few = {
        name: c
        for name, c in counts.items()
        if 0 < c[Split.TRAIN] < FEWEST_TO_LEARN
        or any(0 < c[s] < FEWEST_TO_JUDGE for s in (Split.VALIDATION, Split.TEST))
    }
    noun = of.manifest.group_noun
    if few:
        to_learn = any(0 < c[Split.TRAIN] < FEWEST_TO_LEARN for c in few.values())
        yield Finding(
            check="few",
            severity=Severity.WARN if to_learn else Severity.NOTE,
            title=f"{counted(len(few), 'class')} with few {noun}s",
            meaning=f"With fewer than {FEWEST_TO_LEARN} {noun}s in training, a class is hardly "
            f"learnt; with fewer than {FEWEST_TO_JUDGE} in validation or test, its score has a "
            "wide interval and says little.",
            advice="Collect more, join the class with another (data.rename, data.rare_below), or "
            "give test a larger share (data.test_share).",
            columns=("class", *(f"{noun}s in {s}" for s in Split)),
            rows=tuple((name, *(str(c[s]) for s in Split)) for name, c in few.items()),
        )


def person_is_named(of: Examined) -> Iterator[Finding]:
    """Names of people in tags, paths, columns or patient ids. They are never shown."""
    where: dict[str, list[int]] = defaultdict(list)
    for row, f in enumerate(of.looks.facts):
        for found_in in f.persons:
            where["folder or file name" if found_in == "path" else f"tag {found_in}"].append(row)
    for row, r in enumerate(of.manifest.records):
        group = r.own_group if of.manifest.grouped else ""
        if looks_real(group) or names_in_path(group, (), IMAGING_WORDS):
            where[f"{of.manifest.group_noun} id"].append(row)
        for column in r.attributes:
            if identifies(column):
                where[f"column {column}"].append(row)
    if where:
        rows = [
            (found_in, f"{len(found):,}", ", ".join(place(of.manifest, r) for r in found[:8]))
            for found_in, found in sorted(where.items())
        ]
        count = len({r for found in where.values() for r in found})
        yield Finding(
            check="persons",
            severity=Severity.WARN,
            title=f"{counted(count, 'image')} may name a person",
            meaning="The content looks like the name, address or birthday of a real person, or the "
            "place of a photograph. It is not repeated here.",
            advice="De-identify the files and the table before using them any further (PS3.15 "
            "Annex E lists what to remove).",
            columns=("where", "images", "first of them"),
            rows=tuple(rows),
        )


CHECKS: dict[str, Check] = {
    "rows": row_is_refused,
    "splits": split_is_missing,
    "patients": patients_are_unknown,
    "sides": sides_are_patients,
    "groups": group_in_two_splits,
    "pixels": pixels_in_two_splits,
    "labels": pixels_with_two_labels,
    "files": file_is_bad,
    "depth": depth_is_unused,
    "classes": class_is_absent,
    "copies": copies_in_two_splits,
    "polarity": polarity_is_contradicted,
    "persons": person_is_named,
    "file_tells": file_tells,
    "border_tells": border_tells,
    "columns_tell": columns_tell,
    "made": files_differ,
    "few": class_is_small,
    "twice": pixels_twice,
    "thumbnail_tells": thumbnail_tells,
}
ALLOWABLE = ("groups", "pixels", "labels", "classes")


def run_checks(of: Examined, allow: Sequence[str]) -> list[Finding]:
    """All findings, refusals first; findings of checks in `allow` only warn."""
    found = [finding for check in CHECKS.values() for finding in check(of)]
    lenient = [
        replace(
            f,
            severity=Severity.WARN,
            meaning=f"{f.meaning} (audit.allow names '{f.check}', so it is not refused.)",
        )
        if f.check in allow and f.severity is Severity.REFUSE
        else f
        for f in found
    ]
    return sorted(lenient, key=lambda f: list(Severity).index(f.severity))


def _groups_of_classes(of: Examined) -> dict[str, Counter[Split]]:
    """Class -> split -> number of patients with it, among usable images."""
    labels, seen = of.manifest.labels, set()
    counts: dict[str, Counter[Split]] = {name: Counter() for name in labels.names}
    for row in of.usable:
        record = of.manifest.records[row]
        if record.split is None:
            continue
        for name in classes_of(of.manifest, row):
            if name in counts and (key := (name, record.group, record.split)) not in seen:
                seen.add(key)
                counts[name][record.split] += 1
    return counts
