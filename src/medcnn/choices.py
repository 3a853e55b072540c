"""Names that users type: looked up in plain tables, bound to plain functions, never guessed."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from medcnn.errors import UsageError

T = TypeVar("T")


def nearest(name: str, known: Iterable[str]) -> str:
    """How a sentence about an unknown name ends: `; did you mean 'x'?`, or a full stop."""
    by_lower = {k.lower(): k for k in known}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
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


def bind(
    function: Callable[..., T], options: Mapping[str, Any], what: str, **given: Any
) -> Callable[..., T]:
    """`function` with `options` and `given` filled in, checked against its own signature.

    Options come from YAML. An option that the function does not take would silently have no
    effect, so it is refused here.

    Raises:
        UsageError: unknown options (all of them at once) or required ones that are missing.
    """
    parameters = inspect.signature(function).parameters
    keyword = [n for n, p in parameters.items() if p.kind is p.KEYWORD_ONLY and n not in given]
    faults = [
        f"{what} has no option '{name}'{nearest(name, keyword)}"
        for name in options
        if name not in keyword
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
        return function(*arguments, **options, **given)

    return bound
