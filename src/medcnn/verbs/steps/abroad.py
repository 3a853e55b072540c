"""The page that compares another hospital with home, from an evaluation there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from pathlib import Path

import numpy as np

from medcnn.models import checkpoint as checkpoints
from medcnn.models.appearance import Watcher
from medcnn.models.deployed import sha256_together
from medcnn.models.inference import autocast_dtype, pick_device
from medcnn.pages.external_page import External, external_page, sentences_of
from medcnn.pages.shifted import copies_text
from medcnn.pixels.pixel_store import PixelStore
from medcnn.places import checkpoints_at
from medcnn.statistics.predictions import Predictions
from medcnn.statistics.recalibration import recalibrations
from medcnn.statistics.scores import evaluate
from medcnn.statistics.transport import COMPARED, cuts, prevalences, transported
from medcnn.system.errors import DataError
from medcnn.system.files import write_json, write_text
from medcnn.system.progress import log, working
from medcnn.system.run_folder import RunFolder
from medcnn.verbs.evaluate import Judged
from medcnn.verbs.external import ExternalConfig
from medcnn.verbs.steps.familiar import FeaturesAt, features_by
from medcnn.verbs.steps.old_images import old_images
from medcnn.verbs.steps.shift import shift_of

INTERCEPT = "calibration_intercept"


def refuse_other_model(config: ExternalConfig) -> None:
    """Raises DataError, before anything is evaluated, if home's predictions say that another
    checkpoint made them."""
    paths = checkpoints_at(Path(config.checkpoint))
    hashes = [str(checkpoints.provenance_of(path)["checkpoint_sha256"]) for path in paths]
    mine = hashes[0] if len(hashes) == 1 else sha256_together(hashes)
    other = Predictions.read(config.home).provenance.get("checkpoint_sha256", mine)
    if other != mine:
        raise DataError(
            f"{config.home} was made by another checkpoint (SHA-256 {str(other)[:12]}...) than "
            f"checkpoint={config.checkpoint} ({mine[:12]}...), so any difference might be one "
            "between the models. Set internal=RUN, the folder of an evaluation of this checkpoint "
            "at home."
        )


def held_against_home(config: ExternalConfig, run: RunFolder, judged: Judged) -> None:
    """Write `external.html` and `external.json`.

    Raises:
        DataError: home's predictions have other classes.
    """
    home, here = Predictions.read(config.home), judged.predictions
    if home.labels != here.labels:
        raise DataError(
            f"{config.home} predicts {', '.join(home.labels.names)}, and the checkpoint "
            f"{', '.join(here.labels.names)}: internal=RUN names the wrong run."
        )
    manifest, checkpoint = judged.manifest, judged.checkpoint
    path, *others = checkpoints_at(Path(config.checkpoint))
    watcher = Watcher(checkpoint.appearance)
    rows = np.arange(len(manifest.records))
    watcher.look(judged.store, [r.image_id for r in manifest.records], rows)
    images = old_images(path, checkpoint, config.old_data)
    with working("comparing the two hospitals"):
        alone = [evaluate(p, seed=config.seed, names=COMPARED) for p in (home, here)]
        found = External(
            source=manifest.source,
            group_noun=manifest.group_noun if manifest.grouped else "image",
            margin=config.margin,
            images=(len(home.image_ids), len(here.image_ids)),
            groups=(len(set(home.groups)), len(set(here.groups))),
            differences=tuple(transported(home, here, seed=config.seed)),
            alone=alone,
            intercept=None if here.labels.exclusive else alone[1].find(INTERCEPT),
            cuts=tuple(cuts(home, here, config.prevalence)),
            prevalences=tuple(prevalences(home, here, seed=config.seed)),
            recalibrated=tuple(recalibrations(here, seed=config.seed)),
            shift=shift_of(
                *(manifest, judged.store, judged.how, images, checkpoint.labels),
                path.resolve().parent.parent,
                (len(watcher.unlike), watcher.seen),
                rows[np.isin([r.image_id for r in manifest.records], here.image_ids)],
                _seen_by(config, path),
                members=1 + len(others),
            ),
            grades=any(point.grades for point in here.readout.points),
        )
    if found.shift.copies and found.shift.copies.found:
        run.note(copies_text(found.shift))
    title = f"{checkpoint.architecture.backbone} at {manifest.source}"
    write_text(run.path / "external.html", external_page(found, title, run.facts["notes"]))
    content = {
        "schema": 2,
        "sentences": sentences_of(found),
        "margin": config.margin,
        "verdict": found.verdict,
        **{
            name: [asdict(row) for row in getattr(found, name)]
            for name in ("cuts", "prevalences", "recalibrated")
        },
        "differences": [
            asdict(d) | {"intervals": [(e.low, e.high) for e in found.own(d)]}
            for d in found.differences
        ],
        "told_apart": asdict(found.shift.apart) if found.shift.apart else None,
        "told_apart_by_features": asdict(found.shift.features) if found.shift.features else None,
        "copies": asdict(found.shift.copies) if found.shift.copies else None,
    }
    write_json(run.path / "external.json", content)
    for sentence in sentences_of(found):
        log.info(sentence)
    log.info(f"external: {run.path / 'external.html'}")


def _seen_by(config: ExternalConfig, path: Path) -> Callable[[PixelStore], FeaturesAt]:
    """The features that a checkpoint sees in images; of an ensemble, its first member."""
    device = pick_device(config.device)
    loaded = cache(lambda: checkpoints.load(path, device))

    def seen(store: PixelStore) -> FeaturesAt:
        described, classifier = loaded()
        dtype = autocast_dtype(described.precision(config.precision), device)
        return features_by(classifier, store, device, dtype)

    return seen
