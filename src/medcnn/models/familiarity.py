"""How strange an image looks beside the training images, measured in three spaces.

- `features`: those of the network, scaled to length 1. Mahalanobis distance to the nearest class
  (Lee et al. 2018; with features of length 1, Müller and Hein 2025), and distance to the nearest of
  many small groups of training images (after Sun et al. 2022, who use single images: these would be
  features of patients in a file that travels).
- `layout`: brightness, colour and arrangement of its pixels (`appearance.facts_of`); a network
  trained from random weights may compute the same features for everything.
- `style`: sharpness, noise, clipping and tint, which tell cameras and processing rather than
  content.

Each distance is expressed in standard deviations of the training images, so that they can be
compared. `statistics.strangeness` has the bounds. Fitted on images as they are, without
augmentation or mirror images, in evaluation mode.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from medcnn.models.appearance import FACTS, facts
from medcnn.models.classifier import unit_range

Floats = NDArray[np.float64]

# How many training images to look at: more would add nothing to what is usual.
MOST_IMAGES = 5_000
MOST_WIDE = 2_048
MOST_AXES = 128
SHARE_OF_VARIANCE = 0.99
# Groups of training images whose means are in the checkpoint: at most this many, one per ten
# images, each with five patients or more.
MOST_GROUPS, IMAGES_A_GROUP, LEAST_PATIENTS = 500, 10, 5
# The smallest spread assumed of a fact of pixels: some never change in training, such as the colour
# of grey images.
LEAST_SPREAD = 0.01
SPACES = {"features": ("class", "group"), "layout": ("class",), "style": ("class",)}
"""Space -> the distances measured in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Measurements of images: features [N, F], facts of layout [N, L] and of style [N, S]."""

    features: Floats
    layout: Floats
    style: Floats


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Space:
    """Where the training images lie.

    Attributes:
        mean: [F].
        axes: [F, D], the directions in which they differ; orthonormal except for facts of pixels.
        whiten: [E, E], where E is D, or D + 1 if `axes` do not span everything: the last
            coordinate is then the length of the rest.
        classes: [K, E], mean of each class, whitened.
        groups: [M, E], mean of each small group, not whitened.
        usual: [2, distances], mean and standard deviation of the logarithm of each distance.
    """

    mean: Floats
    axes: Floats
    whiten: Floats
    classes: Floats
    groups: Floats
    usual: Floats

    def strangeness(self, x: Floats) -> Floats:
        """[N, distances] of `x` [N, F], in standard deviations."""
        return np.asarray((np.log(self.distances(x) + TINY) - self.usual[0]) / self.usual[1])

    def distances(self, x: Floats) -> Floats:
        """[N, 1 or 2]: to the nearest class (Mahalanobis), to the nearest group if there are any
        (Euclidean)."""
        at = coordinates(x, self.mean, self.axes)
        found = [nearest(at @ self.whiten, self.classes)]
        if len(self.groups):
            found.append(nearest(at, self.groups))
        return np.stack(found, axis=1)


TINY = 1e-9


def coordinates(x: Floats, mean: Floats, axes: Floats) -> Floats:
    """[N, E] of `x` [N, F]: along the axes, and the length of the rest."""
    centred = x - mean
    along = centred @ axes
    if axes.shape[0] == axes.shape[1]:
        return np.asarray(along)
    rest = (centred**2).sum(axis=1) - (along**2).sum(axis=1)
    return np.concatenate([along, np.sqrt(rest.clip(0))[:, None]], axis=1)


def nearest(x: Floats, of: Floats) -> Floats:
    """Distance [N] of each `x` [N, E] to the nearest of `of` [M, E]."""
    squared = (x**2).sum(axis=1)[:, None] - 2 * x @ of.T + (of**2).sum(axis=1)
    return np.asarray(np.sqrt(squared.min(axis=1).clip(0)))


def shrunk_covariance(x: Floats) -> Floats:
    """Covariance [E, E] of centred `x` [N, E], shrunk towards a multiple of the identity by the
    share that minimises the expected error.

    Source:
        Ledoit and Wolf 2004, J Multivariate Anal 88; equals
        sklearn.covariance.ledoit_wolf (tested).
    """
    n, width = x.shape
    plain = x.T @ x / n
    level = float(np.trace(plain)) / width
    apart = float((plain**2).sum()) - width * level**2
    noise = float(((x**2).T @ (x**2)).sum()) / n - float((plain**2).sum())
    share = min(1.0, noise / n / apart) if apart > 0 else 1.0
    return np.asarray((1 - share) * plain + share * level * np.eye(width))


def axes_of(centred: Floats) -> Floats:
    """Principal axes [F, D] of most of the variance; all directions if there are few.

    Source:
        Halko, Martinsson and Tropp 2011, SIAM Rev 53(2), with power iterations; its random numbers
        are always the same.
    """
    n, width = centred.shape
    if width <= MOST_AXES:
        return np.eye(width)
    sought = min(n, width, MOST_AXES + 32)
    basis = centred.T @ np.random.default_rng(0).standard_normal((n, sought))
    for _ in range(3):
        basis = np.linalg.qr(centred.T @ (centred @ np.linalg.qr(basis)[0]))[0]
    _, sizes, right = np.linalg.svd(centred @ basis, full_matrices=False)
    reached = np.cumsum(sizes**2) / max(float((centred**2).sum()), TINY)
    count = min(MOST_AXES, int(np.searchsorted(reached, SHARE_OF_VARIANCE)) + 1, len(sizes))
    return np.asarray(basis @ right[:count].T)


def grouped(at: Floats, patients: NDArray[np.int64]) -> Floats:
    """Means [M, E] of groups of training images that lie together, by five steps of Lloyd's
    algorithm. Groups of fewer patients than LEAST_PATIENTS are left out, so that no mean is
    nearly one patient's image."""
    count = min(MOST_GROUPS, max(1, len(at) // IMAGES_A_GROUP))
    means = at[np.linspace(0, len(at) - 1, count).astype(int)]
    for _ in range(5):
        squared = (means**2).sum(axis=1) - 2 * at @ means.T
        own = squared.argmin(axis=1)
        sizes = np.bincount(own, minlength=count)
        sums = np.zeros_like(means)
        np.add.at(sums, own, at)
        means = np.where(sizes[:, None] > 0, sums / np.maximum(sizes, 1)[:, None], means)
    enough = np.unique(own[_of_many(own, patients)])
    return np.asarray(means[enough] if len(enough) else at.mean(axis=0, keepdims=True))


def _of_many(kinds: NDArray[np.int64], patients: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether the kind (from 0) of each image [N] has LEAST_PATIENTS patients or more."""
    pairs = np.unique(np.stack([kinds, patients]), axis=1)
    return np.asarray((np.bincount(pairs[0]) >= LEAST_PATIENTS)[kinds])


def fit_space(
    x: Floats, classes: NDArray[np.int64], patients: NDArray[np.int64], distances: Sequence[str]
) -> Space:
    """
    Args:
        x: [N, F] of training images.
        classes: class of each, -1 if it does not have exactly one; classes of fewer than
            LEAST_PATIENTS patients count as -1.
        patients: number of the patient of each.
        distances: those of the space in SPACES.
    """
    space = _placed(x, classes, patients, distances)
    # a space lies closer to the images it was fitted to than to others: each half uses the other's
    halves = patients % 2 == 0
    logs = [np.zeros((0, len(distances)))]
    for own, other in ((halves, ~halves), (~halves, halves)):
        if own.any() and other.any():
            half = _placed(x[own], classes[own], patients[own], distances)
            logs.append(np.log(half.distances(x[other]) + TINY))
    found = np.concatenate(logs)
    if not len(found):  # a single patient: there is nothing else to go by
        found = np.log(space.distances(x) + TINY)
    usual = np.stack([found.mean(axis=0), np.maximum(found.std(axis=0), LEAST_SPREAD)])
    # as a checkpoint has it
    known = replace(space, usual=usual)
    stored = {f.name: np.asarray(getattr(known, f.name), np.float32) for f in fields(Space)}
    return Space(**{name: value.astype(np.float64) for name, value in stored.items()})


def _placed(
    x: Floats, classes: NDArray[np.int64], patients: NDArray[np.int64], distances: Sequence[str]
) -> Space:
    """A space whose `usual` is still unknown."""
    mean = x.mean(axis=0)
    if "group" in distances:
        axes = axes_of(x - mean)
    else:
        axes = np.diag(1 / np.maximum(x.std(axis=0), LEAST_SPREAD))
    at = coordinates(x, mean, axes)
    # a mean of few patients is nearly the features of one of their images
    own = np.where(_of_many(classes + 1, patients), classes, -1)
    names, own = np.unique(own, return_inverse=True)
    many = [_of_many(own, patients)[own == k].all() for k in range(len(names))]
    middles = np.stack([at[own == k].mean(0) if many[k] else at.mean(0) for k in range(len(many))])
    values, vectors = np.linalg.eigh(shrunk_covariance(at - middles[own]))
    whiten = vectors / np.sqrt(np.maximum(values, TINY))
    return Space(
        mean=mean,
        axes=axes,
        whiten=whiten,
        classes=middles @ whiten,
        groups=grouped(at, patients) if "group" in distances else np.zeros((0, at.shape[1])),
        usual=np.zeros((2, len(distances))),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Familiarity:
    """What the training images were like, for comparison.

    Attributes:
        weights: digest of the weights that computed the features.
        spaces: by the names in SPACES.
    """

    weights: str
    spaces: Mapping[str, Space]

    def looks(self, seen: Seen) -> Floats:
        """[N, COLUMNS]: how strange each image is, and what its pixels are like."""
        measured = {n: self.spaces[n].strangeness(getattr(seen, n)) for n in SPACES}
        layout, style = measured["layout"][:, 0], measured["style"][:, 0]
        unusual = measured["features"].max(axis=1)
        facts = dict(zip(FACTS, seen.layout.T, strict=True))
        grey = (facts["red"] + facts["green"] + facts["blue"]) / 3
        said = [grey, facts["contrast"], facts["colour"], facts["detail"]]
        found = np.stack([np.maximum(layout, unusual), unusual, style, *said], axis=1)
        return found.round(6)  # as in a table of predictions, which must lead to the same verdicts

    def tensors(self) -> dict[str, Tensor]:
        """As a checkpoint stores them."""
        return {
            f"{PREFIX}{name}.{f.name}": torch.from_numpy(getattr(space, f.name)).float()
            for name, space in self.spaces.items()
            for f in fields(Space)
        }


PREFIX = "familiar."


def stored_familiarity(tensors: Mapping[str, Tensor], weights: str) -> Familiarity:
    """Read from the tensors of a checkpoint.

    Raises:
        ValueError: they do not fit together, or are not finite.
    """
    spaces = {}
    for name in SPACES:
        own = {f.name: tensors[f"{PREFIX}{name}.{f.name}"] for f in fields(Space)}
        space = Space(**{k: v.double().numpy() for k, v in own.items()})
        (width, count), many = space.axes.shape, len(SPACES[name])
        inner = count + (width != count)
        right = {"mean": (width,), "whiten": (inner, inner), "usual": (2, many)}
        fits = all(getattr(space, k).shape == shape for k, shape in right.items())
        fits &= all(getattr(space, k).shape[1:] == (inner,) for k in ("classes", "groups"))
        fits &= len(space.classes) > 0 and (len(space.groups) > 0) == (many > 1)
        if not fits or not all(v.isfinite().all() for v in own.values()):
            raise ValueError(f"{PREFIX}{name} does not belong to a description of usual images")
        spaces[name] = space
    return Familiarity(weights=weights, spaces=spaces)


def fit_familiarity(
    seen: Seen,
    targets: NDArray[np.float32],
    groups: Sequence[str],
    *,
    exclusive: bool,
    weights: str,
) -> Familiarity:
    """Fit to readable training images, in one pass.

    Args:
        targets: [N, K]; they define classes if these are `exclusive`.
        groups: patient of each image.
        weights: digest of those that computed the features.
    """
    known = exclusive & ~np.isnan(targets).any(axis=1)
    classes = np.where(known, np.nan_to_num(targets).argmax(axis=1), -1)
    patients = np.unique(np.asarray(groups), return_inverse=True)[1]
    none = np.full(len(patients), -1)
    spaces = {
        name: fit_space(
            getattr(seen, name), classes if name == "features" else none, patients, distances
        )
        for name, distances in SPACES.items()
    }
    return Familiarity(weights=weights, spaces=spaces)


def spread(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """At most MOST_IMAGES of `rows`, evenly spread."""
    return np.asarray(rows[np.linspace(0, len(rows) - 1, min(len(rows), MOST_IMAGES)).astype(int)])


def seen_in(images: Tensor, features: NDArray[np.float32]) -> Seen:
    """
    Args:
        images: [B, C, H, W], full range.
        features: [B, F], or [B, F, H, W] where the head takes positions.
    """
    floats = unit_range(images.cpu())
    flat = torch.from_numpy(features).double()
    if flat.ndim > 2:
        flat = flat.flatten(2).mean(2)
    if flat.shape[1] > MOST_WIDE:
        flat = F.adaptive_avg_pool1d(flat, MOST_WIDE)
    return Seen(
        features=F.normalize(flat, dim=1).numpy(),
        layout=facts(floats),
        style=style(floats).double().numpy(),
    )


def joined(parts: Sequence[Seen]) -> Seen:
    return Seen(
        **{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Seen)}
    )


def style(images: Tensor) -> Tensor:
    """[B, 11] of images [B, C, H, W] in 0..1: log energy of detail at 1, 2, 4 and 8 px and of steps
    in either direction, shares of black and white, contrast, and two tints."""
    colours = images.expand(-1, 3, -1, -1)
    level = grey = colours.mean(1, keepdim=True)
    found = []
    for _ in range(4):
        small = F.avg_pool2d(level, 2, ceil_mode=True) if min(level.shape[2:]) > 1 else level
        detail = level - F.interpolate(small, size=level.shape[2:], mode="nearest")
        found.append(_log_energy(detail))
        level = small
    found += [_log_energy(grey.diff(n=2, dim=dim)) for dim in (2, 3)]
    found += [(grey <= 2 / 255).float().flatten(1).mean(1).sqrt()]
    found += [(grey >= 253 / 255).float().flatten(1).mean(1).sqrt()]
    found += [(grey.flatten(1).std(1) + 1e-3).log()]
    red, green, blue = colours.flatten(2).mean(2).unbind(1)
    found += [red - green, green - blue]
    return torch.stack(found, dim=1)


def _log_energy(of: Tensor) -> Tensor:
    return (of.abs().flatten(1).mean(1) + 1e-3).log() if of.numel() else of.new_zeros(len(of))
