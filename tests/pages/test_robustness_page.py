"""What the page of corruptions says follows from its numbers."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from medcnn.data.labels import Kind as Labels
from medcnn.pages.robustness_page import (
    SAYS,
    Robust,
    Spoilt,
    robustness_page,
    sentences_of,
    table_text,
)
from medcnn.statistics.robustness import Kind, Robustness, robustness

GRADES = tuple(f"amount {n}" for n in range(1, 6))
KINDS = ("jpeg", "blur", "translation", "rotation")
NOTHING = "interval not available: the models agree on every image"


@pytest.fixture(scope="module")
def found(simulate) -> Robust:
    return robust_of(simulate)


def robust_of(simulate) -> Robust:
    clean = simulate(Labels.BINARY, 200)

    def worse(by: float, seed: int):
        noise = np.random.default_rng(seed).normal(size=clean.logits.shape)
        return [
            replace(clean, logits=clean.logits + np.float32(by * g) * noise) for g in range(1, 6)
        ]

    spoilt = dict(
        zip(KINDS, (worse(0.01, 1), worse(2, 2), worse(0.1, 3), worse(0.3, 4)), strict=True)
    )
    return of(robustness(clean, spoilt, "auroc", moves=KINDS[2:], resamples=100), KINDS)


def of(found: Robustness, kinds: tuple[str, ...], images: tuple[int, int] = (200, 200)) -> Robust:
    return Robust(
        source="set",
        split="test",
        group_noun="patient",
        title="AUROC",
        images=images,
        groups=100,
        size_px=64,
        found=found,
        kinds=tuple(
            Spoilt(title=k.capitalize(), move=k in KINDS[2:], amounts=GRADES, unchanged=(0,) * 5)
            for k in kinds
        ),
    )


def only(found: Robust, *kinds: str) -> Robust:
    chosen = tuple(k for k in found.found.kinds if k.name in kinds)
    mean = found.found.mean if any(k in KINDS[:2] for k in kinds) else None
    return of(replace(found.found, kinds=chosen, mean=mean), kinds)


def without_tests(found: Robust) -> tuple[Kind, ...]:
    """Kinds as they are where patients are few, and where nothing changes."""
    notes = ("interval not available: based on only 3 groups", NOTHING, "", "")
    return tuple(
        replace(k, change=replace(k.change, p=math.nan, p_holm=math.nan, note=note))
        for k, note in zip(found.found.kinds, notes, strict=True)
    )


def test_a_corruption_that_changes_nothing_is_not_called_a_lack_of_patients(simulate) -> None:
    clean = simulate(Labels.BINARY, 200)
    same = of(robustness(clean, {"jpeg": [clean] * 5}, "auroc", resamples=100), KINDS[:1])
    assert same.found.kinds[0].change.note == NOTHING
    assert sentences_of(same)[0].endswith("no interval: every image counts as it did).")
    assert sentences_of(same)[1:] == [
        "No kind of corruption could be tested: every image counts as it did."
    ]


def test_grades_that_change_no_image_are_named_and_those_that_change_some_are_not(
    found: Robust,
) -> None:
    assert SAYS["idle"].words(found) == ""
    jpeg, blur, *moves = found.kinds
    some = replace(found, kinds=(jpeg, replace(blur, unchanged=(199, 0, 0, 0, 0)), *moves))
    assert SAYS["idle"].words(some) == ""
    idle = (
        replace(jpeg, unchanged=(200, 200, 0, 0, 0)),
        replace(blur, unchanged=(200, 9, 0, 0, 0)),
    )
    told = SAYS["idle"].words(replace(found, kinds=(*idle, *moves)))
    assert told == (
        "At 64 px, these change no pixel of any image and so say nothing about the network: jpeg "
        "(grades 1 and 2), blur (grade 1)."
    )
    assert told in sentences_of(replace(found, kinds=(*idle, *moves)))


def test_names_keep_their_capitals_inside_a_sentence(found: Robust) -> None:
    blur = found.kinds[1]
    for title, inside in (("JPEG compression", "JPEG"), ("Defocus", "defocus")):
        named = replace(found, kinds=(found.kinds[0], replace(blur, title=title), *found.kinds[2:]))
        assert f"most from {inside}" in SAYS["worst"].words(named)


def test_each_sentence_is_made_by_some_facts_and_not_by_others(found: Robust) -> None:
    moves, still = only(found, "translation"), only(found, "jpeg")
    assert SAYS["mean"].words(found).startswith("AUROC is 0.")
    assert "over 2 kinds of corruption" in SAYS["mean"].words(found)
    assert SAYS["mean"].words(moves) == ""
    assert SAYS["worst"].words(found).startswith("It suffers most from blur: -0.")
    assert "also worse with" not in SAYS["worst"].words(found)
    assert SAYS["worst"].words(still) == ""
    assert SAYS["none lower"].words(still).startswith("No kind of corruption that could be tested")
    assert SAYS["none lower"].words(found) == SAYS["none lower"].words(moves) == ""
    assert "translation by amount 3 changes" in SAYS["flips"].words(found)
    assert " and rotation by amount 3 changes" in SAYS["flips"].words(found)
    assert SAYS["flips"].words(still) == ""
    assert SAYS["called"].words(found).startswith("Blur changes the largest share of decisions: ")
    assert SAYS["called"].words(moves) == ""
    steady = tuple(
        replace(
            kind,
            grades=tuple(replace(g, flips=replace(g.flips, value=0.0)) for g in kind.grades),
        )
        for kind in found.found.kinds
    )
    unmoved = of(replace(found.found, kinds=steady), KINDS)
    assert SAYS["called"].words(unmoved) == ""
    assert "although the image shows almost the same" in SAYS["flips"].words(found)
    assert "although" not in SAYS["flips"].words(unmoved), "nothing changes in spite of it"
    assert SAYS["some"].words(found) == ""
    some = of(found.found, KINDS, (200, 900))
    assert SAYS["some"].words(some) == (
        "Only 200 of 900 images were corrupted: whole patients, drawn at random."
    )
    one = replace(of(found.found, KINDS, (1, 900)), group_noun="image")
    assert SAYS["some"].words(one) == "Only 1 of 900 images was corrupted, drawn at random."
    untested = of(replace(found.found, kinds=without_tests(found)), KINDS)
    assert SAYS["untested"].words(untested) == (
        "No kind of corruption could be tested: based on only 3 patients; every image counts as it "
        "did."
    )
    assert SAYS["untested"].words(found) == SAYS["untested"].words(moves) == ""
    for name, without in (("paired", untested), ("imitations", moves), ("framing", still)):
        assert SAYS[name].words(found), name
        assert SAYS[name].words(without) == "", name
    assert "its interval treats patients as independent" in SAYS["paired"].words(found)
    assert SAYS["research"].words(found) == "Not a medical device."
    assert SAYS["research"].words(only(found)) == ""


def test_several_that_are_worse_are_named_and_a_score_where_less_is_better_is_turned(
    found: Robust,
) -> None:
    jpeg, blur, *moves = found.found.kinds
    both = replace(blur, name="jpeg", change=replace(blur.change, other=blur.change.other + 0.01))
    told = of(replace(found.found, kinds=(both, blur, *moves)), KINDS)
    assert SAYS["worst"].words(told).endswith("It is also worse with: jpeg.")
    better = replace(blur, change=replace(blur.change, better=-1))
    turned = of(replace(found.found, kinds=(jpeg, better, *moves)), KINDS)
    assert SAYS["worst"].words(turned) == ""


def test_the_page_and_the_terminal_hold_every_kind(found: Robust) -> None:
    page = robustness_page(found, "title", ["a note"])
    for kind in found.kinds:
        assert f"{kind.title}: AUROC" in page
        assert kind.title in table_text(found)
    assert all(sentence in page for sentence in sentences_of(found))
    assert max(map(len, table_text(found).splitlines())) <= 100
    assert "Decisions changed by a small move" in page
    assert "Decisions changed by a small move" not in robustness_page(only(found, "jpeg"), "t", [])
    assert page.count("<svg") == 6
