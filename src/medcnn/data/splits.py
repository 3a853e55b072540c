"""Splits by patient (never by image), stratified by label, seeded.

Method: iterative stratification (Sechidis, Tsoumakas and Vlahavas 2011, ECML PKDD), with groups
in place of samples: the label with the fewest remaining groups is distributed first, each of its
groups to the split that lacks that label most.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import numpy as np

from medcnn.data.folds import group_order, images_showing, in_folds
from medcnn.data.manifest import Manifest, Split
from medcnn.system.errors import DataError, LeakError, listed, private


def assign(
    manifest: Manifest,
    *,
    validation: float,
    test: float,
    seed: int,
    leaky: bool = False,
    fold: tuple[int, int] | None = None,
) -> Manifest:
    """The manifest with a split on every record.

    Splits from the author of the data set are kept. Missing ones are made: a validation split from
    the training images, or all three if there are none.

    Args:
        validation: share of the groups, in (0, 1), that goes to validation.
        test: the same for test.
        leaky: accept patients in several of the given splits.
        fold: (i, k): fold i of k is the test split, and validation is made from the others.

    Raises:
        LeakError: a patient is in more than one split.
        DataError: only some images have a split, or a split stays empty.
    """
    given = {r.split for r in manifest.records}
    if None in given and len(given) > 1:
        without = [r.image_id for r in manifest.records if r.split is None]
        raise DataError(
            f"{manifest.source}: {len(without)} of {len(manifest.records)} images have no split "
            f"({listed([private(i) for i in without])}); give one to every row, or to none."
        )
    if not leaky:
        refuse_leaks(manifest)
    if fold:
        number, of = fold
        manifest = in_folds(manifest, of, seed)
        manifest = manifest.with_records(
            r.in_split(Split.TEST if r.fold == number else Split.TRAIN) for r in manifest.records
        )
        given, test = {Split.TRAIN, Split.TEST}, 1 / of
    if given == {None}:
        shares = {
            Split.TRAIN: 1 - validation - test,
            Split.VALIDATION: validation,
            Split.TEST: test,
        }
        manifest = _deal(manifest, None, shares, seed)
    elif Split.VALIDATION not in given and Split.TRAIN in given:
        # a share of the whole set, as if all three splits were made here
        share = validation / max(1e-9, 1 - test)
        shares = {Split.TRAIN: 1 - share, Split.VALIDATION: share}
        manifest = _deal(manifest, Split.TRAIN, shares, seed)
    present = {r.split for r in manifest.records}
    if missing := [s for s in Split if s not in present]:
        groups = len({r.group for r in manifest.records})
        raise DataError(
            f"{manifest.source}: no image in {' and '.join(missing)} ({len(manifest.records)} "
            f"images of {groups} patients or lesions in total); you need more patients, or a split "
            "column with all three."
        )
    return manifest


def with_fewer(manifest: Manifest, train_groups: int | None, seed: int) -> Manifest:
    """Train on at most this many groups; the rest of the training split is left out and counted.
    None keeps all.

    Groups are taken from the start of an order that has the labels in proportion at any length:
    each group counts for its rarest label, and the groups of a label are spread evenly from the
    first place on, so one of each label comes first. A smaller number therefore takes a subset of
    what a larger one takes."""
    if train_groups is None:
        return manifest
    rank, shown = _shuffled(manifest, Split.TRAIN, seed)
    rarest = np.where(shown > 0, shown.sum(axis=0), np.inf).argmin(axis=1)
    place = np.empty(len(rank))
    for label in np.unique(rarest):
        of_label = np.flatnonzero(rarest == label)
        place[of_label] = np.arange(len(of_label)) / len(of_label)
    order = np.argsort(place, kind="stable")[:train_groups]
    kept = set(order.tolist())
    left_out = [r.split is Split.TRAIN and rank[r.group] not in kept for r in manifest.records]
    fewer = manifest.with_records(
        r for r, out in zip(manifest.records, left_out, strict=True) if not out
    )
    reason = f"not among the {train_groups:,} of data.train_groups"
    counted = {reason: sum(left_out)} if any(left_out) else {}
    return replace(fewer, excluded={**manifest.excluded, **counted})


def leaks(manifest: Manifest) -> dict[str, set[Split]]:
    """Groups in more than one split -> those splits."""
    seen: dict[str, set[Split]] = defaultdict(set)
    for r in manifest.records:
        if r.split is not None:
            seen[r.group].add(r.split)
    return {group: where for group, where in seen.items() if len(where) > 1}


def refuse_leaks(manifest: Manifest) -> None:
    if found := leaks(manifest):
        names = [f"{private(g)} ({', '.join(sorted(found[g]))})" for g in sorted(found)]
        raise LeakError(
            f"{manifest.source}: {len(found)} patients or lesions are in more than one split: "
            f"{listed(names)}. Scores on such a split do not apply to new patients. Without the "
            "split column (data.split=null), medcnn splits the images by patient."
        )


def _deal(
    manifest: Manifest, source: Split | None, shares: dict[Split, float], seed: int
) -> Manifest:
    """Distribute the groups of the split `source` over the splits of `shares`."""
    groups, shown = _shuffled(manifest, source, seed)
    left = np.ones(len(groups), dtype=np.bool_)
    remaining = shown.sum(axis=0)
    splits = list(shares)
    share = np.array([shares[s] for s in splits])
    # lists, since numpy is slow for single numbers
    wanted_groups = (share * len(groups)).tolist()
    wanted = (remaining[:, None] * share[None]).tolist()  # [label][split]
    labels_of = [np.flatnonzero(row).tolist() for row in shown]
    split_of = [Split.TRAIN] * len(groups)
    while left.any():
        if remaining.any():
            label = int(np.where(remaining > 0, remaining, np.inf).argmin())
            batch, lack = np.flatnonzero(left & (shown[:, label] > 0)), wanted[label]
        else:
            batch, lack = np.flatnonzero(left), wanted_groups
        for at in batch.tolist():
            best = max(range(len(splits)), key=lambda s: (lack[s], wanted_groups[s]))
            for k in labels_of[at]:
                wanted[k][best] -= 1
            wanted_groups[best] -= 1
            split_of[at] = splits[best]
        left[batch] = False
        remaining = remaining - shown[batch].sum(axis=0)
    return manifest.with_records(
        r.in_split(split_of[groups[r.group]]) if r.split is source else r for r in manifest.records
    )


def _shuffled(
    manifest: Manifest, source: Split | None, seed: int
) -> tuple[dict[str, int], np.ndarray]:
    """The groups of the split `source` in a seeded order (group -> its row), and [G, K + 1] of 0
    and 1: which labels a group shows on any image; the last column marks images without labels."""
    dealt = [r for r in manifest.records if r.split is source]
    names = group_order({r.group: r.own_group for r in dealt}, seed)
    groups = {name: place for place, name in enumerate(names)}
    target = np.array([r.target for r in dealt], dtype=np.float32)
    group = np.array([groups[r.group] for r in dealt])
    return groups, (images_showing(target, group, len(groups)) > 0).astype(np.int64)
