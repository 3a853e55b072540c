"""How the images of a new hospital differ from those that the old model learned from."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medcnn.audit.headers import SIZE
from medcnn.audit.shortcuts import FEWEST_GROUPS, MOST_IMAGES, distinguished
from medcnn.audit.thumbnails import look_at
from medcnn.data.labels import LabelSpace
from medcnn.data.manifest import Manifest, Split
from medcnn.images.preprocessing import Preprocessing
from medcnn.models.appearance import FACTS, facts_of
from medcnn.pages.hospital_facts import Shift
from medcnn.pixels.pixel_store import PixelStore
from medcnn.statistics.estimates import Estimate
from medcnn.system.errors import DataError
from medcnn.verbs.steps.familiar import AT_ONCE, FeaturesAt
from medcnn.verbs.steps.known_pixels import copies_from
from medcnn.verbs.steps.old_images import OldImages

Floats = NDArray[np.float64]


def shift_of(
    manifest: Manifest,
    store: PixelStore,
    how: Preprocessing,
    old: OldImages | str,
    classes: LabelSpace,
    run_folder: Path,
    unlike: tuple[int, int],
    judged: NDArray[np.int64] | None,
    seen_by: Callable[[PixelStore], FeaturesAt],
    *,
    members: int = 1,
) -> Shift:
    """
    Features are compared with those of the old test images: a network can produce other
    features for the images that it was trained on than for new ones of the same hospital.

    Args:
        old: the old images, or why they are not available.
        classes: of the old model, as they are called here, in the old order.
        run_folder: of the old model; its manifest may say how frequent each class was there.
        unlike: number of images here that look unlike the old training images, and of all images.
        judged: rows to search for copies of old training images; None: no search.
        seen_by: the features that the old model sees in images.
        members: models of an ensemble; each was trained on images that others were tested on.
    """
    old_manifest = old.manifest if isinstance(old, OldImages) else _manifest_in(run_folder)
    here = dict(zip(manifest.labels.outputs, _shares(manifest), strict=True))
    there: dict[str, tuple[float, int]] = {}
    if old_manifest and len(old_manifest.labels.outputs) == len(classes.outputs):
        there = dict(zip(classes.outputs, _shares(old_manifest), strict=True))
    found = Shift(
        prevalence={n: (there[n], here[n]) for n in here if n in there},
        unlike=unlike,
        missing=old if isinstance(old, str) else "",
    )
    if isinstance(old, str):
        return found
    places = ((store, manifest), (old.store, old.manifest))
    here_rows, there_rows = (_some(s, np.arange(len(m.records))) for s, m in places)
    tested = _some(old.store, old.manifest.rows(Split.TEST))
    facts, before = facts_of(store, here_rows), facts_of(old.store, there_rows)
    groups, earlier, unseen = (
        [m.records[i].own_group for i in rows]
        for m, rows in ((manifest, here_rows), (old.manifest, there_rows), (old.manifest, tested))
    )
    features = None
    if _enough(unseen, groups):
        sides = (_features(old.store, tested, seen_by), _features(store, here_rows, seen_by))
        features = _apart(*sides, unseen, groups)
    sizes = tuple(_size(m, h) for m, h in ((old.manifest, old.preprocessing), (manifest, how)))
    return Shift(
        prevalence=found.prevalence,
        unlike=unlike,
        sizes_px=sizes if all(sizes) else None,
        looks=_means(before, facts),
        apart=_apart(before, facts, earlier, groups),
        features=features,
        copies=None if judged is None else copies_from(old, manifest, how, judged, members),
    )


def _manifest_in(run_folder: Path) -> Manifest | None:
    try:
        return Manifest.read(run_folder / "manifest.csv", run_folder)
    except DataError:
        return None


def _shares(manifest: Manifest) -> list[tuple[float, int]]:
    """Of each output: the share of the assessed images that have it, and how many were assessed."""
    targets = manifest.targets()
    known = ~np.isnan(targets)
    counts = known.sum(axis=0)
    sums = np.nan_to_num(targets).sum(axis=0)
    return [(float(s / c) if c else np.nan, int(c)) for s, c in zip(sums, counts, strict=True)]


def _some(store: PixelStore, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """The readable ones of these rows, or this many evenly spread over them."""
    good = store.readable(rows)
    spread = np.linspace(0, len(good) - 1, min(len(good), MOST_IMAGES // 2)).astype(int)
    return np.asarray(good[spread])


def _features(
    store: PixelStore, rows: NDArray[np.int64], seen_by: Callable[[PixelStore], FeaturesAt]
) -> Floats:
    """[N, F], one row for each of `rows`."""
    at = seen_by(store)
    parts = [at(part) for part in np.array_split(rows, max(1, -(-len(rows) // AT_ONCE)))]
    return np.concatenate(parts).reshape(len(rows), -1).astype(np.float64)


def _size(manifest: Manifest, how: Preprocessing) -> tuple[int, int]:
    """Median width and height of the files; zeros where they are not known."""
    sizes = [f.traits.get(SIZE, "").partition("x") for f in look_at(manifest, how).facts]
    pairs = [(int(w), int(h)) for w, _, h in sizes if w.isdigit() and h.isdigit()]
    if not pairs:
        return (0, 0)
    width, height = (int(statistics.median(side)) for side in zip(*pairs, strict=True))
    return (width, height)


def _means(before: Floats, now: Floats) -> Mapping[str, tuple[float, float, float]]:
    """Brightness, contrast and colour: mean there, mean here, standard deviation there."""
    at = {name: k for k, name in enumerate(FACTS)}
    grey = [at[n] for n in ("red", "green", "blue")]
    found = {"brightness": tuple(x[:, grey].mean(axis=1) for x in (before, now))}
    found |= {n: (before[:, at[n]], now[:, at[n]]) for n in ("contrast", "colour")}
    return {
        name: (float(there.mean()), float(here.mean()), float(there.std()))
        for name, (there, here) in found.items()
    }


def _enough(*sides: list[str]) -> bool:
    """Patients for a probe."""
    return min(len(set(side)) for side in sides) >= FEWEST_GROUPS


def _apart(before: Floats, now: Floats, earlier: list[str], groups: list[str]) -> Estimate | None:
    """How well a probe distinguishes the two hospitals; None if there are too few patients."""
    if not _enough(earlier, groups):
        return None
    second = np.arange(len(before) + len(now)) >= len(before)
    whose = [f"there {g}" for g in earlier] + [f"here {g}" for g in groups]
    return distinguished(np.concatenate([before, now]), second, whose)
