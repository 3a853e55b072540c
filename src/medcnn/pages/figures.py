"""Figures as SVG text that takes its colours from the page, so that it reads in light and dark.

Figures are drawn without pyplot, so nothing is left behind in matplotlib's state. Colours are
written as stand-ins and replaced by CSS variables in the SVG; drawn elsewhere (TensorBoard) the
stand-ins are themselves a good light theme.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medcnn.statistics.curves import OneLabel, precision_recall, reliability, roc, thinned
from medcnn.statistics.metrics.table import NUM_BINS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Blue, vermilion and grey of Okabe and Ito 2008, told apart with every kind of colour vision
INK, QUIET, FAINT = "#1d2733", "#6b7682", "#d9dee4"
BLUE, RED = "#0072b2", "#d55e00"
VARIABLES = {
    INK: "var(--ink)",
    QUIET: "var(--quiet)",
    FAINT: "var(--faint)",
    BLUE: "var(--blue)",
    RED: "var(--red)",
}
STYLE: Any = {  # matplotlib's own type of it changes from release to release
    "svg.fonttype": "none",  # text stays text: small, searchable, in the page's own font
    "svg.hashsalt": "medcnn",  # the same numbers give the same bytes
    "font.family": ["DejaVu Sans"],
    "font.size": 9.0,
    "text.color": INK,
    "text.parse_math": False,  # a class called `$T_1$` is a name, not a formula
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "legend.fontsize": 8.5,
}
LONGEST_NAME = 22
PANEL_INCHES = (3.5, 3.2)


def roc_figure(label: OneLabel) -> str:
    """SVG of the ROC curve; the dot is where the decisions stand."""
    with _style():
        figure, axes = _panel("1 − specificity", "Sensitivity")
        axes.plot([0, 1], [0, 1], color=QUIET, linewidth=1, linestyle=(0, (3, 3)))
        axes.plot(*thinned(*roc(label)), color=BLUE, clip_on=False)
        sensitivity = label.decision[label.target].mean()
        false_alarms = label.decision[~label.target].mean()
        _dot(axes, false_alarms, sensitivity)
        return _svg(figure)


def precision_recall_figure(label: OneLabel) -> str:
    """SVG of the precision-recall steps; the dashed line is what guessing gives."""
    with _style():
        figure, axes = _panel("Sensitivity (recall)", "Precision")
        share = label.target.mean()
        axes.plot([0, 1], [share, share], color=QUIET, linewidth=1, linestyle=(0, (3, 3)))
        axes.step(*thinned(*precision_recall(label)), where="pre", color=BLUE, clip_on=False)
        if label.decision.any():
            sensitivity = label.decision[label.target].mean()
            _dot(axes, sensitivity, label.target[label.decision].mean())
        return _svg(figure)


def reliability_figure(label: OneLabel) -> str:
    """SVG of observed share against predicted probability, with the number of images below."""
    bins = reliability(label)
    with _style():
        figure, (upper, lower) = _figure(PANEL_INCHES, rows=2, height_ratios=[4, 1])
        upper.plot([0, 1], [0, 1], color=QUIET, linewidth=1, linestyle=(0, (3, 3)))
        filled = bins.count > 0
        upper.plot(
            bins.predicted[filled],
            bins.observed[filled],
            color=BLUE,
            linewidth=1.4,
            marker="o",
            markersize=4,
            clip_on=False,
        )
        _unit_square(upper)
        upper.set_ylabel("Share of positives")
        upper.tick_params(labelbottom=False)
        centres = (np.arange(NUM_BINS) + 0.5) / NUM_BINS
        lower.bar(centres, bins.count, width=0.8 / NUM_BINS, color=BLUE, alpha=0.55)
        lower.set(xlim=(0, 1), xlabel="Predicted probability", ylabel="Images")
        lower.set_xticks([0, 0.25, 0.5, 0.75, 1])
        lower.set_yticks([0, int(bins.count.max())])
        return _svg(figure)


def risk_coverage_figure(curve: Sequence[tuple[float, float]]) -> str:
    """SVG of the share of wrong decisions among the most certain images."""
    kept, risk = (np.array(column) for column in zip(*curve, strict=True))
    with _style():
        figure, axes = _panel("Share of images kept, most certain first", "Share of them wrong")
        axes.axhline(risk[-1], color=QUIET, linewidth=1, linestyle=(0, (3, 3)))
        axes.plot(kept, risk, color=BLUE, clip_on=False)
        axes.set_ylim(0, max(float(risk.max()) * 1.1, 0.05))
        axes.set_yticks(axes.get_yticks())
        return _svg(figure)


def confusion_figure(counts: NDArray[np.int64], names: Sequence[str]) -> Figure:
    """A matplotlib figure of the confusion matrix [C, C]: colour is the share of the true class,
    text the number of images. For TensorBoard; `confusion_svg` is for the report."""
    from matplotlib.patches import Rectangle

    size = len(names)
    total = counts.sum(axis=1, keepdims=True)
    share = counts / np.maximum(total, 1)
    side = float(np.clip(0.5 * size + 1.8, 3.4, 16))
    with _style():
        figure, (axes,) = _figure((side, side))
        for row, column in np.ndindex(size, size):
            # half opaque at most: the numbers on it stay readable in ink, in light and dark
            colour = BLUE if row == column else RED
            cell = Rectangle((column, row), 1, 1, color=colour, linewidth=0)
            cell.set_alpha(0.55 * float(share[row, column]))
            axes.add_patch(cell)
            axes.text(
                column + 0.5,
                row + 0.5,
                f"{counts[row, column]}",
                ha="center",
                va="center",
                color=INK if counts[row, column] else QUIET,
            )
        short = [_short(name) for name in names]
        axes.set(xlim=(0, size), ylim=(size, 0), xlabel="Decision", ylabel="Truth", aspect="equal")
        tilted = size > 3 or max(map(len, short)) > 10
        axes.set_xticks(
            np.arange(size) + 0.5,
            short,
            rotation=40 if tilted else 0,
            ha="right" if tilted else "center",
            rotation_mode="anchor" if tilted else None,
        )
        axes.set_yticks(np.arange(size) + 0.5, short)
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(True)
            spine.set_color(FAINT)
        return figure


def confusion_svg(counts: NDArray[np.int64], names: Sequence[str]) -> str:
    with _style():
        return _svg(confusion_figure(counts, names))


def history_figure(
    epochs: Sequence[float],
    lines: Mapping[str, Sequence[float]],
    axis: str,
    *,
    log: bool = False,
    chosen: float | None = None,
) -> str:
    """SVG of one or two lines over epochs.

    Args:
        lines: name -> one value per epoch, nan where there is none.
        axis: title of the vertical axis, with its unit.
        log: draw the vertical axis in powers of ten.
        chosen: the epoch whose weights were kept, marked by an upright line.
    """
    with _style():
        figure, (axes,) = _figure((3.5, 2.6))
        for (name, line), colour in zip(lines.items(), (BLUE, RED), strict=False):
            known = [(e, v) for e, v in zip(epochs, line, strict=True) if np.isfinite(v)]
            at, up = zip(*known, strict=True)
            marker = "o" if len(known) < 15 else None
            axes.plot(at, up, color=colour, label=name, marker=marker, markersize=3.5)
        if log:
            axes.set_yscale("log")
            # matplotlib's own labels of powers are formulas, which are switched off here
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter("")
        if chosen is not None:
            axes.axvline(chosen, color=QUIET, linewidth=1, linestyle=(0, (3, 3)), zorder=0)
        if len(lines) > 1:
            axes.legend()
        axes.grid(axis="y")
        axes.set(xlabel="Epoch", ylabel=axis)
        axes.xaxis.get_major_locator().set_params(integer=True)
        return _svg(figure)


def _style() -> Any:
    from matplotlib import rc_context

    return rc_context(STYLE)


def _figure(inches: tuple[float, float], rows: int = 1, **grid: Any) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=inches, layout="constrained")
    axes = figure.subplots(rows, 1, squeeze=False, gridspec_kw=grid or None)
    return figure, axes[:, 0]


def _panel(across: str, up: str) -> tuple[Figure, Axes]:
    figure, (axes,) = _figure(PANEL_INCHES)
    _unit_square(axes)
    axes.set(xlabel=across, ylabel=up)
    return figure, axes


def _unit_square(axes: Axes) -> None:
    ticks = [0, 0.25, 0.5, 0.75, 1]
    axes.set(xlim=(0, 1), ylim=(0, 1), xticks=ticks, yticks=ticks)
    axes.grid()
    axes.set_axisbelow(True)


def _dot(axes: Axes, across: float, up: float) -> None:
    axes.plot(across, up, marker="o", markersize=6, color=RED, clip_on=False, zorder=5)


def _short(name: str) -> str:
    """The report's tables hold the full name; an axis holds what fits."""
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"


def _svg(figure: Figure) -> str:
    """The figure as an `<svg>` element for use inside HTML: no prologue, no date, no ids."""
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with warnings.catch_warnings():
        # the page's font draws the text; that ours lacks a letter of a class name is no fault
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(buffer, format="svg", metadata=nothing, transparent=True)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    # ids such as `axes_1` would stand once for every figure of the page
    text = re.sub(r'<g id="[^"]*">', "<g>", text)
    for stand_in, variable in VARIABLES.items():
        text = text.replace(f": {stand_in}", f": {variable}")
    return text
