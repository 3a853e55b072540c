"""`predict`: a folder or a file of new images -> a table of probabilities and decisions."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import torch

from medcnn.config import PredictConfig
from medcnn.models.deployed import load_model
from medcnn.models.inputs import files_of, images_in
from medcnn.places import check
from medcnn.system.errors import DataError, private
from medcnn.system.files import replacing, write_text
from medcnn.system.progress import log

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
    model = load_model(config.checkpoint, device=config.device, precision=config.precision)
    checkpoint = model.checkpoint
    root, paths = images_in(Path(config.input))
    names = [f"probability:{n}" for n in checkpoint.labels.names]
    columns = ["image_id", *names, *checkpoint.readout.said_columns, "unreadable"]
    unreadable: list[tuple[str, str]] = []
    with (
        replacing(output) as temporary,
        # a file name may be no text at all: it is written as what Python can write of it
        temporary.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file,
    ):
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        for part in files_of(root, paths, model.labels, model.preprocessing):
            predictions = model.said_new(part, config.batch_size)
            writer.writerows(predictions.new_rows())
            unreadable += predictions.unreadable
    labels = checkpoint.labels
    failed = [(i, why) for i, why in unreadable if not why.startswith(NO_IMAGE)]
    header = {
        "labels": labels.to_json(),
        "readout": checkpoint.readout.to_json(),
        "decision": checkpoint.readout.rule(labels),
        "images": len(paths),
        "unreadable": len(failed),
        "no_images": len(unreadable) - len(failed),
    }
    write_text(
        output.with_suffix(".json"), json.dumps({**header, **model.provenance}, indent=2) + "\n"
    )
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
