"""Two models on the same images: by how much they differ, and whether that could be chance.

Both see the same patients, so the difference is computed per patient, never from the overlap of two
intervals. docs/comparing.md states what each test assumes; benchmarks/comparing.py simulates how
often it is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcnn.data.labels import Kind
from medcnn.statistics.differences import Difference, Discordance, Pairing, two_sided
from medcnn.statistics.intervals import (
    Floats,
    Ints,
    group_numbers,
    how_many,
    often_undefined,
    resampling_weights,
    spread_of_draws,
    spread_of_parts,
    students,
    too_few,
)
from medcnn.statistics.metrics.influences import Kernel
from medcnn.statistics.metrics.table import (
    METRICS,
    Assessed,
    Metric,
    Rows,
    Sample,
    Scope,
    right,
    samples,
)
from medcnn.statistics.predictions import Predictions
from medcnn.statistics.score_parts import patients_behind, why_undefined
from medcnn.system.errors import DataError, listed

RANKED = frozenset(
    (
        *("auroc", "cut_auroc", "partial_auc", "average_precision"),
        *("sensitivity_at_specificity", "specificity_at_sensitivity"),
    )
)
"""Scores that depend only on the order of probabilities: exchanging two models' answers means
exchanging ranks, since models may use different scales and still rank alike."""
OVERALL = (
    *("auroc", "quadratic_weighted_kappa", "balanced_accuracy", "accuracy", "sensitivity"),
    *("specificity", "average_precision", "f1", "brier", "log_loss", "ece"),
)
"""Scores compared by default: overall, and AUROC also per class."""


FLOAT32 = 1e-6
"""Sums over resamples and exchanges are in float32; smaller differences are ties."""


def aligned(
    predictions: Mapping[str, Predictions], *, common: bool = False
) -> dict[str, Predictions]:
    """The predictions of all, by name, on the same images in the order of the first.

    Args:
        common: whether to leave out images that some of them lack, instead of refusing.

    Raises:
        DataError: classes, images, labels or patients differ; lists all differences with examples.
    """
    (first, reference), *others = predictions.items()
    faults = [
        f"{name} has {_in_words(p)}, {first} has {_in_words(reference)}"
        for name, p in others
        if p.labels != reference.labels
    ]
    for name, p in predictions.items():
        if len(set(p.image_ids)) < len(p.image_ids):
            faults.append(f"{name} contains some images twice")
        if p.folds:
            faults.append(
                f"{name} has predictions of several models, one per fold; compare the test "
                f"splits of single folds, such as {name}/repeat-1/fold-1"
            )
    if faults:
        raise DataError(
            "; ".join(faults) + ". Compare models of the same classes, each image once."
        )
    shared = set(reference.image_ids).intersection(*(p.image_ids for _, p in others))
    if not shared:
        raise DataError(
            "the runs have no image in common: their test sets or their pseudonym keys differ "
            "(docs/privacy.md)."
        )
    for name, p in predictions.items():
        if (own := set(p.image_ids) - shared) and not common:
            faults.append(
                f"{name} has {_images(len(own))} that some others lack: {listed(sorted(own), 3)}"
            )
    hint = " common=true compares only the images that all have." if faults else ""
    order = [i for i in reference.image_ids if i in shared]
    taken = {name: _rows(p, order) for name, p in predictions.items()}
    base = taken[first]
    for name, p in taken.items():
        unlike = (np.nan_to_num(p.targets, nan=-1) != np.nan_to_num(base.targets, nan=-1)).any(1)
        if unlike.any():
            examples = listed([order[i] for i in np.flatnonzero(unlike)], 3)
            faults.append(f"{name} labels {_images(int(unlike.sum()))} differently: {examples}")
        if (group_numbers(p.groups)[0] != group_numbers(base.groups)[0]).any():
            faults.append(f"{name} assigns images to different patients than {first}")
    if faults:
        raise DataError("; ".join(faults) + f".{hint}")
    return {name: replace(p, groups=base.groups) for name, p in taken.items()}


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count:,} images"


def _in_words(p: Predictions) -> str:
    return f"{p.labels.kind} labels ({listed(list(p.labels.names), 8)})"


def _rows(p: Predictions, order: Sequence[str]) -> Predictions:
    at = {image_id: i for i, image_id in enumerate(p.image_ids)}
    return replace(p.only([at[i] for i in order]), lines=())


def compare(
    reference: Predictions,
    other: Predictions,
    scores: Sequence[str] | None = None,
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> Pairing:
    """Differences and discordances of two models with `aligned` predictions.

    Args:
        scores: names in `METRICS`; None: those of `OVERALL` that the kind of label has.
        resamples: of the bootstrap, and exchanges of the permutation test; 1 or more.
    """
    labels = reference.labels
    names = [n for n in scores or OVERALL if labels.kind in METRICS[n].kinds]
    if not scores and labels.exclusive:
        names.remove("sensitivity")  # the same as balanced accuracy
        names.remove("specificity")
    pair = (Assessed(predictions=reference), Assessed(predictions=other))
    groups, num_groups = group_numbers(reference.groups)
    weights = resampling_weights(reference.groups, resamples, seed)
    keep = np.random.default_rng((seed, 1)).integers(2, size=(resamples, num_groups), dtype=bool)
    keep[0] = True  # the observed result is one of the exchanges, and is summed like them
    differences: list[Difference] = []
    for scope in Scope:
        metrics = {n: METRICS[n] for n in names if METRICS[n].scope(labels) is scope}
        if metrics:
            rows = list(zip(pair[0].of(scope), pair[1].of(scope), strict=True))
            kernels = {n: m.kernel(labels) for n, m in metrics.items()}
            drawn = drawn_differences(rows, kernels, weights, num_groups, groups)
            exchanged = _exchanged(rows, kernels, keep[:, groups])
            outputs = labels.outputs[1:] if scope is Scope.CUT else labels.outputs
            own = outputs if len(rows) > 1 else ()
            for n, m in metrics.items():
                found = np.array([[kernels[n](Sample.once(r))[0] for r in two] for two in rows])
                reported = own if scores or n == "auroc" else ()
                differences += tested(
                    n, m, rows, found, drawn[n], exchanged[n], groups, reported, m.span(labels)
                )
    differences.sort(key=lambda d: (d.label is not None, names.index(d.score)))
    return Pairing(differences=tuple(differences), discordances=tuple(_discordances(pair, groups)))


Pair = tuple[Rows, Rows]


def drawn_differences(
    rows: Sequence[Pair],
    kernels: Mapping[str, Kernel],
    weights: NDArray[Any],
    num_groups: int,
    groups: Ints,
) -> dict[str, list[tuple[Floats, float]]]:
    """Score -> per label the influence of patients [m] on its difference, or its deviation in
    resamples [R], scaled so that the sum of squares is the variance; and its degrees of freedom."""
    found: dict[str, list[tuple[Floats, float]]] = {n: [] for n in kernels}
    for a, b in rows:
        drawing = {n: k for n, k in kernels.items() if METRICS[n].influence is None}
        blocks: dict[str, list[Floats]] = {n: [] for n in drawing}
        for one, two in zip(samples(a, weights), samples(b, weights), strict=True):
            for n, kernel in drawing.items():
                blocks[n].append(kernel(two) - kernel(one))
        for n in kernels:
            influence = METRICS[n].influence
            if influence is not None:
                # the noise of two scores of the same images correlates like the scores
                own = [spread_of_parts(influence(r), groups[r.at], num_groups) for r in (a, b)]
                noise = own[1].noise - own[0].noise
                found[n].append((noise, min(spread.freedom for spread in own)))
            else:
                draws = np.concatenate(blocks[n])
                behind = _behind(METRICS[n], (a, b), groups)
                spread = spread_of_draws(draws, np.bincount(groups[a.at])[behind])
                scale = math.sqrt(len(behind) / max(1, len(behind) - 1) / len(draws))
                found[n].append((spread.noise * scale, spread.freedom))
    return found


def _exchanged(
    rows: Sequence[Pair], kernels: Mapping[str, Kernel], keep: NDArray[np.bool_]
) -> dict[str, Floats]:
    """Score -> its differences [R, K] if only the images in `keep` [R, N] keep their model, and the
    two answers to all others are exchanged. The first row keeps all.

    The answers of both models are in one list of 2 N; each exchange assigns one half to each model.
    Source: Bandos, Rockette and Gur 2005, Statistics in Medicine 24(18), who exchange ranks; all
    images of a patient together, as in Winkler et al. 2015, NeuroImage 123.
    """
    halves = np.concatenate([keep, ~keep], axis=1)
    rests = ~halves
    found: dict[str, list[Floats]] = {n: [] for n in kernels}
    for a, b in rows:
        for ranked in (False, True):
            chosen = {n: k for n, k in kernels.items() if (n in RANKED) is ranked}
            if not chosen:
                continue
            both = _joined(a, b, ranked=ranked)
            blocks: dict[str, list[Floats]] = {n: [] for n in chosen}
            for one, two in zip(samples(both, halves), samples(both, rests), strict=True):
                for n, kernel in chosen.items():
                    blocks[n].append(kernel(two) - kernel(one))
            for n, parts in blocks.items():
                found[n].append(np.concatenate(parts))
    return {n: np.stack(parts, axis=1) for n, parts in found.items()}


def _joined(a: Rows, b: Rows, *, ranked: bool) -> Rows:
    from scipy.stats import rankdata  # slow to import

    p = [rankdata(r.probability) if ranked else r.probability for r in (a, b)]
    return Rows(
        target=np.concatenate([a.target, b.target]),
        probability=np.concatenate(p),
        decision=np.concatenate([a.decision, b.decision]),
        at=np.concatenate([a.at, b.at + a.size]),
        size=a.size + b.size,
    )


def tested(
    name: str,
    metric: Metric,
    rows: Sequence[Pair],
    values: Floats,
    drawn: Sequence[tuple[Floats, float]],
    exchanged: Floats,
    groups: Ints,
    own: Sequence[str],
    span: tuple[float, float],
) -> Iterator[Difference]:
    """The overall difference, then that of each label in `own`; `values` [K, 2] of both."""
    defined = [k for k in range(len(rows)) if not np.isnan(values[k]).any()]
    for label, ks in [(None, defined), *((label, [k]) for k, label in enumerate(own))]:
        seen = np.any([rows[k][0].images for k in ks or range(len(rows))], axis=0)
        known = [k for k in ks if k in defined]
        first, second = values[known].mean(axis=0) if known else (math.nan, math.nan)
        result = Difference(
            score=name,
            label=label,
            better={True: 1, False: -1, None: 0}[metric.higher_is_better],
            reference=float(first),
            other=float(second),
            method=metric.method if metric.influence is not None else "bootstrap",
            count=int(seen.sum()),
            groups=how_many(groups[seen]),
        )
        if not known:
            why = why_undefined(metric, rows[ks[0] if ks else 0][0])
            yield replace(result, note=f"not available: {why}")
            continue
        equal = FLOAT32 * (1 + abs(first) + abs(second))
        note = ""
        if label is None and len(known) < len(rows):
            note = f"mean over {len(known)} of {len(rows)} labels; "
        behind = [len(_behind(metric, rows[k], groups)) for k in known]
        noise = np.mean([drawn[k][0] for k in known], axis=0)
        variances = np.array([_variance(drawn[k][0]) for k in known])
        variance = _variance(noise)
        if few := too_few(max(behind), metric.needs):
            note += f"interval not available: {few}"
        elif reason := often_undefined(noise):
            note += f"interval not available: {reason}"
        elif not variance > equal**2:
            constant = abs(result.difference) > equal
            note += "interval not available: "
            note += (
                "the difference is the same in every resample"
                if constant
                else ("the models agree on every image")
            )
        if note.endswith("; ") or not note:
            share = variances / variances.sum()
            freedom = 1 / float((share**2 / [drawn[k][1] for k in known]).sum())
            error = math.sqrt(variance)
            reach = students(freedom) * error
            star = exchanged[:, known].mean(axis=1)
            as_far = ~(np.abs(star) < abs(star[0]) - equal)  # nan counts against it
            most = span[1] - span[0]
            result = replace(
                result,
                low=max(result.difference - reach, -most),
                high=min(result.difference + reach, most),
                p=two_sided(result.difference / error, freedom),
                p_permuted=float(as_far.mean()),
                error=error,
                freedom=freedom,
            )
        yield replace(result, note=note.removesuffix("; "))


def _behind(metric: Metric, pair: Pair, groups: Ints) -> Ints:
    return min((patients_behind(metric, rows, groups[rows.at]) for rows in pair), key=len)


def _variance(noise: Floats) -> float:
    defined = ~np.isnan(noise)
    return float((noise[defined] ** 2).sum() * len(noise) / max(1, defined.sum()))


def _discordances(pair: tuple[Assessed, Assessed], groups: Ints) -> Iterator[Discordance]:
    labels = pair[0].predictions.labels
    exclusive = labels.exclusive and labels.kind is not Kind.BINARY
    one, two = (a.table[0] if exclusive else a.pooled for a in pair)
    yield _discordance("answers", None, one, two, np.ones(len(one.at), dtype=np.bool_), groups)
    for k, label in enumerate(labels.outputs):
        a, b = (assessed.labels[k] for assessed in pair)
        yield _discordance("positives", label, a, b, a.target, groups)
        yield _discordance("negatives", label, a, b, ~a.target, groups)


def _discordance(
    side: str, label: str | None, a: Rows, b: Rows, of: NDArray[np.bool_], groups: Ints
) -> Discordance:
    first, second = right(a)[of], right(b)[of]
    only_first, only_second = first & ~second, second & ~first
    gained = only_second.astype(np.int64) - only_first
    by_patient = np.bincount(groups[a.at[of]], weights=gained).astype(np.int64)
    return Discordance(
        side=side,
        label=label,
        count=int(of.sum()),
        only_reference=int(only_first.sum()),
        only_other=int(only_second.sum()),
        p=mcnemar(by_patient),
    )


def mcnemar(gained: Ints) -> float:
    """Two-sided exact p of no difference, from the gain of each patient [m] with the other model.

    If the models were equal, each patient's gain could as well be a loss of the same size. The
    distribution of the sum over all choices of signs is computed exactly. With one image per
    patient, this is the binomial test of the discordant pairs. Sources: McNemar 1947, Psychometrika
    12(2); signs by cluster: Winkler et al. 2015, NeuroImage 123.
    """
    sizes = np.abs(gained[gained != 0])
    chance = np.ones(1)
    for size in np.sort(sizes):
        grown = np.zeros(len(chance) + size)
        grown[: len(chance)] += chance / 2
        grown[size:] += chance / 2
        chance = grown
    sums = 2 * np.arange(len(chance)) - int(sizes.sum())
    return min(1.0, float(chance[np.abs(sums) >= abs(int(gained.sum()))].sum()))
