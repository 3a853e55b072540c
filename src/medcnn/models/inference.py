"""A classifier and pixels -> Predictions. Torch ends here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from medcnn.config import Precision
from medcnn.data.labels import LabelSpace
from medcnn.data.manifest import Manifest
from medcnn.models.classifier import Classifier
from medcnn.models.computing import computed
from medcnn.models.exported import Exported
from medcnn.models.familiarity import Familiarity, seen_in
from medcnn.pixels.batches import batches, num_batches
from medcnn.pixels.pixel_store import PixelStore
from medcnn.statistics.decisions import Readout
from medcnn.statistics.predictions import Predictions
from medcnn.statistics.strangeness import COLUMNS
from medcnn.system.distributed import ALONE, Ranks
from medcnn.system.errors import UsageError
from medcnn.system.progress import track

NO_READOUT = Readout()

# Which sides to mirror for each view; the first is the image as it is.
VIEWS = {"": ((),), "h": ((), (3,)), "v": ((), (2,)), "hv": ((), (3,), (2,), (2, 3))}


def pick_device(name: str, ranks: Ranks = ALONE) -> torch.device:
    """`auto` is a CUDA GPU if there is one, else Apple's, else the CPU.

    Raises:
        UsageError: a device was named that is not there.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", ranks.local) if ranks.world > 1 else torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    if name == "cuda" and ranks.world > 1:
        name = f"cuda:{ranks.local}"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        found = f"{torch.cuda.device_count()} CUDA GPUs" if torch.cuda.is_available() else "no GPU"
        reason = str(error).splitlines()[0]
        raise UsageError(
            f"device {name} cannot be used: {reason}. This machine has {found}; auto uses what "
            "is there."
        ) from error
    return device


def autocast_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """`auto` is bfloat16 on GPUs that support it, else float32."""
    if precision is Precision.AUTO:
        fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if fast else torch.float32
    return {
        Precision.FP32: torch.float32,
        Precision.BF16: torch.bfloat16,
        Precision.FP16: torch.float16,
    }[precision]


def logits_of(
    classifier: Callable[[Tensor], Tensor], images: Tensor, flips: str, dtype: torch.dtype
) -> NDArray[np.float32]:
    """Logits [B, K], float32: the mean over the mirrored views of each image."""

    def mean(floats: Tensor) -> tuple[Tensor]:
        views = [classifier(floats.flip(dims) if dims else floats) for dims in VIEWS[flips]]
        return (torch.stack([v.float() for v in views]).mean(0),)

    return computed(mean, images, dtype)[0]


def logits_and_features(
    classifier: Classifier, images: Tensor, flips: str, dtype: torch.dtype
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """As `logits_of`, and what the head sees of the images as they are, [B, F] or [B, F, H, W]."""

    def both(floats: Tensor) -> tuple[Tensor, Tensor]:
        features = classifier.features(floats)
        views = [classifier.judged(features)]
        views += [classifier(floats.flip(dims)) for dims in VIEWS[flips][1:]]
        return torch.stack([v.float() for v in views]).mean(0), features

    logits, features = computed(both, images, dtype)
    return logits, features


def answered(
    network: nn.Module | Exported, images: Tensor, flips: str, dtype: torch.dtype, *, features: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Logits, and `features` if asked for. An exported network, in which flips and precision are
    fixed, computes its own."""
    if isinstance(network, Exported):
        return network(images)
    if not features:
        return logits_of(network, images, flips, dtype), None
    assert isinstance(network, Classifier), "it has features"
    return logits_and_features(network, images, flips, dtype)


def predict(
    classifier: nn.Module | Exported,
    store: PixelStore,
    manifest: Manifest,
    rows: NDArray[np.int64],
    *,
    split: str,
    labels: LabelSpace | None = None,
    targets: NDArray[np.float32] | None = None,
    flips: str = "",
    batch_size: int = 64,
    device: torch.device,
    dtype: torch.dtype,
    readout: Readout = NO_READOUT,
    ranks: Ranks = ALONE,
    familiar: Familiarity | None = None,
    provenance: dict[str, Any] | None = None,
) -> Predictions:
    """Predictions of the readable images among `rows`, in that order.

    Args:
        labels: those of the classifier's outputs; None means the manifest's.
        targets: [N, K] of all records in the order of `labels`; None means the manifest's own.
        flips: mirrored views to average over, a key of VIEWS.
        ranks: processes that share the images; each gets all predictions.
        familiar: measures how strange images look.
    """
    labels = labels or manifest.labels
    targets = manifest.targets() if targets is None else targets
    good = store.readable(rows)
    if isinstance(classifier, nn.Module):
        classifier.eval()
    own = ranks.share(good)
    coming = batches(store, targets, own, batch_size, device=device)
    parts = [np.zeros((0, len(labels.outputs)), np.float32)]
    looks = [np.zeros((0, len(COLUMNS)))]
    for batch in track(coming, num_batches(len(own), batch_size), f"predicting {split}"):
        wanted = familiar is not None
        logits, features = answered(classifier, batch.images, flips, dtype, features=wanted)
        parts.append(logits)
        if familiar is not None and features is not None:
            looks.append(familiar.looks(seen_in(batch.images, features)))
    chosen = [manifest.records[i] for i in good]
    by = readout.conformal.by if readout.conformal else ""
    return Predictions(
        labels=labels,
        split=split,
        image_ids=tuple(r.image_id for r in chosen),
        groups=tuple(r.group for r in chosen),
        targets=targets[good],
        logits=ranks.gathered(np.concatenate(parts)),
        looks=None if familiar is None else ranks.gathered(np.concatenate(looks)),
        readout=readout,
        categories=tuple(r.attributes.get(by, "") for r in chosen) if by else (),
        lines=tuple(r.line for r in chosen) if any(r.line for r in chosen) else (),
        unreadable=tuple(
            (manifest.records[i].image_id, store.unreadable[int(i)])
            for i in rows
            if int(i) in store.unreadable
        ),
        provenance=provenance or {},
    )
