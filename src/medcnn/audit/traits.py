"""How strongly the way a file was made, or a column of the table, is associated with a label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.audit.headers import MADE
from medcnn.audit.shortcuts import number_of
from medcnn.audit.thumbnails import Looks
from medcnn.data.manifest import Manifest

Floats = NDArray[np.float64]

PERMUTATIONS = 199
MOST_VALUES = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Association:
    """One trait and the label that it is most strongly associated with.

    Attributes:
        strength: Cramér's V of trait and label, corrected for chance, in [0, 1].
        p: probability of such a strong association with any label by chance.
        values: value -> (images assessed for the label, share of them that have it).
    """

    trait: str
    label: str
    strength: float
    p: float
    values: Mapping[str, tuple[int, float]]


def file_traits(looks: Looks) -> dict[str, list[str]]:
    """Trait -> its value for every record, "" if unknown."""
    return {t: [f.traits.get(t, "") for f in looks.facts] for t in MADE}


def columns(manifest: Manifest) -> dict[str, list[str]]:
    names = sorted({n for r in manifest.records for n in r.attributes})
    return {n: [r.attributes.get(n, "") for r in manifest.records] for n in names}


def associations(
    manifest: Manifest, table: Mapping[str, Sequence[str]], usable: Sequence[int], seed: int = 0
) -> list[Association]:
    """For every trait that varies, strongest first; only one image per patient counts.

    Source: Bergsma 2013, J Korean Stat Soc 42(3), for the correction; the p-value is from a
    permutation test of the strongest label.
    """
    draw = np.random.default_rng(seed)
    first: dict[str, int] = {}
    for row in draw.permutation(np.asarray(usable, dtype=np.int64)):
        first.setdefault(manifest.records[row].group, int(row))
    rows = np.array(sorted(first.values()), dtype=np.int64)
    if len(rows) < 20:
        return []
    target = manifest.targets()[rows].astype(np.float64)
    assessed = (~np.isnan(target)).astype(np.float64)
    positive = np.nan_to_num(target) > 0.5
    orders = [draw.permutation(len(rows)) for _ in range(PERMUTATIONS)]
    found = []
    for trait, cells in table.items():
        names, number = np.unique(binned([cells[i] for i in rows]), return_inverse=True)
        if len(names) < 2:
            continue
        shown = np.eye(len(names))[number]
        strengths = _strengths(shown, positive.astype(np.float64), assessed)
        if not (strengths > 0).any():
            continue
        best = int(strengths.argmax())
        by_chance = [
            _strengths(shown, positive[o].astype(np.float64), assessed[o]).max() for o in orders
        ]
        known = assessed[:, best] > 0
        reached = sum(s >= strengths[best] for s in by_chance)
        found.append(
            Association(
                trait=trait,
                label=manifest.labels.outputs[best],
                strength=float(strengths[best]),
                p=(1 + reached) / (1 + PERMUTATIONS),
                values={
                    str(name): (int(of.sum()), float(positive[of, best].mean()))
                    for i, name in enumerate(names)
                    if (of := (number == i) & known).any()
                },
            )
        )
    return sorted(found, key=lambda a: -a.strength)


def _strengths(shown: Floats, positive: Floats, assessed: Floats) -> Floats:
    """Cramér's V [K] of values [N, V] with each label [N, K], present or not."""
    total, hits = shown.T @ assessed, shown.T @ (positive * assessed)
    n = np.maximum(total.sum(axis=0), 2)
    share = hits.sum(axis=0) / n
    expected = total * share
    spread = expected * (1 - share)
    squares = np.divide((hits - expected) ** 2, spread, out=np.zeros_like(hits), where=spread > 0)
    corrected = np.maximum(0, squares.sum(axis=0) / n - (len(total) - 1) / (n - 1))
    return np.asarray(np.sqrt(corrected / (1 - 1 / (n - 1))).clip(0, 1))


def binned(cells: Sequence[str]) -> NDArray[Any]:
    """Numbers with many values in quartiles, rare values joined; empty cells are `missing`."""
    numbers = np.array([number_of(c) for c in cells])
    sizes = [c.partition("x") for c in cells]
    if all(w.isdigit() and h.isdigit() for w, _, h in sizes) and len(set(cells)) > MOST_VALUES:
        numbers = np.array([max(float(w), float(h)) for w, _, h in sizes])
    known = ~np.isnan(numbers)
    if known.any() and len(np.unique(numbers[known])) > MOST_VALUES:
        cuts = np.unique(np.quantile(numbers[known], [0.25, 0.5, 0.75]))
        words = [f"up to {cuts[0]:g}"]
        words += [f"{a:g} to {b:g}" for a, b in pairwise(cuts)]
        words.append(f"above {cuts[-1]:g}")
        place = np.searchsorted(cuts, np.nan_to_num(numbers))
        return np.array([words[p] if k else "missing" for p, k in zip(place, known, strict=True)])
    often = {v for v, n in Counter(cells).most_common(MOST_VALUES) if n >= 3}
    return np.array([(c or "missing") if c in often else "rare" for c in cells])
