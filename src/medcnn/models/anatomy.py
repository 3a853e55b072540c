"""Every operation of a network on one image: shapes, weights, arithmetic, and what part of the
image a position depends on.

Tensors on the meta device have a shape but no content, so this takes no time and no memory. A
dispatch mode also sees operations that are not modules. What a position depends on follows from
windows, strides and paddings (Araujo, Norris and Sim 2019, Distill).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from medcnn.models.backbones import least_px
from medcnn.models.classifier import Architecture, build_classifier
from medcnn.pages.anatomy import Anatomy, Layer


@dataclass(frozen=True, slots=True)
class Axis:
    """One direction of a map: position i depends on the pixels from `first` + i `jump` up to, but
    not including, `end` + i `jump`. Both ends are infinite if it depends on all pixels."""

    first: float
    end: float
    jump: float
    count: int

    @property
    def merged(self) -> Axis:
        """All positions as one."""
        across = (self.count - 1) * self.jump
        return Axis(self.first, self.end + across, self.jump * self.count, 1)

    @property
    def everywhere(self) -> Axis:
        return replace(self, first=-math.inf, end=math.inf)

    def padded(self, before: int, after: int) -> Axis:
        moved = before * self.jump
        count = self.count + before + after
        return Axis(self.first - moved, self.end - moved, self.jump, count)

    def through(self, kernel: int, stride: float, padding: int, dilation: int, count: int) -> Axis:
        """After a window that leaves `count` positions."""
        start = self.padded(padding, 0)
        reach = dilation * (kernel - 1) * self.jump
        return Axis(start.first, start.end + reach, self.jump * stride, count)


# Height and width; None if unknown.
Field = tuple[Axis, Axis] | None

ACTIVATIONS = {
    *("relu", "gelu", "silu", "hardswish", "tanh", "sigmoid", "hardtanh", "hardsigmoid"),
    *("leaky_relu", "elu", "celu", "mish", "softplus", "_softmax", "clamp", "clamp_min"),
}
NORMS = {
    "native_batch_norm": "batch norm",
    "_native_batch_norm_legit_no_training": "batch norm",
    "cudnn_batch_norm": "batch norm",
    "native_layer_norm": "layer norm",
    "native_group_norm": "group norm",
}
REDUCTIONS = {"mean": "average pool", "amax": "max pool", "sum": "pool", "logsumexp": "pool"}
WINDOWS = {"max_pool2d_with_indices": "max pool", "avg_pool2d": "average pool"}
ADAPTIVE = {"_adaptive_avg_pool2d": "average pool", "adaptive_max_pool2d": "max pool"}
PRODUCTS = {"addmm", "mm", "bmm", "baddbmm"}
ATTENTION = "_scaled_dot_product"
PADS = {"constant_pad_nd", "reflection_pad2d", "replication_pad2d"}
JOINS = {"add": "add", "cat": "concat", "mul": "multiply"}
VIEWS = {"_unsafe_view", "clone", "_to_copy", "contiguous", "detach", "copy"}


class Tracer(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records a `Layer` for each operation on anything that depends on the image."""

    def __init__(self, network: nn.Module, image: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.layers: list[Layer] = []
        self.inside: list[str] = []  # names of the modules that are running
        self.unclaimed = {
            name: size
            for name, module in network.named_modules()
            if (size := sum(p.numel() for p in module.parameters(recurse=False)))
        }
        self.fields: dict[int, Field] = {}
        self.paddings: dict[int, tuple[int, int, int, int]] = {}
        self.kept: list[Tensor] = []  # otherwise ids would be reused
        self.know(image, tuple(Axis(0, 1, 1, side) for side in image.shape[2:]))

    def know(self, tensor: Tensor, field: Any) -> None:
        self.kept.append(tensor)
        self.fields[id(tensor)] = field

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        done = func(*args, **(kwargs or {}))
        given = [t for a in args for t in (a if isinstance(a, list | tuple) else [a])]
        seen = [t for t in given if isinstance(t, Tensor) and id(t) in self.fields]
        made = next((t for t in _tensors(done)), None)
        if not seen or made is None:
            return done
        name = func.overloadpacket.__name__
        if name != "copy_":
            name = name.rstrip("_")
        padding = self.paddings.get(id(seen[0]), (0, 0, 0, 0))
        step = _step(name, args, seen, made, [self.fields[id(t)] for t in seen], padding)
        for tensor in _tensors(done):
            self.know(tensor, step.field)
        if name in PADS:
            sides = [*args[1], 0, 0, 0, 0][:4]
            self.paddings[id(made)] = (sides[2], sides[3], sides[0], sides[1])
        at = self.inside[-1] if self.inside else ""
        fresh = not func.is_view and name not in VIEWS
        if step.kind or (fresh and at in self.unclaimed):
            writes = fresh and not func._schema.is_mutable
            size = made.numel() * made.element_size() * writes
            self._write(step, at, seen[0], made, size)
        return done

    def _write(self, step: Step, at: str, given: Tensor, made: Tensor, size: int) -> None:
        field = step.field
        jump = None
        if field and any(axis.count > 1 for axis in field):
            jump = (field[0].jump, field[1].jump)
        positions = (field[0].count, field[1].count) if field else None
        if not field and step.window:
            positions = (made.shape[2], made.shape[3])
        layer = Layer(
            name=at,
            kind=step.kind or "scale",
            given=tuple(given.shape[1:]),
            made=tuple(made.shape[1:]),
            map=positions,
            parameters=self.unclaimed.pop(at, 0),
            macs=step.macs,
            size_bytes=size,
            sees_px=None if field is None else tuple(a.end - a.first for a in field),  # type: ignore[arg-type]
            jump_px=jump,
            **step.window,
        )
        self.layers.append(layer)


@dataclass(frozen=True, slots=True)
class Step:
    """An operation; one without a `kind` gets no line of its own."""

    kind: str
    field: Field
    macs: int
    window: dict[str, Any]


def _tensors(done: Any) -> list[Tensor]:
    parts = done if isinstance(done, list | tuple) else [done]
    return [t for t in parts if isinstance(t, Tensor)]


def _step(
    name: str,
    args: Sequence[Any],
    seen: list[Tensor],
    made: Tensor,
    fields: list[Field],
    padding: tuple[int, int, int, int],
) -> Step:
    """
    Args:
        seen: the tensors among `args` that depend on the image, with their `fields`.
        padding: already added to the first of them: top, bottom, left, right.
    """
    field = _union(fields)
    positions = math.prod(axis.count for axis in field) if field else 0
    if name == "convolution":
        return _convolution(args, made, field, padding)
    if name in WINDOWS:
        kernel = _pair(args[1])
        stride = _pair(args[2]) if len(args) > 2 and args[2] else kernel
        own = _pair(args[3]) if len(args) > 3 else (0, 0)
        dilation = _pair(args[4]) if name.startswith("max") and len(args) > 4 else (1, 1)
        window = _Window(kernel, stride, own, dilation)
        return Step(WINDOWS[name], *window.over(args[0], made, field, padding, macs=0))
    if name in ADAPTIVE:
        return Step(ADAPTIVE[name], _adapted(field, made), 0, {})
    if name in REDUCTIONS:
        pooled = _pools(args, seen[0], made, field)
        return Step(REDUCTIONS[name] * pooled, _merged(field) if pooled else field, 0, {})
    if name in PRODUCTS:
        left, right = (t for t in args[-2:])
        macs = math.prod(left.shape) * right.shape[-1]
        if id(right) in map(id, seen):
            whole = max(*left.shape[-2:], right.shape[-1]) >= positions
            return Step("product", _everywhere(field) if whole else None, macs, {})
        if positions > 1 and left.shape[-2] == 1:
            field = _merged(field)
        elif positions > 1 and left.shape[-1] == positions != left.shape[-2]:
            field = _everywhere(field)
        return Step("linear", field, macs, {})
    if name.startswith(ATTENTION):
        query, key, value = args[:3]
        pairs = query.shape[:-1].numel() * key.shape[-2]
        whole = key.shape[-2] >= positions
        macs = pairs * (query.shape[-1] + value.shape[-1])
        return Step("attention", _everywhere(field) if whole else None, macs, {})
    if name in NORMS:
        across = name == "native_group_norm"
        if name == "native_layer_norm" and positions:
            across = math.prod(args[1]) > args[0].numel() // positions
        return Step(NORMS[name], _everywhere(field) if across else field, 0, {})
    if name in PADS:
        sides = [*args[1], 0, 0, 0, 0][:4]
        if field:
            field = (field[0].padded(*sides[2:]), field[1].padded(*sides[:2]))
        return Step("", field, 0, {})
    if name == "slice" and field and seen[0].ndim == 4 and args[1] in (2, 3):
        axes = [*field]
        start = slice(*args[2:]).indices(seen[0].shape[args[1]])[0]
        step = args[4] if len(args) > 4 else 1
        axes[args[1] - 2] = axes[args[1] - 2].through(1, step, -start, 1, made.shape[args[1]])
        return Step("", (axes[0], axes[1]), 0, {})
    if name in JOINS and len(seen) > 1:
        return Step(JOINS[name], field, 0, {})
    return Step("activation" if name in ACTIVATIONS else "", field, 0, {})


def _pair(value: Any) -> tuple[int, int]:
    values = [value] if isinstance(value, int) else list(value)
    return (values * 2)[0], (values * 2)[1]


@dataclass(frozen=True, slots=True)
class _Window:
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]

    def over(
        self,
        given: Tensor,
        made: Tensor,
        field: Field,
        before: tuple[int, int, int, int],
        *,
        macs: int,
        groups: int = 1,
    ) -> tuple[Field, int, dict[str, Any]]:
        """The field after it, and what a `Layer` says about it.

        Args:
            before: padding added by an earlier operation.
        """
        unread, axes = [], []
        for i in (0, 1):
            k, s, p, d = self.kernel[i], self.stride[i], self.padding[i], self.dilation[i]
            size, count = given.shape[2 + i], made.shape[2 + i]
            last = (count - 1) * s - p + d * (k - 1)
            # a 1x1 window of stride 2 skips positions everywhere, not only at the border
            unread.append(max(0, size - 1 - last - before[2 * i + 1]) if k >= s else 0)
            if field and field[i].count == size:
                axes.append(field[i].through(k, s, p, d, count))
        sides = (self.padding[0], self.padding[0], self.padding[1], self.padding[1])
        said = {
            "kernel": self.kernel,
            "stride": self.stride,
            "padding": tuple(a + b for a, b in zip(sides, before, strict=True)),
            "dilation": self.dilation,
            "groups": groups,
            "unread": tuple(unread),
        }
        return (axes[0], axes[1]) if len(axes) == 2 else None, macs, said


