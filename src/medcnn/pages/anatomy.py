"""What a network does to one image, layer by layer, and what follows from it. No torch."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from medcnn.pages.format import counted, percent

Pair = tuple[int, int]
# Kinds of layers that pool positions.
POOLS = ("max pool", "average pool", "pool")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One operation on one image.

    Attributes:
        name: of the module that it belongs to.
        kind: `conv`, `linear`, `max pool`, `batch norm`, ...
        kernel: height and width of the window; None if it has none, as for the next three.
        padding: top, bottom, left, right.
        given: shape of the input, without the batch.
        made: shape of the output.
        map: number of its positions, as height and width; None if unknown.
        parameters: its own.
        macs: multiply-adds.
        size_bytes: of its output, in float32.
        sees_px: height and width of the part of the image that one position depends on; infinite
            for all of it, None if unknown.
        jump_px: how far apart the parts of neighbouring positions lie; None if there is one
            position, or if unknown.
        unread: rows and columns at the end of the input that no window reaches.
    """

    name: str
    kind: str
    kernel: Pair | None = None
    stride: Pair = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1
    given: tuple[int, ...]
    made: tuple[int, ...]
    map: Pair | None = None
    parameters: int = 0
    macs: int = 0
    size_bytes: int = 0
    sees_px: tuple[float, float] | None = None
    jump_px: tuple[float, float] | None = None
    unread: Pair = (0, 0)

    @property
    def weighs(self) -> bool:
        """Whether it calculates with weights, or changes the size of the map."""
        return bool(self.macs or self.kernel or self.kind in POOLS)

    def formula(self) -> str:
        """How the height of the map follows from window, stride and padding, in numbers."""
        if self.kernel is None or self.map is None:
            return ""
        given, made = self.given[1], self.map[0]
        above, below = self.padding[:2]
        pads = f"2·{above}" if above == below else f"{above} + {below}"
        reach = self.dilation[0] * (self.kernel[0] - 1)
        dilated = f"{self.dilation[0]}·({self.kernel[0]} − 1)"
        span = f"{given} + {pads} − {dilated} − 1"
        exact = given + above + below - reach - 1
        up = exact // self.stride[0] + 1 != made  # ceil_mode
        left, right = "⌈⌉" if up else "⌊⌋"
        return f"{left}({span}) / {self.stride[0]}{right} + 1 = {made}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Anatomy:
    """A network, and what it does to one image.

    Attributes:
        name: as the command calls it.
        size_px: height and width of the image.
        layers: in the order in which they run.
        roomy_px: the smallest image whose last map has more than one position; 0 if this one's has,
            or if none was found.
    """

    name: str
    size_px: int
    layers: tuple[Layer, ...]
    roomy_px: int = 0

    @property
    def parameters(self) -> int:
        return sum(layer.parameters for layer in self.layers)

    @property
    def macs(self) -> int:
        return sum(layer.macs for layer in self.layers)

    @property
    def size_bytes(self) -> int:
        return sum(layer.size_bytes for layer in self.layers)

    @property
    def conv_share(self) -> float:
        """Share of the multiply-adds that is in convolutions."""
        return sum(la.macs for la in self.layers if "conv" in la.kind) / max(1, self.macs)

    @property
    def linear_share(self) -> float:
        """Share of the parameters that is in fully connected layers."""
        linear = sum(la.parameters for la in self.layers if la.kind == "linear")
        return linear / max(1, self.parameters)

    @property
    def last_map(self) -> Layer | None:
        """The last layer with a map, before its positions become one; None if unknown."""
        if any(la.sees_px is None for la in self.layers if la.given):
            return None
        windowed = (la for la in self.layers if la.kernel or la.kind not in POOLS)
        return next((la for la in [*windowed][::-1] if la.map and max(la.map) > 1), None)

    @property
    def vanishes(self) -> Layer | None:
        """The layer whose window reduces a map of several positions to one."""
        return next(
            (
                la
                for la in self.layers
                if la.kernel and la.map == (1, 1) and max(la.given[1:]) > 1
                if "conv" in la.kind or la.kind == "max pool"
            ),
            None,
        )

    def first_at_once(self, lesion_px: float) -> Layer | None:
        """The first layer at which one position can see the whole of a lesion of that width."""
        known = (la for la in self.layers if la.sees_px is not None)
        return next((la for la in known if min(la.sees_px or (0.0,)) >= lesion_px), None)


def cross(sizes: tuple[int, ...]) -> str:
    """`3×3`."""
    return "×".join(map(str, sizes))


def seen(px: tuple[float, float] | None) -> str:
    """A receptive field: `43 px`, `7×43 px` if it is not square, or `the whole image`."""
    if px is None:
        return "not known"
    high, wide = px
    if math.isinf(high) or math.isinf(wide):
        return "the whole image"
    return f"{high:.4g} px" if high == wide else f"{high:.4g}×{wide:.4g} px"


