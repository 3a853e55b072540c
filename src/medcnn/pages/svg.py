"""Charts as a few kB of SVG text each: axes, lines, dots and bars. Their colours come from the
page's style sheet, so they work in light and dark mode and on paper.

Every mark for a number has a `<title>`, shown on hover; the numbers are in a table with each chart
(`Chart.rows`). The same input gives the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

WIDTH, HEIGHT = 340, 290
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 12, 38
MOST_TICKS = 6
LETTER = 6.1
"""Width of a letter at the charts' font size, to keep text inside the picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A drawing and its numbers."""

    name: str  # the caption
    svg: str  # one `<svg>` element
    head: tuple[str, ...]  # of its table
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    title: str  # with its unit
    low: float = 0.0
    high: float = 1.0
    ticks: tuple[float, ...] = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)  # positions of numbers
    log: bool = False  # in powers of ten; both ends must be above 0

    def share(self, value: float) -> float:
        """0 at the low end, 1 at the high one."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def axis(title: str, values: Iterable[float], *, log: bool = False, zero: bool = False) -> Axis:
    """An axis that includes all finite `values` and ends at ticks.

    Args:
        zero: it begins at 0.
    """
    known = [v for v in values if math.isfinite(v) and (v > 0 or not log)] or [0.1 if log else 0.0]
    low, high = (0.0 if zero else min(known)), max(known)
    if log:
        first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
        last = max(last, first + 1)
        every = math.ceil((last - first) / 5)
        last = first + every * math.ceil((last - first) / every)
        powers = tuple(10.0**p for p in range(first, last + 1, every))
        return Axis(title=title, low=powers[0], high=powers[-1], ticks=powers, log=True)
    if low == high:
        low, high = low - (abs(low) / 2 or 0.5) * (not zero), high + (abs(high) / 2 or 0.5)
    found = ticks(low, high)
    return Axis(title=title, low=found[0], high=found[-1], ticks=found)


def ticks(low: float, high: float) -> tuple[float, ...]:
    """At most 6 equally spaced round numbers, from at most `low` to at least `high`.

    Source: steps of 1, 2, 2.5 and 5 times a power of ten, Heckbert 1990, Graphics Gems.
    """
    exact = (high - low) / (MOST_TICKS - 1)
    power = 10.0 ** math.floor(math.log10(exact))
    for step in (power * s for s in (1, 2, 2.5, 5, 10, 20)):
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        if last - first < MOST_TICKS:
            return tuple(float(f"{n * step:.12g}") for n in range(first, last + 1))
    raise AssertionError("a step of 20 times the power is long enough")


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """Two axes and their place in the picture, in its units."""

    across: Axis
    up: Axis
    left: float = LEFT
    right: float = WIDTH - RIGHT
    top: float = TOP
    bottom: float = HEIGHT - BOTTOM

    def at(self, across: float, up: float) -> tuple[float, float]:
        return (
            self.left + (self.right - self.left) * self.across.share(across),
            self.bottom - (self.bottom - self.top) * self.up.share(up),
        )


def frame(across: Axis, up: Axis) -> Frame:
    """The whole picture, with enough room on the left for the numbers."""
    longest = max(len(tick_text(value)) for value in up.ticks)
    return Frame(across=across, up=up, left=max(LEFT, 24 + LETTER * longest))


def drawn(label: str, *parts: str) -> str:
    """The parts as a picture that screen readers announce as `label`."""
    inside = "".join(parts)
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="'
        f'{escape(label)}">{inside}</svg>'
    )


def axes(frame: Frame, *, grid_across: bool = True, numbers_across: bool = True) -> str:
    """Grid, numbers and titles of both axes."""
    grid, beside, below = [], [], []
    for value in frame.up.ticks:
        _, y = frame.at(frame.across.low, value)
        grid.append(f"M{_short(frame.left)} {_short(y)}H{_short(frame.right)}")
        beside.append(note(frame.left - 6, y + 4, tick_text(value)))
    for value in frame.across.ticks:
        x, _ = frame.at(value, frame.up.low)
        if grid_across:
            grid.append(f"M{_short(x)} {_short(frame.top)}V{_short(frame.bottom)}")
        below.append(note(x, frame.bottom + 15, tick_text(value)))
    middle = (frame.left + frame.right) / 2
    parts = [f'<path class="g" d="{"".join(grid)}"/><g class="e">{"".join(beside)}</g>']
    if numbers_across:
        title = note(middle, frame.bottom + 32, frame.across.title, "t")
        parts.append(f'<g class="m">{"".join(below)}{title}</g>')
    if frame.up.title:
        y = (frame.top + frame.bottom) / 2
        parts.append(
            f'<text class="m t" transform="translate(11 {_short(y)})rotate(-90)">'
            f"{escape(frame.up.title)}</text>"
        )
    return "".join(parts)


def tick_text(value: float) -> str:
    return f"{value:g}".replace("-", "\N{MINUS SIGN}")


def line(
    frame: Frame,
    across: Iterable[float],
    up: Iterable[float],
    kind: str = "l1",
    *,
    steps: bool = False,
) -> str:
    """A line through the points, with gaps where `up` is nan.

    Args:
        kind: class in the style sheet: l1, l2 (colours), d (dashed, for guessing).
        steps: from each point, the line first goes up or down, then across.
    """
    runs: list[list[tuple[int, int]]] = [[]]
    for x, y in zip(across, up, strict=True):
        if not math.isfinite(y):
            runs.append([])
            continue
        fx, fy = frame.at(x, y)
        now, run = (round(10 * fx), round(10 * fy)), runs[-1]
        if steps and run and now[0] != run[-1][0] and now[1] != run[-1][1]:
            _extend(run, (run[-1][0], now[1]))
        _extend(run, now)
    d = "".join(map(_path, filter(None, runs)))
    return f'<path class="{kind}" d="{d}"/>' if d else ""


def area(
    frame: Frame, across: Iterable[float], low: Iterable[float], high: Iterable[float], kind: str
) -> str:
    """The area between two lines over the same points; `kind` as in `line`: w1, w2, w3."""
    places = [*across]
    corners = [*zip(places, low, strict=True), *reversed([*zip(places, high, strict=True)])]
    points = [(round(10 * x), round(10 * y)) for x, y in (frame.at(*c) for c in corners)]
    return f'<path class="{kind}" d="{_path(points)}z"/>'


def _extend(run: list[tuple[int, int]], to: tuple[int, int]) -> None:
    """Add a point; if it continues straight up, down or across, it replaces the last."""
    if len(run) > 1 and any(run[-2][i] == run[-1][i] == to[i] for i in (0, 1)):
        run[-1] = to
    elif not run or run[-1] != to:
        run.append(to)


def _path(run: Sequence[tuple[int, int]]) -> str:
    """Steps from point to point, in tenths."""
    d = [f"M{_tenth(run[0][0])} {_tenth(run[0][1])}"]
    for (x0, y0), (x1, y1) in pairwise(run):
        across, up = _tenth(x1 - x0), _tenth(y1 - y0)
        if y0 == y1:
            d.append(f"h{across}")
        elif x0 == x1:
            d.append(f"v{up}")
        else:
            d.append(f"l{across}{'' if up[0] == '-' else ' '}{up}")
    return "".join(d)


def dots(frame: Frame, points: Iterable[tuple[float, float, str]], kind: str = "p1") -> str:
    """Dots with titles, each (across, up, title); those of kind `h` appear only on hover. The style
    sheet sets the size of each kind."""
    drawn_dots = []
    for across, up, title in points:
        x, y = frame.at(across, up)
        inside = f"<title>{escape(title)}</title>"
        drawn_dots.append(f'<circle cx="{_short(x)}" cy="{_short(y)}">{inside}</circle>')
    return f'<g class="{kind}">{"".join(drawn_dots)}</g>' if drawn_dots else ""


def bars(frame: Frame, edges: Sequence[float], heights: Sequence[float]) -> str:
    """A bar between each two edges; none if the height is 0."""
    parts = []
    for left, right, height in zip(edges[:-1], edges[1:], heights, strict=True):
        if height > 0:
            x, y = frame.at(left, height)
            end, ground = frame.at(right, frame.up.low)
            wide, high = _short(max(0.5, end - x - 1)), _short(max(0.7, ground - y))
            parts.append(f"M{_short(x + 0.5)} {_short(ground)}v-{high}h{wide}v{high}z")
    return f'<path class="b" d="{"".join(parts)}"/>'


def note(x: float, y: float, text: str, kind: str = "") -> str:
    """Text in the picture, in its units."""
    of = f' class="{kind}"' if kind else ""
    return f'<text{of} x="{_short(x)}" y="{_short(y)}">{escape(text)}</text>'


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _tenth(tenths: int) -> str:
    """`1.2` for 12, `.2` for 2, as SVG reads it."""
    text = _short(tenths / 10)
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text
