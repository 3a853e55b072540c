"""`predict`: a folder or a file of new images -> a table of probabilities and decisions."""

from __future__ import annotations

import csv
import json
from pathlib import Path, PurePosixPath

import numpy as np
import torch

from medcnn.config import PredictConfig
from medcnn.data.labels import LabelSpace
from medcnn.data.manifest import Manifest, Record
from medcnn.data.own.joining import IMAGE_SUFFIXES, is_image, walked
from medcnn.models import checkpoint as checkpoints
from medcnn.models.inference import autocast_dtype, pick_device, predict
from medcnn.pixels.pixel_store import open_store
from medcnn.places import check
from medcnn.system.errors import DataError, UsageError, private
from medcnn.system.files import replacing, write_text
from medcnn.system.progress import log
from medcnn.verbs.datasets import read_as

# Bounds memory: a folder may hold any number of images, of any size.
BYTES_AT_ONCE = 256 << 20
# What a PACS exports beside images, as its reader names it: DICOMDIR, reports, doses, masks.
NO_IMAGE = "not a classifiable image"


def predict_images(config: PredictConfig) -> Path:
    """Write one row per image to `output`, unreadable images included with their reason.

    Raises:
        UsageError: nothing to read, or `output` exists.
        DataError: more images were unreadable than `max_unreadable`; the table is written first.
            Objects of DICOM that are no images have their row and do not count.
    """
    output = Path(config.output)
    check(config)
    if config.threads:
        torch.set_num_threads(config.threads)
    device = pick_device(config.device)
    checkpoint, classifier = checkpoints.load(Path(config.checkpoint), device)
    root, paths = images_in(Path(config.input))
    provenance = checkpoints.provenance_of(Path(config.checkpoint))
    names = ["image_id", *(f"probability:{n}" for n in checkpoint.labels.names)]
    unreadable: list[tuple[str, str]] = []
    how = read_as(checkpoint.preprocessing, config.data, log.warning)
    at_once = max(64, BYTES_AT_ONCE // (how.channels * how.size_px**2 * how.dtype.itemsize))
    with (
        replacing(output) as temporary,
        # a file name may be no text at all: it is written as what Python can write of it
        temporary.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file,
    ):
        writer = csv.DictWriter(file, [*names, *checkpoint.readout.said_columns, "unreadable"])
        writer.writeheader()
        for first in range(0, len(paths), at_once):
            manifest = unlabelled(root, paths[first : first + at_once], checkpoint.labels)
            predictions = predict(
                classifier,
                open_store(manifest, how, cache="off"),
                manifest,
                np.arange(len(manifest.records)),
                split="new",
                flips=checkpoint.flips,
                batch_size=config.batch_size,
                device=device,
                dtype=autocast_dtype(checkpoint.precision(config.precision), device),
                readout=checkpoint.readout,
            )
            writer.writerows(predictions.new_rows())
            unreadable += predictions.unreadable
    labels = checkpoint.labels
    failed = [(i, why) for i, why in unreadable if not why.startswith(NO_IMAGE)]
    header = {
        "labels": labels.to_json(),
        "readout": checkpoint.readout.to_json(),
        "decision": checkpoint.readout.rule(labels),
        "images": len(paths),
        "read_with": {"window": how.window, "frames": str(how.frames)},
        "unreadable": len(failed),
        "no_images": len(unreadable) - len(failed),
    }
    write_text(output.with_suffix(".json"), json.dumps({**header, **provenance}, indent=2) + "\n")
    log.info(f"{len(paths) - len(unreadable):,} of {len(paths):,} images predicted: {output}")
    if len(failed) < len(unreadable):
        log.info(f"{len(unreadable) - len(failed):,} are no images, as the table says of each")
    log.info(f"decision: {checkpoint.readout.rule(labels)}")
    if len(failed) > config.max_unreadable:
        shown = "; ".join(f"{private(i)}: {why}" for i, why in failed[:5])
        raise DataError(
            f"{len(failed)} of {len(paths)} images cannot be read ({shown}). They have a row "
            f"with the reason in {output} and no probability; max_unreadable={len(failed)} "
            "accepts that."
        )
    return output


def unlabelled(root: Path, paths: list[str], labels: LabelSpace) -> Manifest:
    target = labels.not_assessed
    records = (Record(image_id=p, path=p, group=p, target=target) for p in paths)
    return Manifest(
        source=str(root), root=root, labels=labels, records=tuple(records), group_noun="image"
    )


def images_in(source: Path) -> tuple[Path, list[str]]:
    """The root and the paths of all images below it, sorted; or of the one file."""
    if source.is_file():
        return source.parent, [source.name]
    files = sorted(walked(source))
    found = [p for p in files if _may_be_image(source, p)]
    if len(found) < len(files):
        log.info(f"passed over for want of an image's ending: {len(files) - len(found):,}")
    if not found:
        endings = " ".join(sorted(IMAGE_SUFFIXES))
        raise UsageError(f"input={source}: no image in it or below it (looked for {endings}).")
    return source, found


def _may_be_image(root: Path, path: str) -> bool:
    """Also a pipe or a link to nowhere that is called one: it gets a row that says so."""
    named = PurePosixPath(path).suffix.lower() in IMAGE_SUFFIXES
    return named or ((root / path).is_file() and is_image(root, path))
