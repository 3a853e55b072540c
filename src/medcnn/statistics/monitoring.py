"""Whether the predictions of a month are like those of validation: many questions, one promise.

Every question gives each image a number: a probability, how strange it looks, or 0 and 1 for a
share. Its statistic is the largest distance between the two distributions (Kolmogorov and Smirnov),
for a share the difference. Each patient counts once, however many images there are. Patients are
exchanged between the two tables to see what chance does, the same exchange for all questions. So p
values are adjusted for all of them together, and no more than needed if questions ask nearly the
same (Westfall and Young 1993, "Resampling-based multiple testing", single-step min-p).
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.data.labels import LabelSpace
from medcnn.statistics.decisions import Readout, certainty
from medcnn.statistics.implied import implied_shares, tables
from medcnn.statistics.intervals import often_undefined
from medcnn.statistics.strangeness import COLUMNS, FACTS, USUAL, VERDICTS
from medcnn.system.errors import NO_IMAGE, DataError, listed
from medcnn.system.files import heading, plain

Floats = NDArray[np.float64]

EXCHANGES = 2_000
MOST_IMAGES = 5_000
FEWEST_PATIENTS = 20


class Size(StrEnum):
    """What kind of number a question is about, which decides how large a change matters."""

    SPREAD = "spread"
    SHARE = "share"
    RARE = "rare"


MATTERS = {Size.SPREAD: 0.1, Size.SHARE: 0.05, Size.RARE: 0.01}
"""The least distance to look at: of a distribution, of a share, of a share that should be tiny."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A table of predictions as numbers.

    Attributes:
        answers: question -> number of each image [N], nan if it has none; with its size.
        patients: number of the patient of each image [N].
        grouped: whether the table or a regular expression says whose the images are.
        decisions: [N, K] 0 or 1, nan for an unreadable image.
        targets: the same for the truth; None if the table has none.
        checkpoint: SHA-256 of the one that predicted, "" if unknown.
    """

    labels: LabelSpace
    answers: Mapping[str, tuple[Size, Floats]]
    patients: NDArray[np.int64]
    grouped: bool
    decisions: Floats
    targets: Floats | None
    checkpoint: str

    @property
    def count(self) -> int:
        return len(np.unique(self.patients))

    @property
    def compared(self) -> int:
        """How many of its images are compared."""
        return min(len(self.patients), MOST_IMAGES)


def read_said(path: Path, patient: str | None = None, *, own_groups: bool = False) -> Said:
    """A table of `predict`, or `predictions_<split>.csv` of a run, with the `.json` beside it. Rows
    of objects that are not images are left out.

    Args:
        patient: regular expression whose first group in an image id is the patient; None: the
            table's groups, or each image on its own.
        own_groups: the groups of a table that has any count more than `patient`, as in a split,
            whose image ids are pseudonyms.

    Raises:
        DataError: it is not such a table, or `patient` matches none of its image ids.
    """
    try:
        header = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        labels, readout = (
            LabelSpace.from_json(header["labels"]),
            Readout.from_json(header["readout"]),
        )
        lost = header["unreadable"]  # of a split they are listed there, of `predict` counted
        if isinstance(lost, list):
            rows += [{"image_id": image, "unreadable": why} for image, why in lost]
        rows = [row for row in rows if not (row.get("unreadable") or "").startswith(NO_IMAGE)]
        p = np.stack([_numbers(rows, f"probability:{name}") for name in labels.outputs], axis=1)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} with its .json is not a table of predictions: {error}") from error
    read = np.asarray(np.isfinite(p).all(axis=1))
    decisions = np.full(p.shape, np.nan)
    decisions[read] = readout.decide(labels, p[read])
    targets = np.stack([_numbers(rows, f"target:{name}") for name in labels.outputs], axis=1)
    ids = [plain(row["image_id"]) for row in rows]
    owners = [plain(row.get("group") or row["image_id"]) for row in rows]
    named = patient is not None and not (own_groups and any(row.get("group") for row in rows))
    if named:
        found = [re.search(str(patient), i) for i in ids]
        if ids and not any(found):
            raise DataError(
                f"patient={patient} matches no image id of {path}, such as {listed(ids, 2)}."
            )
        owners = [m[1] if m else i for m, i in zip(found, ids, strict=True)]
    provenance = header.get("provenance", header)
    return Said(
        labels=labels,
        answers=dict(_answers(rows, labels, p, read, decisions)),
        patients=np.unique(np.array(owners, dtype=np.str_), return_inverse=True)[1],
        grouped=named or owners != ids,
        decisions=decisions,
        targets=None if np.isnan(targets).all() else targets,
        checkpoint=str(provenance.get("checkpoint_sha256", "")),
    )


def _numbers(rows: list[dict[str, str]], name: str) -> Floats:
    return np.array([float(row.get(heading(name)) or "nan") for row in rows], dtype=np.float64)


def _answers(
    rows: list[dict[str, str]],
    labels: LabelSpace,
    p: Floats,
    read: NDArray[np.bool_],
    decisions: Floats,
) -> Iterator[tuple[str, tuple[Size, Floats]]]:
    def share(of: Any, known: Any = read) -> Floats:
        return np.where(known, np.asarray(of, dtype=np.float64), np.nan)

    for k, name in enumerate(labels.outputs):
        yield f"probability of {name}", (Size.SPREAD, p[:, k])
        yield f"called {name}", (Size.SHARE, decisions[:, k])
    sure = np.full(len(p), np.nan)
    sure[read] = certainty(labels, p[read])
    yield "certainty", (Size.SPREAD, sure)
    there = rows[0] if rows else {}
    if "refer" in there:
        yield "referred to a human", (Size.SHARE, share([r.get("refer") == "yes" for r in rows]))
    if "set" in there:
        sizes = [len(re.split(r"[|;]", r["set"])) if r.get("set") else 0 for r in rows]
        yield "answers in a prediction set", (Size.SPREAD, share(sizes))
    if "looks" in there and any(row.get("looks") for row in rows):
        looks = [row.get("looks") or "" for row in rows]
        yield f"looks of the {VERDICTS[0]}", (Size.RARE, share([w == VERDICTS[0] for w in looks]))
        yield "looks unusual in any way", (Size.SHARE, share([w != USUAL for w in looks]))
        for verdict, column in zip((*VERDICTS, *FACTS), COLUMNS, strict=True):
            name = verdict if verdict in FACTS else f"strangeness, {verdict}"
            yield name, (Size.SPREAD, _numbers(rows, column))
    lost = np.array([bool(row.get("unreadable")) for row in rows])
    yield "could not be read", (Size.RARE, share(lost, np.ones(len(rows), bool)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A question put to both tables.

    Attributes:
        before, now: mean over patients of the mean of its number in their images.
        distance: between the distributions, 0 to 1.
        p: of a distance at least this large by chance, adjusted for all questions.
        shows_from: the smallest distance that would have been beyond chance here; 1 if none.
        images: that have the number now.
    """

    question: str
    size: Size
    before: float
    now: float
    distance: float
    p: float
    shows_from: float
    images: int

    def calls(self, alarm: float) -> bool:
        """Whether somebody should look: beyond chance, and large enough to matter."""
        return self.p <= alarm and self.distance >= MATTERS[self.size]


