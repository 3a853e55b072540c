"""Patients that look like two sides of one: `12_left` and `12_right`, `P007-OD` and `P007-OS`."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

from medcnn.audit.examined import Examined
from medcnn.audit.finding import Finding, Severity, counted, group_name
from medcnn.data.manifest import Split
from medcnn.data.split_words import WORDS, plain, words

_LEFT, _RIGHT = (words(WORDS["sides"][side]) for side in ("left", "right"))
_EITHER = _LEFT | _RIGHT
_PART = re.compile(r"\d+|[^\W\d_]+")
_CAMEL = re.compile(r"([a-z])([A-Z])")


def two_sides(names: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs of names, left and right, that have a number and differ in nothing but a word for the
    side. A single letter is such a word only if no third one stands in its place (12a to 12z)."""
    found: dict[tuple[str, ...], dict[str, str]] = defaultdict(dict)
    for name in names:
        parts = [plain(part) for part in _PART.findall(_CAMEL.sub(r"\1 \2", name))]
        if not any(part.isdigit() for part in parts):
            continue
        for at, part in enumerate(parts):
            if part in _EITHER or (len(part) == 1 and part.isalpha()):
                found[*parts[:at], "", *parts[at + 1 :]][part] = name
    pairs = []
    for of in found.values():
        series = any(len(part) == 1 and part not in _EITHER for part in of)
        sides = [
            [name for part, name in of.items() if part in side and not (series and len(part) == 1)]
            for side in (_LEFT, _RIGHT)
        ]
        pairs += list(zip(*sides, strict=False))
    return sorted(pairs)


def sides_are_patients(of: Examined) -> Iterator[Finding]:
    """Ids of patients that differ only in the word for a side: two eyes of one person."""
    manifest = of.manifest
    where: dict[str, set[Split | None]] = defaultdict(set)
    first: dict[str, int] = {}
    names = [PurePosixPath(r.path).stem for r in manifest.records]
    if len(set(names)) < len(names):  # numbers begin again in each folder
        names = [str(PurePosixPath(r.path).with_suffix("")) for r in manifest.records]
    for row, r in enumerate(manifest.records):
        own = r.own_group if manifest.grouped else names[row]
        where[own].add(r.split)
        first.setdefault(own, row)
    pairs = two_sides(where)
    if not pairs:
        return
    apart = sum(len(where[one] | where[other]) > 1 for one, other in pairs)
    noun = manifest.group_noun
    yield Finding(
        check="sides",
        severity=Severity.WARN,
        title=f"{counted(len(pairs), 'pair')} of {noun}s look like two sides of one person"
        + (f", {apart:,} of them in two splits" if apart else ""),
        meaning="Their ids differ only in a word for left and right, and each counts as "
        f"{_a(noun)} of its own. Two eyes of one person resemble each other: if one is trained on "
        "and the other tested, the score is too optimistic, and intervals are too narrow.",
        advice="If they are of one person, give both the same id in the patient column "
        "(data.patient=COLUMN).",
        columns=(noun, "split", f"other {noun}", "split"),
        rows=tuple(
            (
                group_name(manifest, first[one]),
                _said(where[one]),
                group_name(manifest, first[other]),
                _said(where[other]),
            )
            for one, other in pairs
        ),
        shown=tuple((first[one], first[other]) for one, other in pairs),
    )


def _a(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _said(splits: set[Split | None]) -> str:
    return ", ".join(sorted(s for s in splits if s))
