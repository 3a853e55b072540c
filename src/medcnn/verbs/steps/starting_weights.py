"""The starting weights of a training, and what its run folder and checkpoints say about them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from medcnn.config import ModelConfig
from medcnn.data.manifest import Manifest, Split
from medcnn.models import checkpoint as checkpoints
from medcnn.models.backbones import Body, Normalisation
from medcnn.models.checkpoint import Checkpoint
from medcnn.models.weights import Origin, checkpoint_at, load_weights
from medcnn.system.privacy import pseudonym
from medcnn.system.progress import log
from medcnn.system.run_facts import versions
from medcnn.system.run_folder import RunFolder

KNOWS_TEST = "the id of an image that the old checkpoint was trained or chosen with"


def begin_with(model: ModelConfig, body: Body, manifest: Manifest, run: RunFolder) -> Origin:
    """Fill the body of the leading process, and write down for all where its weights come from."""

    def load() -> Origin:
        if not run.resumable():
            return load_weights(body, model.backbone, model.weights, model.partial)
        # a resumed state holds the weights; run.json says where they came from
        facts, stored = run.facts, run.facts.get("normalisation")
        own = Normalisation(**{k: tuple(v) for k, v in stored.items()}) if stored else None
        licence = facts.get("weights_licence") or ""
        old = checkpoint_at(model.weights)
        return Origin(bool(facts["pretrained"]), str(facts["weights"]), licence, (), own, old)

    origin = run.ranks.from_leader(load)
    now: dict[str, Any] = {
        "weights": run.written(origin.text),
        "pretrained": origin.pretrained,
        "weights_licence": origin.licence or None,
        "normalisation": asdict(origin.normalisation) if origin.normalisation else None,
    }
    run.facts.update(now)
    said = f"{model.backbone} starts from {origin.text}"
    if model.weights == "auto" and not origin.pretrained:
        run.note(said)
    else:
        log.info(said)
    for note in origin.notes:
        run.note(note)
    if origin.checkpoint is not None:
        note_what_it_knows(origin.checkpoint, manifest, run)
    return origin


def note_what_it_knows(old: Checkpoint, manifest: Manifest, run: RunFolder) -> None:
    """Note which images of this data set the checkpoint that a training begins with was trained
    on, and under which licence the weights are that it began with itself."""
    unknown = old.other_key(manifest)
    if unknown:
        run.note(checkpoints.OTHER_KEY)
    seen = int(old.trained_on(manifest)[manifest.rows(Split.TEST)].sum())
    run.facts["trained_before"] = {"shared_images": None if unknown else seen}
    if seen:
        run.note(
            f"{seen} test images have {KNOWS_TEST}, so the body may know them and scores on "
            "them are too good. Keep those images out of test with a split column of your own."
        )
    run.facts["weights_licence"] = old.provenance.get("weights_licence")


def provenance_for(
    run: RunFolder, manifest: Manifest, old: Checkpoint | None = None
) -> dict[str, Any]:
    """What a checkpoint says of its making; `old` is the one that the training begins with."""
    parents: dict[str, Any] = {}
    if old is not None:
        before = {k: v for k, v in old.provenance.items() if k != "parents"}
        parents = {"parents": [before, *old.lineage[1:]]}
    return parents | {
        "medcnn": run.facts["medcnn"],
        "versions": versions(),
        "source": manifest.source,
        "manifest": manifest.fingerprint(),
        "made_with": sorted(
            checkpoints.digest_of(r) for r in manifest.records if r.split is not Split.TEST
        ),
        "pseudonym_key": pseudonym("", "key") if manifest.records[0].origin else None,
        "weights": run.facts.get("weights", "another medcnn checkpoint"),
        "weights_licence": run.facts.get("weights_licence"),
        "started": run.facts["started"],
        "fine_tuned": "trained_before" in run.facts,
        "audit_warned": run.facts.get("audit", {}).get("warned"),
    }
