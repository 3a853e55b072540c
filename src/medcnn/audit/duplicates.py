"""Finds duplicates: images with the same pixels, or copies that were recompressed, resized,
slightly cropped, mirrored or turned by a right angle.

    describe    64 x 64 greys -> 255 low frequencies, whitened over the set      every image
    search      pairs whose descriptors point the same way, all against all;     blocks of products
                of a large set, all that share a cell of a tree                  in each cell
    turn        the same with descriptors that are equal for mirrored and        candidates
                turned images; then the turn that fits best                      (`turns.py`)
    align       shift and stretch one thumbnail onto the other                   candidates
    compare     correlate what is left once shape and lighting are taken away    candidates
    confirm     the same pixels? both files are decoded in full                  the most alike

Whitening and the last comparison remove what all images of a modality share (a disc, a thorax, a
dark spot in the middle); without that, thousands of unrelated lesions look alike. Copies that are
turned by other angles are not searched for.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.audit import turns
from medcnn.audit.alignment import alike, alike_turned
from medcnn.audit.thumbnails import GREY_PX
from medcnn.system.errors import ImageError

Floats = NDArray[np.float32]

FREQUENCIES = 16
CANDIDATE_COSINE = 0.6
NEAR_CORRELATION, MOST_NEAR_CORRELATION = 0.75, 0.94
"""Correlation from which a pair counts as a copy. The lower one is for ordinary sets (different but
similar lesions of HAM10000 reach 0.66); sets whose images all resemble each other raise it, up to
the upper one (`_threshold`)."""
BEYOND_CLOSEST = 4
FEWEST_UNRELATED = 20
SPREADS = 5.0
SAME_CORRELATION = 0.95
"""Above it, two files are decoded in full to see whether they have the same pixels."""
MOST_PARTNERS = 10
"""Candidates kept per image: a set of flat images would otherwise pair all with all."""
EXHAUSTIVE = 20_000
"""Up to this many images, all are compared with all; beyond, within cells, so that the time per
image does not grow with the set."""
TREES, PIVOTS, NEAREST, CELL = 4, 16, 2, 500
"""A tree sends each image to the cells of the two closest of sixteen pivots, until a cell has at
most 500; two images are compared if they share a cell of any of four trees. For HAM10000, with
cells of 200, this finds all 167 pairs of an exhaustive search, and all of 1,000 crops."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two records, first < second, and how alike they are: 1 for the same pixels.

    Attributes:
        turn: how one is mirrored or turned against the other, such as "turned by 90°"; or "".
    """

    first: int
    second: int
    correlation: float
    same: bool
    turn: str = ""


def find(
    greys: NDArray[np.uint8],
    usable: Sequence[int],
    digest: Callable[[int], str],
    *,
    near: bool = True,
) -> list[Pair]:
    """All pairs of near or equal images, most alike first.

    Args:
        greys: [N, 64, 64] thumbnails.
        usable: rows to compare; blank ones would all be alike.
        digest: row -> hash of its pixels decoded in full, or empty if that fails.
        near: whether near images count; if not, only those with the same pixels do, which may have
            other thumbnails if a decoder made one of them smaller.
    """
    digest = cache(digest)
    clusters: dict[bytes, list[int]] = defaultdict(list)
    for row in usable:
        clusters[hashlib.sha256(greys[row].tobytes()).digest()].append(row)
    members = {rows[0]: rows for rows in clusters.values()}
    for row in sorted(r for rows in members.values() if len(rows) > 1 for r in rows):
        digest(row)  # in order, as a packed npz is read
    pairs = [
        Pair(a, b, 1.0, digest(a) == digest(b) != "")
        for rows in members.values()
        for a, b in _linked(rows)
    ]
    heads = np.array(sorted(members), dtype=np.int64)
    for (i, j), (correlation, turn) in _near(greys, heads, turned=near).items():
        for a in members[i][:MOST_PARTNERS]:
            for b in members[j][:MOST_PARTNERS]:
                like = correlation > SAME_CORRELATION and not turn
                same = like and digest(a) == digest(b) != ""
                first, second = sorted((a, b))
                if near or same:
                    pairs.append(Pair(first, second, correlation, same, turn))
    return sorted(pairs, key=lambda p: (not p.same, -p.correlation, p.first, p.second))


def _linked(rows: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Every pair of a few equal images; of many, each only with the next ones: a thousand copies of
    an image would make half a million pairs."""
    for n, a in enumerate(rows):
        for b in rows[n + 1 : n + 1 + MOST_PARTNERS]:
            yield a, b


