"""`medcnn list`: what can be chosen, one line each."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable, Collection, Iterable

from medcnn.data.labels import Kind
from medcnn.system.errors import UsageError
from medcnn.system.registry import choose, nearest

Line = tuple[str, str]


def _backbones() -> Iterable[Line]:
    from medcnn.models.backbone_names import CLASSIC_NAMES, backbone_names

    for name in backbone_names():
        yield name, "a classic that timm lacks" if name in CLASSIC_NAMES else ""


def _heads() -> Iterable[Line]:
    from medcnn.models.heads import HEADS

    return [(name, f"{_first(function)} {_options(function)}") for name, function in HEADS.items()]


def _losses() -> Iterable[Line]:
    from medcnn.training.losses import LOSSES

    for name, loss in LOSSES.items():
        options = _options(loss.function)
        yield name, f"{_first(loss.function)} For {_kinds(loss.kinds)} labels. {options}"


def _datasets() -> Iterable[Line]:
    from medcnn.data.adapters import DATASETS

    for name, dataset in DATASETS.items():
        given = "" if dataset.wants in ("", "data.root=FOLDER") else f"; give {dataset.wants}"
        yield name, f"{dataset.about}\n{dataset.licence}; {dataset.url}{given}"


def _metrics() -> Iterable[Line]:
    from medcnn.statistics.metrics.table import METRICS

    for name, metric in METRICS.items():
        better = {True: ", higher is better", False: ", lower is better", None: ""}
        direction = better[metric.higher_is_better]
        yield name, f"{metric.title}{direction}. For {_kinds(metric.kinds)} labels."


LISTS: dict[str, Callable[[], Iterable[Line]]] = {
    "backbones": _backbones,
    "datasets": _datasets,
    "heads": _heads,
    "losses": _losses,
    "metrics": _metrics,
}


def show_list(words: list[str]) -> None:
    """Print the list that `words` names, narrowed to names that hold the second word."""
    if not words or len(words) > 2:
        raise UsageError(f"list one of {', '.join(LISTS)}: medcnn list backbones resnet")
    part = words[1] if len(words) == 2 else ""
    words = [
        {"models": "backbones", "data": "datasets", "scores": "metrics"}.get(w, w) for w in words
    ]
    lines = [line for line in choose(LISTS, words[0], "list")() if part in line[0]]
    if not lines:
        names = [name for name, _ in LISTS[words[0]]()]
        families = [f for name in names for f in re.split("[._]", name)]
        raise UsageError(
            f"no name among {words[0]} holds '{part}'{nearest(part, families + names)}"
        )
    width = max(len(name) for name, _ in lines)
    for name, text in lines:
        below = " " * (width + 2)
        for i, part in enumerate(text.split("\n")):
            line = f"{below if i else f'{name:<{width}}  '}{part}".rstrip()
            print(textwrap.fill(line, 100, subsequent_indent=below, break_on_hyphens=False))


def _kinds(kinds: Collection[Kind]) -> str:
    return "all" if len(kinds) == len(Kind) else ", ".join(sorted(kinds))


def _first(function: Callable[..., object]) -> str:
    return (inspect.getdoc(function) or "").splitlines()[0]


def _options(function: Callable[..., object]) -> str:
    shown = [
        f"{p.name}={p.default}"
        for p in inspect.signature(function).parameters.values()
        if p.kind is p.KEYWORD_ONLY
    ]
    return f"Options: {', '.join(shown)}." if shown else ""
