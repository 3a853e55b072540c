"""What is usual for a model, learnt from its training images when its weights are final."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from medcnn.data.manifest import Manifest, Split
from medcnn.models.checkpoint import digest_of_body_weights
from medcnn.models.classifier import Classifier
from medcnn.models.familiarity import (
    LEAST_PATIENTS,
    Familiarity,
    Seen,
    fit_familiarity,
    joined,
    seen_in,
    spread,
)
from medcnn.models.inference import logits_of
from medcnn.pixels.pixel_store import PixelStore
from medcnn.statistics.strangeness import COLUMNS

AT_ONCE = 64
FeaturesAt = Callable[[NDArray[np.int64]], NDArray[np.float32]]
"""Features [B, F] of readable images, without mirror images, in evaluation mode."""


def features_by(
    classifier: Classifier, store: PixelStore, device: torch.device, dtype: torch.dtype
) -> FeaturesAt:
    classifier.eval()

    def at(rows: NDArray[np.int64]) -> NDArray[np.float32]:
        images = torch.from_numpy(store.take(rows)).to(device)
        return logits_of(classifier.features, images, "", dtype)

    return at


def learnt(
    classifier: Classifier, manifest: Manifest, store: PixelStore, features_at: FeaturesAt
) -> Familiarity | None:
    """From the readable training images; None if they are of fewer than LEAST_PATIENTS patients,
    whose means would be nearly the features of single images."""
    rows = spread(store.readable(manifest.rows(Split.TRAIN)))
    groups = [manifest.records[row].group for row in rows.tolist()]
    if len(set(groups)) < LEAST_PATIENTS:
        return None
    return fit_familiarity(
        joined(list(_seen(store, rows, features_at))),
        manifest.targets()[rows],
        groups,
        exclusive=manifest.labels.exclusive,
        weights=digest_of_body_weights(classifier),
    )


def looks_of(
    familiar: Familiarity, store: PixelStore, rows: NDArray[np.int64], features_at: FeaturesAt
) -> NDArray[np.float64]:
    """[N, COLUMNS] of the readable images among `rows`."""
    parts = [familiar.looks(seen) for seen in _seen(store, store.readable(rows), features_at)]
    return np.concatenate([np.zeros((0, len(COLUMNS))), *parts])


def _seen(store: PixelStore, rows: NDArray[np.int64], features_at: FeaturesAt) -> Iterator[Seen]:
    for part in np.array_split(rows, -(-len(rows) // AT_ONCE)) if len(rows) else ():
        yield seen_in(torch.from_numpy(store.take(part)), features_at(part))
