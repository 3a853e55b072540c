"""Every finding is made where its fault is, and nowhere else; so are the clauses within it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medcnn.audit.checks import CHECKS, run_checks
from medcnn.audit.duplicates import Pair
from medcnn.audit.examined import Examined
from medcnn.audit.finding import Severity
from medcnn.audit.headers import POLARITY, TOP
from medcnn.audit.shortcuts import Shortcut
from medcnn.audit.thumbnails import Facts, Looks
from medcnn.audit.traits import Association
from medcnn.data.labels import Kind, LabelSpace
from medcnn.data.manifest import Manifest, Record, Split
from medcnn.statistics.estimates import Estimate

LABELS = LabelSpace(kind=Kind.BINARY, names=("healthy", "ill"))
NOTHING = Facts(bad="", traits={}, persons=())
SPLITS = (*[Split.TRAIN] * 24, *[Split.VALIDATION] * 10, *[Split.TEST] * 10)
# Rows: 0 and 1 are trained on, 24 validates, 34 and 35 test; neighbours have unlike labels.


def sound() -> Examined:
    records = tuple(
        Record(
            image_id=f"i{i}",
            path=f"i{i}.png",
            group=f"p{i}",
            target=(float(i % 2),),
            split=split,
            line=i + 2,
        )
        for i, split in enumerate(SPLITS)
    )
    manifest = Manifest(source="wards", root=Path("wards"), labels=LABELS, records=records)
    grey, colour = np.zeros((44, 64, 64), np.uint8), np.zeros((44, 32, 32, 3), np.uint8)
    looks = Looks(grey=grey, colour=colour, facts=(NOTHING,) * 44, key="")
    return Examined(
        manifest=manifest,
        looks=looks,
        pairs=(),
        shortcuts=(),
        traits=(),
        columns=(),
        max_bad=0,
        unsplit="",
    )


def with_records(of: Examined, *rows: int, **changed: Any) -> Examined:
    records = list(of.manifest.records)
    for row in rows:
        records[row] = replace(records[row], **changed)
    return replace(of, manifest=of.manifest.with_records(records))


def with_facts(of: Examined, *rows: int, **changed: Any) -> Examined:
    facts = list(of.looks.facts)
    for row in rows:
        facts[row] = replace(facts[row], **changed)
    return replace(of, looks=replace(of.looks, facts=tuple(facts)))


def paired(first: int, second: int, *, same: bool = True, turn: str = "") -> Examined:
    pair = Pair(first, second, 1.0 if same else 0.98, same, turn)
    return replace(sound(), pairs=(pair,))


def shown_by(source: str, low: float) -> Examined:
    area = Estimate(value=0.9, low=low, high=0.95, count=40, groups=40)
    found = Shortcut(source=source, auroc=area, best="ill", best_auroc=area)
    return replace(sound(), shortcuts=(found,))


def trait(name: str, strength: float, p: float) -> Examined:
    found = Association(trait=name, label="ill", strength=strength, p=p, values={"a": (40, 0.5)})
    return replace(sound(), traits=(found,))


def sided(left: int, right: int) -> Examined:
    of = with_records(sound(), left, group="12_left")
    return with_records(of, right, group="12_right")


def alone_in(of: Examined, **paths: str) -> Examined:
    """Without patients, and with other paths: `r0="ill/1_left.png"` of row 0."""
    for row, path in paths.items():
        of = with_records(of, int(row[1:]), path=path)
    return alone(of)


def everyone(of: Examined, **changed: Any) -> Examined:
    return with_facts(of, *range(44), **changed)


def alone(of: Examined) -> Examined:
    return replace(of, manifest=replace(of.manifest, group_noun="image"))


CASES: dict[str, tuple[Callable[[], Examined], set[str]]] = {
    "sound": (sound, set()),
    "rows": (
        lambda: replace(sound(), manifest=replace(sound().manifest, faults=("t.csv:2: bad",))),
        {"rows"},
    ),
    "splits": (lambda: replace(sound(), unsplit="Only 2 patients."), {"splits"}),
    "no patients": (lambda: alone(sound()), {"patients"}),
    "leak": (lambda: with_records(sound(), 34, group="p0"), {"groups"}),
    "two sides": (lambda: sided(0, 2), {"sides"}),
    "two sides, one in test": (lambda: sided(0, 34), {"sides"}),
    "two sides of files": (
        lambda: alone_in(sound(), r0="ill/1_left.png", r1="well/1_right.png"),
        {"patients", "sides"},
    ),
    "numbers begin again in each folder": (
        lambda: alone_in(sound(), r0="ill/1_left.png", r1="well/1_right.png", r2="well/1_left.jpg"),
        {"patients", "sides"},
    ),
    "numbers begin again, one side each": (
        lambda: alone_in(sound(), r0="ill/1_l.png", r1="well/1_r.png", r2="b/7.png", r3="c/7.png"),
        {"patients"},
    ),
    "same": (lambda: paired(0, 34), {"pixels"}),
    "same validates": (lambda: paired(0, 24), {"pixels"}),
    "same validates and tests": (lambda: paired(24, 34), {"pixels"}),
    "near": (lambda: paired(0, 34, same=False), {"copies"}),
    "near, turned": (lambda: paired(0, 34, same=False, turn="turned by 180°"), {"copies"}),
    "near of one patient": (
        lambda: with_records(paired(0, 34, same=False), 34, group="p0"),
        {"groups"},
    ),
    "two labels": (lambda: paired(0, 1), {"labels", "twice"}),
    "near, two labels": (lambda: paired(34, 35, same=False), {"labels", "twice"}),
    "twice": (lambda: paired(0, 2), {"twice"}),
    "twice in test": (lambda: paired(34, 36), {"twice"}),
    "twice of one patient": (
        lambda: with_records(paired(0, 2), 2, group="p0"),
        {"twice"},
    ),
    "near twice of one patient": (
        lambda: with_records(paired(0, 2, same=False), 2, group="p0"),
        set(),
    ),
    "no patients, twice": (lambda: alone(paired(0, 2)), {"patients", "twice"}),
    "bad": (lambda: with_facts(sound(), 0, bad="truncated"), {"files"}),
    "bad, allowed": (
        lambda: replace(with_facts(sound(), 0, bad="truncated"), max_bad=1),
        {"files"},
    ),
    "12 bits": (lambda: everyone(sound(), traits={TOP: "4095"}), {"depth"}),
    "12 bits, known": (
        lambda: replace(everyone(sound(), traits={TOP: "4095"}), full_scale=12),
        {"depth"},
    ),
    "16 bits": (lambda: everyone(sound(), traits={TOP: "60000"}), set()),
    "absent": (lambda: with_records(sound(), *range(34, 44), target=(0.0,)), {"classes"}),
    "never learnt": (
        lambda: with_records(sound(), *range(24), target=(0.0,)),
        {"classes"},
    ),
    "few": (lambda: with_records(sound(), *range(3, 24), target=(0.0,)), {"few"}),
    "polarity": (lambda: with_facts(sound(), 0, traits={POLARITY: "a, b"}), {"polarity"}),
    "person in a tag": (lambda: with_facts(sound(), 0, persons=("PatientName",)), {"persons"}),
    "person in a column": (
        lambda: with_records(sound(), 0, attributes={"Née le": "1.1.70"}),
        {"persons"},
    ),
    "weight at birth": (lambda: with_records(sound(), 0, attributes={"birth weight": "3"}), set()),
    "patient called by name": (lambda: with_records(sound(), 0, group="DOE^JANE"), {"persons"}),
    "file": (lambda: shown_by("file", 0.8), {"file_tells"}),
    "file, by chance": (lambda: shown_by("file", 0.45), set()),
    "border": (lambda: shown_by("border", 0.8), {"border_tells"}),
    "columns": (lambda: shown_by("columns", 0.8), {"columns_tell"}),
    "thumbnail": (lambda: shown_by("thumbnail", 0.8), {"thumbnail_tells"}),
    "thumbnail, by chance": (lambda: shown_by("thumbnail", 0.4), set()),
    "goes with": (lambda: trait("scanner", 0.6, 0.001), {"made"}),
    "mixed": (lambda: trait("scanner", 0.1, 0.5), {"made"}),
}


@pytest.mark.fault
@pytest.mark.parametrize("case", CASES)
def test_each_fault_gives_its_findings_and_no_other(case: str) -> None:
    """Rows A13, A16."""
    of, wanted = CASES[case]
    examined = of()
    made = {name for name, check in CHECKS.items() if list(check(examined))}
    assert made == wanted
    for found in run_checks(examined, ()):
        for words in (found.meaning, found.advice):
            assert words.endswith((".", ")")), words
            assert "  " not in words


def test_every_check_has_a_case() -> None:
    assert set().union(*(wanted for _, wanted in CASES.values())) == set(CHECKS)


# A clause, and the cases in which it is printed; in all others it must not be.
CLAUSES = {
    "1 pair of patients look like two sides": {"two sides", "two sides, one in test"},
    "1 pair of images look like two sides": {
        *("two sides of files", "numbers begin again in each folder"),
    },
    "1 of them in two splits": {"two sides, one in test"},
    "Test contains training images": {"same"},
    "The images that choose epoch and thresholds were also trained on": {"same validates"},
    "Test contains images that were used to choose epoch and thresholds": {
        "same validates and tests"
    },
    "They count twice in training": {
        *("two labels", "twice", "twice of one patient", "no patients, twice"),
    },
    "They count twice in the scores of test": {"near, two labels", "twice in test"},
    "With another seed, one of a pair": {"no patients, twice"},
    "some are of different patients: with another seed": {
        *("two labels", "near, two labels", "twice", "twice in test"),
    },
    "The table says they show different patients": {"near, two labels"},
    "audit.max_bad=1 allows them": {"bad, allowed"},
    "or allow them with audit.max_bad=1": {"bad"},
    "are almost black": {"12 bits"},
    "They are read as 12 bits": {"12 bits, known"},
    "a network can see that": {"goes with"},
    "They are not strongly associated with any class": {"mixed"},
}


@pytest.mark.fault
@pytest.mark.parametrize("clause", CLAUSES)
def test_a_clause_is_written_where_it_is_true_and_nowhere_else(clause: str) -> None:
    """Rows A13, A16: `the test contains training images` was said of copies in validation too."""
    said = {
        case: " ".join(f"{f.title} {f.meaning} {f.advice}" for f in run_checks(of(), ()))
        for case, (of, _) in CASES.items()
    }
    assert {case for case, words in said.items() if clause in words} == CLAUSES[clause]


def test_a_pair_says_how_it_is_turned() -> None:
    (near,) = run_checks(paired(0, 34, same=False, turn="turned by 180°"), ())
    assert near.rows[0][-1] == "0.98, turned by 180°"
    assert "mirrored or turned" in near.meaning
    (near,) = run_checks(paired(0, 34, same=False), ())
    assert near.rows[0][-1] == "0.98"
    assert "turned" not in near.meaning


@pytest.mark.fault
def test_what_is_allowed_is_said_of_that_check_alone() -> None:
    (leak,) = run_checks(with_records(sound(), 34, group="p0"), ("groups",))
    assert leak.severity is Severity.WARN
    assert "audit.allow names 'groups'" in leak.meaning
    (same,) = run_checks(paired(0, 34), ("groups",))
    assert same.severity is Severity.REFUSE
    assert "audit.allow" not in same.meaning
