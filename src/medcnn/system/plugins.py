"""Plug-ins: what other installed packages add to the tables, known by name without an import.

A package lists its additions in its pyproject.toml, under `[project.entry-points."medcnn.losses"]`
and the like. Only a chosen name is imported, and only from the group where it was looked up: a
setting or a checkpoint names an entry, never a module. Installing a package means trusting it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from typing import Any

from medcnn.system.errors import CheckpointError, PluginError
from medcnn.system.progress import log

GROUPS = (
    *("augmentations", "backbones", "datasets", "heads", "losses", "poolings"),
    *("scores", "steps"),
)
# What pip accepts as a name and a version: nothing else from a file may become part of a command.
_PIP_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?")
_PIP_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.!+_-]{0,98}")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,98}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugin:
    """An entry point; `group` is one of GROUPS."""

    group: str
    name: str
    distribution: str
    version: str
    entry: EntryPoint

    def __str__(self) -> str:
        return f"{self.distribution} {self.version}"

    def load(self) -> Any:
        """Import what it names.

        Raises:
            PluginError: the import fails, for any reason.
        """
        try:
            return self.entry.load()
        except (Exception, SystemExit) as error:  # it is foreign code
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise PluginError(
                f"'{self.name}' of {self} cannot be imported ({reason:.300}). Fix or uninstall "
                f"{self.distribution}; --debug shows the traceback."
            ) from error


@cache
def known() -> Mapping[str, Mapping[str, tuple[Plugin, ...]]]:
    """Group -> name -> all plug-ins that claim it. Reading the metadata takes about 6 ms."""
    found: dict[str, dict[str, tuple[Plugin, ...]]] = {group: {} for group in GROUPS}
    everything: Any
    try:
        everything = entry_points()  # once: each call reads the metadata of all packages
    except ValueError:  # importlib_metadata, where imported, replaces the reader and is stricter
        everything = _well_formed()
    for group, names in found.items():
        for entry in everything.select(group=f"medcnn.{group}"):
            assert entry.dist is not None, "it was found in a distribution"
            plugin = Plugin(
                group=group,
                name=entry.name,
                distribution=entry.dist.name,
                version=entry.dist.version,
                entry=entry,
            )
            names[entry.name] = (*names.get(entry.name, ()), plugin)
    return found


def _well_formed() -> EntryPoints:
    """The entry points of packages whose own are well formed: one bad package stops no other."""
    good: list[EntryPoint] = []
    for package in metadata.distributions():
        with suppress(ValueError):
            good += package.entry_points
    return EntryPoints(dict.fromkeys(good))


def installed(group: str) -> Mapping[str, tuple[Plugin, ...]]:
    """Name -> the plug-ins of that name, usually one; nothing is imported."""
    return known().get(group, {})


def distributions() -> dict[str, str]:
    """Name and version of every package that has plug-ins."""
    claims = (p for names in known().values() for found in names.values() for p in found)
    return {p.distribution: p.version for p in claims}


def the_one(group: str, name: str, what: str, *, taken: bool) -> Plugin | None:
    """The plug-in `name`, or None.

    Args:
        what: what messages call an entry of this kind.
        taken: medcnn has an entry of that name.

    Raises:
        PluginError: several claim the name, or it cannot be typed in a command.
    """
    found = installed(group).get(name, ())
    if not found:
        return None
    if not _NAME.fullmatch(name):
        raise PluginError(
            f"{found[0]} names a {what} {name!r:.100}: a name should consist of lower-case "
            "letters, digits and underscores."
        )
    claims = ["medcnn itself"] * taken + [str(plugin) for plugin in found]
    if len(claims) > 1:
        raise PluginError(
            f"{what} '{name}' is ambiguous: {' and '.join(claims)} have one. Uninstall "
            f"{found[-1].distribution}, or have it renamed there."
        )
    return found[0]


def used(names: Iterable[tuple[str, str]]) -> tuple[dict[str, str], ...]:
    """Those of (group, name) that are plug-ins, as stored in files: group, name, distribution and
    version."""
    return tuple(
        {"group": p.group, "name": p.name, "distribution": p.distribution, "version": p.version}
        for group, name in dict.fromkeys(names)
        for p in installed(group).get(name, ())
    )


def require(kept: Any, groups: Collection[str], source: str) -> None:
    """Check that the plug-ins a file was made with are installed; imports nothing.

    Args:
        kept: from `used`, read from a file that anyone may have written.
        groups: those that are needed now.
        source: of `kept`; begins the messages.

    Raises:
        CheckpointError: some are not installed, or another package has one of that name.
    """
    absent: dict[str, list[str]] = {}
    for plugin in map(_sound, kept if isinstance(kept, list | tuple) else [kept]):
        if plugin["group"] not in groups:
            continue
        what = f"'{plugin['name']}' ({plugin['group']})"
        made = f"{plugin['distribution']} {plugin['version']}"
        here = installed(plugin["group"]).get(plugin["name"], ())
        same = [p for p in here if _same(p.distribution, plugin["distribution"])]
        if not same:
            other = f" (not the one of {here[0]})" if here else ""
            absent.setdefault(made, []).append(f"{what}{other}")
        elif same[0].version != plugin["version"]:
            log.warning(f"{source} was made with {what} of {made}; {same[0]} is installed.")
    faults = [
        f"{' and '.join(what)} of {made}, which is not installed. If you trust that package: pip "
        f"install {made.replace(' ', '==')}"
        for made, what in absent.items()
    ]
    if faults:
        raise CheckpointError(f"{source} needs {'; and '.join(faults)}")


def _sound(plugin: Any) -> Mapping[str, str]:
    """Raises ValueError if it does not have the form that `used` returns."""
    patterns = {"name": _NAME, "distribution": _PIP_NAME, "version": _PIP_VERSION}
    if (
        not isinstance(plugin, Mapping)
        or plugin.get("group") not in GROUPS
        or not all(pattern.fullmatch(str(plugin.get(k))) for k, pattern in patterns.items())
    ):
        raise ValueError("plugins: not a list of group, name, distribution and version")
    return plugin


def _same(one: str, other: str) -> bool:
    """Whether two names mean the same distribution (PEP 503)."""
    return re.sub(r"[-_.]+", "-", one).lower() == re.sub(r"[-_.]+", "-", other).lower()
