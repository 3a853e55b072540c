from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pytest

from medcnn.data.labels import Kind
from medcnn.pages.report import Report, Table
from medcnn.statistics.decisions import Readout
from medcnn.statistics.operating import fit_point
from medcnn.statistics.points import evaluate_readout
from medcnn.statistics.scores import evaluate

TRAINED: dict[str, Any] = {
    "seed": 7,
    "best_epoch": 3,
    "audit": {"warned": []},
    "config": {
        "audit": {"allow": [], "copies": True},
        "model": {"backbone": "resnet18", "weights": "auto", "note": "<b>"},
    },
    "report": {"group_noun": "patient", "leaks": 0, "pseudonymous": True},
}
"""Of a `run.json`: a training that was audited, and in which nothing was found."""
HISTORY = [
    {
        "epoch": e,
        "train/loss": 1 / e,
        "val/loss": 1.2 / e,
        "val/auroc": 1 - 0.4 / e,
        "lr/body": 1e-4,
        "lr/head": 1e-3,
    }
    for e in range(1, 6)
]


@pytest.fixture(scope="session")
def report_of(simulate):
    def build(kind: Kind, **options) -> Report:
        validation = simulate(kind, split="validation", seed=1, **options)
        test = replace(
            simulate(kind, seed=2, **options),
            readout=Readout(
                points=(
                    fit_point({"name": "youden"}, validation.probabilities, validation.targets),
                )
            ),
            unreadable=(("img <7>", "truncated"),),
        )
        predictions = {"validation": validation, "test": test}
        counts = {"images": 120, "groups": 60}
        counts |= {f"label:{name}": 40 for name in test.labels.names}
        told = {
            "task": "Tells melanoma from other lesions.",
            "history": HISTORY,
            "dataset": {"train": counts, "test": counts},
            "excluded": {"no label": 3},
            "tables": [asdict(Table(title="Old, new", columns=("a",), rows=((0.123456,),)))],
        }
        return Report(
            title="Melanoma <i>on</i> dermoscopy",
            run={
                **TRAINED,
                "device": "<cpu>",
                "notes": ["Trained from scratch & without weights."],
                "report": {**TRAINED["report"], **told},
            },
            predictions=predictions,
            evaluations={s: evaluate(p, resamples=30) for s, p in predictions.items()},
            readouts={s: evaluate_readout(p) for s, p in predictions.items()},
            errors=[
                {"image_id": "<b>1", "truth": "x", "decision": "y", "certainty": 0.9, "jpeg": "AA"}
            ],
        )

    return build
