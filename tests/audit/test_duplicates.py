"""Copies are found, and what only looks alike is not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from medcnn.audit import duplicates, turns
from medcnn.audit.duplicates import find, pixel_digest
from medcnn.audit.planted import recovered
from medcnn.audit.thumbnails import look_at, thumbnails
from medcnn.data.phantoms import adapter
from medcnn.images import read_pixels


@pytest.mark.slow
@pytest.mark.fault
@pytest.mark.parametrize("kind", ["dermoscopy", "chest"])
def test_planted_copies_are_found_and_little_else(kind: str) -> None:
    """Row 77."""
    manifest = adapter.read(None, phantom=kind, patients=60)
    looks = look_at(manifest)
    usable = range(len(manifest.records))
    found = recovered(
        looks.grey,
        usable,
        [r.group for r in manifest.records],
        lambda row: read_pixels(manifest.root, manifest.records[row].path),
        count=30,
    )
    assert all(n == 30 for n in found.planted.values())
    assert found.recall >= 0.95
    assert found.precision >= 0.95
    groups = [r.group for r in manifest.records]
    pairs = find(looks.grey, usable, lambda row: str(row))
    assert all(groups[p.first] == groups[p.second] for p in pairs)


def greys_of(bench: Any, *seeds: int) -> np.ndarray:
    return np.stack([thumbnails(bench.drawing(s))[0] for s in seeds])


def test_unlike_drawings_make_no_pair_and_equal_ones_do(bench: Any) -> None:
    greys = greys_of(bench, *range(40), 3)
    pairs = find(greys, range(41), lambda row: "equal")
    assert [(p.first, p.second, p.same) for p in pairs] == [(3, 40, True)]


def test_equal_thumbnails_of_unequal_pixels_are_near_and_not_same(bench: Any) -> None:
    pairs = find(greys_of(bench, 1, 2, 1), range(3), lambda row: str(row))
    assert [(p.first, p.second, p.same, p.correlation) for p in pairs] == [(0, 2, False, 1.0)]


def test_a_file_that_cannot_be_decoded_in_full_equals_none(bench: Any) -> None:
    assert not find(greys_of(bench, 1, 1), range(2), lambda row: "")[0].same


def test_many_copies_of_one_image_do_not_make_all_pairs(bench: Any) -> None:
    greys = np.repeat(greys_of(bench, 5), 400, axis=0)
    assert len(find(greys, range(400), lambda row: "equal")) < 400 * 12


def hills(count: int) -> np.ndarray:
    """Greys like `bench.drawing`, made at their size."""
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(count):
        total = np.zeros((64, 64), np.float32)
        for cells in (3, 6, 12, 24):
            part = Image.fromarray(rng.normal(size=(cells, cells)).astype(np.float32))
            total += np.asarray(part.resize((64, 64), Image.Resampling.BICUBIC))
        drawn.append((total - total.min()) / np.ptp(total) * 255)
    return np.stack(drawn).astype(np.uint8)


def test_a_large_set_is_searched_in_cells_which_find_what_all_against_all_finds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unlike = hills(1200)
    cropped = [
        np.asarray(
            Image.fromarray(g).resize((64, 64), Image.Resampling.BILINEAR, box=(1, 1, 63, 63))
        )
        for g in unlike[:150]
    ]
    greys = np.concatenate([unlike, cropped])
    every = find(greys, range(len(greys)), str)
    assert {(p.first, p.second) for p in every} == {(n, 1200 + n) for n in range(150)}
    monkeypatch.setattr(duplicates, "EXHAUSTIVE", 100)
    monkeypatch.setattr(duplicates, "CELL", 60)
    compared = 0
    real = duplicates._candidates

    def counting(left: np.ndarray, right: np.ndarray, *crowd: Any) -> Any:
        nonlocal compared
        compared += len(left) * len(right)
        return real(left, right, *crowd)

    monkeypatch.setattr(duplicates, "_candidates", counting)
    assert find(greys, range(len(greys)), str) == every
    assert compared < len(greys) ** 2


def cropped(grey: np.ndarray) -> np.ndarray:
    box = (1, 1, 63, 63)
    return np.asarray(Image.fromarray(grey).resize((64, 64), Image.Resampling.BILINEAR, box=box))


def film(grey: np.ndarray, frames: int) -> list[np.ndarray]:
    noise = np.random.default_rng(1).normal(0, 1.5, (frames, 64, 64))
    return list((grey + noise).clip(0, 255).astype(np.uint8))


@pytest.mark.fault
@pytest.mark.parametrize("exhaustive", [20_000, 50], ids=["all against all", "in cells"])
@pytest.mark.parametrize("turn", [0, 1], ids=["as it is", "mirrored"])
@pytest.mark.parametrize("copies", [1, 12])
def test_a_cropped_copy_of_a_film_is_found_anywhere_in_the_table(
    copies: int, turn: int, exhaustive: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 77. Each frame has more partners in its film than candidates are kept."""
    monkeypatch.setattr(duplicates, "EXHAUSTIVE", exhaustive)
    unlike = hills(140)
    frames = film(unlike[0], 12)
    outside = film(turns.turned(cropped(unlike[0])[None], turn)[0], copies)
    greys = np.stack([*outside, *unlike[1:], *frames])
    across = {}
    for order in (np.arange(len(greys)), np.arange(len(greys))[::-1]):
        pairs = find(greys[order], range(len(greys)), lambda row: "")
        rows = {tuple(sorted((order[p.first], order[p.second]))): p.turn for p in pairs}
        found = {pair: t for pair, t in rows.items() if pair[0] < copies <= pair[1]}
        assert {first for first, _ in found} == set(range(copies))
        assert set(found.values()) == {turns.WORDS[turn]}
        assert not across or rows == across
        across = rows


