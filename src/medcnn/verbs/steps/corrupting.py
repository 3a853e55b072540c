"""The same images, worse and worse: the answers in each grade, and what is written about them."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medcnn.models.classifier import unit_range
from medcnn.models.deployed import Model, load_model
from medcnn.models.inference import logits_of
from medcnn.pages.robustness_page import Robust, Spoilt, robustness_page, sentences_of, table_text
from medcnn.pages.way import picture
from medcnn.pixels.batches import batches, image_keys, num_batches
from medcnn.statistics.ensembles import mean_of
from medcnn.statistics.metrics.table import METRICS, metric_for
from medcnn.statistics.predictions import Predictions
from medcnn.statistics.robustness import Robustness, robustness
from medcnn.system.files import write_json, write_text
from medcnn.system.progress import log, track, working
from medcnn.system.run_folder import RunFolder
from medcnn.training.corruption_grades import MOVES, TITLES, amount_text, grades_of
from medcnn.training.corruptions import corrupted
from medcnn.verbs.evaluate import Judged
from medcnn.verbs.robustness import RobustnessConfig

Grades = Mapping[str, Sequence[Any]]


def spoilt_and_judged(config: RobustnessConfig, run: RunFolder, judged: Judged) -> None:
    """Write `robustness.html`, `.json` and `.csv`.

    Raises:
        UsageError: the score is not defined for this kind of label.
    """
    metric_for(config.score, judged.predictions.labels.kind)  # before an hour of work
    clean = some_patients(judged.predictions, config.max_images, config.seed)
    grades = grades_of(judged.manifest.modality, config.kinds)
    model = load_model(config.checkpoint, device=config.device, precision=config.precision)
    spoilt, same = answers(model, judged, clean, grades, config.seed, config.batch_size)
    with working("scores"):
        found = robustness(clean, spoilt, config.score, moves=MOVES, seed=config.seed)
    manifest, ((plain,), *strips) = judged.manifest, pictures(judged, clean, grades, config.seed)
    page = Robust(
        source=manifest.source,
        split=clean.split,
        group_noun=manifest.group_noun if manifest.grouped else "image",
        title=METRICS[config.score].title,
        images=(len(clean.image_ids), len(judged.predictions.image_ids)),
        groups=len(set(clean.groups)),
        size_px=judged.store.shape[-1],
        found=found,
        kinds=tuple(
            Spoilt(
                title=TITLES[kind],
                move=kind in MOVES,
                amounts=tuple(amount_text(kind, a) for a in amounts),
                pictures=tuple(strip),
                unchanged=tuple(same[kind, grade] for grade in range(len(amounts))),
            )
            for (kind, amounts), strip in zip(grades.items(), strips, strict=True)
        ),
        plain=plain,
    )
    network = judged.checkpoint.architecture.backbone
    if model.members:
        network = f"an ensemble of {len(model.members)} {network}"
    title = f"Robustness of {network} on {manifest.source}"
    write_text(run.path / "robustness.html", robustness_page(page, title, run.facts["notes"]))
    write_json(run.path / "robustness.json", _json(page, config.seed))
    write_text(run.path / "robustness.csv", _csv(found, page))
    print(table_text(page))
    for sentence in sentences_of(page):
        log.info(sentence)
    log.info(f"robustness: {run.path / 'robustness.html'}")


def some_patients(p: Predictions, most: int | None, seed: int) -> Predictions:
    """All images of random patients, at most `most` images together; at least one patient."""
    if most is None or len(p.image_ids) <= most:
        return p
    # by first appearance, since pseudonyms would make the draw depend on a secret key
    images = Counter(p.groups)
    names = list(images)
    order = [names[i] for i in np.random.default_rng(seed).permutation(len(names))]
    ends = accumulate(images[name] for name in order)
    chosen = {order[0], *(name for name, end in zip(order, ends, strict=True) if end <= most)}
    return p.only([i for i, group in enumerate(p.groups) if group in chosen])


def answers(
    model: Model, judged: Judged, clean: Predictions, grades: Grades, seed: int, batch_size: int
) -> tuple[dict[str, list[Predictions]], Counter[tuple[str, int]]]:
    """Answers to the images of `clean` in each grade of each kind, and how many images each grade
    (from 0) leaves as they are. Each batch is read once, and corrupted between preprocessing and
    normalisation, on the levels of the network's input."""
    members = model.members or (model,)
    rows, keys = _rows(judged, clean), image_keys(judged.manifest)
    coming = batches(judged.store, judged.manifest.targets(), rows, batch_size, device=model.device)
    logits: dict[tuple[str, int, int], list[NDArray[np.float32]]] = {}
    same: Counter[tuple[str, int]] = Counter()
    steps = ((batch, kind) for batch in coming for kind in grades)
    total = num_batches(len(rows), batch_size) * len(grades)
    for batch, kind in track(steps, total, "corrupted batches"):
        images = unit_range(batch.images)
        spoilt = corrupted(kind, images, grades[kind], keys[batch.rows], seed)
        for grade, worse in enumerate(spoilt):
            levels = as_levels(worse, batch.images.dtype)
            same[kind, grade] += int((levels == batch.images).flatten(1).all(dim=1).sum())
            for at, member in enumerate(members):
                found = logits_of(member.classifier, levels, member.checkpoint.flips, member.dtype)
                logits.setdefault((kind, grade, at), []).append(found)

    def said(kind: str, grade: int) -> Predictions:
        each = [
            replace(
                clean,
                readout=member.readout,
                logits=np.concatenate(logits[kind, grade, at]),
                looks=None,
                disagreement=None,
            )
            for at, member in enumerate(members)
        ]
        return mean_of(each, model.readout, clean.provenance) if model.members else each[0]

    values = {
        kind: [said(kind, grade) for grade in range(len(amounts))]
        for kind, amounts in grades.items()
    }
    return values, same


