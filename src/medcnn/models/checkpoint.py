"""A checkpoint is data: weights in safetensors, everything else JSON in the same file's header.

`evaluate`, `predict` and `finetune` need only this file and images. Nothing in it is code.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor

from medcnn.config import Precision
from medcnn.data.labels import LabelSpace
from medcnn.data.manifest import Manifest, Modality, Record, Split
from medcnn.images.preprocessing import Preprocessing
from medcnn.models.appearance import Appearance
from medcnn.models.auxiliary import PREFIX
from medcnn.models.backbones import Normalisation
from medcnn.models.classifier import Architecture, Classifier, build_classifier
from medcnn.models.description import faults_of
from medcnn.models.familiarity import PREFIX as FAMILIAR
from medcnn.models.familiarity import Familiarity, stored_familiarity
from medcnn.models.lora import merged
from medcnn.places import require_checkpoint
from medcnn.statistics.decisions import Readout
from medcnn.system import plugins
from medcnn.system.errors import CheckpointError, PluginError, listed
from medcnn.system.files import sha256_of, write_bytes
from medcnn.system.privacy import keyed, pseudonym
from medcnn.system.progress import log

# 2 added the readout; 3 a seal, the SHA-256 of weights and description; 4 poolings; 5 the
# description of usual images.
SCHEMA = 5
# Groups of plug-ins without which nothing can be predicted.
NEEDED = ("backbones", "heads", "steps")
DIGEST_BYTES, SHORT_DIGITS = 12, 8
NEWER = (
    f"checkpoint={{}} has schema {{}}, and this medcnn reads up to {SCHEMA}. It was written by "
    "medcnn {!s:.40}: install that version or a newer one."
)
OTHER_WEIGHTS = (
    "the weights of this checkpoint have changed since it learnt which images are usual, so it "
    "cannot say which ones are unusual."
)
OTHER_KEY = (
    "pseudonyms here are made with a different key from the one used in training, so it is not "
    "known which of these images the checkpoint was trained on (see MEDCNN_PSEUDONYM_KEY_FILE)."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """What is stored with the weights.

    Attributes:
        readout: how logits become probabilities, decisions and sets; fitted on validation.
        flips: mirrored views whose logits are averaged, a key of `inference.VIEWS`.
        training: the resolved config of the run, without the paths of its images.
        provenance: versions, manifest fingerprint, epoch, validation score, origin of weights.
        appearance: what the training images looked like; None in earlier checkpoints.
        familiar: description of usual images; None if that was turned off, in earlier
            checkpoints, and in those of an epoch that was not chosen.
        plugins: those that the run used, as `plugins.used` returns them.
    """

    labels: LabelSpace
    preprocessing: Preprocessing
    architecture: Architecture
    normalisation: Normalisation
    modality: Modality
    flips: str
    readout: Readout
    training: Mapping[str, Any]
    provenance: Mapping[str, Any]
    appearance: Appearance | None = None
    plugins: tuple[Mapping[str, str], ...] = ()
    familiar: Familiarity | None = field(default=None, compare=False)

    @property
    def lineage(self) -> list[Mapping[str, Any]]:
        """Provenance of this checkpoint, then of those that it was fine-tuned from."""
        return [self.provenance, *self.provenance.get("parents", ())]

    def trained_on(self, manifest: Manifest) -> NDArray[np.bool_]:
        """[N]: which images of a manifest share their id with one that this checkpoint, or one
        before it, was trained or validated on. Another hospital may use the same ids."""
        seen = np.zeros(len(manifest.records), dtype=np.bool_)
        for made in self.lineage:
            known = set(made.get("made_with", ()))
            digest = short_digest_of if any(len(d) == SHORT_DIGITS for d in known) else digest_of
            same = manifest.fingerprint() == made.get("manifest")  # whatever key is in use
            seen |= [
                r.split is not Split.TEST if same else digest(r) in known for r in manifest.records
            ]
        return seen

    def other_key(self, manifest: Manifest) -> bool:
        """Whether pseudonyms here have a different key from those of the training, so that
        `trained_on` recognises no image."""
        fingerprint, here = manifest.fingerprint(), (None, pseudonym("", "key"))
        own = any(r.origin for r in manifest.records)
        others = (made for made in self.lineage if made.get("manifest") != fingerprint)
        return own and any(made.get("pseudonym_key") not in here for made in others)

    def precision(self, asked: Precision) -> Precision:
        """`asked`; for auto that of the training, with which the thresholds were chosen."""
        if asked is not Precision.AUTO:
            return asked
        return Precision(self.training.get("trainer", {}).get("precision", asked))

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "labels": self.labels.to_json(),
            "preprocessing": self.preprocessing.to_json(),
            "architecture": dataclasses.asdict(self.architecture),
            "normalisation": dataclasses.asdict(self.normalisation),
            "modality": self.modality,
            "flips": self.flips,
            "readout": self.readout.to_json(),
            "training": dict(self.training),
            "provenance": dict(self.provenance),
            "appearance": dataclasses.asdict(self.appearance) if self.appearance else None,
            "plugins": list(self.plugins),
            "familiar_weights": self.familiar.weights if self.familiar else None,
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Checkpoint:
        if stored["schema"] == 1:  # which had only thresholds
            readout = Readout.of_thresholds(stored["thresholds"]).to_json()
            stored = {**stored, "readout": readout}
        looks = stored.get("appearance")
        if looks is not None:
            ranges = {name: tuple(pair) for name, pair in looks["ranges"].items()}
            looks = Appearance(images=looks["images"], ranges=ranges)
        normalisation = {k: tuple(v) for k, v in stored["normalisation"].items()}
        return cls(
            labels=LabelSpace.from_json(stored["labels"]),
            preprocessing=Preprocessing.from_json(stored["preprocessing"]),
            architecture=Architecture(**stored["architecture"]),
            normalisation=Normalisation(**normalisation),
            modality=Modality(stored["modality"]),
            flips=stored["flips"],
            readout=Readout.from_json(stored["readout"]),
            training=stored["training"],
            provenance=stored["provenance"],
            appearance=looks,
            plugins=tuple(stored.get("plugins", ())),
        )


def still_needed(old: Checkpoint) -> tuple[dict[str, str], ...]:
    """The plug-ins of network and preprocessing, in the versions installed here."""
    return plugins.used((p["group"], p["name"]) for p in old.plugins if p["group"] in NEEDED)


def digest_of(record: Record) -> str:
    """96 bits that stand for the id of an image, which itself never enters a checkpoint; keyed if
    the id is a hospital's. 90,000 images and 300,000 others collide with a chance of 1 in 3e18."""
    if record.origin:
        return keyed(record.own_id, "trained on", DIGEST_BYTES).hex()
    return hashlib.sha256(record.image_id.encode()).hexdigest()[: 2 * DIGEST_BYTES]


