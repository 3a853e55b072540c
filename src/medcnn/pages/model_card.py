"""`MODEL_CARD.md`: describes a model under the headings of Mitchell et al. 2019 (FAT*), for people
who receive the checkpoint. What only a human can know is marked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medcnn.pages.facts import Facts, Made
from medcnn.pages.flow import used
from medcnn.pages.format import count, moment
from medcnn.statistics.predictions import Predictions


def card_values(
    run: Mapping[str, Any], facts: Facts, predictions: Predictions | None
) -> dict[str, Any]:
    """What the card shows and the report does not: rows of its tables, None if a human must write
    them.

    Args:
        run: `run.json`; an evaluation only knows what the checkpoint says about the training.
    """
    origin, stored = run.get("trained_on") or {}, run.get("report") or {}
    model = (run.get("config") or {}).get("model") or {}
    later = facts.made is Made.EVALUATED
    provenance = predictions.provenance if predictions else {}
    made = {
        "Network": origin.get("backbone")
        if later
        else model.get("backbone") or run.get("backbone"),
        "Starting weights": (origin if later else run).get("weights"),
        **_licence(origin if later else run),
        "Trained": moment(str((origin if later else run).get("started") or "")),
        **({"Evaluated": moment(str(run.get("started") or ""))} if later else {}),
        "medcnn": run.get("medcnn"),
        "SHA-256 of the checkpoint": provenance.get("checkpoint_sha256"),
        "Licence of the model": None,
        "Contact": None,
    }
    counted = used(stored)
    here = {
        "Source": stored.get("source"),
        **{
            f"{name.capitalize()} images": count(counted.get(name, split.get("images", 0)))
            for name, split in (stored.get("dataset") or {}).items()
        },
        **{f"Left out: {why}": count(n) for why, n in (stored.get("excluded") or {}).items()},
        **{f"Rows left out: {why}": count(n) for why, n in stored.get("rows_left_out", {}).items()},
    }
    trained = {"Training data": {"Source": origin.get("source")}, "Evaluation data": here}
    return {"made": made, "data": trained if later else {"Training data": here}}


def _licence(begun: Mapping[str, Any]) -> dict[str, Any]:
    """The licence of the starting weights, if there are any."""
    known = begun.get("weights_licence")
    return {"Licence of the starting weights": known} if known or begun.get("pretrained") else {}
