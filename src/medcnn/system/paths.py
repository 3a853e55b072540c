"""Paths that a table names: below the root and an ordinary file, or refused.

A manifest may come from anyone; what it names is opened, copied into pages and counted as data.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path, PurePosixPath


def leaves_root(path: str) -> bool:
    """Whether the text alone shows it: absolute, `..`, a NUL byte, or a drive of Windows."""
    parts = path.replace("\\", "/").split("/")
    absolute = not parts[0] and len(parts) > 1
    return absolute or ".." in parts or "\0" in path or path[1:2] == ":"


def faults_on_disk(
    root: Path, paths: Iterable[str], *, follow_links: bool = False
) -> dict[str, str]:
    """Path -> why it must not be opened: not there, a link out of the root, a pipe or a device.

    Costs one listing per folder, and a look at a file only where it is a link.

    Args:
        paths: below `root`, with `/`; those that `leaves_root` are not looked for.
        follow_links: links may lead out of the root.
    """
    top = os.path.realpath(root)
    listings: dict[str, dict[str, str] | None] = {}
    faults = {}
    for path in paths:
        folder, _, name = path.rpartition("/")
        if leaves_root(path):
            faults[path] = OUTSIDE
            continue
        if folder not in listings:
            listings[folder] = _listing(top, folder, follow_links)
        found = listings[folder]
        if found is None:
            faults[path] = LINKED
        elif name not in found:
            faults[path] = MISSING
        elif found[name]:
            faults[path] = found[name]
    return faults


MISSING = "not there"
OUTSIDE = "outside of the data root"
LINKED = "a link that leads out of the data root"
IRREGULAR = "no regular file (a folder, pipe or device)"


def _listing(top: str, folder: str, follow_links: bool) -> dict[str, str] | None:
    """Name -> what is wrong with it, or ""; None where the folder itself lies outside of `top`."""
    place = os.path.join(top, folder)
    if not os.path.isdir(place):
        return {}
    if not follow_links and not _below(top, os.path.realpath(place)):
        return None
    found = {}
    with os.scandir(place) as entries:
        for entry in entries:
            found[entry.name] = ""
            outside = entry.is_symlink() and not _below(top, os.path.realpath(entry.path))
            if outside and not follow_links:
                found[entry.name] = LINKED
            elif not entry.is_file():
                found[entry.name] = IRREGULAR
    return found


def _below(top: str, place: str) -> bool:
    return os.path.commonpath([top, place]) == top


def lookalike(root: Path, path: str) -> str | None:
    """A file beside `path` whose name differs only in case or in its form of Unicode, as names do
    that went through another system's disk."""
    place = root / PurePosixPath(path).parent
    wanted = folded(PurePosixPath(path).name)
    there = os.listdir(place) if os.path.isdir(place) else []
    return next((name for name in sorted(there) if folded(name) == wanted), None)


def folded(name: str) -> str:
    """The same for names that differ in case or in their form of Unicode alone."""
    return unicodedata.normalize("NFC", name).casefold()
