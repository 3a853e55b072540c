"""Readers as points beside a ROC curve: what they found, how sure that is, and whether the model is
more sensitive where it raises no more false alarms than they did."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from medcnn.statistics.curves import OneLabel, roc
from medcnn.statistics.intervals import LEVEL
from medcnn.system.errors import UsageError
from medcnn.system.registry import nearest

Box = tuple[tuple[float, float], tuple[float, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderPoint:
    """A reader, or the mean of several.

    Attributes:
        label: class of the model that they looked for.
        sensitivity, specificity: in 0..1.
        who: a name of theirs that may be printed.
        positives, negatives: how many images they judged with the finding and without; None if
            unknown, so that there is no interval.
        source: where it is published.
        images: the set that they saw.
        same_images: whether those are the images that the model is judged by.
        paired: on the images that they read, how many with the finding the model found at their
            specificity, and p of `reader_calls.point`, None for too few patients; None if the
            calls are unknown.
        intervals: 95 % intervals of sensitivity and specificity by patient, if the calls are known
            and of enough patients.
    """

    label: str
    sensitivity: float
    specificity: float
    who: str = "readers"
    positives: int | None = None
    negatives: int | None = None
    source: str = ""
    images: str = ""
    same_images: bool = False
    paired: tuple[int, float | None] | None = None
    intervals: Box | None = None

    @property
    def box(self) -> Box | None:
        """95 % intervals of sensitivity and specificity, if known: where the calls are unknown, the
        exact ones of the number of images (Clopper and Pearson 1934)."""
        if self.paired:
            return self.intervals
        if not self.positives or not self.negatives:
            return None
        return _exact(self.sensitivity, self.positives), _exact(self.specificity, self.negatives)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """The model at the specificity of a reader.

    Attributes:
        found: of `positives` images with the finding.
        p: one-sided: probability of finding as many or more with the readers' sensitivity (exact),
            or that of paired readings; nan for too few patients.
    """

    point: ReaderPoint
    found: int
    positives: int
    p: float

    @property
    def sensitivity(self) -> float:
        return self.found / self.positives


def beside(label: OneLabel, point: ReaderPoint) -> Beside:
    """The highest sensitivity with at least the readers' specificity; both classes are present."""
    from scipy.stats import binom

    if point.paired and point.positives:
        found, paired_p = point.paired
        p = math.nan if paired_p is None else paired_p
        return Beside(point=point, found=found, positives=point.positives, p=p)
    false, true = roc(label)
    positives = int(label.target.sum())
    found = round(float(true[false <= 1 - point.specificity + 1e-12].max()) * positives)
    p = float(binom.sf(found - 1, positives, point.sensitivity))
    return Beside(point=point, found=found, positives=positives, p=p)


def _exact(share: float, count: int) -> tuple[float, float]:
    """A mean over readers need not be a whole number of images, which the formula allows."""
    from scipy.stats import beta

    hits, tail = share * count, (1 - LEVEL) / 2
    low = 0.0 if hits <= 0 else float(beta.ppf(tail, hits, count - hits + 1))
    high = 1.0 if hits >= count else float(beta.ppf(1 - tail, hits + 1, count - hits))
    return low, high


COMPUTED = ("paired", "intervals")
NAMES = tuple(f.name for f in fields(ReaderPoint) if f.name not in COMPUTED)
NEEDED = ("label", "sensitivity", "specificity")
_TRUE = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False, "": False}


def points_of(rows: Sequence[Any], where: str) -> list[ReaderPoint]:
    """Points from the rows of a YAML or CSV file; blank cells count as not given.

    Args:
        rows: mappings with the attributes of `ReaderPoint`.
        where: the file, for messages.

    Raises:
        UsageError: all wrong rows.
    """
    faults, points = [], []
    for number, row in enumerate(rows, start=1):
        try:
            points.append(_point(row))
        except UsageError as error:
            faults.append(f"{where}, reader {number}: {error}")
    if not rows:
        faults.append(f"{where} names no reader.")
    if faults:
        raise UsageError("\n".join(faults))
    return points


def kept_points(rows: Sequence[Mapping[str, Any]]) -> list[ReaderPoint]:
    """Points as `to_json` returned them. Raises UsageError."""
    given = [{k: v for k, v in row.items() if k not in COMPUTED} for row in rows]
    points = points_of(given, "run.json") if given else []
    return [replace(point, **dict(_computed(row))) for point, row in zip(points, rows, strict=True)]


def _computed(row: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    if pair := row.get("paired"):
        yield "paired", (int(pair[0]), None if pair[1] is None else float(pair[1]))
    if ends := row.get("intervals"):
        yield "intervals", tuple((float(low), float(high)) for low, high in ends)


def _point(row: Any) -> ReaderPoint:
    if not isinstance(row, Mapping):
        raise UsageError(f"a reader needs {', '.join(NEEDED)}, found {type(row).__name__}.")
    given = {str(k): v for k, v in row.items() if v is not None and v != ""}
    faults = [f"unknown name '{name}'{nearest(name, NAMES)}" for name in given if name not in NAMES]
    faults += [f"'{name}' is missing." for name in NEEDED if name not in given]
    values: dict[str, Any] = {}
    for name in given.keys() & set(NAMES):
        value = given[name]
        try:
            if name in ("sensitivity", "specificity"):
                values[name] = float(value)
                right = 0 <= values[name] <= 1
            elif name in ("positives", "negatives"):
                values[name] = int(str(value))
                right = values[name] > 0
            elif name == "same_images":
                values[name] = _TRUE[str(value).lower()]
                right = True
            else:
                values[name], right = str(value), True
        except (ValueError, LookupError):
            right = False
        if not right:
            faults.append(f"{name}={value} should be {_WANTED[name]}.")
    if faults:
        raise UsageError(" ".join(faults))
    return ReaderPoint(**values)


_WANTED = {
    **dict.fromkeys(("sensitivity", "specificity"), "a share from 0 to 1"),
    **dict.fromkeys(("positives", "negatives"), "a number of images, 1 or more"),
    "same_images": "true or false",
}
