"""The charts of reports, each a drawing by `svg` with its numbers: per class, for referral, for
training and for recalibration."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from medcnn.data.labels import Kind
from medcnn.pages import svg
from medcnn.pages.format import count, estimate, hundredths, number
from medcnn.pages.svg import Axis, Chart, Frame
from medcnn.statistics.benefit import BenefitCurve
from medcnn.statistics.curves import OneLabel, precision_recall, reliability, roc, thinned
from medcnn.statistics.evaluation import Evaluation, Score
from medcnn.statistics.metrics.table import METRICS, NUM_BINS
from medcnn.statistics.reader_points import Beside, ReaderPoint
from medcnn.statistics.recalibration import Recalibrated
from medcnn.system.progress import track

MOST_POINTS = 100
"""A line of 280 units cannot show more points."""
SPECIFICITIES = (0.5, 0.7, 0.8, 0.9, 0.95, 0.99)
RECALLS = (0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
MARKED = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
"""Thresholds at which the net benefit is given as a number."""
SHARES_KEPT = (0.25, 0.5, 0.75, 0.9, 1.0)
MOST_EPOCHS_BEHIND, MOST_EPOCHS_MARKED = 10, 40


def roc_chart(label: OneLabel, readers: Sequence[ReaderPoint] = ()) -> Chart:
    """The ROC curve; the large dot marks the decisions, and dots in boxes are `readers`."""
    false, true = roc(label)
    frame = Frame(across=Axis(title="1 − specificity"), up=Axis(title="Sensitivity"))
    # the highest sensitivity with at least this specificity
    best = {s: float(true[false <= 1 - s + 1e-12].max()) for s in SPECIFICITIES}
    sensitivity = float(label.decision[label.target].mean())
    alarms = float(label.decision[~label.target].mean())
    decided = f"decisions: sensitivity {number(sensitivity)}, specificity {number(1 - alarms)}"
    points = [(1 - s, b, f"specificity {s:g}: sensitivity {number(b)}") for s, b in best.items()]
    return Chart(
        name="ROC curve",
        svg=svg.drawn(
            f"ROC curve of {label.name}",
            svg.axes(frame),
            svg.line(frame, (0, 1), (0, 1), "d"),
            svg.line(frame, *thinned(false, true, MOST_POINTS)),
            svg.dots(frame, points, "h"),
            *(svg.line(frame, *_edges(point), "d") for point in readers),
            svg.dots(frame, [(1 - r.specificity, r.sensitivity, r.who) for r in readers]),
            svg.dots(frame, [(alarms, sensitivity, decided)], "p2"),
        ),
        head=("At a specificity of", "sensitivity"),
        rows=tuple((f"{s:g}", number(b)) for s, b in best.items()),
    )


def _edges(point: ReaderPoint) -> tuple[list[float], list[float]]:
    """The box around a point, as a closed line; nothing if it is unknown."""
    if point.box is None:
        return [], []
    (low, high), (least, most) = point.box
    left, right = 1 - most, 1 - least
    return [left, right, right, left, left], [low, low, high, high, low]


def precision_recall_chart(label: OneLabel) -> Chart:
    """The precision-recall steps; the dashed line is for guessing."""
    recall, precision = precision_recall(label)
    frame = Frame(across=Axis(title="Sensitivity (recall)"), up=Axis(title="Precision"))
    share = float(label.target.mean())
    reached = {r: float(precision[recall >= r - 1e-12][0]) for r in RECALLS}
    points = [(r, p, f"sensitivity {r:g}: precision {number(p)}") for r, p in reached.items()]
    marks = [svg.dots(frame, points, "h")]
    if label.decision.any():
        found = float(label.decision[label.target].mean())
        right = float(label.target[label.decision].mean())
        title = f"decisions: sensitivity {number(found)}, precision {number(right)}"
        marks.append(svg.dots(frame, [(found, right, title)], "p2"))
    return Chart(
        name="Precision and recall",
        svg=svg.drawn(
            f"Precision and recall of {label.name}",
            svg.axes(frame),
            svg.line(frame, (0, 1), (share, share), "d"),
            svg.line(frame, *thinned(recall, precision, MOST_POINTS), steps=True),
            *marks,
        ),
        head=("At a sensitivity of", "precision"),
        rows=tuple((f"{r:g}", number(p)) for r, p in reached.items()),
    )


def reliability_chart(label: OneLabel) -> Chart:
    """Observed share against predicted probability, over the number of images in each bin."""
    bins = reliability(label)
    most = int(bins.count.max())
    upper = Frame(across=Axis(title=""), up=Axis(title="Share of positives"), bottom=192)
    lower = Frame(
        across=Axis(title="Predicted probability"),
        up=Axis(title="", low=0, high=most, ticks=(0, most)),
        top=206,
    )
    filled = np.flatnonzero(bins.count)
    predicted, observed = bins.predicted[filled].tolist(), bins.observed[filled].tolist()
    rows = tuple(
        (hundredths(p), hundredths(o), count(bins.count[k]))
        for k, p, o in zip(filled, predicted, observed, strict=True)
    )
    edges = (np.arange(NUM_BINS + 1) / NUM_BINS).tolist()
    points = [
        (p, o, f"predicted {row[0]}, observed {row[1]}, {row[2]} images")
        for p, o, row in zip(predicted, observed, rows, strict=True)
    ]
    return Chart(
        name="Reliability of the probabilities",
        svg=svg.drawn(
            f"Reliability of the probabilities of {label.name}",
            svg.axes(upper, numbers_across=False),
            svg.axes(lower, grid_across=False),
            svg.line(upper, (0, 1), (0, 1), "d"),
            svg.line(upper, predicted, observed),
            svg.dots(upper, points),
            svg.bars(lower, edges, bins.count.tolist()),
        ),
        head=("Predicted", "observed", "images"),
        rows=rows,
    )


def benefit_chart(curve: BenefitCurve) -> Chart:
    """Net benefit of the model with its interval, of treating everyone, and of treating no one."""
    most = next((m for m in (0.1, 0.2, 0.5) if m >= 3 * curve.prevalence), 1.0)
    shown = [p for p in curve.points if p.threshold <= most]
    across = Axis(title="Threshold", low=0, high=most, ticks=tuple(svg.ticks(0, most)))
    floor = -curve.prevalence / 5
    ends = [floor, *(p.model.high for p in shown if math.isfinite(p.model.high)), curve.prevalence]
    frame = svg.frame(across=across, up=svg.axis("Net benefit per image", ends))
    at = [p.threshold for p in shown]

    def drawn(values: Sequence[float], kind: str) -> str:
        return svg.line(frame, at, [v if v >= floor else math.nan for v in values], kind)

    points = [
        (
            p.threshold,
            p.model.value,
            f"threshold {p.threshold:g}: net benefit {number(p.model.value)}",
        )
        for p in shown
        if p.model.value >= floor and p.threshold in MARKED
    ]
    return Chart(
        name=f"Net benefit, {curve.label}",
        svg=svg.drawn(
            f"Net benefit of {curve.label} over thresholds",
            svg.axes(frame, grid_across=False),
            svg.line(frame, (0, most), (0, 0), "d"),
            drawn([p.model.low for p in shown], "d"),
            drawn([p.model.high for p in shown], "d"),
            drawn([p.all for p in shown], "l2"),
            drawn([p.model.value for p in shown], "l1"),
            svg.dots(frame, points, "h"),
            svg.note(frame.right, frame.top + 2, "treat all", "e k2"),
            svg.note(frame.right - 9 * svg.LETTER, frame.top + 2, "model", "e k1"),
        ),
        head=("Threshold", "model", "95 % interval", "treat all"),
        rows=tuple(
            (f"{p.threshold:g}", *estimate(p.model.value, p.model.low, p.model.high), number(p.all))
            for p in shown
            if p.threshold in MARKED
        ),
    )


def risk_coverage_chart(curve: Sequence[tuple[float, float]]) -> Chart:
    """The share of wrong decisions among the most certain images."""
    kept, risk = (np.array(column) for column in zip(*curve, strict=True))
    frame = svg.frame(
        across=Axis(title="Share of images kept, most certain first"),
        up=svg.axis("Share of them wrong", [0.05, float(risk.max())], zero=True),
    )
    at = [int(np.abs(kept - share).argmin()) for share in SHARES_KEPT]
    rows = tuple((hundredths(kept[i]), number(risk[i])) for i in dict.fromkeys(at))
    points = [
        (float(kept[i]), float(risk[i]), f"{row[0]} kept: {row[1]} of them wrong")
        for i, row in zip(dict.fromkeys(at), rows, strict=True)
    ]
    return Chart(
        name="Risk and coverage",
        svg=svg.drawn(
            "Risk and coverage",
            svg.axes(frame),
            svg.line(frame, (0, 1), (risk[-1], risk[-1]), "d"),
            svg.line(frame, *thinned(kept, risk, MOST_POINTS)),
            svg.dots(frame, points, "h"),
        ),
        head=("Kept", "wrong"),
        rows=rows,
    )


def history_chart(
    name: str,
    epochs: Sequence[float],
    lines: Mapping[str, Sequence[float]],
    title: str,
    *,
    log: bool = False,
    chosen: float | None = None,
) -> Chart:
    """One or two lines over epochs.

    Args:
        lines: name -> one value per epoch, nan if there is none.
        title: of the vertical axis, with its unit.
        log: draw the vertical axis in powers of ten.
        chosen: the epoch whose weights were kept, marked by a vertical line.
    """
    first, last = min(epochs), max(epochs)
    # whole epochs: no ticks between them
    near = svg.ticks(first, max(last, first + 1))
    marks = [t for t in near if t == int(t) and first <= t <= last]
    across = Axis(
        title="Epoch", low=first, high=max(last, first + 1), ticks=tuple(marks) or (first,)
    )
    frame = svg.frame(
        across=across, up=svg.axis(title, (v for line in lines.values() for v in line), log=log)
    )
    parts = [svg.axes(frame, grid_across=False)]
    if chosen is not None:
        parts.append(svg.line(frame, (chosen, chosen), (frame.up.low, frame.up.high), "d"))
    few = sorted({round(i) for i in np.linspace(0, len(epochs) - 1, MOST_EPOCHS_BEHIND)})
    marked = few if len(epochs) > MOST_EPOCHS_MARKED else range(len(epochs))
    for number_of, (called, values) in enumerate(lines.items(), start=1):
        parts.append(svg.line(frame, epochs, values, f"l{number_of}"))
        kind = ("p1", "p2 s")[number_of - 1] if len(epochs) < 15 else "h"
        points = [
            (epochs[i], values[i], f"epoch {epochs[i]:g}: {called} {values[i]:.4g}")
            for i in marked
            if math.isfinite(values[i])
        ]
        parts.append(svg.dots(frame, points, kind))
    if len(lines) > 1:
        at = frame.right
        for number_of, called in reversed(list(enumerate(lines, start=1))):
            parts.append(svg.note(at, frame.top + 2, called, f"e k{number_of}"))
            at -= svg.LETTER * (len(called) + 2)
    return Chart(
        name=name,
        svg=svg.drawn(name, *parts),
        head=("Epoch", *lines),
        rows=tuple(
            (f"{epochs[i]:g}", *("" if math.isnan(v[i]) else f"{v[i]:.4g}" for v in lines.values()))
            for i in few
        ),
    )


def classes(
    labels: Sequence[OneLabel], evaluation: Evaluation, readers: Sequence[Beside] = ()
) -> list[tuple[OneLabel, Score, list[Chart]]]:
    """Each output with its AUROC and its charts."""
    binary = evaluation.labels.kind is Kind.BINARY
    areas = {s.label: s for s in evaluation.scores if s.name == "auroc" and s.average is None}
    found = []
    for label in track(labels, len(labels), "report: charts of each class"):
        own = [one.point for one in readers if one.point.label == label.name]
        curves: list[Callable[[OneLabel], Chart]] = []
        if label.both_classes:
            curves = [partial(roc_chart, readers=own), precision_recall_chart]
        draws = [*curves, reliability_chart] if len(label.target) else []
        found.append(
            (label, areas[None if binary else label.name], [draw(label) for draw in draws])
        )
    return found


def training(history: Sequence[Mapping[str, float]], chosen: float | None = None) -> list[Chart]:
    """Loss, validation scores and learning rates, those that the history has.

    Args:
        chosen: the epoch whose weights were kept.
    """

    def line(key: str) -> list[float]:
        return [float(epoch.get(key, math.nan)) for epoch in history]

    def known(key: str) -> bool:
        return any(math.isfinite(value) for value in line(key))

    epochs = [float(epoch.get("epoch", i)) for i, epoch in enumerate(history)]
    drawn = []
    losses = {"training": "train/loss", "validation": "val/loss"}
    if lines := {name: line(key) for name, key in losses.items() if known(key)}:
        drawn.append(history_chart("Loss", epochs, lines, "Loss", chosen=chosen))
    keys = sorted({key for epoch in history for key in epoch if known(key)})
    kept = "" if chosen is None else f", epoch {chosen:g} kept"
    for key in keys:
        name = key.removeprefix("val/")
        if name not in (key, "loss"):
            title = METRICS[name].title if name in METRICS else name
            caption, lines = f"{title} on validation{kept}", {title: line(key)}
            drawn.append(history_chart(caption, epochs, lines, title, chosen=chosen))
    rates = {k.removeprefix("lr/"): line(k) for k in keys if k.split("/")[0] == "lr"}
    if len({str(values) for values in rates.values()}) == 1:
        rates = dict([next(iter(rates.items()))])
    if len(rates) > 2:  # show two lines: the head, and the fastest part of the body
        body = np.array([values for name, values in rates.items() if name != "head"])
        fastest = [float(np.nanmax(v)) if np.isfinite(v).any() else math.nan for v in body.T]
        rates = {"body, at most": fastest, "head": rates["head"]}
    if rates:
        log = all(v > 0 for values in rates.values() for v in values if math.isfinite(v))
        drawn.append(history_chart("Learning rate", epochs, rates, "Learning rate", log=log))
    return drawn


def recalibration_chart(label: str, rows: Sequence[Recalibrated]) -> Chart:
    """The Brier score of one label by the number of cases recalibrated with."""
    cases = [float(r.cases) for r in rows]
    before, after = zip(*(r.brier for r in rows), strict=True)
    frame = svg.frame(
        svg.axis("Labelled cases", cases, log=True), svg.axis("Brier score", [*before, *after])
    )
    points = [
        (n, value, f"{n:,.0f} cases: {number(value)}")
        for n, value in zip(cases, after, strict=True)
    ]
    name = f"{label}: recalibrated with n cases, and (dashed) as the model is"
    return Chart(
        name=name,
        svg=svg.drawn(
            name,
            svg.axes(frame),
            svg.line(frame, cases, before, "d"),
            svg.line(frame, cases, after),
            svg.dots(frame, points),
        ),
        head=("Cases", "before", "after"),
        rows=tuple((count(r.cases), *map(number, r.brier)) for r in rows),
    )
