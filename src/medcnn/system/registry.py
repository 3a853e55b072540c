"""Names that users type: looked up in tables, bound to plain functions, never guessed."""

from __future__ import annotations

import difflib
import functools
import inspect
import types
import typing
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from medcnn.system import plugins
from medcnn.system.errors import PluginError, UsageError, private

T = TypeVar("T")


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown name: `; did you mean 'x'?`, or a full stop."""
    by_lower = {k.lower(): k for k in known}
    close = difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.6)
    # two swapped letters are a likelier slip than a different letter
    close.sort(key=lambda k: sorted(k) != sorted(name.lower()))
    return f"; did you mean '{by_lower[close[0]]}'?" if close else "."


WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
_UNIONS = (typing.Union, types.UnionType)  # plug-ins may write Optional[float]


def _is_a(value: Any, hint: Any) -> bool:
    """Whether a plain value fits a plain type; the code that reads a container checks it."""
    if typing.get_origin(hint) in _UNIONS:
        return any(_is_a(value, h) for h in typing.get_args(hint))
    if typing.get_origin(hint) is typing.Literal:
        return value in typing.get_args(hint)
    if hint is types.NoneType:
        return value is None
    if hint not in WORDS:
        return value is not None and not isinstance(value, int | float | str)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, hint) and (hint is bool or not isinstance(value, bool))


def _said(hint: Any) -> str:
    if typing.get_origin(hint) is typing.Literal:
        return f"one of {', '.join(map(str, typing.get_args(hint)))}"
    if typing.get_origin(hint) in _UNIONS:
        parts = [_said(h) for h in typing.get_args(hint) if h is not types.NoneType]
        return " or ".join(parts)
    return WORDS.get(hint, "a list or a mapping")


class Table(Mapping[str, T]):
    """Entries that are chosen by name: medcnn's own, and those of installed plug-ins.

    An entry of a plug-in is imported when it is looked up, not before. Iterating over entries
    (`items`, `values`) therefore imports all of them.

    Args:
        what: what messages call an entry.
        own: medcnn's own entries.
        group: of `plugins.GROUPS`; "" if plug-ins cannot add to this table.
        kind: type of which every plug-in entry must be an instance.
        function: entry -> the function whose keyword-only arguments are its options.
        limits: option of medcnn's own entries -> smallest and largest sensible number.
        also: other names with a meaning in the same place.
    """

    def __init__(
        self,
        what: str,
        own: Mapping[str, T],
        *,
        group: str = "",
        kind: type = object,
        function: Callable[[T], Callable[..., Any]] | None = None,
        limits: Mapping[str, tuple[float, float]] | None = None,
        also: Callable[[], Collection[str]] = tuple,
    ) -> None:
        self.what, self.own, self.group, self.kind = what, dict(own), group, kind
        self.limits, self.also, self._function = limits or {}, also, function

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*self.own, *plugins.installed(self.group)]))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __contains__(self, name: object) -> bool:
        return name in self.own or name in plugins.installed(self.group)

    def __getitem__(self, name: str) -> T:
        plugin = self.origin(name)
        return self.own[name] if plugin is None else self._loaded(plugin)

    def origin(self, name: str) -> plugins.Plugin | None:
        """The plug-in that provides `name`, without importing it; None if medcnn does.

        Raises:
            PluginError: medcnn or another package has an entry of that name too.
        """
        taken = name in self.own or (name in self and name in self.also())
        return plugins.the_one(self.group, name, self.what, taken=taken)

    def _loaded(self, plugin: plugins.Plugin) -> T:
        entry = plugin.load()
        where = f"{self.what} '{plugin.name}' of {plugin}"
        if not isinstance(entry, self.kind):
            raise PluginError(
                f"{where}: {plugin.entry.value} should be a {self.kind.__name__}, found "
                f"{type(entry).__name__}."
            )
        try:
            untyped = _options(self._of(entry)).keys() - _hints(self._of(entry)).keys()
        except Exception as error:  # the signature is foreign code
            raise PluginError(
                f"{where}: the types of its options cannot be read: {error}"
            ) from error
        if untyped:
            raise PluginError(f"{where}: {', '.join(sorted(untyped))} has no type.")
        return typing.cast(T, entry)  # which is of this kind

    def _of(self, entry: Any) -> Callable[..., Any] | None:
        return self._function(entry) if self._function else None

    def choose(self, name: str) -> T:
        """The entry `name`.

        Raises:
            UsageError: no such entry; the message names the nearest one and all others.
            PluginError: it comes from a plug-in that does not work.
        """
        if name not in self:
            known = [*self, *self.also()]
            raise UsageError(
                f"unknown {self.what} '{name}'{nearest(name, known)} Known: "
                f"{', '.join(sorted(known))}."
            )
        return self[name]

    def options(self, name: str) -> dict[str, Any]:
        """The options that `name` takes, with their defaults; `MISSING` if required."""
        return _options(self._of(self.choose(name)))

    def bind(self, name: str, options: Mapping[str, Any]) -> Callable[..., Any]:
        """The function of `name` with `options` filled in, checked against its own signature.

        Options come from YAML. One that the function does not take would have no effect, so it is
        refused.

        Raises:
            UsageError: unknown options, wrong values and missing options, all at once.
        """
        function = self._of(self.choose(name))
        assert function is not None, "a table with options says whose they are"
        known, hints, what = _options(function), _hints(function), f"{self.what} {name}"
        faults = [
            f"{what} has no option '{key}'{nearest(key, known)}"
            for key in options
            if key not in known
        ]
        given = {k: v for k, v in options.items() if k in known and v != MISSING}
        for key, value in given.items():
            if not _is_a(value, hints[key]):
                faults.append(f"{what}: {key}={_shown(key, value)} should be {_said(hints[key])}.")
            elif name in self.own and key in self.limits:
                low, high = self.limits[key]
                if not low <= value <= high:
                    faults.append(f"{what}: {key}={value} should be from {low:g} to {high:g}.")
        faults += [
            f"{what} needs the option '{key}'."
            for key, default in known.items()
            if default == MISSING and key not in given
        ]
        if faults:
            names = ", ".join(known) or "none"
            raise UsageError(" ".join(faults) + f" Options of {what}: {names}.")
        return functools.partial(function, **options)

    def completed(self, item: Any) -> dict[str, Any]:
        """A choice with its name and all its options, defaults included, so that a stored choice
        keeps its meaning when a default changes.

        Args:
            item: a name, or a mapping such as {name: clahe, clip_limit: 3}.

        Raises:
            UsageError: an unknown name or option, or a number out of its limits.
        """
        options = dict(item) if isinstance(item, Mapping) else {"name": item}
        name = str(options.pop("name", None))
        self.bind(name, options)
        return {"name": name, **self.options(name), **options}


MISSING = "???"  # as YAML has it


def _options(function: Callable[..., Any] | None) -> dict[str, Any]:
    if function is None:
        return {}
    keyword = [
        p for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY
    ]
    return {p.name: MISSING if p.default is p.empty else p.default for p in keyword}


def _hints(function: Callable[..., Any] | None) -> dict[str, Any]:
    return typing.get_type_hints(function) if function else {}


def _shown(name: str, value: Any) -> str:
    """A value for a message; `exclude` may name patients."""
    return private(str(value)) if name == "exclude" else str(value)
