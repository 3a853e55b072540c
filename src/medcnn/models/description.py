"""Whether the description in a checkpoint makes sense, before anything is built from it.

A checkpoint may come from anybody. Its seal says that it is as it was written, not by whom. So
every value is checked against the type that the code declares, and the readout is tried.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Iterator, Mapping
from enum import StrEnum
from types import SimpleNamespace
from typing import Any

import numpy as np

from medcnn.config import Precision
from medcnn.data.labels import LabelSpace
from medcnn.statistics.decisions import Readout, certainty
from medcnn.statistics.patients import combined
from medcnn.statistics.strangeness import COLUMNS

# The largest number in the options of a network: beyond it no layer makes sense, and memory fills.
MOST = 65_536
MOST_LISTED = 1_000
MOST_PX = 4_096
_PLAIN = (int, float, bool, str)
# May be infinite: classes for which nothing can be promised are in every set.
_MAY_BE_INFINITE = ("bounds", "mean", "std")


def faults_of(described: Any) -> list[str]:
    """What is wrong with a description, as `where: what`; at most one of each kind of fault.

    Args:
        described: a `checkpoint.Checkpoint`, as it was read.
    """
    typed = list(_mistyped(described, type(described), ""))
    if typed:
        return typed[:3]
    for look in (_sizes, _options, _looks, _trained, _reading):
        if found := look(described):
            return found[:3]
    return []


def _mistyped(value: Any, hint: Any, where: str) -> Iterator[str]:
    """Where a value, or a part of it, does not have the type that its dataclass declares."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any or hint is types.NoneType:
        return
    if isinstance(hint, types.UnionType):
        if value is not None or types.NoneType not in arguments:
            yield from _mistyped(
                value, next(a for a in arguments if a is not types.NoneType), where
            )
    elif dataclasses.is_dataclass(hint):
        if not isinstance(value, typing.cast(type, hint)):
            yield f"{where}: {_short(value)} is not of type {getattr(hint, '__name__', hint)}"
            return
        for name, part in typing.get_type_hints(hint).items():
            yield from _mistyped(getattr(value, name), part, f"{where}.{name}".lstrip("."))
    elif origin is tuple:
        if not isinstance(value, tuple):
            yield f"{where}: {_short(value)} is not a list"
            return
        for item in value:
            yield from _mistyped(item, arguments[0], where)
    elif origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, Mapping) or not all(isinstance(k, str) for k in value):
            yield f"{where}: {_short(value)} is not a mapping"
            return
        for key, item in value.items():
            yield from _mistyped(item, arguments[1], f"{where}.{_short(key)}")
    elif hint in _PLAIN or (isinstance(hint, type) and issubclass(hint, StrEnum)):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        fits = number if hint is float else isinstance(value, hint)
        fits = fits and (hint is not int or not isinstance(value, bool))
        finite = not number or where.partition(".")[2].startswith(_MAY_BE_INFINITE)
        try:
            finite = finite or math.isfinite(value) or where.endswith(_MAY_BE_INFINITE)
            finite = finite or any(f".{name}." in where for name in _MAY_BE_INFINITE)
        except OverflowError:
            finite = False
        if not fits or not finite:
            wanted = "a finite number" if hint in (int, float) else f"of type {hint.__name__}"
            yield f"{where}: {_short(value)} is not {wanted}"


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number of thousands of digits, lists in lists
        return f"a {type(value).__name__}"
    return text if len(text) <= 40 else f"{text[:37]}..."


def _sizes(described: Any) -> list[str]:
    how, architecture = described.preprocessing, described.architecture
    normalisation = described.normalisation
    channels = {len(normalisation.mean), len(normalisation.std)}
    wrong = {
        f"size_px: {how.size_px} for pixels, {architecture.size_px} for the network": (
            how.size_px != architecture.size_px
        ),
        f"size_px: {how.size_px} is not from 1 to {MOST_PX}": not 1 <= how.size_px <= MOST_PX,
        f"channels: {how.channels} for pixels, {architecture.channels} for the network": (
            how.channels != architecture.channels
        ),
        f"normalisation: {channels} numbers for {how.channels} channels": (
            channels != {how.channels}
        ),
        f"flips: {_short(described.flips)} is not one of h, v, hv": (
            described.flips not in ("", "h", "v", "hv")
        ),
    }
    return [fault for fault, so in wrong.items() if so]