def _convolution(
    args: Sequence[Any], made: Tensor, field: Field, padding: tuple[int, int, int, int]
) -> Step:
    given, weight, _, stride, own, dilation, transposed, _, groups = args
    macs = (given if transposed else made).numel() * math.prod(weight.shape[1:])
    if transposed or weight.ndim != 4:
        return Step("transposed conv" if transposed else "conv", None, macs, {})
    channels = given.shape[1]
    kind = "depthwise conv" if groups == channels > 1 else "grouped conv" if groups > 1 else "conv"
    if groups == 1 and weight.shape[2:] == given.shape[2:] and not any(own):
        kind = "linear"  # over all positions at once, as timm writes fc6 of VGG
    window = _Window(_pair(weight.shape[2:]), _pair(stride), _pair(own), _pair(dilation))
    return Step(kind, *window.over(given, made, field, padding, macs=macs, groups=groups))


def _adapted(field: Field, made: Tensor) -> Field:
    """After a pooling to a fixed number of positions, whose windows may differ by one position."""
    if field is None:
        return None
    axes = []
    for axis, count in zip(field, made.shape[-2:], strict=True):
        widest = max(
            math.ceil((i + 1) * axis.count / count) - i * axis.count // count for i in range(count)
        )
        axes.append(axis.through(widest, axis.count / count, 0, 1, count))
    return axes[0], axes[1]