def short_digest_of(record: Record) -> str:
    """As in earlier checkpoints: 32 bits, some of which two large sets will share."""
    return hashlib.sha256(record.image_id.encode()).hexdigest()[:SHORT_DIGITS]


def save(path: Path, classifier: Classifier, checkpoint: Checkpoint) -> None:
    write_bytes(path, serialised(classifier, checkpoint))


def serialised(classifier: Classifier, checkpoint: Checkpoint) -> bytes:
    """The content of a checkpoint file."""
    tensors = weights_of(classifier)
    if checkpoint.familiar:
        tensors |= checkpoint.familiar.tensors()
    # allow_nan=False: the header must stay JSON for every reader
    described = json.dumps(checkpoint.to_json(), allow_nan=False)
    sealed = json.dumps({**json.loads(described), "seal": _seal(described, tensors)})
    return safetensors.torch.save(tensors, metadata={"medcnn": sealed})


def weights_of(classifier: Classifier) -> dict[str, Tensor]:
    """As checkpoints store them."""
    kept = {k: v for k, v in merged(classifier).items() if not k.startswith(PREFIX)}
    return {k: v.detach().cpu().contiguous() for k, v in kept.items()}


def digest_of_body_weights(of: Classifier | Mapping[str, Tensor]) -> str:
    """SHA-256 of the weights that compute features: a classifier's, or as `read` returns them."""
    tensors = weights_of(of) if isinstance(of, Classifier) else of
    return _seal("", {k: v for k, v in tensors.items() if k.startswith("body.")})


