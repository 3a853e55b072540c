"""Finds duplicates: images with the same pixels, or copies that were recompressed, resized or
slightly cropped.

    describe    64 x 64 greys -> 255 low frequencies, whitened over the set      every image
    search      pairs whose descriptors point the same way, all against all;     blocks of products
                of a large set, all that share a cell of a tree                  in each cell
    align       shift and stretch one thumbnail onto the other                   candidates
    compare     correlate what is left once shape and lighting are taken away    candidates
    confirm     the same pixels? both files are decoded in full                  the most alike

Whitening and the last comparison remove what all images of a modality share (a disc, a thorax, a
dark spot in the middle); without that, thousands of unrelated lesions look alike. Mirrored or
rotated copies are not searched for.
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
STEPS = 6
MOST_MOVED = 0.08
MARGIN_PX = 4
WINDOW_PX = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two records, first < second, and how alike they are: 1 for the same pixels."""

    first: int
    second: int
    correlation: float
    same: bool


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
        near: whether to search; if not, only equal thumbnails are compared.
    """
    digest = cache(digest)
    clusters: dict[bytes, list[int]] = defaultdict(list)
    for row in usable:
        clusters[hashlib.sha256(greys[row].tobytes()).digest()].append(row)
    members = {rows[0]: rows for rows in clusters.values()}
    for row in sorted(r for rows in members.values() if len(rows) > 1 for r in rows):
        digest(row)  # in order, as a packed npz is read
    pairs = [
        Pair(first=a, second=b, correlation=1.0, same=digest(a) == digest(b) != "")
        for rows in members.values()
        for a, b in _linked(rows)
    ]
    heads = np.array(sorted(members), dtype=np.int64)
    for i, j, correlation in _near(greys, heads) if near else ():
        for a in members[i][:MOST_PARTNERS]:
            for b in members[j][:MOST_PARTNERS]:
                same = correlation > SAME_CORRELATION and digest(a) == digest(b) != ""
                first, second = sorted((a, b))
                pairs.append(Pair(first=first, second=second, correlation=correlation, same=same))
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
    descriptor, described = Descriptor.of(among, rows)
    far, other, rank = _within(described)
    unrelated = (far < other) & (rank >= BEYOND_CLOSEST)
    threshold = _threshold(alike(among, rows[far[unrelated]], among, rows[other[unrelated]]))
    first, second, _ = _candidates(descriptor(_frequencies(greys)), described)
    near = alike(greys, first, among, rows[second]) >= threshold
    found: list[set[int]] = [set() for _ in greys]
    for i, j in zip(first[near], second[near], strict=True):
        found[int(i)].add(int(rows[j]))
    return found


def _near(greys: NDArray[np.uint8], rows: NDArray[np.int64]) -> list[tuple[int, int, float]]:
    """Pairs first < second of these rows with their correlation."""
    if len(rows) < 2:
        return []
    _, described = Descriptor.of(greys, rows)
    first, second, rank = _within(described)
    kept = first < second
    first, second, rank = rows[first[kept]], rows[second[kept]], rank[kept]
    correlation = alike(greys, first, greys, second)
    near = correlation >= _threshold(correlation[rank >= BEYOND_CLOSEST])
    return [
        (int(i), int(j), float(c))
        for i, j, c in zip(first[near], second[near], correlation[near], strict=True)
    ]


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
    def of(cls, greys: NDArray[np.uint8], rows: NDArray[np.int64]) -> tuple[Descriptor, Floats]:
        """Learn from these rows; also returns their descriptors."""
        found = _frequencies(greys, rows)
        # a few images say little about their spread; in natural images it falls with frequency,
        # which `_frequencies` has compensated, so it is about one everywhere
        prior, weight = float(found.std()) or 1.0, 50.0
        spread = np.sqrt((found.var(axis=0) * len(rows) + prior**2 * weight) / (len(rows) + weight))
        mean = found.sum(axis=0) / (len(rows) + 1)
        learnt = cls(mean=mean.astype(np.float32), spread=spread.astype(np.float32))
        return learnt, learnt(found)

    def __call__(self, frequencies: Floats) -> Floats:
        """[N, 255] of unit length, written over the frequencies."""
        frequencies -= self.mean
        frequencies /= self.spread
        return _unit(frequencies)


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


def _candidates(left: Floats, right: Floats) -> tuple[NDArray[np.int64], ...]:
    """Rows of left and right whose descriptors are at most about 53 degrees apart, and how many are
    closer to that row of left."""
    found: list[NDArray[np.int64]] = []
    step = max(1, 20_000_000 // max(1, len(right)))
    for start in range(0, len(left), step):
        cosine = left[start : start + step] @ right.T
        rows, columns = np.nonzero(cosine > CANDIDATE_COSINE)
        order = np.lexsort((-cosine[rows, columns], rows))
        rows, columns = rows[order], columns[order]
        rank = np.arange(len(rows)) - np.searchsorted(rows, rows)
        found.append(np.stack([rows + start, columns, rank])[:, rank <= MOST_PARTNERS])
    return tuple(np.concatenate(found, axis=1))


def _within(vectors: Floats) -> tuple[NDArray[np.int64], ...]:
    """`_candidates` of a set with itself; in a large set, of those that share a cell."""
    count = len(vectors)
    if count <= EXHAUSTIVE:
        return _candidates(vectors, vectors)
    rng, pairs = np.random.default_rng(0), np.zeros(0, np.int64)
    for _ in range(TREES):
        found = [pairs]
        for cell in _cells(vectors, np.arange(count), rng):
            here = vectors[cell]
            first, second, _ = _candidates(here, here)
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


def alike(
    left: NDArray[np.uint8],
    first: NDArray[np.int64],
    right: NDArray[np.uint8],
    second: NDArray[np.int64],
) -> Floats:
    """[P] correlation of left[first] with right[second] after alignment."""
    parts = [
        _aligned_correlation(left[first[s : s + 500]], right[second[s : s + 500]])
        for s in range(0, len(first), 500)
    ]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.float32)


def _aligned_correlation(moving: NDArray[np.uint8], fixed: NDArray[np.uint8]) -> Floats:
    """Undo a crop of a few percent, then correlate the local contrast of the centre."""
    a, b = _normal(moving.astype(np.float32)), _normal(fixed.astype(np.float32))
    moved = _moved(a, _found_move(_halved(a), _halved(b)))
    middle = slice(MARGIN_PX, -MARGIN_PX)
    one, other = (_normal(_local_contrast(i)[:, middle, middle]) for i in (moved, b))
    return np.asarray((one * other).mean(axis=(1, 2)), dtype=np.float32)


def _found_move(a: Floats, b: Floats) -> Floats:
    """[P, 4] shift and stretch along x and y, in shares of the side, by Gauss-Newton steps.

    Source: Lucas and Kanade 1981, IJCAI.
    """
    side = a.shape[1]
    centred = _centred(side)
    along_y, along_x = (np.gradient(b, axis=axis) * side for axis in (1, 2))
    slopes = [along_x, along_x * centred, along_y, along_y * centred[:, None]]
    jacobian = np.stack(slopes, axis=1).reshape(len(b), 4, -1).astype(np.float32)
    hessian = jacobian @ jacobian.transpose(0, 2, 1) + np.eye(4, dtype=np.float32)
    by = np.zeros((len(a), 4), dtype=np.float32)
    for _ in range(STEPS):
        residual = (b - _normal(_moved(a, by))).reshape(len(b), -1, 1)
        step = np.linalg.solve(hessian, jacobian @ residual)[:, :, 0]
        by = np.clip(by + step, -MOST_MOVED, MOST_MOVED)
    return by


def _moved(images: Floats, by: Floats) -> Floats:
    side = images.shape[1]
    axis, centred = np.arange(side, dtype=np.float32), _centred(side)
    across = _interpolated(images, axis + side * (by[:, :1] + by[:, 1:2] * centred))
    down = axis + side * (by[:, 2:3] + by[:, 3:4] * centred)
    return _interpolated(across.transpose(0, 2, 1), down).transpose(0, 2, 1)


def _centred(side: int) -> Floats:
    return ((np.arange(side) - (side - 1) / 2) / side).astype(np.float32)


def _halved(images: Floats) -> Floats:
    return np.asarray(
        (images[:, ::2, ::2] + images[:, 1::2, ::2] + images[:, ::2, 1::2] + images[:, 1::2, 1::2])
        / 4
    )


def _interpolated(images: Floats, places: Floats) -> Floats:
    """[P, H, W] read along the last axis at `places` [P, W]."""
    places = np.clip(places, 0, images.shape[2] - 1.001)
    left = places.astype(np.int64)
    share = (places - left)[:, None, :]
    low = np.take_along_axis(images, left[:, None, :], 2)
    high = np.take_along_axis(images, left[:, None, :] + 1, 2)
    return np.asarray(low + share * (high - low), dtype=np.float32)


def _normal(images: Floats) -> Floats:
    centred = images - images.mean(axis=(1, 2), keepdims=True)
    return np.asarray(centred / np.maximum(centred.std(axis=(1, 2), keepdims=True), 1e-3))


def _local_contrast(images: Floats) -> Floats:
    """Each pixel relative to its surroundings, in units of their spread: the edge of a disc or dark
    spot, which unrelated images share, gets no more weight than their texture."""
    detail = _normal(images)
    detail = detail - _box_mean(detail, WINDOW_PX - 1)
    spread = np.sqrt(np.maximum(_box_mean(detail * detail, WINDOW_PX), 0))
    return np.asarray(detail / (spread + 0.1), dtype=np.float32)


def _box_mean(images: Floats, radius: int) -> Floats:
    pad = ((0, 0), (radius + 1, radius), (radius + 1, radius))
    total = np.pad(images, pad, mode="edge").cumsum(axis=1).cumsum(axis=2)
    side = 2 * radius + 1
    window = (
        total[:, side:, side:]
        - total[:, :-side, side:]
        - total[:, side:, :-side]
        + total[:, :-side, :-side]
    )
    return np.asarray(window / side**2, dtype=np.float32)
