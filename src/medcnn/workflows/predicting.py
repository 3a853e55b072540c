"""`predict`: a folder or a file of new images -> a table of probabilities and decisions."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import torch

from medcnn import checkpoint as checkpoints
from medcnn.config import PredictConfig
from medcnn.datasets import IMAGE_SUFFIXES
from medcnn.errors import DataError, UsageError
from medcnn.files import replacing, write_text
from medcnn.inference import autocast_dtype, pick_device, predict
from medcnn.labels import LabelSpace
from medcnn.loading.pixel_store import open_store
from medcnn.manifest import Manifest, Record
from medcnn.progress import log

# Bounds memory: a folder may hold any number of images.
IMAGES_AT_ONCE = 1024


def predict_images(config: PredictConfig) -> Path:
    """Write one row per image to `output`, unreadable images included with their reason.

    Raises:
        UsageError: nothing to read, or `output` exists.
        DataError: more images were unreadable than `max_unreadable`; the table is written first.
    """
    output = Path(config.output)
    if output.suffix != ".csv":
        raise UsageError(f"output={output}: the table is a .csv file; name it so.")
    for place in (output, output.with_suffix(".json")):
        if place.exists():
            raise UsageError(f"{place} exists; nothing is overwritten, name another output=.")
    if config.threads:
        torch.set_num_threads(config.threads)
    device = pick_device(config.device)
    checkpoint, classifier = checkpoints.load(Path(config.checkpoint), device)
    root, paths = images_in(Path(config.input))
    provenance = checkpoints.provenance_of(Path(config.checkpoint))
    names = ["image_id", *(f"probability:{n}" for n in checkpoint.labels.names)]
    unreadable: list[tuple[str, str]] = []
    with replacing(output) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*names, *checkpoint.readout.said_columns, "unreadable"])
        writer.writeheader()
        for first in range(0, len(paths), IMAGES_AT_ONCE):
            manifest = unlabelled(root, paths[first : first + IMAGES_AT_ONCE], checkpoint.labels)
            predictions = predict(
                classifier,
                open_store(manifest, checkpoint.preprocessing, cache="off"),
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
    header = {
        "labels": labels.to_json(),
        "readout": checkpoint.readout.to_json(),
        "decision": checkpoint.readout.rule(labels),
    }
    write_text(output.with_suffix(".json"), json.dumps({**header, **provenance}, indent=2) + "\n")
    log.info(f"{len(paths) - len(unreadable):,} of {len(paths):,} images predicted: {output}")
    log.info(f"decision: {checkpoint.readout.rule(labels)}")
    if len(unreadable) > config.max_unreadable:
        shown = "; ".join(f"{i}: {why}" for i, why in unreadable[:5])
        raise DataError(
            f"{len(unreadable)} of {len(paths)} images cannot be read ({shown}). They have a row "
            f"with the reason in {output} and no probability; max_unreadable={len(unreadable)} "
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
    if not source.is_dir():
        raise UsageError(f"input={source}: no such file or folder.")
    files = [p for p in source.rglob("*") if p.is_file() and not p.name.startswith(".")]
    found = sorted(p.relative_to(source).as_posix() for p in files if _may_be_image(p))
    if len(found) < len(files):
        log.info(f"{len(files) - len(found):,} files are passed over: no ending of an image")
    if not found:
        endings = " ".join(sorted(IMAGE_SUFFIXES))
        raise UsageError(f"input={source}: no image in it or below it (looked for {endings}).")
    return source, found


def _may_be_image(file: Path) -> bool:
    """By its ending; a file without one, as archives export them, by the mark of a DICOM (PS3.10
    7.1)."""
    if file.suffix.lower() in IMAGE_SUFFIXES:
        return True
    # the last part of a UID looks like an ending: 1.2.840.113619
    if file.suffix and not file.suffix[1:].isdigit():
        return False
    with file.open("rb") as opened:
        return opened.read(132)[128:] == b"DICM"
