"""What is predicted: the kind of label, its names in order, and the only step from logits onwards.

All kinds share one target shape: `[N, K]` floats, nan for labels that were not assessed. For
multiclass and ordinal labels, a row is one-hot (or a distribution, if softened or mixed). Binary
labels have K = 1, the probability of the second name.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.system.errors import DataError, listed, private
from medcnn.system.registry import nearest

Floats = NDArray[np.floating[Any]]


class Kind(StrEnum):
    BINARY = "binary"
    MULTICLASS = "multiclass"
    MULTILABEL = "multilabel"
    ORDINAL = "ordinal"


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelSpace:
    """The kind and the class names in the order of the model's outputs.

    `names` holds every class; a binary space has two, the negative one first.
    """

    kind: Kind
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(set(self.names)) != len(self.names) or "" in self.names:
            raise DataError(f"class names must be distinct and not empty, found {self.names}")
        fewest = 1 if self.kind is Kind.MULTILABEL else 2
        if len(self.names) < fewest or (self.kind is Kind.BINARY and len(self.names) != 2):
            raise DataError(
                f"{self.kind} labels need {'exactly' if self.kind is Kind.BINARY else 'at least'} "
                f"{fewest} class names, found {len(self.names)}: {', '.join(self.names) or 'none'}"
            )

    @property
    def outputs(self) -> tuple[str, ...]:
        """The K names that have a logit."""
        return self.names[1:] if self.kind is Kind.BINARY else self.names

    @property
    def exclusive(self) -> bool:
        """True if exactly one class is right (softmax), False if labels are independent."""
        return self.kind in (Kind.MULTICLASS, Kind.ORDINAL)

    def encode(self, present: Iterable[str]) -> tuple[float, ...]:
        """Target row [K] of an image that shows the classes `present`.

        Raises:
            DataError: an unknown class, or not exactly one although classes are exclusive.
        """
        found = list(present)
        for name in found:
            if name not in self.names:
                raise DataError(
                    f"label {private(name)} is not one of {', '.join(self.names)}"
                    f"{nearest(name, self.names)}"
                )
        if self.kind is not Kind.MULTILABEL and len(found) != 1:
            shown = listed([private(name) for name in found]) or "none"
            raise DataError(f"{self.kind} labels need exactly one class per image, found {shown}")
        return tuple(float(name in found) for name in self.outputs)

    @property
    def not_assessed(self) -> tuple[float, ...]:
        return (math.nan,) * len(self.outputs)

    def probabilities(self, logits: Floats) -> NDArray[np.float64]:
        """Probabilities [N, K] in [0, 1] from logits [N, K]: softmax if classes are exclusive, or
        a sigmoid per label if not. No other code does this."""
        z = logits.astype(np.float64)
        if not self.exclusive:
            # only exp of negative magnitudes, so that large logits do not overflow
            e = np.exp(-np.abs(z))
            return np.where(z >= 0, 1 / (1 + e), e / (1 + e))
        z = np.exp(z - z.max(axis=1, keepdims=True))
        return np.asarray(z / z.sum(axis=1, keepdims=True))

    def decide(
        self, probabilities: Floats, thresholds: tuple[float, ...] | None
    ) -> NDArray[np.bool_]:
        """Decisions [N, K]: the most probable class, the median grade for ordinal labels, or every
        independent label whose probability reaches its threshold.

        The median is the grade with the least expected distance from the true one; the most
        probable grade ignores distances.

        Args:
            probabilities: [N, K] in [0, 1].
            thresholds: one per output, chosen on validation; None: 0.5.
        """
        if self.exclusive:
            best = probabilities.argmax(axis=1)
            if self.kind is Kind.ORDINAL:
                # a sum may end at 1 - 1e-16, so count the grades below one half
                below = probabilities.cumsum(axis=1)[:, :-1] < 0.5
                best = below.sum(axis=1)
            return np.asarray(best[:, None] == np.arange(len(self.outputs)))
        return np.asarray(probabilities >= np.asarray(thresholds or (0.5,) * len(self.outputs)))

    @property
    def rule(self) -> str:
        """How `decide` decides, in words."""
        if self.kind is Kind.ORDINAL:
            return "the median grade: the lowest at which the summed probabilities reach one half"
        if self.exclusive:
            return "the most probable class"
        return "every label whose probability reaches its threshold, chosen on validation"

    def decision_texts(self, decisions: NDArray[np.bool_]) -> list[str]:
        """Each row of `decide` in words: `melanoma`, `Effusion|Mass`, or "" for none."""
        if self.kind is Kind.BINARY:
            return [self.names[int(row[0])] for row in decisions]
        return ["|".join(n for n, yes in zip(self.names, r, strict=True) if yes) for r in decisions]

    def of_names(self, probabilities: NDArray[Any]) -> NDArray[Any]:
        """[N, outputs] -> [N, names]: a binary label has one output and two names."""
        if self.kind is Kind.BINARY:
            return np.hstack([1 - probabilities, probabilities])
        return probabilities

    def to_json(self) -> dict[str, Any]:
        return {"kind": str(self.kind), "names": list(self.names)}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> LabelSpace:
        return cls(kind=Kind(stored["kind"]), names=tuple(stored["names"]))
