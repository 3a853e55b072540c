"""The gallery of a report: maps of a dozen images, and the checks that show whether they mean
anything. Everything drawn at random has its own seed."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from medcnn.config import Choice
from medcnn.data.manifest import Manifest
from medcnn.data.phantoms.drawing import lesions_of
from medcnn.data.public.marks import marks_of, may_have_marks
from medcnn.images.framing import frame_of
from medcnn.images.resizing import narrowed
from medcnn.models.classifier import Classifier, build_classifier
from medcnn.models.deployed import Model
from medcnn.models.explained import as_large, mean_map
from medcnn.models.explaining import METHODS, Logit, Method, explained
from medcnn.models.parts import parts_of
from medcnn.pages.overlay import highest, overlaid
from medcnn.pages.pictures import encoded
from medcnn.pixels.pixel_store import PixelStore
from medcnn.statistics.cases import Case, cases_of
from medcnn.statistics.map_checks import (
    Check,
    agreement_check,
    near,
    outside_check,
    outside_of,
    pointing_check,
    rank_correlation,
    share_within,
    weights_check,
)
from medcnn.statistics.predictions import Predictions
from medcnn.system.errors import UsageError
from medcnn.system.progress import log, working

# The largest side of a grid on which two maps are compared.
GRID = 8
# Of the squares that occlusion covers in the check: 5 x 5 of them, a third of the side each.
PATCH = 1 / 3
# The body is randomised in so many steps.
STEPS = 3
SIDE_PX = 160


def check_method(how: Choice | None) -> None:
    """Raises UsageError if `how` has an option that its method does not accept."""
    if how:
        METHODS.bind(how.name, how.options)


def gallery(
    model: Model, manifest: Manifest, store: PixelStore, judged: Predictions, how: Choice | None
) -> dict[str, Any]:
    """What `explanations.json` holds; empty if no method is set, no image was assessed, or the
    model has no maps."""
    cases = cases_of(judged) if how else []
    if how is None or not cases:
        return {}
    try:
        with working(f"maps by {how.name}"):
            return _gallery(model, manifest, store, judged, how, cases)
    except UsageError as error:
        log.info(f"the report has no maps: {error}")
    except RuntimeError as error:  # of torch, such as too little memory: the scores are worth more
        log.warning(f"the report has no maps: {str(error).partition(chr(10))[0]}")
    return {}


def _gallery(
    model: Model,
    manifest: Manifest,
    store: PixelStore,
    judged: Predictions,
    how: Choice,
    cases: list[Case],
) -> dict[str, Any]:
    method = METHODS.bind(how.name, how.options)
    row_of = {record.image_id: row for row, record in enumerate(manifest.records)}
    rows = [row_of[judged.image_ids[case.row]] for case in cases]
    pixels = store.take(np.array(rows, np.int64))
    images = torch.from_numpy(pixels).to(model.device)
    parts = model.members or (model,)
    if any(p.checkpoint.architecture != parts[0].checkpoint.architecture for p in parts):
        raise UsageError("its checkpoints have different networks.")
    own = [part.classifier for part in parts]
    maps = _maps(method, own, images, cases, [part.checkpoint.flips for part in parts])
    large = [as_large(one, model.preprocessing.size_px)[0] for one in maps]
    checks = [
        weights_check(_randomised(method, model, images, cases)),
        agreement_check(_agreement(how, own, images, cases)),
        _pointing(model, manifest, rows, judged, cases, maps),
        outside_check([_outside(*pair) for pair in zip(pixels, large, strict=True)]),
    ]
    shown = zip(cases, pixels, large, strict=True)
    return {
        "method": how.name,
        "options": {**METHODS.options(how.name), **how.options},
        "checkpoint_sha256": model.provenance["checkpoint_sha256"],
        "other": _other(how).name,
        "positions": maps[0].shape[1],
        "cases": [_shown(judged, *one) for one in shown],
        "checks": [check.to_json() for check in checks if check],
    }


def _maps(
    method: Method,
    classifiers: Sequence[Classifier],
    images: Tensor,
    cases: list[Case],
    flips: Sequence[str] = (),
) -> list[Tensor]:
    """[1, h, w] of each image, of its own class; of several classifiers the mean."""
    views = flips or [""] * len(classifiers)
    return [
        mean_map(
            [
                explained(method, Logit(classifier=one, output=case.output), image[None], of)
                for one, of in zip(classifiers, views, strict=True)
            ]
        )
        for image, case in zip(images, cases, strict=True)
    ]


def _coarse(maps: list[Tensor], side: int) -> list[NDArray[np.float64]]:
    """On a grid coarse enough that neighbours need not be equal."""
    return [np.nan_to_num(F.adaptive_avg_pool2d(one, side)[0].double().numpy()) for one in maps]


def _compared(left: list[Tensor], right: list[Tensor]) -> list[float]:
    side = min(GRID, left[0].shape[1], right[0].shape[1])
    pairs = zip(_coarse(left, side), _coarse(right, side), strict=True)
    return [rank_correlation(*pair) for pair in pairs]


def _other(how: Choice) -> Choice:
    """A method that shares nothing with `how` but the logit."""
    if how.name == "occlusion":
        return Choice(name="gradcam", options={})
    return Choice(name="occlusion", options={"patch": PATCH})


def _agreement(
    how: Choice, classifiers: Sequence[Classifier], images: Tensor, cases: list[Case]
) -> list[float]:
    other = _other(how)
    both = [
        _maps(METHODS.bind(of.name, of.options), classifiers, images, cases) for of in (how, other)
    ]
    return _compared(*both)


def _randomised(
    method: Method, model: Model, images: Tensor, cases: list[Case]
) -> dict[str, list[float]]:
    """What was randomised -> rank correlation of each map with the trained network's."""
    parts = model.members or (model,)
    trained = _maps(method, [part.classifier for part in parts], images, cases)
    return {
        steps[0][0]: _compared(trained, _maps(method, [one for _, one in steps], images, cases))
        for steps in zip(*(_cascade(part, seed) for seed, part in enumerate(parts)), strict=True)
    }