@pytest.mark.parametrize("exhaustive", [20_000, 100], ids=["all against all", "in cells"])
def test_mirrored_and_turned_copies_are_found_with_how_they_are_turned(
    exhaustive: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicates, "EXHAUSTIVE", exhaustive)
    monkeypatch.setattr(duplicates, "CELL", 60)
    unlike = hills(300)
    copies = []
    for n in range(70):
        copy = Image.fromarray(turns.turned(unlike[n : n + 1], 1 + n % 7)[0])
        copy = copy.resize((64, 64), Image.Resampling.BILINEAR, box=(1, 1, 63, 63))
        copies.append(np.asarray(copy))
    greys = np.concatenate([unlike, np.stack(copies)])
    found = {(p.first, p.second): p for p in find(greys, range(len(greys)), lambda row: "")}
    assert {pair: p.turn for pair, p in found.items()} == {
        (n, 300 + n): turns.WORDS[1 + n % 7] for n in range(70)
    }
    assert not any(p.same for p in found.values())


def test_a_symmetric_image_is_a_plain_copy_of_its_copy() -> None:
    unlike = hills(60)
    symmetric = (unlike[0] // 2 + unlike[0][:, ::-1] // 2)[None]
    greys = np.concatenate([unlike, symmetric, symmetric[:, 1:].repeat([2, *[1] * 62], axis=1)])
    (pair,) = [p for p in find(greys, range(62), lambda row: "") if p.first == 60]
    assert (pair.second, pair.turn) == (61, "")


def test_a_pair_is_mirrored_or_turned_in_words() -> None:
    grey = np.arange(9, dtype=np.uint8).reshape(1, 3, 3)
    said: dict[bytes, str] = {}
    for number, word in enumerate(turns.WORDS):
        said[turns.turned(grey, number).tobytes()] = word
    assert len(said) == 8
    (picture,) = grey
    assert said[np.fliplr(picture).tobytes()] == "mirrored left to right"
    assert said[np.flipud(picture).tobytes()] == "mirrored top to bottom"
    assert said[np.rot90(picture, 2).tobytes()] == "turned by 180°"
    assert {said[np.rot90(picture, k).tobytes()] for k in (1, 3)} == {"turned by 90°"}
    assert said[picture.tobytes()] == ""


def test_no_cell_is_large_however_alike_the_images_are() -> None:
    rng = np.random.default_rng(0)
    for spread in (0.0, 1e-4, 1.0):
        vectors = (1 + spread * rng.normal(size=(3000, 8))).astype(np.float32)
        cells = list(duplicates._cells(vectors, np.arange(3000), rng))
        assert max(map(len, cells)) <= duplicates.CELL
        assert np.array_equal(np.unique(np.concatenate(cells)), np.arange(3000))


def test_without_the_search_equal_images_are_still_found(bench: Any) -> None:
    greys = greys_of(bench, 1, 2, 1)
    assert len(find(greys, range(3), lambda row: "equal", near=False)) == 1


@pytest.mark.fault
def test_without_the_search_a_jpeg_and_its_decoded_png_in_two_splits_are_still_refused(
    bench: Any,
) -> None:
    """Row 76. The JPEG is decoded at a half for its thumbnail, which differs by a level."""
    clean = bench.make(12)
    whole, near = clean.root / "a.jpg", clean.root / "near.jpg"
    Image.fromarray(bench.drawing(70, 512)).save(whole, quality=92)
    Image.open(whole).save(clean.root / "b.png")
    Image.open(whole).save(near, quality=70)
    copied = clean
    for row, file in ((0, "a.jpg"), (5, "b.png"), (11, "near.jpg")):
        copied = bench.with_record(copied, row, path=file, target=clean.records[0].target)
    audit = bench.audited(copied, copies=False)
    assert bench.finding(audit, "pixels").shown == ((0, 5),)
    assert bench.checks(audit).isdisjoint({"copies", "twice"})


def test_grey_that_is_stored_as_colour_has_the_digest_of_grey(bench: Any) -> None:
    grey = bench.drawing(0)[:, :, :1]
    assert pixel_digest(grey.repeat(3, axis=2)) == pixel_digest(grey)
    assert pixel_digest(grey) != pixel_digest(grey[:, ::-1])