def _options(described: Any) -> list[str]:
    """Options of networks, poolings and heads: small numbers, short lists, not deep."""
    architecture = described.architecture
    fields = ("options", "head_options", "pooling_options")
    named = {name: getattr(architecture, name) for name in fields}

    def sound(value: Any, depth: int) -> bool:
        if isinstance(value, Mapping):
            value = list(value.values())
        if isinstance(value, list):
            return (
                depth > 0
                and len(value) <= MOST_LISTED
                and all(sound(item, depth - 1) for item in value)
            )
        if isinstance(value, int | float):
            return -MOST <= value <= MOST
        return value is None or (isinstance(value, str) and len(value) <= MOST_LISTED)

    return [
        f"architecture.{where}: {_short(value)} is not a sensible option"
        for where, value in named.items()
        if not sound(value, 4)
    ]


def _looks(described: Any) -> list[str]:
    ranges = described.appearance.ranges if described.appearance else {}
    return [
        f"appearance.ranges.{_short(name)}: {_short(pair)} is not a lowest and a highest value"
        for name, pair in ranges.items()
        if len(pair) != 2 or pair[0] > pair[1]
    ]


def _trained(described: Any) -> list[str]:
    """What `evaluate` and `finetune` look up in the settings of the training and its provenance."""
    faults = []
    training, provenance = described.training, described.provenance
    for name in ("data", "trainer", "audit"):
        if not isinstance(training.get(name, {}), Mapping):
            faults.append(f"training.{name}: {_short(training[name])} is not a group of settings")
    if faults:
        return faults
    data, trainer, audit = (training.get(name, {}) for name in ("data", "trainer", "audit"))
    numbers = {
        "training.seed": training.get("seed", 0),
        "training.data.validation_share": data.get("validation_share", 0.1),
        "training.data.test_share": data.get("test_share", 0.1),
        "training.data.folds": data.get("folds") or 2,
        "training.data.fold": data.get("fold") or 1,
        "training.data.max_unreadable": data.get("max_unreadable", 0),
        "training.audit.max_bad": audit.get("max_bad", 0),
    }
    faults += [
        f"{where}: {_short(value)} is not a number of at least 0"
        for where, value in numbers.items()
        if not isinstance(value, int | float) or not 0 <= value < 2**63
    ]
    if trainer.get("precision", "auto") not in list(Precision):
        faults.append(f"training.trainer.precision: {_short(trainer['precision'])} is unknown")
    parents = provenance.get("parents", [])
    if not isinstance(parents, list) or not all(isinstance(p, Mapping) for p in parents):
        return [*faults, f"provenance.parents: {_short(parents)} is not a list of provenances"]
    made = {f"provenance.parents.{n}": parent for n, parent in enumerate(parents)}
    made = {"provenance": provenance, **made}
    lists = {"training.audit.allow": audit.get("allow", [])}
    lists |= {f"{where}.made_with": of.get("made_with", []) for where, of in made.items()}
    faults += [
        f"{where}: {_short(value)} is not a list of words"
        for where, value in lists.items()
        if not isinstance(value, list) or not all(isinstance(word, str) for word in value)
    ]
    words = {
        f"{where}.{name}": of.get(name) or ""
        for where, of in made.items()
        for name in ("manifest", "source", "pseudonym_key", "weights_licence")
    }
    faults += [
        f"{where}: {_short(value)} is not text"
        for where, value in words.items()
        if not isinstance(value, str)
    ]
    return faults


def _reading(described: Any) -> list[str]:
    """The readout, tried on arbitrary logits: everything that it does must work."""
    labels: LabelSpace = described.labels
    readout: Readout = described.readout
    k = len(labels.outputs)
    logits = np.linspace(-3, 3, 3, dtype=np.float32)[:, None] * np.ones(k, np.float32)
    try:
        with np.errstate(all="ignore"):
            p = readout.probabilities(labels, logits)
            if p.shape != logits.shape or not np.isfinite(p).all() or p.min() < 0 or p.max() > 1:
                return ["readout.calibration: it does not produce probabilities"]
            for point in readout.points:
                if len(point.thresholds) != (k - 1 if point.grades else k):
                    return [f"readout.points: {len(point.thresholds)} thresholds for {k} outputs"]
                if len(point.reasons) not in (0, len(point.thresholds)):
                    return [f"readout.points: {len(point.reasons)} reasons for {k} outputs"]
            decided = readout.decide(labels, p)
            if decided.shape != logits.shape:
                return ["readout.points: they do not produce decisions"]
            labels.decision_texts(decided)
            readout.rule(labels)
            if readout.conformal is not None:
                readout.conformal.sets(labels, p, None)
            if readout.unusual is not None:
                readout.unusual.verdicts(np.zeros((len(p), len(COLUMNS))))
            certainty(labels, p)
            if (chosen := readout.patients) is not None:
                of = np.zeros(len(p), dtype=np.int64)
                combined(labels, p, of, 1, chosen.rule)
                return _reading(SimpleNamespace(labels=labels, readout=chosen.readout))
    except Exception as error:  # it may raise anything
        return [f"readout: it cannot be used ({type(error).__name__})"]
    return []