def _pools(args: Sequence[Any], given: Tensor, made: Tensor, field: Field) -> bool:
    """Whether a reduction is over the positions, not only over channels."""
    if field is None or made.numel() == given.numel():
        return False
    dims = args[1] if len(args) > 1 and args[1] else range(given.ndim)
    over = {d % given.ndim for d in ([dims] if isinstance(dims, int) else dims)}
    counts = [axis.count for axis in field]
    places: set[int]
    if given.ndim == 4:
        places = {2, 3} if [*given.shape[2:]] == counts else {1, 2}
    else:
        places = {1} if given.ndim == 3 else set()
    if given.ndim == 3 and given.shape[2] == math.prod(counts) != given.shape[1]:
        places = {2}
    return bool(over & places)


def _merged(field: Field) -> Field:
    return field and (field[0].merged, field[1].merged)


def _everywhere(field: Field) -> Field:
    return field and (field[0].everywhere, field[1].everywhere)


def _union(fields: list[Field]) -> Field:
    """What a position depends on if it is made from positions of several maps."""
    first = fields[0]
    for other in fields[1:]:
        if first is None or other is None:
            return None
        axes = []
        for a, b in zip(first, other, strict=True):
            if a.count == b.count and (a.jump == b.jump or a.count == 1):
                axes.append(replace(a, first=min(a.first, b.first), end=max(a.end, b.end)))
            elif 1 in (a.count, b.count):  # one value for all positions, as in squeeze-and-excite
                axes.append((a if b.count == 1 else b).everywhere)
            else:
                return None
        first = axes[0], axes[1]
    return first