def window(layer: Layer) -> str:
    """`3×3, stride 2, padding 1`."""
    if layer.kernel is None:
        return ""
    said = [cross(layer.kernel)]
    if max(layer.stride) > 1:
        said.append(f"stride {_one(layer.stride)}")
    if any(layer.padding):
        said.append(f"padding {_one(layer.padding)}")
    if max(layer.dilation) > 1:
        said.append(f"dilation {_one(layer.dilation)}")
    if layer.groups > 1:
        said.append(counted(layer.groups, "group"))
    return ", ".join(said)


def _one(sizes: tuple[int, ...]) -> str:
    return str(sizes[0]) if len({*sizes}) == 1 else cross(sizes)


def large(value: float) -> str:
    """`138 M`; three significant digits, so that a column can be read."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g}"


HEAD = ("layer", "kind", "window", "out", "parameters", "multiply-adds", "memory", "sees", "jump")


def cells(layer: Layer) -> tuple[str, ...]:
    """A row under HEAD, as the terminal and the page show it."""
    jump = f"{max(layer.jump_px):.4g} px" if layer.jump_px else ""
    return (
        layer.name,
        layer.kind,
        window(layer),
        cross(layer.made),
        large(layer.parameters) if layer.parameters else "",
        large(layer.macs) if layer.macs else "",
        f"{large(layer.size_bytes)}B" if layer.size_bytes else "",
        seen(layer.sees_px),
        jump,
    )


TOTALS = (
    *("network", "image", "parameters", "multiply-adds", "in convolutions"),
    *("parameters in linear layers", "memory for outputs", "last map", "sees", "jump"),
)


def totals(of: Anatomy) -> tuple[str, ...]:
    """A row under TOTALS."""
    last = of.last_map
    return (
        of.name,
        f"{of.size_px} px",
        f"{of.parameters:,}",
        f"{of.macs / 1e9:.3f} G" if of.macs >= 1e7 else large(of.macs),
        f"{percent(of.conv_share, 2)} %",
        f"{percent(of.linear_share, 2)} %",
        f"{large(of.size_bytes)}B",
        cross(last.made) if last else "none",
        seen(last.sees_px) if last else "",
        f"{max(last.jump_px):.4g} px" if last and last.jump_px else "",
    )


def by_kind(of: Anatomy) -> list[tuple[str, str, str, str, str]]:
    """Kind, number of layers, parameters, multiply-adds and memory; the most arithmetic first."""
    kinds: dict[str, list[Layer]] = {}
    for layer in of.layers:
        kinds.setdefault(layer.kind, []).append(layer)

    def row(kind: str, layers: list[Layer]) -> tuple[int, int, tuple[str, str, str, str, str]]:
        parameters, macs = (sum(getattr(la, n) for la in layers) for n in ("parameters", "macs"))
        size = f"{large(sum(la.size_bytes for la in layers))}B"
        return macs, parameters, (kind, str(len(layers)), f"{parameters:,}", large(macs), size)

    rows = sorted((row(k, la) for k, la in kinds.items()), reverse=True)
    return [row for _, _, row in rows]


COLUMNS = (
    *("network", "layer", "kind", "kernel_height", "kernel_width", "stride", "padding_top"),
    *("padding_bottom", "padding_left", "padding_right", "dilation", "groups", "input", "output"),
    *("formula", "parameters", "multiply_adds", "output_bytes", "sees_height_px", "sees_width_px"),
    *("jump_px", "unread_rows", "unread_columns"),
)


def table(networks: list[Anatomy]) -> str:
    """All layers of all networks as CSV. Blank: none or unknown; inf: the whole image."""
    text = io.StringIO()
    out = csv.writer(text, lineterminator="\n")
    out.writerow(COLUMNS)
    out.writerows(_numbers(of.name, layer) for of in networks for layer in of.layers)
    return text.getvalue()


def is_table(first_line: str) -> bool:
    """Whether a file that begins like this is such a CSV."""
    return first_line.strip() == ",".join(COLUMNS)


def _numbers(network: str, layer: Layer) -> Iterator[Any]:
    windowed = layer.kernel is not None
    yield from (network, layer.name, layer.kind, *(layer.kernel or ("", "")))
    yield from (
        (_one(layer.stride), *layer.padding, _one(layer.dilation), layer.groups)
        if (windowed)
        else [""] * 7
    )
    yield from (cross(layer.given), cross(layer.made), layer.formula())
    yield from (layer.parameters, layer.macs, layer.size_bytes)
    yield from (f"{px:g}" for px in layer.sees_px) if layer.sees_px else ("", "")
    yield f"{max(layer.jump_px):g}" if layer.jump_px else ""
    yield from layer.unread if windowed else ("", "")
