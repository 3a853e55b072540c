"""Copies are found, and what only looks alike is not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

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


def test_without_the_search_equal_images_are_still_found(bench: Any) -> None:
    greys = greys_of(bench, 1, 2, 1)
    assert len(find(greys, range(3), lambda row: "equal", near=False)) == 1


def test_grey_that_is_stored_as_colour_has_the_digest_of_grey(bench: Any) -> None:
    grey = bench.drawing(0)[:, :, :1]
    assert pixel_digest(grey.repeat(3, axis=2)) == pixel_digest(grey)
    assert pixel_digest(grey) != pixel_digest(grey[:, ::-1])
