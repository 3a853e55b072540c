"""The images that an old model was trained with, if they are available."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from medcnn.data.manifest import Manifest
from medcnn.images.preprocessing import Preprocessing
from medcnn.models.checkpoint import Checkpoint
from medcnn.pixels.pixel_store import PixelStore
from medcnn.system.errors import DataError, MedcnnError, UsageError
from medcnn.system.progress import hushed, log
from medcnn.verbs.steps.auditing import bad_images
from medcnn.verbs.steps.datasets import pixels_of
from medcnn.verbs.steps.judged_images import chosen_split, own_data


@dataclass(frozen=True, slots=True, kw_only=True)
class OldImages:
    """Images of the old hospital, with the splits of the old training."""

    manifest: Manifest
    store: PixelStore
    preprocessing: Preprocessing


def old_images(path: Path, old: Checkpoint, where: str) -> OldImages | str:
    """The images, or why they are not available.

    Args:
        path: of the old checkpoint; the run folder around it knows where its images are.
        where: `auto`, `none`, or a folder or file that they have moved to.

    Raises:
        UsageError, DataError: they should be at `where` but are not.
    """
    if where == "none":
        return "they were not requested (old_data=none)"
    try:
        return _read(path, old, where)
    except MedcnnError as error:
        if where != "auto":
            fault = UsageError if isinstance(error, UsageError) else DataError
            raise fault(f"old_data={where}: {error}") from error
        return "they are not available (set old_data=FOLDER if they have moved)"


def _read(path: Path, old: Checkpoint, where: str) -> OldImages:
    place = "path" if Path(where).is_file() else "root"
    data = own_data(path, old, {} if where == "auto" else {place: str(Path(where).resolve())})
    said: list[str] = []
    with hushed(logging.WARNING):  # their numbers would be taken for those of the new images
        manifest, _ = chosen_split("test", old, data, said.append, own=True)
    if manifest.fingerprint() != old.provenance.get("manifest"):
        raise DataError(
            "these are not exactly the images, labels and splits that the checkpoint was trained "
            "with, so its test split is not known."
        )
    bad = bad_images(manifest, old.preprocessing, data)
    most = len(manifest.records)
    log.info("the old model's images are available")
    store = pixels_of(manifest, old.preprocessing, data, said.append, bad, max_bad=most)
    return OldImages(manifest=manifest, store=store, preprocessing=old.preprocessing)
