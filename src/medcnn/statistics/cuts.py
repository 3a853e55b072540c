"""What every threshold would give, for the slider of the report."""

from __future__ import annotations

from typing import Any

import numpy as np

from medcnn.statistics.predictions import Predictions

MOST_CUTS = 120


def cut_tables(predictions: Predictions) -> list[dict[str, Any]]:
    """Of each output that shows both sides: thresholds, rising, and for each of them how many
    images with the label and how many without it reach it; `start` is the first operating point.

    A page that looks these up shows exactly the numbers that were counted here.
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
        # three digits are what a reader sees; the counts are of exactly that
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