def changes(before: Said, now: Said, *, alarm: float = 0.05, seed: int = 0) -> list[Change]:
    """Every question that both tables answer.

    Args:
        alarm: how often a page with no real change may name one; for `shows_from`.
    """
    draw = np.random.default_rng(seed)
    kept = [_some(said, draw) for said in (before, now)]
    split = len(kept[0])
    groups = np.concatenate(
        [before.patients[kept[0]], now.patients[kept[1]] + before.patients.max(initial=0) + 1]
    )
    groups = np.unique(groups, return_inverse=True)[1]
    sides = np.zeros(groups.max(initial=-1) + 1, bool)
    sides[groups[split:]] = True
    exchanged = np.stack([sides, *(draw.permutation(sides) for _ in range(EXCHANGES))])
    asked, distances = [], []
    for name, (size, values) in before.answers.items():
        if name not in now.answers:
            continue
        both = np.concatenate([values[kept[0]], now.answers[name][1][kept[1]]])
        known = np.isfinite(both)
        new = known & (np.arange(len(both)) >= split)
        if not new.any() or not (known & ~new)[:split].any():
            continue
        means = [np.average(both[m], weights=_weights(groups[m])) for m in (known & ~new, new)]
        asked.append((name, size, *means, int(new.sum())))
        distances.append(_distances(both[known], groups[known], exchanged))
    if not asked:
        return []
    table = np.stack(distances, axis=1)  # [1 + exchanges, questions]
    ranks = np.stack([_p_values(column) for column in table.T], axis=1)
    least = ranks[1:].min(axis=1)
    bound = np.quantile(least, alarm, method="lower")
    found = []
    for k, (name, size, was, is_, images) in enumerate(asked):
        seen = table[1:, k][ranks[1:, k] <= bound]
        found.append(
            Change(
                question=name,
                size=size,
                before=float(was),
                now=float(is_),
                distance=float(table[0, k]),
                p=float(((least <= ranks[0, k]).sum() + 1) / (EXCHANGES + 1)),
                shows_from=float(seen.min()) if len(seen) else 1.0,
                images=images,
            )
        )
    return found


