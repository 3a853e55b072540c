"""Steps for fundus photographs: the round field of view, and the light that fades at its rim."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from medcnn.images.frame import Box
from medcnn.images.reading import Pixels

Floats = NDArray[np.float32]

# Side of the copy in which the disc is sought; its edge is found to a fraction of such a pixel.
SEARCH_PX = 320
# Darker than this share of the photograph's brightness (95th percentile above the background) is
# dark.
DARK_SHARE = 0.08


@dataclass(frozen=True, slots=True, kw_only=True)
class Disc:
    """Centre and radius in px; row 0 and column 0 begin at 0."""

    x: float
    y: float
    radius: float


def disc_crop(pixels: Pixels, *, margin: float = 0.0, mask: bool = True) -> Pixels:
    """The square around the field of view, black outside the circle.

    Every disc gets the same size, even if the camera cut it off above and below: beyond the
    photograph, the square is black. An image without a disc on a dark background is returned
    unchanged.

    Args:
        pixels: [H, W, C].
        margin: additional room on every side, in radii; below 0 the rim is cut away.
        mask: whether letters and glare outside the circle become black.
    """
    disc = find_disc(pixels)
    if disc is None:
        return pixels
    box = _box_of(disc, margin)
    side, left, top = box.width, box.left, box.top
    square = np.zeros((side, side, pixels.shape[2]), dtype=pixels.dtype)
    height, width = pixels.shape[:2]
    rows = np.arange(max(top, 0), min(top + side, height))
    half = np.full(len(rows), float(width + side))
    if mask:
        radius = disc.radius * (1 + min(margin, 0))
        half = np.sqrt(np.maximum(radius**2 - (rows + 0.5 - disc.y) ** 2, 0))
    starts = np.maximum(np.rint(disc.x - half).astype(int), max(left, 0))
    stops = np.minimum(np.rint(disc.x + half).astype(int), min(left + side, width))
    # row by row, which for a large image is much faster than a mask of its size
    for row, start, stop in zip(rows.tolist(), starts.tolist(), stops.tolist(), strict=True):
        square[row - top, start - left : stop - left] = pixels[row, start:stop]
    return square


def disc_box(pixels: Pixels, *, margin: float, mask: bool) -> Box:
    """What `disc_crop` leaves; it may reach beyond the photograph."""
    disc = find_disc(pixels)
    return Box.whole(pixels) if disc is None else _box_of(disc, margin)


def _box_of(disc: Disc, margin: float) -> Box:
    reach = disc.radius * (1 + margin)
    side = max(1, round(2 * reach))
    left, top = round(disc.x - reach), round(disc.y - reach)
    return Box(top=top, left=left, height=side, width=side)


def find_disc(pixels: Pixels) -> Disc | None:
    """The round field of view, or None if there is no bright disc on a dark background.

    The edge consists of the first and last bright pixel of each row and column. A circle is fitted
    to it by least squares, repeatedly leaving out outliers (letters, dark sectors).
    Where the edge of the photograph cuts the disc, it does not count as the circle's.

    Source:
        The algebraic circle fit of Kasa 1976, IEEE Trans. Instrum. Meas. 25(1).
    """
    stride = max(1, max(pixels.shape[:2]) // SEARCH_PX)
    light = pixels[stride // 2 :: stride, stride // 2 :: stride].max(axis=2).astype(np.float32)
    bright = _bright(light)
    if bright is None:
        return None
    points = _edge_points(bright)
    circle = _fitted_circle(points)
    if circle is None or not _is_disc(bright, circle, points):
        return None
    x, y, radius = ((v * stride) for v in circle)
    return Disc(x=x, y=y, radius=radius)


def _bright(light: Floats) -> NDArray[np.bool_] | None:
    """[H, W], brighter than the background; None if fewer than two corners are dark."""
    part = max(1, min(light.shape) // 28)
    corners = sorted(
        float(np.median(light[rows, columns]))
        for rows in (slice(None, part), slice(-part, None))
        for columns in (slice(None, part), slice(-part, None))
    )
    full = float(np.percentile(light, 95))
    ground = corners[1]
    # if the photograph fills the frame, its corners are darker but not black
    if ground > 0.15 * full or full <= 0:
        return None
    return np.asarray(light > ground + DARK_SHARE * (full - ground))


def _edge_points(bright: NDArray[np.bool_]) -> NDArray[np.float64]:
    """[N, 2] x and y of the first and last bright pixel of rows and columns, not at the border."""
    found = []
    for mask, turned in ((bright, False), (bright.T, True)):
        lines = np.flatnonzero(mask.any(axis=1))
        first = mask[lines].argmax(axis=1)
        last = mask.shape[1] - mask[lines, ::-1].argmax(axis=1)
        for at, inside in ((first, first > 0), (last, last < mask.shape[1])):
            pair = np.stack([at[inside].astype(float), lines[inside] + 0.5], axis=1)
            found.append(pair[:, ::-1] if turned else pair)
    return np.concatenate(found)


def _fitted_circle(points: NDArray[np.float64]) -> tuple[float, float, float] | None:
    kept = points
    for _ in range(12):
        if len(kept) < 8:
            return None
        matrix = np.column_stack([2 * kept, np.ones(len(kept))])
        (x, y, c), *_ = np.linalg.lstsq(matrix, (kept**2).sum(axis=1), rcond=None)
        if (square := c + x * x + y * y) <= 0:
            return None
        radius = float(np.sqrt(square))
        off = np.abs(np.hypot(points[:, 0] - x, points[:, 1] - y) - radius)
        # within half a pixel is close enough, however close the others are
        near = points[off <= max(0.5, 2.5 * float(np.median(off)))]
        if len(near) == len(kept):
            break
        kept = near
    return float(x), float(y), radius


def _is_disc(
    bright: NDArray[np.bool_], circle: tuple[float, float, float], points: NDArray[np.float64]
) -> bool:
    """Whether the circle has a plausible size, is bright inside, and dark outside."""
    x, y, radius = circle
    height, width = bright.shape
    longest = max(height, width)
    if not (0.2 * longest <= radius <= 0.75 * longest and 0 < x < width and 0 < y < height):
        return False
    off = np.abs(np.hypot(points[:, 0] - x, points[:, 1] - y) - radius)
    if np.median(off) > max(0.75, 0.03 * radius):
        return False
    rows, columns = np.ogrid[:height, :width]
    inside = (columns + 0.5 - x) ** 2 + (rows + 0.5 - y) ** 2 < radius**2
    return bool(bright[inside].mean() > 0.75 and bright[~inside].mean() < 0.1)


def even_light(pixels: Pixels, *, radius: float = 0.03, gain: float = 4.0) -> Pixels:
    """The difference from the local average, around middle grey; black stays black.

    The average ignores black pixels, so that the rim of the disc does not glow.

    Args:
        pixels: [H, W, C].
        radius: standard deviation of the Gaussian, as a share of the shorter side.
        gain: factor of the difference.

    Source:
        Graham 2015, Kaggle diabetic retinopathy detection competition report: 4 times the image
        minus its Gaussian average, plus 128, with a standard deviation of 1/30 of the radius; the
        default here is wider, since images are smaller.
    """
    from scipy import ndimage  # not needed by most runs

    most = np.iinfo(pixels.dtype).max
    values = pixels.astype(np.float32)
    seen = (pixels.max(axis=2) > most * 0.02).astype(np.float32)[:, :, None]
    sigma = max(0.5, radius * min(pixels.shape[:2]))
    sigmas: Any = (sigma, sigma, 0)
    weight = ndimage.gaussian_filter(seen, sigmas)
    average = ndimage.gaussian_filter(values * seen, sigmas) / np.maximum(weight, 1e-3)
    evened = (gain * (values - average) + (most + 1) / 2) * seen
    return cast(Pixels, np.clip(np.rint(evened), 0, most).astype(pixels.dtype))
