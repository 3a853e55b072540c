"""Stages with a frozen body: its features are computed once and replace the images.

The result is the same if augmentation leaves images alone or only mirrors them: which mirror image
an epoch uses is a function of (seed, epoch, image), as in `augmentations`. If augmentation also
rotates images or changes their brightness, `views` versions are made with the random numbers of
the first epochs, and repeated in the same order. Only in the first epochs are these the versions
that training on images would see.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from medcnn.data.manifest import Split
from medcnn.models.classifier import Classifier
from medcnn.models.features import PLAIN, FrozenBody, View
from medcnn.models.inference import VIEWS
from medcnn.pixels.batches import image_keys
from medcnn.pixels.pixel_store import PixelStore
from medcnn.pixels.segments import NOWHERE
from medcnn.system.errors import UsageError
from medcnn.system.plugins import distributions
from medcnn.system.progress import log
from medcnn.training.augmentations import Augmentation, augment
from medcnn.training.draws import uniforms
from medcnn.training.transfer import Stage

STILL = Augmentation()


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """Features of the training and validation images, for one stage.

    Attributes:
        stage: the stage they were computed for.
        plain: of the unchanged images of both splits.
        views: of the training images, one store for each version.
        chosen: epoch -> position in `views` for each image of the manifest [N].
    """

    stage: Stage
    plain: PixelStore
    views: Sequence[PixelStore]
    chosen: Callable[[int], NDArray[np.int64]]

    def of_epoch(self, epoch: int) -> PixelStore:
        """The features that replace the training images in this epoch."""
        return mixed(self.views, self.chosen(epoch))


def mixed(stores: Sequence[PixelStore], chosen: NDArray[np.int64]) -> PixelStore:
    """One store that takes row i from `stores[chosen[i]]`."""
    first = stores[0]
    if len(stores) == 1:
        return first
    before = np.cumsum([0, *(len(store.segments) for store in stores)])
    rows = np.arange(len(chosen))
    places = np.stack([store.places for store in stores])[chosen, rows]
    there = places[:, 0] != NOWHERE
    places[there, 0] += before[chosen[there]]

    def again(damaged: list[int]) -> dict[int, bytes]:
        made: dict[int, bytes] = {}
        for number, store in enumerate(stores):
            if own := [row for row in damaged if chosen[row] == number]:
                made |= store.again(own)
        return made

    return replace(
        first,
        segments=[segment for store in stores for segment in store.segments],
        places=places,
        crcs=np.stack([store.crcs for store in stores])[chosen, rows],
        checked=np.stack([store.checked for store in stores])[chosen, rows],
        again=again,
    )


def objections(
    classifier: Classifier, how: Augmentation, views: int, *, repeats: bool
) -> list[str]:
    """Reasons why features computed once would differ from those computed in every epoch."""
    found = []
    classifier.train()
    if any(p.requires_grad for p in classifier.body.parameters()):
        found.append("a part of the body or its pooling trains")
    # a body that is frozen as a whole has no dropout, and its BatchNorm statistics are fixed
    elif any(module.training for module in classifier.body.modules()):
        found.append("the body uses dropout or the statistics of the batch")
    if classifier.auxiliary is not None:
        found.append("auxiliary classifiers look into the body")
    for name in ("mixup_alpha", "cutmix_alpha"):
        if alpha := getattr(how, name):
            found.append(f"augmentation.{name}={alpha:g} mixes images")
    if repeats and how.flips and not views:
        found.append("the sampler repeats images, mirrored differently each time")
    if not views and not _only_mirrored(how):
        found.append("augmentation changes every image in every epoch")
    if _name_of(how.last) is None:
        found.append("the plug-in's augmentation is a lambda, a partial or an inner function")
    return found


def _only_mirrored(how: Augmentation) -> bool:
    still = replace(how, horizontal_flip=False, vertical_flip=False)
    return replace(still, mixup_alpha=0.0, cutmix_alpha=0.0, photograph=False) == STILL


def features_of(
    stage: Stage,
    body: FrozenBody,
    how: Augmentation,
    seed: int,
    note: Callable[[str], None],
    *,
    repeats: bool = False,
) -> Features | None:
    """The features of a stage whose body is frozen (`Classifier.train_only`). None if the body
    must run in every epoch; a message says why.

    Args:
        note: receives sentences for the user and the report.
        repeats: whether an image may occur several times in an epoch.

    Raises:
        UsageError: the settings ask for features that would differ from those of every epoch.
    """
    if stage.features == "every_epoch":
        if stage.views:
            raise UsageError(
                f"transfer.views={stage.views} needs features that are computed once, but "
                "transfer.features=every_epoch forbids them. Remove one of the two settings."
            )
        return None
    if stage.views and _only_mirrored(how):
        raise UsageError(
            f"transfer.views={stage.views} has no effect: augmentation only mirrors images here, "
            "and all mirror images are computed anyway. Remove this setting."
        )
    if against := objections(body.classifier, how, stage.views, repeats=repeats):
        said = "; ".join(against) + "."
        if not objections(body.classifier, STILL, 0, repeats=False):  # nothing in the body itself
            said = f"{said} {OTHERWISE}"
        if stage.features == "once" or stage.views:
            raise UsageError(f"transfer: features of the body cannot be computed once: {said}")
        log.info(f"the frozen body runs in every epoch: {said}")
        return None
    if stage.views:
        note(
            f"the head trains on {stage.views} augmented versions of each image, computed once, "
            "instead of a new one in every epoch (transfer.views)"
        )
    manifest = body.manifest
    rows = manifest.rows(Split.TRAIN)
    plain = body.features(PLAIN, manifest.rows(Split.VALIDATION))
    views, chosen = _views(how, stage, image_keys(manifest), seed)
    return Features(
        stage=stage, plain=plain, views=[body.features(view, rows) for view in views], chosen=chosen
    )


OTHERWISE = (
    "augmentation.mixup_alpha=0 with transfer.views=8 (augmented versions of each image) or "
    "augmentation.preset=none lets it be computed once."
)


def _views(
    how: Augmentation, stage: Stage, keys: NDArray[np.uint64], seed: int
) -> tuple[list[View], Callable[[int], NDArray[np.int64]]]:
    """The views to compute, and a function from an epoch to the view of each image."""
    if stage.views:
        count = min(stage.views, stage.epochs)
        views = [_augmented(how, seed, epoch, keys) for epoch in range(count)]
        return views, lambda epoch: np.full(len(keys), epoch % count)

    def mirrored(epoch: int) -> NDArray[np.int64]:
        draw = uniforms(seed, epoch, keys, 2) < 0.5
        sides = (how.horizontal_flip & draw[:, 0], how.vertical_flip & draw[:, 1])
        return sides[0] + (1 + how.horizontal_flip) * sides[1].astype(np.int64)

    return [_mirrored(dims) for dims in VIEWS[how.flips]], mirrored


def _augmented(how: Augmentation, seed: int, epoch: int, keys: NDArray[np.uint64]) -> View:
    def change(images: Tensor, own: NDArray[np.uint64]) -> Tensor:
        return augment(images, own, how, seed=seed, epoch=epoch)

    settings = f"seed {seed}, {replace(how, last=None)!r} {_name_of(how.last)}"
    return View(name=f"version {epoch + 1}", settings=settings, change=change, keys=keys)


def _name_of(last: Callable[[Tensor, Tensor], Tensor] | None) -> str | None:
    """Of a plug-in's change, with the versions of plug-ins; None if several may have that name."""
    if last is None:
        return ""
    name = getattr(last, "__qualname__", "<")
    return None if "<" in name else f"{last.__module__}.{name} {distributions()}"


def _mirrored(dims: tuple[int, ...]) -> View:
    if not dims:
        return PLAIN
    return View(name=f"mirror image {dims}", change=lambda images, _: images.flip(dims))