def pixel_digest(pixels: NDArray[Any]) -> str:
    """Hash of [H, W, C] pixels; grey stored as colour counts as grey."""
    if pixels.shape[2] == 3 and (pixels == pixels[:, :, :1]).all():
        pixels = pixels[:, :, :1]
    head = f"{pixels.shape}{pixels.dtype}".encode()
    return hashlib.sha256(head + np.ascontiguousarray(pixels).tobytes()).hexdigest()


def digest_by(read: Callable[[int], NDArray[Any]]) -> Callable[[int], str]:
    def digest(row: int) -> str:
        try:
            return pixel_digest(read(row))
        except ImageError:
            return ""

    return digest


def copies_of(
    greys: NDArray[np.uint8], among: NDArray[np.uint8], usable: Sequence[int]
) -> list[set[int]]:
    """For each of `greys`, the rows of `among` of which it is a copy."""
    rows = np.asarray(usable, dtype=np.int64)
    known, asked = _frequencies(among, rows), _frequencies(greys)
    plain, described = Descriptor.of(known)
    first, second, far = _once(*_within(described))
    first, second = np.repeat(first, far), np.repeat(second, far)
    threshold = _threshold(alike(among, rows[first], among, rows[second]))
    first, second, _ = _candidates(plain(asked), described)
    near = alike(greys, first, among, rows[second]) >= threshold
    found: list[set[int]] = [set() for _ in greys]
    for i, j in zip(first[near], second[near], strict=True):
        found[int(i)].add(int(rows[j]))
    magnitude, described_anyhow = Descriptor.of(turns.magnitudes(known))
    first, second, _ = _candidates(magnitude(turns.magnitudes(asked)), described_anyhow)
    turn = turns.best(asked, first, second, described, plain, CANDIDATE_COSINE)
    near = alike_turned(greys, first, among, rows[second], turn) >= threshold
    for i, j in zip(first[near], second[near], strict=True):
        found[int(i)].add(int(rows[j]))
    return found


def _near(
    greys: NDArray[np.uint8], rows: NDArray[np.int64], *, turned: bool
) -> dict[tuple[int, int], tuple[float, str]]:
    """Pairs first < second of these rows -> their correlation and their turn."""
    found: dict[tuple[int, int], tuple[float, str]] = {}
    if len(rows) < 2:
        return found
    frequencies = _frequencies(greys, rows)
    plain, described = Descriptor.of(frequencies)
    first, second, far = _once(*_within(described))
    correlation = alike(greys, rows[first], greys, rows[second])
    threshold = _threshold(np.repeat(correlation, far))
    near = correlation >= threshold
    crowd = _crowds(len(rows), first[near], second[near])
    looks = [(first, second, correlation, np.zeros(len(first), np.int64))]
    if crowd is not None:
        first, second, _ = _once(*_within(described, crowd))
        new = np.minimum(crowd[first], crowd[second]) < len(rows)
        first, second = first[new], second[new]
        correlation = alike(greys, rows[first], greys, rows[second])
        looks.append((first, second, correlation, np.zeros(len(first), np.int64)))
    if turned:
        first, second, _ = _once(*_within(Descriptor.of(turns.magnitudes(frequencies))[1], crowd))
        turn = turns.best(frequencies, first, second, described, plain, CANDIDATE_COSINE)
        correlation = alike_turned(greys, rows[first], greys, rows[second], turn)
        looks.append((first, second, correlation, turn))
    for first, second, correlation, turn in looks:
        for at in np.flatnonzero(correlation >= threshold):
            pair = int(rows[first[at]]), int(rows[second[at]])
            found.setdefault(pair, (float(correlation[at]), turns.WORDS[turn[at]]))
    return found


