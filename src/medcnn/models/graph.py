"""A classifier as one graph for other programs: integers [B, H, W, C] -> logits, calibrated
probabilities, decisions and features. Torch does here what `statistics` does in numpy; the gate of
`exporting` compares the two."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from medcnn.data.labels import Kind, LabelSpace
from medcnn.models.checkpoint import Checkpoint
from medcnn.models.classifier import Classifier
from medcnn.models.inference import VIEWS
from medcnn.statistics.calibration import Calibration, Numbers
from medcnn.statistics.decisions import Readout


class Graph(nn.Module):
    """Logits are the mean over the mirrored views of an image, features those of the image itself.
    Probabilities are computed in float64, as everywhere in medcnn: a threshold is often exactly the
    probability of a validation image, which must not be rounded to its other side."""

    def __init__(self, classifier: Classifier, checkpoint: Checkpoint) -> None:
        super().__init__()
        self.classifier, self.views = classifier, VIEWS[checkpoint.flips]
        self.labels, self.readout = checkpoint.labels, checkpoint.readout

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        # not `unit_range`: torch reads uint16 here as int32, which ONNX then converts
        full = 255 if images.dtype == torch.uint8 else 65535
        floats = (images.float() / full).permute(0, 3, 1, 2).contiguous()
        # one pass for all views: the network is in the graph only once
        views = torch.cat([floats.flip(dims) if dims else floats for dims in self.views])
        features = self.classifier.features(views)
        shape = (len(self.views), images.shape[0], len(self.labels.outputs))
        logits = self.classifier.judged(features).reshape(shape).mean(0)
        found = probabilities(self.labels, self.readout.calibration, logits.double())
        own = features[: images.shape[0]]  # `len` would fix the size of the batch
        return logits, found, decided(self.labels, self.readout, found), own


def probabilities(labels: LabelSpace, calibration: Calibration | None, logits: Tensor) -> Tensor:
    """[B, K], as `Readout.probabilities`."""
    if calibration is None:
        return _plain(labels, logits)
    return APPLIED[calibration.name](labels, logits, calibration.numbers)


def _plain(labels: LabelSpace, logits: Tensor) -> Tensor:
    return logits.softmax(1) if labels.exclusive else logits.sigmoid()


def _scaled(labels: LabelSpace, logits: Tensor, numbers: Numbers) -> Tensor:
    slope, intercept = (_constant(numbers[name]) for name in ("slope", "intercept"))
    return _plain(labels, logits * slope + intercept)


def _isotonic(labels: LabelSpace, logits: Tensor, numbers: Numbers) -> Tensor:
    raw = _plain(labels, logits)
    lines = [_line(raw[:, k], *map(_constant, knots)) for k, knots in enumerate(numbers["knots"])]
    found = torch.stack(lines, dim=1)
    if not labels.exclusive:
        return found
    total = found.sum(1, keepdim=True)
    return torch.where(total > 0, found / torch.where(total > 0, total, 1.0), raw)


def _line(at: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """`numpy.interp`, without its search, which ONNX lacks: this counts the knots at or below."""
    if len(x) == 1:
        return y.expand_as(at)
    left = ((at[:, None] >= x).sum(1) - 1).clamp(0, len(x) - 2)
    slope = (y[1:] - y[:-1]) / (x[1:] - x[:-1])
    return torch.where(at >= x[-1], y[-1], y[left] + slope[left] * (at.clamp_min(x[0]) - x[left]))


def _dirichlet(labels: LabelSpace, logits: Tensor, numbers: Numbers) -> Tensor:
    z = logits.log_softmax(1) @ _constant(numbers["matrix"]).T
    return _plain(labels, z + _constant(numbers["intercept"]))


APPLIED: dict[str, Callable[[LabelSpace, Tensor, Any], Tensor]] = {
    "temperature": _scaled,
    "temperature_per_class": _scaled,
    "platt": _scaled,
    "isotonic": _isotonic,
    "dirichlet": _dirichlet,
}


def decided(labels: LabelSpace, readout: Readout, found: Tensor) -> Tensor:
    """[B, K], as `Readout.decide`."""
    places = torch.arange(found.shape[1])
    if readout.points and readout.points[0].grades:
        grade = (found * places).sum(1, keepdim=True)
        named = (grade >= _constant(readout.points[0].thresholds)).sum(1)
    elif labels.kind is Kind.ORDINAL:
        named = (found.cumsum(1)[:, :-1] < 0.5).sum(1)
    elif labels.exclusive:
        named = found.argmax(1)
    else:
        return found >= _constant(readout.thresholds(labels) or (0.5,) * len(labels.outputs))
    return named[:, None] == places


def _constant(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)