def trace(network: nn.Module, images: Tensor) -> tuple[Layer, ...]:
    """Every operation on one image [1, C, H, W] on the meta device, in evaluation mode."""
    network.eval()
    tracer = Tracer(network, images)
    handles = []

    def entering(name: str) -> Callable[..., None]:
        return lambda *_: tracer.inside.append(name)

    def leaving(*_: Any) -> None:
        tracer.inside.pop()

    for name, module in network.named_modules():
        handles.append(module.register_forward_pre_hook(entering(name)))
        handles.append(module.register_forward_hook(leaving))
    try:
        with torch.no_grad(), tracer:
            network(images)
    finally:
        for handle in handles:
            handle.remove()
    left = (
        Layer(name=name, kind="unused", given=(), made=(), parameters=size)
        for name, size in tracer.unclaimed.items()
    )
    return (*tracer.layers, *left)


def anatomy(architecture: Architecture, num_outputs: int, name: str = "") -> Anatomy:
    """What the classifier that `train` would build does to one image.

    Raises:
        UsageError: unknown names or options, or images that are too small for the network.
    """
    with torch.device("meta"):
        classifier, _ = build_classifier(architecture, num_outputs)
    channels, size_px = architecture.channels, architecture.size_px

    def at(px: int) -> Anatomy:
        layers = trace(classifier, torch.zeros(1, channels, px, px, device="meta"))
        return Anatomy(name=name or architecture.backbone, size_px=px, layers=layers)

    found = at(size_px)
    if found.vanishes:
        found = replace(found, roomy_px=least_px(lambda px: not at(px).vanishes, size_px))
    return found