def _cascade(model: Model, seed: int = 0) -> Iterator[tuple[str, Classifier]]:
    """The classifier with fresh weights from the top on: head, then more and more of the body."""
    with torch.random.fork_rng(), torch.device("cpu"):
        torch.manual_seed(seed)
        outputs = len(model.labels.outputs)
        fresh, _ = build_classifier(model.checkpoint.architecture, outputs)
    classifier = copy.deepcopy(model.classifier)
    own, new = classifier.state_dict(), fresh.state_dict()
    of_part = {
        f"body.{name}".rpartition(".")[0]: number
        for number, names in enumerate(parts_of(classifier.body).values())
        for name in names
    }
    count = 1 + max(of_part.values(), default=0)
    steps = sorted({round(count * step / STEPS) for step in range(STEPS + 1)})
    for step in steps:
        for name, tensor in own.items():
            # what is in no part, such as a pooling that learns, goes with the head
            if of_part.get(name.rpartition(".")[0], count) >= count - step:
                tensor.copy_(new[name])
        if step == count:
            yield "everything", classifier
        else:
            parts = f" and the last {step} of {count} parts of the body" if step else ""
            yield f"head{parts}", classifier


def _pointing(
    model: Model,
    manifest: Manifest,
    rows: list[int],
    judged: Predictions,
    cases: list[Case],
    maps: list[Tensor],
) -> Check | None:
    """Of images whose lesions are known, which are phantoms and those of public sets that come with
    boxes or masks; a hit is at most half a position away."""
    hits, chances = [], []
    for row, case, one in zip(rows, cases, maps, strict=True):
        path = manifest.records[row].path
        there = judged.targets[case.row, case.output] == 1
        name = judged.labels.outputs[case.output]
        if not there:
            continue
        whole = partial(model.preprocessing.read_whole, manifest.root, path)
        lesions = lesions_of(manifest.root, path).get(name)
        if lesions is None and may_have_marks(manifest.root, path):
            lesions = marks_of(manifest.root, path, name, *whole().shape[:2])
        if lesions is None or not lesions.any():
            continue
        frame = frame_of(model.preprocessing, whole())
        values = as_large(one, model.preprocessing.size_px)[0]
        back = frame.back(values, *lesions.shape)
        right = near(lesions, round(frame.part.height / one.shape[1] / 2))
        hits.append(bool(right.flat[np.nanargmax(back)]))
        chances.append(float(right[~np.isnan(back)].mean()))
    return pointing_check(hits, chances)


def _outside(pixels: NDArray[Any], values: NDArray[np.float32]) -> tuple[float, float]:
    where = outside_of(pixels)
    return share_within(values, where), float(where.mean())


def _shown(
    judged: Predictions, case: Case, pixels: NDArray[Any], values: NDArray[np.float32]
) -> Mapping[str, Any]:
    """The image as the network saw it, and beside it the same with its map."""
    labels, row = judged.labels, slice(case.row, case.row + 1)
    upright = narrowed(np.moveaxis(pixels, 0, 2))
    plain = np.broadcast_to(upright, (*upright.shape[:2], 3))
    picture = Image.fromarray(np.concatenate([plain, overlaid(upright, values)], axis=1))
    picture.thumbnail((2 * SIDE_PX, SIDE_PX))
    assessed = ~np.isnan(judged.targets[row])
    return {
        "kind": case.kind,
        "image_id": judged.image_ids[case.row],
        "line": judged.lines[case.row] if judged.lines else None,
        "truth": labels.decision_texts(judged.targets[row] == 1)[0] or "none",
        "decision": labels.decision_texts(judged.decisions[row] & assessed)[0] or "none",
        "label": labels.outputs[case.output],
        "probability": case.probability,
        "highest": highest(values),
        "jpeg": encoded(picture, "jpeg", quality=85),
    }
