"""Pictures of one image at each step on its way to the network."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from medcnn.data.labels import Kind
from medcnn.data.manifest import Manifest
from medcnn.images.preprocessing import Preprocessing
from medcnn.models.classifier import unit_range
from medcnn.pages.way import Picture, picture, way
from medcnn.pixels.batches import image_keys
from medcnn.system.errors import ImageError
from medcnn.system.privacy import pseudonymised
from medcnn.training.augmentations import Augmentation, augment


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One image of the page.

    Attributes:
        number: its row in the manifest, from 1; ids and paths may name a patient.
        findings: all of them, if it has several.
        reason: why it cannot be read; empty if it can.
        facts: the header entries of a DICOM file that decided.
    """

    number: int
    findings: str = ""
    reason: str = ""
    facts: dict[str, str] = field(default_factory=dict)
    steps: list[Picture] = field(default_factory=list)
    augmented: list[Picture] = field(default_factory=list)


def some_of(rows: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    return np.sort(np.random.default_rng(seed).permutation(rows)[:count])


def rows_by_class(manifest: Manifest) -> dict[str, NDArray[np.int64]]:
    """The rows of every class or finding, and of images that were assessed and show none."""
    labels, targets = manifest.labels, manifest.targets()
    found = {n: np.flatnonzero(targets[:, k] == 1) for k, n in enumerate(labels.outputs)}
    if labels.kind is Kind.BINARY:
        return {labels.names[0]: np.flatnonzero(targets[:, 0] == 0), **found}
    none = np.flatnonzero((targets == 0).any(axis=1) & ~(targets == 1).any(axis=1))
    return {**found, "none of these": none} if len(none) else found


def shown(
    manifest: Manifest,
    row: int,
    preprocessing: Preprocessing,
    augmentation: Augmentation,
    *,
    seed: int,
    epochs: int,
    why: str,
) -> Shown:
    """One image as it appears in `epochs` epochs, or `why` it cannot be read, if already known."""
    record, names = manifest.records[row], manifest.labels.outputs
    found = [n for n, value in zip(names, record.target, strict=True) if value == 1]
    findings = ", ".join(found) if len(found) > 1 else ""
    try:
        if why:
            raise ImageError(why)
        facts, steps, seen = way(manifest.root, record.path, preprocessing)
    except ImageError as error:
        return Shown(number=row + 1, findings=findings, reason=pseudonymised(str(error)))
    final = torch.from_numpy(seen.transpose(2, 0, 1).copy())[None]
    keys = image_keys(manifest.with_records([record]))
    augmented = []
    for epoch in range(epochs):
        moved = augment(unit_range(final), keys, augmentation, seed=seed, epoch=epoch)
        values = (moved[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
        augmented.append(picture(f"epoch {epoch + 1}", values))
    return Shown(number=row + 1, findings=findings, facts=facts, steps=steps, augmented=augmented)
