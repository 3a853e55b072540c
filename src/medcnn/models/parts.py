"""A body as an ordered list of parts, stem first. Transfer freezes them and sets their rates."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import Any

import timm.models
from torch import nn

from medcnn.models.pooling import of_pooling

HEAD = "head"


def parts_of(body: nn.Module) -> dict[str, list[str]]:
    """Part -> the names of its parameters, from the stem to the last part before the head. What a
    pooling learns is in none of them: it trains with the head.

    Parts are timm's coarse groups, or one per layer if it has none. Normalisation layers that timm
    counts separately belong to the part before, so that VGG has equal parts with and without them.
    """
    names = [name for name, _ in body.named_parameters() if not of_pooling(name)]
    matched: Any = getattr(body, "group_matcher", None)
    if matched:
        matcher = matched(coarse=True)
        found = timm.models.group_parameters(body, matcher).values()
        groups = [[name for name in group if not of_pooling(name)] for group in found]
    else:
        layers, by_layer = [*_layers(body)], dict[str, list[str]]()
        for name in names:
            layer = next((layer for layer in layers if name.startswith(layer)), "")
            by_layer.setdefault(layer, []).append(name)
        groups = list(by_layer.values())
    weights = {name for name, p in body.named_parameters() if p.ndim > 1}
    merged: list[list[str]] = []
    for group in filter(None, groups):
        if merged and not weights & set(group):
            merged[-1] += group
        else:
            merged.append(list(group))
    return {_name(number, group, names): group for number, group in enumerate(merged)}


def _layers(module: nn.Module, above: str = "") -> Iterator[str]:
    """Prefixes of parameter names, one per layer: the children of a plain sequence are layers, and
    so is any other module."""
    for name, child in module.named_children():
        begins = f"{above}{name}."
        if isinstance(child, nn.Sequential):
            yield from _layers(child, begins)
        else:
            yield begins


def _name(number: int, own: list[str], names: list[str]) -> str:
    """`stem`, or the shortest prefix of its first parameter's name that no other part has:
    `layer1`, `features.denseblock1`."""
    if number == 0:
        return "stem"
    others = [f"{name}." for name in set(names).difference(own)]
    beginnings = list(accumulate(own[0].split("."), "{}.{}".format))
    return next(b for b in beginnings if not any(o.startswith(f"{b}.") for o in others))


def undecayed(body: nn.Module) -> set[str]:
    """Parameters that weight decay would only push to 0: vectors (biases, scales of normalisation
    layers), and those that the network itself lists (class tokens, positions)."""
    own: Any = getattr(body, "no_weight_decay", set)
    named: set[str] = own()
    return {name for name, p in body.named_parameters() if p.ndim < 2 or name in named}
