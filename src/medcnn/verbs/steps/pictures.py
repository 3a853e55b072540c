"""Pictures of one image at each step on its way to the network."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from medcnn.data.labels import Kind
from medcnn.data.manifest import Manifest
from medcnn.images.preprocessing import Preprocessing
from medcnn.images.reading import Pixels, is_dicom, read_file
from medcnn.images.resizing import contained, narrowed
from medcnn.models.classifier import unit_range
from medcnn.pages.pictures import address, encoded
from medcnn.pixels.batches import image_keys
from medcnn.system.errors import ImageError
from medcnn.system.privacy import pseudonymised
from medcnn.training.augmentations import Augmentation, augment

THUMBNAIL_PX = 192
# Below this a JPEG shows its blocks, and a PNG is as small.
PLAIN_PX = 64
# Of one picture: a page of forty images with nine pictures each stays below 5 MB. Photographs stay
# at the best of the qualities.
MOST_BYTES = 9_000
QUALITIES = (80, 60, 40, 20)


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    name: str
    uri: str
    width: int
    height: int
    detail: str = ""
    shrunk: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One image of the page.

    Attributes:
        number: its row in the manifest, from 1; ids and paths may name a patient.
        findings: all of them, where it has several.
        reason: why it cannot be read, empty where it can.
        facts: what in the header of a DICOM decided.
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
    """One image with all that becomes of it in `epochs` epochs, or `why` it cannot be read, which
    may be known."""
    record, names = manifest.records[row], manifest.labels.outputs
    found = [n for n, value in zip(names, record.target, strict=True) if value == 1]
    findings = ", ".join(found) if len(found) > 1 else ""
    try:
        if why:
            raise ImageError(why)
        facts, steps = _read(manifest.root, record.path, preprocessing)
        # as training reads it, which may be a reduced image
        pixels = preprocessing.read_whole(
            manifest.root, record.path, at_least_px=preprocessing.needs_px
        )
        stages = list(preprocessing.stages(pixels))
    except ImageError as error:
        return Shown(number=row + 1, findings=findings, reason=pseudonymised(str(error)))
    for (name, done), (following, _) in zip(stages, [*stages[1:], ("", None)], strict=True):
        # where nothing comes between, the final image shows the same
        if (name, following) != ("resized", "final"):
            steps.append(picture(name, done, _size(done)))
    final = torch.from_numpy(stages[-1][1].transpose(2, 0, 1).copy())[None]
    keys = image_keys(manifest.with_records([record]))
    augmented = []
    for epoch in range(epochs):
        moved = augment(unit_range(final), keys, augmentation, seed=seed, epoch=epoch)
        values = (moved[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
        augmented.append(picture(f"epoch {epoch + 1}", values))
    return Shown(number=row + 1, findings=findings, facts=facts, steps=steps, augmented=augmented)


def _read(
    root: Path, path: str, preprocessing: Preprocessing
) -> tuple[dict[str, str], list[Picture]]:
    """The image as its file holds it, at full size; a DICOM with all that its header asks for."""
    # first, since it knows a reason for every damage
    pixels = preprocessing.read_whole(root, path)
    if ".npz#" not in path and is_dicom(data := read_file(root / path)):
        from medcnn.images.dicom_chain import explained

        facts, stages = explained(data, window=preprocessing.window, frames=preprocessing.frames)
        facts["size"] = _size(pixels)
        return facts, [picture(s.name, s.pixels, f"{s.low:.5g} to {s.high:.5g}") for s in stages]
    return {}, [picture("as read", pixels, _size(pixels))]


def _size(pixels: Pixels) -> str:
    return f"{pixels.shape[1]} × {pixels.shape[0]} px"


def picture(name: str, pixels: Pixels, detail: str = "") -> Picture:
    """A small copy of pixels [H, W, C] within the page."""
    shrunk = max(pixels.shape[:2]) > THUMBNAIL_PX
    if shrunk:
        pixels = contained(pixels, THUMBNAIL_PX)
    values = narrowed(pixels)
    if (values == values[:, :, :1]).all():
        values = values[:, :, :1]
    height, width, channels = values.shape
    image = Image.fromarray(values if channels == 3 else values[:, :, 0])
    kind = "png" if max(height, width) <= PLAIN_PX else "jpeg"
    for quality in QUALITIES if kind == "jpeg" else (None,):
        content = encoded(image, kind, **({"quality": quality} if quality else {}))
        if len(content) * 3 // 4 <= MOST_BYTES:
            break
    uri = address(kind, content)
    return Picture(name=name, uri=uri, width=width, height=height, detail=detail, shrunk=shrunk)
