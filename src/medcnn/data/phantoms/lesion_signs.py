"""Which signs a lesion of each diagnosis shows, and how strongly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Look:
    """How strongly a lesion shows each sign, from 0 to about 1."""

    irregular: float  # border
    asymmetric: float  # colour and structure
    edge: float  # width over which the border fades
    brown: float  # optical depth of melanin
    network: float
    globules: float
    dots: float  # uneven, black, away from the centre
    veil: float
    scar: float
    streaks: float
    fissures: float
    cysts: float
    vessels: float
    nests: float
    red: float
    ulcer: float


def look_of(rng: np.random.Generator, diagnosis: str) -> Look:
    def some(low: float, high: float, chance: float = 1.0) -> float:
        present = rng.random() < chance
        return float(rng.uniform(low, high)) * present

    # A sign of another diagnosis is rare and faint.
    def stray(chance: float = 0.12) -> float:
        return some(0.25, 0.7, chance)

    melanoma = diagnosis == "melanoma"
    if diagnosis in ("nevus", "melanoma"):
        # Nevus to melanoma is a continuum: dysplastic nevi resemble early melanomas.
        odd = float(rng.beta(4, 2.2) if melanoma else rng.beta(1.6, 4))
        reticular = rng.random() < 0.6
        return Look(
            irregular=0.25 + 0.75 * odd,
            asymmetric=0.15 + 0.9 * odd,
            edge=some(0.05, 0.2),
            brown=some(0.6, 1.2) + 0.4 * odd,
            network=some(0.5, 1.0) * reticular,
            globules=some(0.5, 1.0) * (not reticular) * (rng.random() < 0.7),
            dots=some(0.3, 1, odd),
            veil=some(0.4, 1, 0.9 * odd**1.5),
            scar=some(0.3, 0.9, 0.7 * odd**2),
            streaks=some(0.3, 1, 0.7 * odd**1.5),
            fissures=0,
            cysts=stray(),
            vessels=stray(0.06),
            nests=0,
            red=some(0, 0.3) + 0.2 * odd,
            ulcer=0,
        )
    if diagnosis == "keratosis":
        return Look(
            irregular=some(0.2, 0.7),
            asymmetric=some(0.2, 0.7),
            edge=some(0.02, 0.1),
            brown=some(0.4, 1.3),
            network=stray(0.2),
            globules=stray(),
            dots=0,
            veil=stray(0.12),
            scar=0,
            streaks=0,
            fissures=some(0.3, 1.0, 0.7),
            cysts=some(0.3, 1.0, 0.8),
            vessels=stray(0.12),
            nests=0,
            red=some(0, 0.3),
            ulcer=0,
        )
    return Look(
        irregular=some(0.2, 0.7),
        asymmetric=some(0.2, 0.8),
        edge=some(0.1, 0.3),
        brown=some(0.05, 0.7),
        network=stray(0.12),
        globules=stray(),
        dots=stray(),
        veil=stray(),
        scar=some(0.2, 0.6, 0.4),
        streaks=0,
        fissures=stray(),
        cysts=stray(0.2),
        vessels=some(0.4, 1.0, 0.75),
        nests=some(0.3, 1.0, 0.65),
        red=some(0.2, 0.6),
        ulcer=some(0.5, 1.0, 0.3),
    )