def as_levels(images: Tensor, dtype: torch.dtype) -> Tensor:
    """Images in 0..1 as the integers that a file would hold."""
    return (images * torch.iinfo(dtype).max).round().to(torch.int32).to(dtype)


def pictures(judged: Judged, clean: Predictions, grades: Grades, seed: int) -> list[list[Any]]:
    """The first image unchanged, and in each grade of each kind."""
    row = _rows(judged, clean)[:1]
    image, keys = unit_range(torch.from_numpy(judged.store.take(row))), image_keys(judged.manifest)
    return [[picture("as it is", _levels(image))]] + [
        [
            picture(f"grade {grade}", _levels(worse), amount_text(kind, amount))
            for grade, (amount, worse) in enumerate(
                zip(amounts, corrupted(kind, image, amounts, keys[row], seed), strict=True), start=1
            )
        ]
        for kind, amounts in grades.items()
    ]


def _levels(image: Tensor) -> NDArray[np.uint8]:
    return as_levels(image[0].permute(1, 2, 0), torch.uint8).numpy()


def _rows(judged: Judged, clean: Predictions) -> NDArray[np.int64]:
    row_of = {record.image_id: row for row, record in enumerate(judged.manifest.records)}
    return np.array([row_of[i] for i in clean.image_ids], dtype=np.int64)


def _json(page: Robust, seed: int) -> dict[str, Any]:
    found = page.found
    return {
        "schema": 1,
        "sentences": sentences_of(page),
        "score": found.clean.name,
        "seed": seed,
        "images": page.images[0],
        "groups": page.groups,
        "clean": found.clean.to_json(),
        "mean": asdict(found.mean) | {"difference": found.mean.difference} if found.mean else None,
        "kinds": [
            {
                "name": kind.name,
                "change": asdict(kind.change) | {"difference": kind.change.difference},
                "grades": [
                    {
                        "amount": amount,
                        "score": grade.score.to_json(),
                        "change": asdict(grade.change) | {"difference": grade.change.difference},
                        "flips": asdict(grade.flips),
                        "unchanged": same,
                    }
                    for amount, grade, same in zip(
                        spoilt.amounts, kind.grades, spoilt.unchanged, strict=True
                    )
                ],
            }
            for kind, spoilt in zip(found.kinds, page.kinds, strict=True)
        ],
    }


def _csv(found: Robustness, page: Robust) -> str:
    """One row for each grade of each kind; empty if there is no number."""
    ends = ("", "_low", "_high")
    head = [f"{what}{end}" for what in ("score", "difference", "flips") for end in ends]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["kind", "grade", "amount", *head, "images", "groups"])
    for kind, spoilt in zip(found.kinds, page.kinds, strict=True):
        for number, (amount, grade) in enumerate(
            zip(spoilt.amounts, kind.grades, strict=True), start=1
        ):
            s, c, f = grade.score, grade.change, grade.flips
            values = (s.value, s.low, s.high, c.difference, c.low, c.high, f.value, f.low, f.high)
            cells = ["" if np.isnan(v) else f"{v:.6f}" for v in values]
            writer.writerow([kind.name, number, amount, *cells, f.count, f.groups])
    return out.getvalue()
