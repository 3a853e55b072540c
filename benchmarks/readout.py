"""What is fitted on validation, counted on the test splits of real runs.

    python benchmarks/readout.py RUN_FOLDER...

Reads predictions alone. Of every calibration: log loss and calibration error on test. Of every
kind of prediction sets: how often they hold the truth, asked for 90 %, and how large they are.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from medcnn.statistics.calibration import CALIBRATIONS
from medcnn.statistics.conformal import METHODS
from medcnn.statistics.decisions import Readout, ReadoutConfig, fit_readout
from medcnn.statistics.metrics import table as metrics
from medcnn.statistics.points import evaluate_readout
from medcnn.statistics.predictions import Predictions

USUAL: dict[str, Any] = {
    "calibration": "none",
    "operating_points": ({"name": "youden"},),
    "conformal": None,
    "refer_share": None,
}


def fitted(validation: Predictions, **chosen: Any) -> Readout:
    config = ReadoutConfig(**{**USUAL, **chosen})
    p = validation
    return fit_readout(config, p.labels, p.logits, p.targets, p.groups)


def of_run(folder: Path) -> dict[str, Any]:
    validation, test = (
        Predictions.read(folder / f"predictions_{split}.csv") for split in ("validation", "test")
    )
    calibrations, sets = {}, {}
    for name in ("none", *CALIBRATIONS):
        if name != "none" and test.labels.kind not in CALIBRATIONS[name].kinds:
            continue
        judged = replace(test, readout=fitted(validation, calibration=name))
        calibrations[name] = {s: round(metrics.score(judged, s), 4) for s in ("log_loss", "ece")}
    for name in METHODS:
        chosen = METHODS.completed({"name": name, "coverage": 0.9, "by": None})
        judged = replace(test, readout=fitted(validation, conformal=chosen))
        rows = evaluate_readout(judged).sets
        overall = [row for row in rows if row.label is None] or rows
        own = [row.coverage.value for row in rows if row.label is not None]
        sets[name] = {
            "coverage": round(float(np.mean([row.coverage.value for row in overall])), 4),
            "interval": [round(overall[0].coverage.low, 3), round(overall[0].coverage.high, 3)]
            if len(overall) == 1
            else None,
            "lowest_of_a_class": round(float(np.nanmin(own)), 4) if own else None,
            "mean_size": round(float(np.mean([row.mean_size for row in overall])), 3),
        }
    return {
        "images": [len(validation.image_ids), len(test.image_ids)],
        "kind": str(test.labels.kind),
        "calibration": calibrations,
        "sets": sets,
    }


if __name__ == "__main__":
    found = {Path(word).name: of_run(Path(word)) for word in sys.argv[1:]}
    target = Path(__file__).parent / "results" / "readout.json"
    target.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))