def _seal(described: str, tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of a checkpoint's description and tensors."""
    digest = hashlib.sha256(described.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def read(path: Path) -> tuple[Checkpoint, dict[str, Tensor]]:
    """Description and weights.

    Raises:
        UsageError: no such file, or one of another kind.
        CheckpointError: half written, damaged, not from medcnn, or of a newer schema.
    """
    require_checkpoint(path)
    try:
        return _read(path)
    except _DamagedError as error:
        raise CheckpointError(f"{error} {_whole_beside(path)}") from error


class _DamagedError(CheckpointError):
    pass


def _whole_beside(path: Path) -> str:
    """What to do about a damaged checkpoint."""
    for other in (path.with_name("best.safetensors"), path.with_name("last.safetensors")):
        if other != path and other.is_file():
            with suppress(CheckpointError):
                _read(other)
                return f"{other} is intact: use that one, or a fresh copy of this one."
    return "Get a fresh copy of it."


def _read(path: Path) -> tuple[Checkpoint, dict[str, Tensor]]:
    size = f"checkpoint={path} ({path.stat().st_size:,} bytes)"
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except Exception as error:  # a damaged header may make torch raise anything
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise _DamagedError(
            f"{size} cannot be read: {reason:.200}. It is half written or damaged."
        ) from error
    if "medcnn" not in metadata:
        raise CheckpointError(
            f"checkpoint={path} holds weights but no medcnn description (labels, preprocessing). "
            f"To start training from these weights: medcnn train model.weights={path}"
        )
    try:
        stored = json.loads(metadata["medcnn"])
        seal = stored.pop("seal", None)
        schema = stored["schema"]
        if not isinstance(schema, int) or isinstance(schema, bool) or schema < 1:
            raise ValueError(f"schema {schema!r:.40} is not a number of at least 1")
        if schema > SCHEMA:
            raise CheckpointError(NEWER.format(path, schema, stored["provenance"].get("medcnn")))
        if schema > 2 and seal != _seal(json.dumps(stored), tensors):
            raise _DamagedError(
                f"{size} has changed since it was written: its checksum does not match."
            )
        plugins.require(stored.get("plugins", []), NEEDED, f"checkpoint={path}")
        checkpoint = Checkpoint.from_json(stored)
        if any(name.startswith(FAMILIAR) for name in tensors):
            known = {k: tensors.pop(k) for k in list(tensors) if k.startswith(FAMILIAR)}
            familiar = stored_familiarity(known, str(stored["familiar_weights"]))
            if familiar.weights == digest_of_body_weights(tensors):
                checkpoint = replace(checkpoint, familiar=familiar)
            else:
                log.warning(OTHER_WEIGHTS)
        faults = faults_of(checkpoint)
    except (CheckpointError, PluginError):
        raise
    except Exception as error:  # anybody may have written it, so it may raise anything
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise _DamagedError(f"{size}: its description is damaged: {reason:.200}.") from error
    if faults:
        raise _DamagedError(f"{size}: its description is damaged: {'; '.join(faults)}.")
    return checkpoint, tensors


def load(path: Path, device: torch.device) -> tuple[Checkpoint, Classifier]:
    """The description and the classifier, in evaluation mode on `device`."""
    checkpoint, tensors = read(path)
    classifier = restore(checkpoint, tensors, str(path))
    return checkpoint, classifier.to(device).eval()


def restore(checkpoint: Checkpoint, tensors: Mapping[str, Tensor], source: str) -> Classifier:
    try:
        classifier, _ = build_classifier(
            checkpoint.architecture, len(checkpoint.labels.outputs), checkpoint.normalisation
        )
        if any(tensor.is_complex() for tensor in tensors.values()):
            raise ValueError("some are complex numbers")
        classifier.load_state_dict(dict(tensors))
    except PluginError:
        raise
    except Exception as error:  # timm and torch raise many types for what makes no sense
        raise CheckpointError(
            f"checkpoint={source}: its weights do not fit "
            f"{checkpoint.architecture.backbone!s:.60}: {' '.join(str(error).split())[:400]}"
        ) from error
    return classifier


def refuse_not_finite(tensors: Mapping[str, Tensor], source: str) -> None:
    """Raises CheckpointError if weights to start training from are not finite."""
    lost = [k for k, v in tensors.items() if v.is_floating_point() and not v.isfinite().all()]
    if lost:
        raise CheckpointError(
            f"checkpoint={source}: some weights are not finite, in {listed(lost, 3)}. Training "
            "cannot start from them: use an earlier checkpoint."
        )


def provenance_of(path: Path) -> dict[str, Any]:
    """What predictions and reports say about the checkpoint they came from."""
    return {"checkpoint": path.name, "checkpoint_sha256": sha256_of(path)}
