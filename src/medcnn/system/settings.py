"""Nested plain values from YAML become frozen dataclasses; all faults are reported at once.

A type says what a setting may be, and a `Rule` the rest. Annotations are resolved only here, so a
file that declares settings need not import the types it names.
"""

from __future__ import annotations

import dataclasses
import math
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field
from enum import StrEnum
from typing import Any, NamedTuple, TypeVar

from medcnn.system.errors import UsageError
from medcnn.system.registry import WORDS, nearest

C = TypeVar("C")


class Rule(NamedTuple):
    """What a type does not say about a setting.

    Attributes:
        low, high: limits of a number, inclusive.
        parse: makes the value, or raises UsageError.
    """

    low: float | None = None
    high: float | None = None
    parse: Callable[[Any], Any] | None = None


def within(low: float | None = None, high: float | None = None, called: str = "") -> Any:
    """A required number from `low` to `high`, inclusive; for `called` see the function."""
    return field(metadata={"low": low, "high": high, "called": called})


def called(name: str) -> Any:
    """A setting that a command calls `group.name`, so that training and inference use one name."""
    return field(metadata={"called": name})


def beside() -> Any:
    """A group whose settings are written next to this one's own, without the group's name."""
    return field(metadata={"beside": True})


def build(
    cls: type[C],
    composed: Mapping[str, Any],
    known: Mapping[str, Iterable[str]],
    types_: Mapping[str, Any],
) -> C:
    """The frozen `cls` of a composed mapping. A class may have a method `contradictions`, which
    lists values that are valid one by one but not together.

    Args:
        composed: nested plain dicts, as Hydra composed them.
        known: valid names by key (`loss.name` -> names), for values that are a choice.
        types_: names for the annotations, in addition to those of their own module.

    Raises:
        UsageError: every wrong, missing or unknown setting, one line each.
    """
    builder = _Builder(types_)
    built = builder.group(cls, composed, "")
    faults = builder.faults
    for key, names in known.items():
        value = at(composed, key)
        if isinstance(value, str | int | float) and str(value) not in names:
            faults.append(f"unknown {key} {shown(value)!r}{nearest(str(value), names)}")
    if faults:
        raise UsageError("\n".join(faults))
    assert built is not None
    return built


class _Builder:
    def __init__(self, types_: Mapping[str, Any]) -> None:
        self.types, self.faults = types_, list[str]()

    def group(self, cls: type[C], composed: Mapping[str, Any], where: str) -> C | None:
        """An object of `cls`, or None if something is wrong with it; `where` begins its keys."""
        names = {**self.types, **vars(sys.modules[cls.__module__])}
        hints = typing.get_type_hints(cls, localns=names, include_extras=True)
        fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
        before = len(self.faults)
        values: dict[str, Any] = {}
        calls = {name: spec.metadata.get("called") or name for name, spec in fields.items()}
        if groups := {called.partition(".")[0] for called in calls.values()} - {*calls}:
            found = {name: at(composed, called, MISSING) for name, called in calls.items()}
            found = {name: value for name, value in found.items() if value is not MISSING}
            composed = {k: v for k, v in composed.items() if k not in groups} | found
        rest = {k: v for k, v in composed.items() if k not in fields}
        if whole := [name for name, spec in fields.items() if spec.metadata.get("beside")]:
            values[whole[0]] = self.group(hints[whole[0]], rest, where)
        elif "options" in fields and "options" not in composed:
            values["options"] = rest
        else:
            self.faults += [f"{where}{k} is not a setting{nearest(k, fields)}" for k in rest]
        for name in [n for n in fields if n not in values]:
            key = f"{where}{calls[name]}"
            if name not in composed or composed[name] == "???":
                self.faults.append(f"{key} is required: add {key}=... to the command.")
                continue
            hint, rule = hints[name], dict(fields[name].metadata)
            if typing.get_origin(hint) is typing.Annotated:
                hint, marked = typing.get_args(hint)
                rule |= marked._asdict()
            values[name] = self.value(hint, composed[name], key, rule)
        if len(self.faults) > before:
            return None
        built = cls(**values)
        self.faults += getattr(built, "contradictions", list)()
        return built

    def value(self, hint: Any, value: Any, key: str, rule: Mapping[str, Any]) -> Any:
        if parse := rule.get("parse"):
            try:
                return parse(value)
            except UsageError as error:
                return self.fault(f"{key}: {error}")
            except (TypeError, ValueError, AttributeError, LookupError):
                return self.fault(f"{key}={shown(value)} cannot be understood.")
        optional = isinstance(hint, types.UnionType)
        if optional:
            if value is None:
                return None
            hint = next(t for t in typing.get_args(hint) if t is not types.NoneType)
        given, origin = f"{key}={shown(value)}", typing.get_origin(hint)
        if dataclasses.is_dataclass(hint):
            if isinstance(value, Mapping):
                return self.group(typing.cast(type, hint), value, f"{key}.")
            return self.fault(f"{given} should be a group of settings, not one value.")
        if origin is tuple:
            if isinstance(value, list | tuple) and all(isinstance(v, str) for v in value):
                return tuple(value)
            return self.fault(f"{given} should be a list of words, such as [one,two].")
        if origin is not None:
            if isinstance(value, Mapping):
                return value
            return self.fault(f"{given} should be a mapping, such as {{name: value}}.")
        if issubclass(hint, StrEnum):
            if isinstance(value, bool) and "off" in set(hint):
                value = "on" if value else "off"  # YAML reads these two words as booleans
            if isinstance(value, str) and value in set(hint):
                return hint(value)
            meant = nearest(str(value), hint)
            return self.fault(f"{given} is not one of {', '.join(hint)}{meant}")
        return self.plain(hint, value, key, rule, optional)

    def plain(
        self, hint: type, value: Any, key: str, rule: Mapping[str, Any], optional: bool
    ) -> Any:
        """A number, a text or a switch."""
        low, high = rule.get("low"), rule.get("high")
        switch = isinstance(value, bool)
        if hint is str and isinstance(value, int | float) and not switch:
            value = str(value)
        fits = isinstance(value, hint) or (hint is float and isinstance(value, int))
        fits = fits and (hint is bool or not switch)
        if fits and hint in (int, float):
            least, most = -math.inf if low is None else low, math.inf if high is None else high
            fits = math.isfinite(value) and least <= value <= most
        if fits:
            return hint(value)
        wanted = WORDS[hint]
        if low is not None:
            wanted += (
                f" of at least {low:g}" if high is None else f" from {low:.12g} to {high:.12g}"
            )
        wanted += ", or null" if optional else ""
        quotes = " Write it in quotes." if hint is str and switch else ""
        return self.fault(f"{key}={shown(value)} should be {wanted}.{quotes}")

    def fault(self, text: str) -> None:
        self.faults.append(text)


def shown(value: Any) -> str:
    """A value as written in YAML, cut to fit in a message."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = str(value)
    return text if len(text) <= 100 else f"{text[:100]}..."


MISSING = object()


def at(composed: Mapping[str, Any], key: str, otherwise: Any = None) -> Any:
    """The value of a dotted key in nested mappings."""
    value: Any = composed
    for part in key.split("."):
        value = value.get(part, otherwise) if isinstance(value, Mapping) else otherwise
    return value
