"""Labels of one data set in the order of the classes of another."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medcnn.data.labels import Kind, LabelSpace
from medcnn.data.manifest import Manifest
from medcnn.system.errors import DataError, listed


def matched_targets(labels: LabelSpace, manifest: Manifest) -> NDArray[np.float32]:
    """Targets [N, K] of a manifest in the order of the checkpoint's classes, by name.

    A multilabel finding that the data do not know was not assessed (nan).

    Raises:
        DataError: another kind of label, or a class that the checkpoint does not know.
    """
    theirs = manifest.labels
    unknown = [n for n in theirs.names if n not in labels.names]
    if theirs.kind is not labels.kind or unknown:
        what = f"unknown to the checkpoint: {listed(unknown, 8)}"
        if not unknown:
            what = f"the names fit: say data.kind={labels.kind} with data.classes=[...]"
        raise DataError(
            f"the checkpoint tells {labels.kind} labels ({', '.join(labels.names)}), but "
            f"{manifest.source} holds {theirs.kind} labels ({', '.join(theirs.names)}); {what}. "
            "Classes are matched by name: rename the data's (data.rename), or train a head for "
            "them with medcnn finetune."
        )
    targets = manifest.targets()
    if labels.kind is Kind.BINARY:
        return targets if theirs.names == labels.names else 1 - targets
    absent = np.nan if labels.kind is Kind.MULTILABEL else 0.0
    matched = np.full((len(targets), len(labels.outputs)), absent, np.float32)
    for k, name in enumerate(labels.outputs):
        if name in theirs.outputs:
            matched[:, k] = targets[:, theirs.outputs.index(name)]
    return matched
