"""Names that users type: looked up in plain tables, bound to plain functions, never guessed."""

from __future__ import annotations

import difflib
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from medcnn.system.errors import UsageError, private

T = TypeVar("T")


def nearest(name: str, known: Iterable[str]) -> str:
    """How a sentence about an unknown name ends: `; did you mean 'x'?`, or a full stop."""
    by_lower = {k.lower(): k for k in known}
    close = difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.6)
    # two letters that changed places are the likelier slip than another letter
    close.sort(key=lambda k: sorted(k) != sorted(name.lower()))
    return f"; did you mean '{by_lower[close[0]]}'?" if close else "."


def choose(table: Mapping[str, T], name: str, what: str) -> T:
    """The entry `name` of `table`.

    Raises:
        UsageError: no such entry; names the nearest one and all that there are.
    """
    if name not in table:
        names = ", ".join(sorted(table))
        raise UsageError(f"{what} '{name}' is not known{nearest(name, table)} Known: {names}.")
    return table[name]


_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


def _is_a(value: Any, hint: Any) -> bool:
    """Whether a plain value fits a plain type; containers are left to whoever reads them."""
    if isinstance(hint, types.UnionType):
        return any(_is_a(value, h) for h in typing.get_args(hint))
    if hint is types.NoneType:
        return value is None
    if hint not in _WORDS:
        return value is not None and not isinstance(value, int | float | str)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, hint) and (hint is bool or not isinstance(value, bool))


def _said(hint: Any) -> str:
    if isinstance(hint, types.UnionType):
        parts = [_said(h) for h in typing.get_args(hint) if h is not types.NoneType]
        return " or ".join(parts)
    return _WORDS.get(hint, "a list or a mapping")


def bind(function: Callable[..., T], options: Mapping[str, Any], what: str) -> Callable[..., T]:
    """`function` with `options` filled in, checked against its own signature.

    Options come from YAML. An option that the function does not take would silently have no
    effect, so it is refused here.

    Raises:
        UsageError: unknown options (all of them at once) or required ones that are missing.
    """
    parameters = inspect.signature(function).parameters
    keyword = [n for n, p in parameters.items() if p.kind is p.KEYWORD_ONLY]
    faults = [
        f"{what} has no option '{name}'{nearest(name, keyword)}"
        for name in options
        if name not in keyword
    ]
    hints = typing.get_type_hints(function)
    faults += [
        f"{what}: {name}={_shown(name, value)} should be {_said(hints[name])}."
        for name, value in options.items()
        if name in keyword and not _is_a(value, hints[name])
    ]
    faults += [
        f"{what} needs the option '{name}'."
        for name in keyword
        if parameters[name].default is inspect.Parameter.empty and name not in options
    ]
    if faults:
        known = ", ".join(keyword) or "none"
        raise UsageError(" ".join(faults) + f" Options of {what}: {known}.")

    def bound(*arguments: Any) -> T:
        return function(*arguments, **options)

    return bound


def _shown(name: str, value: Any) -> str:
    """A value as a message has it: `exclude` may name patients."""
    return private(str(value)) if name == "exclude" else str(value)


def completed(
    table: Mapping[str, Callable[..., Any]],
    item: Any,
    what: str,
    limits: Mapping[str, tuple[float, float]],
) -> dict[str, Any]:
    """A choice with its name and all of its options, the defaults too, so that what is kept in a
    file does not change its meaning when a default does.

    Args:
        item: a name, or a mapping such as {name: clahe, clip_limit: 3}.
        limits: option -> smallest and largest sensible number.

    Raises:
        UsageError: an unknown name or option, or a number out of its limits.
    """
    options = dict(item) if isinstance(item, Mapping) else {"name": item}
    name = str(options.pop("name", None))
    function = choose(table, name, what)
    bind(function, options, f"{what} {name}")
    faults = [
        f"{key}={options[key]} should be from {low:g} to {high:g}."
        for key, (low, high) in limits.items()
        if key in options and not low <= options[key] <= high
    ]
    if faults:
        raise UsageError(f"{what} {name}: " + " ".join(faults))
    parameters = inspect.signature(function).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
    return {"name": name, **defaults, **options}
