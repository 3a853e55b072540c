"""Probes: simple learners on the features of a frozen body. Each has one setting, and the
validation split chooses its value.

A probe is a function from examples, labels and that value to a module that turns features [B, F]
into logits [B, K].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from medcnn.data.labels import LabelSpace

Values = NDArray[np.float64]
# Logit of a class without training images; those of the other classes are 0 on average.
NEVER = -30.0
# Similarity of neighbours at which the weight of a vote falls by e (Wu et al. 2018, CVPR).
TEMPERATURE = 0.07


@dataclass(frozen=True, slots=True, kw_only=True)
class Examples:
    """Features [N, F], their targets [N, K] (nan: not assessed), and the group (patient) of each
    image."""

    features: NDArray[np.float32]
    targets: NDArray[np.float32]
    groups: Sequence[str]


def logistic(examples: Examples, labels: LabelSpace, c: float) -> nn.Sequential:
    """Logistic regression: one for each independent label, or one over all exclusive classes.

    Features are standardised to mean 0 and standard deviation 1 for the fit; the returned head
    takes them unchanged. If all training images agree on a label, its logit is a constant.

    Args:
        c: inverse strength of the penalty on the squared weights.

    Source:
        scikit-learn's LogisticRegression with C=c, behind its StandardScaler (tested).
    """
    x = examples.features.astype(np.float64)
    mean, scale = x.mean(axis=0), x.std(axis=0)
    scale[scale == 0] = 1
    # the weights of a penalised fit lie in the space that the images span; with few images it is
    # much smaller
    x, axes = _spanned((x - mean) / scale)
    targets = examples.targets.astype(np.float64)
    if labels.exclusive:
        weight, bias = _softmax(x, targets, c)
    else:
        alone = [_sigmoid(x, targets[:, k], c) for k in range(targets.shape[1])]
        weight, bias = np.stack([w for w, _ in alone]), np.array([b for _, b in alone])
    weight = weight @ axes / scale
    bias -= weight @ mean
    layer = nn.Linear(weight.shape[1], len(labels.outputs))
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight))
        layer.bias.copy_(torch.from_numpy(bias))
    return nn.Sequential(nn.Dropout(0.0), layer)


def _spanned(x: Values) -> tuple[Values, Values]:
    """[N, D] and [D, F] with product `x` [N, F]; the rows of the second are orthonormal."""
    if x.shape[0] >= x.shape[1]:
        return x, np.eye(x.shape[1])
    left, sizes, axes = np.linalg.svd(x, full_matrices=False)
    return left * sizes, axes


def _softmax(x: Values, targets: Values, c: float) -> tuple[Values, Values]:
    """Weights [K, F] and biases [K]. A soft target counts as that share of an image."""
    rows, classes = np.nonzero(np.nan_to_num(targets))
    shares = targets[rows, classes]
    weight = np.zeros((targets.shape[1], x.shape[1]))
    bias = np.full(targets.shape[1], NEVER)
    there = np.unique(classes)
    if len(there) < 2:
        bias[there] = 0
        return weight, bias
    fitted = _regression(x[rows], classes, shares, c)
    if len(there) == 2:  # then scikit-learn gives only the log-odds of the second class
        half = np.array([-0.5, 0.5])
        weight[there], bias[there] = half[:, None] * fitted.coef_, half * fitted.intercept_
    else:
        weight[there], bias[there] = fitted.coef_, fitted.intercept_
    return weight, bias


def _sigmoid(x: Values, target: Values, c: float) -> tuple[Values, float]:
    """Weights [F] and bias of one label, from the images on which it was assessed."""
    known = np.flatnonzero(~np.isnan(target))
    positive = target[known]
    rows, classes = np.tile(known, 2), np.repeat([1, 0], len(known))
    shares = np.concatenate([positive, 1 - positive])
    kept = shares > 0
    rows, classes, shares = rows[kept], classes[kept], shares[kept]
    if len(np.unique(classes)) < 2:
        share = (positive.sum() + 0.5) / (len(known) + 1)
        return np.zeros(x.shape[1]), float(np.log(share / (1 - share)))
    fitted = _regression(x[rows], classes, shares, c)
    return fitted.coef_[0], float(fitted.intercept_[0])


def _regression(x: Values, classes: NDArray[Any], shares: Values, c: float) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=c, tol=1e-6, max_iter=10_000).fit(x, classes, sample_weight=shares)


class Neighbours(nn.Module):
    """Features [B, F] -> logits [B, K], by the votes of the most similar training images.

    Votes are weighted by exp(cosine / TEMPERATURE) and scaled to sum to their number. One more vote
    follows the distribution of the label in training, so no probability is 0 or 1.
    """

    def __init__(self, examples: Examples, labels: LabelSpace, count: int) -> None:
        super().__init__()
        assessed = ~np.isnan(examples.targets)
        use = assessed.all(axis=1) if labels.exclusive else assessed.any(axis=1)
        known = torch.from_numpy(assessed[use]).float()
        targets = torch.from_numpy(examples.targets[use]).nan_to_num()
        share = (targets.sum(0) + 0.5) / (known.sum(0) + 1)
        self.exclusive, self.count = labels.exclusive, min(count, len(targets))
        bank = F.normalize(torch.from_numpy(examples.features[use]), dim=1)
        prior = share / share.sum() if labels.exclusive else share
        for name, value in (("bank", bank), ("known", known), ("targets", targets)):
            self.register_buffer(name, value)
        self.register_buffer("prior", prior)

    def forward(self, features: Tensor) -> Tensor:
        bank, known, targets, prior = (
            self.get_buffer(name) for name in ("bank", "known", "targets", "prior")
        )
        similar, which = (F.normalize(features.float(), dim=1) @ bank.T).topk(self.count, dim=1)
        votes = (similar / TEMPERATURE).softmax(dim=1)[..., None] * self.count
        counted = (votes * known[which]).sum(dim=1) + 1
        probability = ((votes * targets[which]).sum(dim=1) + prior) / counted
        if self.exclusive:
            return probability.log()
        return probability.log() - torch.log1p(-probability)


def nearest(examples: Examples, labels: LabelSpace, k: float) -> nn.Module:
    """The `k` most similar training images vote."""
    return Neighbours(examples, labels, int(k))


Probe = Callable[[Examples, LabelSpace, float], nn.Module]
PROBES: dict[str, Probe] = {"logistic": logistic, "knn": nearest}


def log_loss(labels: LabelSpace, logits: NDArray[np.float32], examples: Examples) -> float:
    """Log loss, averaged over the assessed labels of an image, the images of a group, and the
    groups: a patient with many images counts no more than another. nan if nothing is assessed."""
    targets = examples.targets.astype(np.float64)
    p = labels.probabilities(logits).clip(1e-12, 1 - 1e-12)
    if labels.exclusive:
        loss = -(targets * np.log(p)).sum(axis=1)
    else:
        each = -(targets * np.log(p) + (1 - targets) * np.log1p(-p))
        assessed = ~np.isnan(each)
        with np.errstate(invalid="ignore"):
            loss = np.nansum(each, axis=1) / assessed.sum(axis=1)
    known = np.flatnonzero(~np.isnan(loss))
    if not len(known):
        return float("nan")
    group = np.unique(np.array(examples.groups)[known], return_inverse=True)[1]
    return float((np.bincount(group, loss[known]) / np.bincount(group)).mean())


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The probe that validation chose.

    Attributes:
        module: features [B, F] -> logits [B, K].
        value: the chosen value of its setting.
        losses: value -> log loss on validation.
    """

    module: nn.Module
    value: float
    losses: dict[float, float]


def chosen(
    probe: Probe,
    values: Sequence[float],
    labels: LabelSpace,
    training: Examples,
    validation: Examples,
) -> Chosen:
    """Fit the probe for each of `values`, and take the one with the lowest log loss on validation;
    the first of several."""
    looked_at = torch.from_numpy(validation.features)
    modules, losses = [], dict[float, float]()
    for value in values:
        module = probe(training, labels, value).eval()
        with torch.inference_mode():
            logits = module(looked_at).numpy()
        modules.append(module)
        losses[value] = log_loss(labels, logits, validation)
    best = int(np.argmin(np.nan_to_num(list(losses.values()), nan=np.inf)))
    return Chosen(module=modules[best], value=values[best], losses=losses)
