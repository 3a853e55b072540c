"""`medcnn list`: what can be chosen, one line each."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable, Collection, Iterable
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from medcnn.system.errors import PluginError, UsageError
from medcnn.system.registry import Table, nearest
from medcnn.verbs import Command, Verb

if TYPE_CHECKING:
    from medcnn.data.labels import Kind

Line = tuple[str, str]


def _lines(
    table: Table[Any], about: Callable[[Any], str], *, options: bool = True
) -> Iterable[Line]:
    """Each entry with its description, options and package. The line of a broken plug-in says what
    is wrong."""
    for name in table:
        try:
            plugin = table.origin(name)
            text = about(table[name])
            if options and (taken := table.options(name)):
                text += f" Options: {', '.join(f'{k}={v}' for k, v in taken.items())}."
            yield name, f"{text}\nfrom {plugin}" if plugin else text
        except PluginError as error:
            yield name, f"cannot be used: {error}"


def _augmentations() -> Iterable[Line]:
    from medcnn.training.augmentations import PRESETS

    def about(preset: Any) -> str:
        moved = {f.name: getattr(preset, f.name) for f in fields(preset)}
        last = moved.pop("last")
        text = ", ".join(f"{name}={value}" for name, value in moved.items())
        return f"{text}." + (f" Then: {_first(last)}" if last else "")

    return _lines(PRESETS, about)


def _backbones() -> Iterable[Line]:
    from medcnn.models.backbone_names import CLASSIC_NAMES, backbone_names
    from medcnn.models.packaged import PACKAGES
    from medcnn.system.plugins import installed

    for name in backbone_names():
        about = "a classic that timm lacks" if name in CLASSIC_NAMES else ""
        yield name, "ImageNet weights in the extra `weights`" if name in PACKAGES else about
    if names := installed("backbones"):
        from medcnn.models.backbones import BACKBONES

        lines = _lines(BACKBONES, lambda row: _first(row.build))
        yield from (line for line in lines if line[0] in names)


def _heads() -> Iterable[Line]:
    from medcnn.models.heads import HEADS

    return _lines(HEADS, _first)


def _poolings() -> Iterable[Line]:
    from medcnn.models.pooling import POOLINGS

    return _lines(POOLINGS, _first)


def _losses() -> Iterable[Line]:
    from medcnn.training.losses import LOSSES

    return _lines(LOSSES, lambda r: f"{_first(r.function)} For {_kinds(r.kinds)} labels.")


def _datasets() -> Iterable[Line]:
    from medcnn.data.adapters import DATASETS

    def about(row: Any) -> str:
        given = "" if row.wants in ("", "data.root=FOLDER") else f"; give {row.wants}"
        return f"{row.about}\n{row.licence}; {row.url}{given}"

    return _lines(DATASETS, about, options=False)


def _metrics() -> Iterable[Line]:
    from medcnn.statistics.metrics.table import METRICS

    better = {True: ", higher is better", False: ", lower is better", None: ""}
    return _lines(
        METRICS, lambda m: f"{m.title}{better[m.higher_is_better]}. For {_kinds(m.kinds)} labels."
    )


def _steps() -> Iterable[Line]:
    from medcnn.images.steps import STEPS

    return _lines(STEPS, lambda step: _first(step.function))


def _samplers() -> Iterable[Line]:
    from medcnn.training.samplers import SAMPLERS

    return _lines(SAMPLERS, _first)


def _transfer() -> Iterable[Line]:
    from medcnn.training.transfer import TRANSFERS

    return _lines(TRANSFERS, _first)


LISTS: Table[Callable[[], Iterable[Line]]] = Table(
    "list",
    {
        "augmentations": _augmentations,
        "backbones": _backbones,
        "datasets": _datasets,
        "heads": _heads,
        "losses": _losses,
        "metrics": _metrics,
        "poolings": _poolings,
        "samplers": _samplers,
        "steps": _steps,
        "transfer": _transfer,
    },
)


def run(_: None, command: Command) -> None:
    """Print the list that the command names; a second word selects names that contain it.

    Raises:
        UsageError: no such list, or no matching name.
    """
    words = command.words[1:]
    if not words or len(words) > 2:
        raise UsageError(f"list one of {', '.join(LISTS)}: medcnn list backbones resnet")
    part = words[1] if len(words) == 2 else ""
    words = [
        {"models": "backbones", "data": "datasets", "scores": "metrics"}.get(w, w) for w in words
    ]
    lines = [line for line in LISTS.choose(words[0])() if part in line[0]]
    if not lines:
        names = [name for name, _ in LISTS[words[0]]()]
        families = [f for name in names for f in re.split("[._]", name)]
        raise UsageError(
            f"no name in {words[0]} contains '{part}'{nearest(part, families + names)}"
        )
    width = max(len(name) for name, _ in lines)
    for name, text in lines:
        below = " " * (width + 2)
        for i, part in enumerate(text.split("\n")):
            line = f"{below if i else f'{name:<{width}}  '}{part}".rstrip()
            print(textwrap.fill(line, 100, subsequent_indent=below, break_on_hyphens=False))


def _kinds(kinds: Collection[Kind]) -> str:
    from medcnn.data.labels import Kind

    return "all" if len(kinds) == len(Kind) else ", ".join(sorted(kinds))


def _first(function: Callable[..., object]) -> str:
    return " ".join((inspect.getdoc(function) or "").partition("\n\n")[0].split())


VERB = Verb(
    name="list",
    lines=("list backbones|poolings|heads|losses|transfer|datasets|metrics|steps|...",),
    usage="WHAT [PART]",
    examples=("list backbones resnet",),
    about="What can be chosen, one line each. WHAT: backbones, poolings, heads, losses, samplers,\n"
    "transfer, datasets, metrics, steps or augmentations. PART: only names that contain it.",
    config=None,
    run=run,
)
