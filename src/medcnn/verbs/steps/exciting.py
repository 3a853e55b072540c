"""Which images of a data set excite the channels of a network most, and how its layers learn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from medcnn.config import Choice
from medcnn.data.manifest import Manifest, Split
from medcnn.data.matching import in_words_of, matched_targets
from medcnn.images.frame import Box
from medcnn.images.resizing import narrowed
from medcnn.models.deployed import Model
from medcnn.models.receptive import fields_of, part_seen
from medcnn.pages.looking import Example
from medcnn.pages.pictures import address, encoded
from medcnn.pixels.batches import batches, epoch_order
from medcnn.pixels.pixel_store import PixelStore
from medcnn.system.errors import DataError
from medcnn.system.progress import track
from medcnn.training.tasks import task_of
from medcnn.training.watching import IMAGES, watched
from medcnn.verbs.steps.datasets import pixels_of, read_as
from medcnn.verbs.steps.judged_images import chosen_split, own_data
from medcnn.verbs.steps.looking import stages

if TYPE_CHECKING:
    from medcnn.verbs.look import LookConfig

# Images that are searched, how many of them go through the network at once, and how many of
# each channel are shown, each of another patient.
MOST_IMAGES, AT_ONCE, EXAMPLES = 2_000, 16, 3
SIDE_PX = 160
Channels = Mapping[str, Sequence[int]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Others:
    """Attributes:
    targets: [N, K] in the order of the model's classes.
    rows: of the readable images that are searched.
    of: how many of the split could be read.
    """

    manifest: Manifest
    store: PixelStore
    targets: NDArray[np.float32]
    rows: NDArray[np.int64]
    split: str
    of: int


def others_of(config: LookConfig, model: Model, note: Callable[[str], None]) -> Others | None:
    """The images to search; None if none are requested.

    Raises:
        UsageError: the location of the images is not known, or there is no such split.
        DataError: the data are refused.
    """
    own = config.data is None
    if config.split == "none" or (config.split == "auto" and own and not config.moved):
        return None
    path, checkpoint = Path(config.checkpoint), model.checkpoint
    data = config.data or own_data(path, checkpoint, config.moved)
    split = "validation" if config.split == "auto" and own else str(config.split)
    manifest, split = chosen_split(split, checkpoint, data, note, own=own)
    if not own:
        manifest = in_words_of(checkpoint.labels, manifest, data.names)
        if config.split == "auto":  # even if there is a test split: that is for the last look
            known = any(r.split is Split.VALIDATION for r in manifest.records)
            split = "validation" if known else "all"
    rows = manifest.rows(split)
    how = read_as(checkpoint.preprocessing, data, note, [])
    store = pixels_of(manifest, how, data, note, max_bad=len(manifest.records))
    readable = store.readable(rows)
    if not len(readable):
        raise DataError(f"split={split}: {manifest.source} has no readable image there.")
    return Others(
        manifest=manifest,
        store=store,
        targets=matched_targets(checkpoint.labels, manifest),
        rows=np.sort(epoch_order(readable, seed=0, epoch=0)[:MOST_IMAGES]),
        split=split,
        of=len(readable),
    )


def exciting(model: Model, others: Others, channels: Channels) -> dict[str, list[list[Example]]]:
    """Examples of each channel, by the name of its stage; none if all images excite it alike."""
    values: dict[str, list[torch.Tensor]] = {name: [] for name in channels}
    places: dict[str, list[torch.Tensor]] = {name: [] for name in channels}
    counts: dict[str, tuple[int, int]] = {}
    coming = batches(others.store, others.targets, others.rows, AT_ONCE, device=model.device)
    for batch in track(coming, -(-len(others.rows) // AT_ONCE), "images"):
        for name, maps in stages(model.classifier, batch.images):
            if name in channels:
                counts[name] = (maps.shape[2], maps.shape[3])
                best = maps[:, list(channels[name])].flatten(2).max(2)
                values[name].append(best.values.cpu())
                places[name].append(best.indices.cpu())
    fields = fields_of(model.checkpoint.architecture, len(model.labels.outputs))
    found: dict[str, list[list[Example]]] = {}
    for name in counts:
        value, place = torch.cat(values[name]).numpy(), torch.cat(places[name]).numpy()

        def part(number: int, name: str = name) -> Box | None:
            at = divmod(number, counts[name][1])
            side = model.preprocessing.size_px
            return part_seen(fields, name, counts[name], at, side)

        found[name] = [
            [
                _example(model, others, int(others.rows[i]), float(of[i]), part(int(at[i])))
                for i in _first(of, others)
            ]
            for of, at in zip(value.T, place.T, strict=True)
        ]
    return found


def _first(values: NDArray[np.float32], others: Others) -> list[int]:
    """Positions of the highest values, each from a different patient."""
    if values.max() == values.min():
        return []
    chosen: dict[str, int] = {}
    for i in np.argsort(-values, kind="stable").tolist():
        group = others.manifest.records[others.rows[i]].group
        if group not in chosen:
            chosen[group] = i
        if len(chosen) == EXAMPLES:
            break
    return [*chosen.values()]


def _example(model: Model, others: Others, row: int, value: float, part: Box | None) -> Example:
    """The image as the network sees it with a frame around `part`, and beside it the part alone,
    unless `part` is the whole image or not known."""
    targets = others.targets[row : row + 1]
    truth = "not assessed"
    if not np.isnan(targets).all():
        truth = model.labels.decision_texts(targets == 1)[0] or "none"
    upright = narrowed(np.moveaxis(others.store.take(np.array([row]))[0], 0, 2))
    whole = Image.fromarray(np.ascontiguousarray(np.broadcast_to(upright, (*upright.shape[:2], 3))))
    times, size = SIDE_PX / whole.width, (SIDE_PX, SIDE_PX)
    seen = f"{part.width}×{part.height} px" if part else "part not known"
    if part and (part.width, part.height) == whole.size:
        part, seen = None, "the whole image"
    sheet = Image.new("RGB", (2 * SIDE_PX, SIDE_PX))
    sheet.paste(whole.resize(size))
    if part:
        ends = (part.left, part.top, part.left + part.width, part.top + part.height)
        sheet.paste(whole.crop(ends).resize(_within(part)), (SIDE_PX, 0))
        corners = [min(round(end * times), SIDE_PX - 1) for end in ends]
        ImageDraw.Draw(sheet).rectangle(corners, outline="#ffd400", width=2)
    else:
        sheet = sheet.crop((0, 0, *size))
    return Example(
        uri=address("jpeg", encoded(sheet, "jpeg", quality=80)),
        width=sheet.width,
        height=sheet.height,
        value=value,
        truth=truth,
        image_id=others.manifest.records[row].image_id,
        part=seen,
    )


def _within(part: Box) -> tuple[int, int]:
    longest = max(part.width, part.height)
    return max(1, SIDE_PX * part.width // longest), max(1, SIDE_PX * part.height // longest)


def flow(model: Model, others: Others) -> dict[str, float]:
    """Dead ReLUs and gradients of each layer, as `trainer.watch` writes them in training, for some
    of the images and with the loss of the training; empty without labels."""
    labelled = others.rows[~np.isnan(others.targets[others.rows]).all(axis=1)]
    if not len(labelled):
        return {}
    training = model.checkpoint.training
    loss, epochs = training.get("loss", {}), training.get("trainer", {}).get("epochs", 1)
    known = others.manifest.rows(Split.TRAIN)
    task = task_of(
        model.labels,
        Choice(name=str(loss.get("name", "auto")), options=dict(loss.get("options", {}))),
        "auto",
        others.targets[known if len(known) else labelled],
        epochs=int(epochs or 1),
    )
    order = np.sort(epoch_order(labelled, seed=0, epoch=0)[:IMAGES])
    batch = next(batches(others.store, others.targets, order, IMAGES, device=model.device))
    classifier = model.classifier.requires_grad_()
    return watched(classifier, task, batch.images, batch.targets, int(epochs or 1))
