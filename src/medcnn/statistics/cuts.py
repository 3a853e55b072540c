"""The counts at every threshold, for the slider in the report."""

from __future__ import annotations

from typing import Any

import numpy as np

from medcnn.statistics.predictions import Predictions

MOST_CUTS = 120


def cut_tables(predictions: Predictions) -> list[dict[str, Any]]:
    """For each output with both sides: ascending thresholds, and for each the numbers of images
    with and without the label that reach it; `start` is the first operating point.

    A page that looks these up shows exactly the counts made here.
    """
    tables = []
    first = predictions.readout.points[0] if predictions.readout.points else None
    chosen = first.thresholds if first and not first.grades else None
    probabilities = predictions.probabilities
    for k, name in enumerate(predictions.labels.outputs):
        target = predictions.targets[:, k]
        known = ~np.isnan(target)
        p, positive = probabilities[known, k], target[known] == 1
        if positive.all() or not positive.any():
            continue
        start = chosen[k] if chosen else 0.5
        levels = np.quantile(p, np.linspace(0, 1, MOST_CUTS), method="nearest")
        # a reader sees three digits, and counts are for exactly those
        levels = [float(f"{level:.3g}") for level in levels]
        thresholds = np.unique(np.concatenate([[0.0], levels, [start]]))
        with_it, without = np.sort(p[positive]), np.sort(p[~positive])
        tables.append(
            {
                "label": name,
                "positives": len(with_it),
                "negatives": len(without),
                "thresholds": thresholds.tolist(),
                "found": (len(with_it) - np.searchsorted(with_it, thresholds)).tolist(),
                "alarms": (len(without) - np.searchsorted(without, thresholds)).tolist(),
                "start": int(np.searchsorted(thresholds, start)),
            }
        )
    return tables