def _crowds(
    count: int, first: NDArray[np.int64], second: NDArray[np.int64]
) -> NDArray[np.int64] | None:
    """Numbers of crowds: rows that near pairs connect, so many that they leave each other no place
    for a partner outside, such as a frame of the same film cropped. A row in no crowd has a number
    of its own, from `count` on. None: there is no crowd."""
    from scipy.sparse import coo_array  # slow to import
    from scipy.sparse.csgraph import connected_components

    links = coo_array((np.ones(len(first)), (first, second)), shape=(count, count))
    _, number = connected_components(links, directed=False)
    crowded = np.bincount(number)[number] > MOST_PARTNERS
    return np.where(crowded, number, count + np.arange(count)) if crowded.any() else None


def _threshold(unrelated: Floats) -> float:
    """The correlation from which a pair is a copy, given the correlations of unrelated pairs.

    An image has few copies, so partners beyond the closest ones only look alike: drawings, frames
    of one film, the same anatomy. The threshold is five of their spreads (after Fisher's transform)
    above their median.
    """
    if len(unrelated) < FEWEST_UNRELATED:
        return NEAR_CORRELATION
    middle, above = np.quantile(np.arctanh(np.clip(unrelated, -0.99, 0.99)), [0.5, 0.84])
    raised = float(np.tanh(middle + SPREADS * (above - middle)))
    return min(MOST_NEAR_CORRELATION, max(NEAR_CORRELATION, raised))


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What `describe` learns about a set: mean and spread of each frequency [255]."""

    mean: Floats
    spread: Floats

    @classmethod
    def of(cls, found: Floats) -> tuple[Descriptor, Floats]:
        """Learn from [N, 255] of a set; also returns their descriptors."""
        # a few images say little about their spread; in natural images it falls with frequency,
        # which `_frequencies` has compensated, so it is about one everywhere
        prior, weight = float(found.std()) or 1.0, 50.0
        spread = np.sqrt(
            (found.var(axis=0) * len(found) + prior**2 * weight) / (len(found) + weight)
        )
        mean = found.sum(axis=0) / (len(found) + 1)
        learnt = cls(mean=mean.astype(np.float32), spread=spread.astype(np.float32))
        return learnt, learnt(found)

    def __call__(self, found: Floats) -> Floats:
        """[N, 255] of unit length."""
        return _unit((found - self.mean) / self.spread)


def _frequencies(greys: NDArray[np.uint8], rows: NDArray[np.int64] | None = None) -> Floats:
    """[N, 255] low frequencies of the cosine transform, without the mean grey, at equal contrast.
    Rows are read in blocks: the thumbnails of 100,000 images take 400 MB on disk."""
    rows = np.arange(len(greys)) if rows is None else rows
    basis, index = cosines(FREQUENCIES), np.arange(FREQUENCIES, dtype=np.float32)
    distance = np.hypot(index[:, None], index[None, :]).ravel()[1:]
    found = np.empty((len(rows), len(distance)), np.float32)
    for start in range(0, len(rows), 2000):
        block = greys[rows[start : start + 2000]].astype(np.float32)
        part = np.einsum("ui,nij,vj->nuv", basis, block, basis, optimize=True)
        found[start : start + 2000] = part.reshape(len(block), -1)[:, 1:] * distance
    return _unit(found)


def cosines(count: int) -> Floats:
    """[count, 64] rows of the orthonormal cosine transform (DCT-II)."""
    place = np.arange(GREY_PX) + 0.5
    rows = np.cos(np.pi * place[None, :] * np.arange(count)[:, None] / GREY_PX)
    rows *= np.sqrt(2 / GREY_PX)
    rows[0] /= np.sqrt(2)
    return rows.astype(np.float32)


def _unit(vectors: Floats) -> Floats:
    """Normalise to unit length, in place."""
    vectors /= np.maximum(np.sqrt(np.einsum("nf,nf->n", vectors, vectors)), 1e-6)[:, None]
    return vectors


def _candidates(
    left: Floats, right: Floats, crowd: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.int64], ...]:
    """Rows of left and right whose descriptors are at most about 53 degrees apart, and how many are
    closer to that row of left. Rows of one set that share a `crowd` do not count."""
    found: list[NDArray[np.int64]] = []
    step = max(1, 20_000_000 // max(1, len(right)))
    for start in range(0, len(left), step):
        cosine = left[start : start + step] @ right.T
        close = cosine > CANDIDATE_COSINE
        if crowd is not None:
            close &= crowd[start : start + step, None] != crowd
        rows, columns = np.nonzero(close)
        order = np.lexsort((-cosine[rows, columns], rows))
        rows, columns = rows[order], columns[order]
        rank = np.arange(len(rows)) - np.searchsorted(rows, rows)
        found.append(np.stack([rows + start, columns, rank])[:, rank <= MOST_PARTNERS])
    return tuple(np.concatenate(found, axis=1))


def _within(
    vectors: Floats, crowd: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.int64], ...]:
    """`_candidates` of a set with itself; in a large set, of those that share a cell."""
    count = len(vectors)
    if count <= EXHAUSTIVE:
        return _candidates(vectors, vectors, crowd)
    rng, pairs = np.random.default_rng(0), np.zeros(0, np.int64)
    for _ in range(TREES):
        found = [pairs]
        for cell in _cells(vectors, np.arange(count), rng):
            here = vectors[cell]
            first, second, _ = _candidates(here, here, None if crowd is None else crowd[cell])
            apart = first != second
            found.append(cell[first[apart]] * count + cell[second[apart]])
        pairs = np.unique(np.concatenate(found))
    rows, columns = np.divmod(pairs, count)
    blocks = [slice(start, start + 100_000) for start in range(0, len(pairs), 100_000)]
    cosine = [np.einsum("pf,pf->p", vectors[rows[b]], vectors[columns[b]]) for b in blocks]
    order = np.lexsort((-np.concatenate([np.zeros(0, np.float32), *cosine]), rows))
    rows, columns = rows[order], columns[order]
    # the closest to an image is itself
    rank = np.arange(len(rows)) - np.searchsorted(rows, rows) + 1
    kept = rank <= MOST_PARTNERS
    return rows[kept], columns[kept], rank[kept]


def _once(
    rows: NDArray[np.int64], columns: NDArray[np.int64], rank: NDArray[np.int64]
) -> tuple[NDArray[np.int64], ...]:
    """Each pair once, as first < second, and for how many of the two images (0 to 2) the other is
    beyond the closest. Both are asked: which comes first in the table must not matter."""
    first, second = np.minimum(rows, columns), np.maximum(rows, columns)
    order = np.lexsort((second, first))
    order = order[first[order] < second[order]]
    first, second, far = first[order], second[order], rank[order] >= BEYOND_CLOSEST
    starts = np.flatnonzero((np.diff(first, prepend=-1) != 0) | (np.diff(second, prepend=-1) != 0))
    return first[starts], second[starts], np.add.reduceat(far, starts, dtype=np.int64)


def _cells(
    vectors: Floats, rows: NDArray[np.int64], rng: np.random.Generator
) -> Iterator[NDArray[np.int64]]:
    """Overlapping groups of `rows`, none larger than CELL."""
    if len(rows) <= CELL:
        yield rows
        return
    pivots = vectors[rng.choice(rows, PIVOTS, replace=False)].T
    starts = range(0, len(rows), 100_000)
    cosine = np.concatenate([vectors[rows[s : s + 100_000]] @ pivots for s in starts])
    nearest = np.argpartition(-cosine, NEAREST - 1, axis=1)[:, :NEAREST]
    for pivot in range(PIVOTS):
        cell = rows[(nearest == pivot).any(axis=1)]
        if len(cell) > 0.9 * len(rows):
            # all are alike, and each finds enough partners in any part of them
            yield from np.array_split(rng.permutation(cell), -(-len(cell) // CELL))
        else:
            yield from _cells(vectors, cell, rng)
