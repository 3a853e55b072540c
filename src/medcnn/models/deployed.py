"""A model in use, not in training: everything between a picture and a decision in one object.

The Python interface and `medcnn predict` both use it, so they give the same numbers.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from medcnn.config import Choice, Precision
from medcnn.data.labels import LabelSpace
from medcnn.data.manifest import Manifest
from medcnn.data.matching import matched_targets
from medcnn.images.preprocessing import Preprocessing
from medcnn.models import checkpoint as checkpoints
from medcnn.models.checkpoint import Checkpoint
from medcnn.models.classifier import Classifier
from medcnn.models.explained import Explanation, explain_source
from medcnn.models.exported import Exported, read_exported
from medcnn.models.inference import answered, autocast_dtype, pick_device, predict
from medcnn.models.inputs import Images, Source, read_inputs
from medcnn.models.no_result import refuse_without_result, with_results_only
from medcnn.pixels.batches import batches
from medcnn.pixels.opening import open_store
from medcnn.pixels.pixel_store import PixelStore
from medcnn.places import EXPORTED, checkpoints_at
from medcnn.statistics.decisions import Readout
from medcnn.statistics.ensembles import common_readout, mean_of
from medcnn.statistics.predictions import Predictions
from medcnn.system.errors import UsageError
from medcnn.system.progress import log

# Fixed, not the training batch: the last bits of a sum may depend on it, and a checkpoint must
# give the same numbers wherever it is used.
BATCH_SIZE = 64


ONLY_ANSWERS = (
    "checkpoint={} is an exported file. It can predict, say which images are unusual and return "
    "features; for maps, more training or a look inside, use the checkpoint it was made from."
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Model:
    """A loaded checkpoint or exported file, ready to predict.

    Attributes:
        checkpoint: the description that is stored with the weights.
        network: normalisation, body and head, in evaluation mode on `device`; or the network of an
            exported file.
        dtype: precision of the arithmetic.
        provenance: name and SHA-256 of the file, as stated in predictions and reports.
        members: the models of an ensemble, whose `checkpoint` is that of the first except for the
            readout; empty for a single model.
    """

    checkpoint: Checkpoint
    network: Classifier | Exported
    device: torch.device
    dtype: torch.dtype
    provenance: Mapping[str, Any] = field(default_factory=dict)
    members: tuple[Model, ...] = ()

    @property
    def classifier(self) -> Classifier:
        """The layers, which an exported file does not have.

        Raises:
            UsageError: this is an exported file.
        """
        if isinstance(self.network, Exported):
            raise UsageError(ONLY_ANSWERS.format(self.provenance["checkpoint"]))
        return self.network

    @property
    def labels(self) -> LabelSpace:
        """The classes, in the order of the outputs."""
        return self.checkpoint.labels

    @property
    def preprocessing(self) -> Preprocessing:
        """What happens to the pixels of a file before the network sees them."""
        return self.checkpoint.preprocessing

    @property
    def readout(self) -> Readout:
        """How logits become probabilities, decisions, prediction sets and referrals."""
        return self.checkpoint.readout

    def predict(
        self, images: Manifest | Source, *, split: str = "all", batch_size: int = BATCH_SIZE
    ) -> Predictions:
        """What the model says about images: probabilities, decisions, prediction sets, referrals.

        Args:
            images: a manifest; a folder, a file or a list of files; or pixels: [H, W], [H, W, C],
                [N, H, W, C] or a list of images, as uint8 in 0..255, uint16 in 0..65535 or floats
                in 0..1, where C is 1 (grey) or 3 (RGB).
            split: which images of a manifest: train, validation, test or all.
            batch_size: images per step; another size may change the last bits of a logit.

        Returns:
            One row for each readable image, in the order given. `unreadable` lists the others with
            the reason. The targets are those of the manifest, or nan without one.

        Raises:
            UsageError: there is nothing to read, no split has that name, or the pixels have none of
                the forms above.
            DataError: the manifest has classes that the model lacks.
            MedcnnError: images of the manifest have no finite result.
        """
        if isinstance(images, Manifest):
            targets, rows = matched_targets(self.labels, images), images.rows(split)
            store = open_store(images, self.preprocessing, cache="auto")
            said = self.said(images, store, rows, split, targets, batch_size=batch_size)
            refuse_without_result(said, "the model")
            return said
        given = read_inputs(images, self.labels, self.preprocessing)
        parts = [self.said_new(part, batch_size) for part in given]
        return joined(parts)

    def features(
        self, images: Manifest | Source, *, split: str = "all", batch_size: int = BATCH_SIZE
    ) -> NDArray[np.float32]:
        """Features [N, F], float32: what the head sees of each image, not mirrored.

        Args:
            images: in any form that `predict` accepts.
            split: which images of a manifest: train, validation, test or all.
            batch_size: images per step.

        Raises:
            UsageError: an image cannot be read, so rows would not match images.
        """
        if isinstance(images, Manifest):
            rows = images.rows(split)
            store = open_store(images, self.preprocessing, cache="auto")
            given = iter([Images(manifest=images, store=store, rows=rows)])
        else:
            given = read_inputs(images, self.labels, self.preprocessing)
        return np.concatenate([self._features(part, batch_size) for part in given])

    def explain(
        self,
        image: str | os.PathLike[str] | NDArray[Any],
        label: str | None = None,
        *,
        method: str = "gradcam",
        **options: Any,
    ) -> Explanation:
        """Where in one image the logit of a class comes from.

        Args:
            image: a file, or pixels as `predict` accepts them.
            label: a class, which may be the negative one; None: the most probable.
            method: gradcam, hirescam, integrated_gradients or occlusion.
            options: of the method.

        Raises:
            UsageError: a name or option is unknown, or there is not exactly one readable image.
        """
        return explain_source(self, image, Choice(name=method, options=options), label)

    def said(
        self,
        manifest: Manifest,
        store: PixelStore,
        rows: NDArray[np.int64],
        split: str,
        targets: NDArray[np.float32] | None = None,
        *,
        batch_size: int = BATCH_SIZE,
    ) -> Predictions:
        """Predictions of the readable images among `rows`, in that order.

        Args:
            manifest: the images.
            store: their pixels.
            rows: which records.
            split: name of the split for the result.
            targets: [N, K] of all records in the order of the model's classes; None: those of the
                manifest, whose classes must then be the model's.
            batch_size: images per step.
        """
        if self.members:
            each = [
                member.said(manifest, store, rows, split, targets, batch_size=batch_size)
                for member in self.members
            ]
            return mean_of(each, self.readout, self.provenance)
        return predict(
            self.network,
            store,
            manifest,
            rows,
            split=split,
            labels=self.labels,
            targets=targets,
            flips=self.checkpoint.flips,
            batch_size=batch_size,
            device=self.device,
            dtype=self.dtype,
            readout=self.readout,
            familiar=self.checkpoint.familiar,
            provenance=dict(self.provenance),
        )

    def said_new(self, given: Images, batch_size: int = BATCH_SIZE) -> Predictions:
        """Predictions for images without labels.

        Images without a finite result are listed as `unreadable`, with that reason.
        """
        return with_results_only(
            self.said(given.manifest, given.store, given.rows, "new", batch_size=batch_size)
        )

    def trained_on(self, manifest: Manifest) -> NDArray[np.bool_]:
        """[N]: which images any of its checkpoints has seen, as `Checkpoint.trained_on`."""
        parts = self.members or (self,)
        found = [part.checkpoint.trained_on(manifest) for part in parts]
        return np.asarray(np.any(found, axis=0))

    def _features(self, given: Images, batch_size: int) -> NDArray[np.float32]:
        if self.members:
            raise UsageError("an ensemble has no features; use one of its `members`.")
        if bad := sorted(set(given.rows.tolist()) & given.store.unreadable.keys()):
            first = given.manifest.records[bad[0]].image_id
            raise UsageError(
                f"{len(bad)} of {len(given.rows)} images cannot be read; the first is {first}: "
                f"{given.store.unreadable[bad[0]]}. Leave them out to get a row for each image."
            )
        if not len(given.rows):
            raise UsageError("no images to compute features from; name another split.")
        targets = given.manifest.targets()
        coming = batches(given.store, targets, given.rows, batch_size, device=self.device)
        parts = []
        for batch in coming:
            _, found = answered(self.network, batch.images, "", self.dtype, features=True)
            assert found is not None, "they were asked for"
            parts.append(found)
        return np.concatenate(parts)


def load_model(
    path: Path | str, *, device: str = "auto", precision: str = "auto", trusted: bool = False
) -> Model:
    """Load a checkpoint, or the ensemble of those in a folder, ready to be used.

    Args:
        path: a `.safetensors` file that medcnn wrote, a folder of such files, the folder of a
            cross-validation, or a `.onnx` or `.pt2` file of `medcnn export`.
        device: auto, cpu, cuda, cuda:1, mps.
        precision: fp32, bf16, fp16, or auto: that of the training, which the thresholds belong to.
        trusted: whether you know who made a `.pt2` file: loading it runs code stored in it.

    Raises:
        UsageError: no such file, no such device, checkpoints that do not go together, or a `.pt2`
            file that is not trusted.
        CheckpointError: the file is damaged, not from medcnn, or newer than this medcnn.
    """
    path = Path(path)
    files = checkpoints_at(path)
    models = [_load(file, device, precision, trusted) for file in files]
    return models[0] if files == [path] else together(models, path)


def _load(path: Path, device: str, precision: str, trusted: bool) -> Model:
    if path.suffix in EXPORTED:
        return _load_exported(path, device, precision, trusted)
    where = pick_device(device)
    checkpoint, classifier = checkpoints.load(path, where)
    return Model(
        checkpoint=checkpoint,
        network=classifier,
        device=where,
        dtype=autocast_dtype(checkpoint.precision(Precision(precision)), where),
        provenance=checkpoints.provenance_of(path),
    )


def _load_exported(path: Path, device: str, precision: str, trusted: bool) -> Model:
    for name, value, own in (("device", device, "cpu"), ("precision", precision, "fp32")):
        if value not in ("auto", own):
            raise UsageError(
                f"trainer.{name}={value}: an exported file runs with {name} {own}. Leave the "
                "setting out, or use the checkpoint."
            )
    checkpoint, network, origin = read_exported(path, trusted=trusted)
    return Model(
        checkpoint=checkpoint,
        network=network,
        device=torch.device("cpu"),
        dtype=torch.float32,
        provenance=checkpoints.provenance_of(path) | {"exported": origin},
    )


def together(models: Sequence[Model], path: Path) -> Model:
    """The ensemble of several models, in any order; `path` is what messages call it.

    Raises:
        UsageError: they differ in labels, preprocessing or decision rule.
    """
    members = sorted(models, key=lambda m: str(m.provenance["checkpoint_sha256"]))
    first = members[0]
    for what in ("labels", "preprocessing"):
        found = {json.dumps(getattr(m, what).to_json(), sort_keys=True) for m in members}
        if len(found) > 1:
            raise UsageError(
                f"checkpoint={path}: the {len(members)} checkpoints there have different {what}, "
                "so they cannot form an ensemble. Put those that go together into their own folder."
            )
    readout, lost = common_readout(first.labels, [m.readout for m in members])
    if lost:
        log.warning(lost)
    hashes = [str(m.provenance["checkpoint_sha256"]) for m in members]
    return replace(
        first,
        checkpoint=replace(first.checkpoint, readout=readout),
        provenance={
            "checkpoint": path.name,
            "checkpoint_sha256": sha256_together(hashes),
            "members": hashes,
        },
        members=tuple(members),
    )


def sha256_together(hashes: Sequence[str]) -> str:
    """What stands for several checkpoints, in any order."""
    return sha256("".join(sorted(hashes)).encode()).hexdigest()


def joined(parts: Sequence[Predictions]) -> Predictions:
    """The predictions of several batches of images as one."""
    first = parts[0]
    return replace(
        first,
        image_ids=tuple(i for p in parts for i in p.image_ids),
        groups=tuple(g for p in parts for g in p.groups),
        targets=np.concatenate([p.targets for p in parts]),
        logits=np.concatenate([p.logits for p in parts]),
        categories=tuple(c for p in parts for c in p.categories),
        lines=tuple(line for p in parts for line in p.lines),
        disagreement=(
            None
            if first.disagreement is None
            else np.concatenate([p.disagreement for p in parts if p.disagreement is not None])
        ),
        looks=(
            None
            if first.looks is None
            else np.concatenate([p.looks for p in parts if p.looks is not None])
        ),
        unreadable=tuple(u for p in parts for u in p.unreadable),
    )
