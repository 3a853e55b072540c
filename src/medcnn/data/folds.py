"""Folds of a cross-validation: by patient, each with nearly the same share of every label.

Method: the label with the fewest patients left is dealt out first, starting with the patients who
have most images; each goes to the fold where the squared deviations of all totals grow least. Then
patients move for as long as that lowers the sum of squares. The totals count images per label,
images, and patients, each as a share of the whole set, so that a rare label weighs as much as a
frequent one.

Sources: Sechidis, Tsoumakas and Vlahavas 2011, ECML PKDD (rarest label first); the sum of squares
is that of scikit-learn's StratifiedGroupKFold, which supports one label per image and moves no one.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from medcnn.data.manifest import Manifest, Split
from medcnn.system.errors import DataError

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

LEFT_ALONE = "in the fixed test split, which cross-validation leaves alone"
ROUNDS = 20
"""Passes over all patients in which they may move."""
MOST_SWAPPED = 2_000
"""Up to this many patients, two may also swap; with more, folds are even without swaps."""


def in_folds(manifest: Manifest, folds: int, seed: int) -> Manifest:
    """The manifest with a fold, 1 to `folds`, on each record and no split.

    A test split made by the author of the set is not used: its images are left out, and counted in
    `excluded`.

    Args:
        folds: at least 2.
        seed: decides between patients who are alike.

    Raises:
        DataError: there are fewer patients than folds.
    """
    records = [r for r in manifest.records if r.split is not Split.TEST]
    left_out = len(manifest.records) - len(records)
    names = group_order({r.group: r.own_group for r in records}, seed)
    if len(names) < folds:
        raise DataError(
            f"{manifest.source}: folds={folds} needs at least {folds} {manifest.group_noun}s, and "
            f"there are {len(names)}. Use fewer folds."
        )
    place = {name: at for at, name in enumerate(names)}
    group = np.array([place[r.group] for r in records])
    target = np.array([r.target for r in records], dtype=np.float32)
    fold = deal(images_showing(target, group, len(names)), folds)
    return replace(
        manifest,
        records=tuple(
            r.in_split(None, fold=int(fold[at]) + 1) for r, at in zip(records, group, strict=True)
        ),
        excluded={**manifest.excluded, **({LEFT_ALONE: left_out} if left_out else {})},
    )


def group_order(own: dict[str, str], seed: int) -> list[str]:
    """The groups in an order that depends on the seed and on the ids that came with the data, but
    not on the order of rows or the key of pseudonyms; `own` maps each group to its own id."""
    names = sorted(own, key=own.__getitem__)
    return [names[at] for at in np.random.default_rng(seed).permutation(len(names)).tolist()]


def images_showing(target: NDArray[np.float32], group: Ints, num_groups: int) -> Ints:
    """How many images of each group show each label. [G, K + 1]

    Args:
        target: [N, K]; nan does not show the label.
        group: of each image [N].

    The last column counts the images that show none of the labels.
    """
    shown = np.nan_to_num(target) > 0.5
    shown = np.hstack([shown, ~shown.any(axis=1, keepdims=True)])
    image, label = np.nonzero(shown)
    found = np.zeros((num_groups, shown.shape[1]), np.int64)
    np.add.at(found, (group[image], label), 1)
    return found


def deal(showing: Ints, folds: int) -> Ints:
    """Fold of each group, 0 to `folds` - 1. [G]

    No fold is empty if there are as many groups as folds: a group overlaps with an empty fold in no
    total, and with every other fold at least in the number of patients.

    Args:
        showing: [G, C] from `images_showing`. Groups that are alike are dealt in this order.
    """
    num_groups = len(showing)
    size = showing.sum(axis=1)
    totals = np.hstack([showing, size[:, None], np.ones((num_groups, 1), np.int64)])
    totals = totals[:, totals.any(axis=0)]
    share = totals / totals.sum(axis=0)
    share[:, -1] /= 2  # labels and images matter more than the number of patients
    held = np.zeros((folds, share.shape[1]))
    fold = np.zeros(num_groups, np.int64)
    order: list[int] = []
    left = np.ones(num_groups, dtype=np.bool_)
    while left.any():
        remaining = (showing[left] > 0).sum(axis=0)
        label = int(np.where(remaining > 0, remaining, num_groups + 1).argmin())
        batch = np.flatnonzero(left & (showing[:, label] > 0))
        # sizes by powers of two, so that other seeds deal patients of similar size differently
        keys = (-_octave(size[batch]), -_octave(showing[batch, label]))
        batch = batch[np.lexsort(keys)]
        for at in batch.tolist():
            # the sum of squares grows by a constant and twice this overlap
            fold[at] = (held @ share[at]).argmin()
            held[fold[at]] += share[at]
        order += batch.tolist()
        left[batch] = False
    _improve(fold, held, share, order)
    return fold


def _improve(fold: Ints, held: Floats, share: Floats, order: list[int]) -> None:
    """Move groups, or swap two, while that lowers the sum of squares. Changes `fold` and `held`."""
    swaps = len(fold) <= MOST_SWAPPED
    for _ in range(ROUNDS):
        moved = False
        for at in order:
            now, own = fold[at], share[at]
            overlap = held @ own
            rise = overlap - overlap[now] + own @ own
            rise[now] = 0
            best, other = int(rise.argmin()), -1
            if swaps:
                instead = share - own
                change = (held[now] - held[fold]) * instead + instead**2
                swapped = np.where(fold == now, 0, change.sum(axis=1))
                if swapped.min() < rise[best]:
                    other = int(swapped.argmin())
                    best, rise[now] = fold[other], swapped[other]
            if min(rise[best], rise[now]) > -1e-12:
                continue
            moved = True
            fold[at], held[now], held[best] = best, held[now] - own, held[best] + own
            if other >= 0:
                fold[other] = now
                held[now] += share[other]
                held[best] -= share[other]
        if not moved:
            break


def _octave(count: Ints) -> Ints:
    return np.ceil(np.log2(np.maximum(count, 1))).astype(np.int64)


def rare_labels(manifest: Manifest, folds: int) -> dict[str, int]:
    """Labels (or classes of a binary label) that too few patients show to have one in every fold ->
    how many do."""
    target, labels = manifest.targets(), manifest.labels
    if len(labels.names) > len(labels.outputs):
        target = np.hstack([1 - target, target])
    found = {}
    for name, column in zip(labels.names, target.T, strict=True):
        behind = {manifest.records[at].group for at in np.flatnonzero(column > 0.5).tolist()}
        if len(behind) < folds:
            found[name] = len(behind)
    return found
