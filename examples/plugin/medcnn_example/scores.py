"""A score for which a missed finding counts more than a false alarm."""

from __future__ import annotations

import numpy as np

from medcnn.statistics.metrics.rows import Floats, Sample, ratio
from medcnn.statistics.metrics.table import Metric


def f2(sample: Sample) -> Floats:
    """F score with beta 2: sensitivity weighs four times as much as precision.

    Args:
        sample: rows of one label in R resamples; `cells` are found, missed, false alarms and
            cleared, [R] each.

    Returns:
        [R] in [0, 1]; nan without a positive row.

    Source:
        van Rijsbergen 1979, Information Retrieval, chapter 7.
    """
    found, missed, alarms, _ = sample.cells
    return ratio(5 * found, np.where(found + missed > 0, 5 * found + 4 * missed + alarms, 0))


F2 = Metric(title="F2", label=f2)