def _some(said: Said, draw: np.random.Generator) -> NDArray[np.int64]:
    """At most MOST_IMAGES images: one of each patient, then the same share of everyone's others."""
    order = draw.permutation(said.patients.max(initial=-1) + 1)[said.patients]
    if len(order) <= MOST_IMAGES:
        return np.arange(len(order))
    shuffled = draw.permutation(len(order))
    by_patient = shuffled[np.argsort(order[shuffled], kind="stable")]
    own = order[by_patient]
    first, past = (np.searchsorted(own, own, side=side) for side in ("left", "right"))
    share_before = (np.arange(len(own)) - first) / (past - first)
    return np.sort(by_patient[np.argsort(share_before, kind="stable")[:MOST_IMAGES]])


def _distances(
    values: Floats, groups: NDArray[np.int64], sides: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Largest distance between the two distributions for each row of `sides` [B, G]."""
    order = np.argsort(values, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(values[order]) > 0, True))
    own, weights = groups[order], _weights(groups)[order]
    places, found = weights.cumsum()[ends], np.zeros(len(sides))
    for start in range(0, len(sides), 100):
        new = (sides[start : start + 100, own] * weights).cumsum(axis=1)[:, ends]
        total, rest = new[:, -1:], places[-1] - new[:, -1:]
        apart = new / np.maximum(total, 1) - (places - new) / np.maximum(rest, 1)
        there = (total > 0.5) & (rest > 0.5)
        found[start : start + 100] = np.where(there[:, 0], np.abs(apart).max(axis=1), 0)
    return found


def _weights(groups: NDArray[np.int64]) -> Floats:
    """[N] of images, which together count 1 for each patient."""
    return np.asarray(1 / np.bincount(groups)[groups])


def _p_values(distances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each exchange: the share of exchanges at least as far apart, rounding aside."""
    rounded = distances.round(12)
    ordered = np.sort(rounded)
    return np.asarray(1 - np.searchsorted(ordered, rounded, side="left") / len(ordered))


@dataclass(frozen=True, slots=True, kw_only=True)
class Prevalence:
    """An estimate for now of how many images have a label, from how often it is called."""

    label: str
    before: float
    now: float
    low: float
    high: float


LEAST_INFORMED = 0.2
"""Of sensitivity + specificity - 1: below it, calls say too little of a label's prevalence."""


def prevalences(before: Said, now: Said, *, seed: int = 0) -> list[Prevalence]:
    """For labels that validation can tell; none if it has no truth.

    Holds if only prevalence changed. Exclusive classes have no row if validation lacks one of them:
    nobody knows how it would be called. 95 % intervals by drawing the patients of both tables 1,000
    times.
    """
    if before.targets is None or not now.count:
        return []
    draw = np.random.default_rng(seed)
    kept = [_some(said, draw) for said in (before, now)]
    times = [
        _times_drawn(s.patients[rows], draw) for s, rows in zip((before, now), kept, strict=True)
    ]
    targets, calls = before.targets[kept[0]], before.decisions[kept[0]]
    patients, names = before.patients[kept[0]], before.labels.outputs
    found = []
    for columns in tables(len(names), before.labels.exclusive):
        truth = (targets[:, columns], calls[:, columns], patients)
        new = now.decisions[kept[1]][:, columns]
        once = implied_shares(truth, new, [t[:1] for t in times])[0].clip(0, 1)
        drawn = implied_shares(truth, new, [t[1:] for t in times], draw).clip(0, 1)
        if not np.isfinite(once).all() or often_undefined(drawn):
            continue
        low, high = np.nanquantile(drawn, (0.025, 0.975), axis=0)
        for at, k in enumerate(columns):
            known = np.isfinite(targets[:, k]) & np.isfinite(calls[:, k])
            ill, called = targets[known, k] == 1, calls[known, k]
            if not called[ill].mean() - called[~ill].mean() >= LEAST_INFORMED:
                continue
            found.append(
                Prevalence(
                    label=names[k],
                    before=float(ill.mean()),
                    now=float(once[at]),
                    low=float(low[at]),
                    high=float(high[at]),
                )
            )
    return found


def _times_drawn(patients: NDArray[np.int64], draw: np.random.Generator) -> Floats:
    """[1001, N]: how often each image counts; once in the first row."""
    own = np.unique(patients, return_inverse=True)[1]
    count = own.max(initial=-1) + 1
    drawn = draw.multinomial(count, np.full(count, 1 / count), size=1_000)
    return np.concatenate([np.ones((1, len(own))), drawn[:, own]])
