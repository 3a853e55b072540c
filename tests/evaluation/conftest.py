from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from medcnn.labels import Kind, LabelSpace
from medcnn.predictions import Predictions

Simulate = Callable[..., Predictions]


@pytest.fixture(scope="session")
def simulate() -> Simulate:
    """Predictions of a model of some skill; patients have two images each."""

    def build(
        kind: Kind = Kind.MULTILABEL,
        n: int = 120,
        *,
        names: Sequence[str] | None = None,
        images_per_group: int = 2,
        missing: float = 0.0,
        split: str = "test",
        seed: int = 0,
    ) -> Predictions:
        draw = np.random.default_rng(seed)
        given = names or (("clear", "melanoma") if kind is Kind.BINARY else ("mass", "edema", "x"))
        labels = LabelSpace(kind=kind, names=tuple(given))
        width = len(labels.outputs)
        if labels.exclusive:
            targets = np.eye(width)[draw.integers(width, size=n)]
            targets[draw.random(n) < missing] = np.nan
        else:
            targets = (draw.random((n, width)) < 0.4).astype(float)
            targets[draw.random((n, width)) < missing] = np.nan
        logits = 2 * np.nan_to_num(targets) - 1 + draw.normal(size=(n, width))
        return Predictions(
            labels=labels,
            split=split,
            image_ids=tuple(f"image {i}" for i in range(n)),
            groups=tuple(f"patient {i // images_per_group}" for i in range(n)),
            targets=targets.astype(np.float32),
            logits=logits.astype(np.float32),
        )

    return build
