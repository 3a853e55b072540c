"""Paths named in a table must be ordinary files below the root, or they are refused. Paths of this
machine stay on it.

A manifest may come from anyone, and the files it names are opened, copied into pages and counted as
data. The path to a folder may name a department, a project or a person, and output travels.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any


def leaves_root(path: str) -> bool:
    """Whether the text of a path alone shows it: absolute, `..`, a NUL byte, or a Windows drive."""
    if path.startswith(("/", "\\")) or path[1:2] == ":" or "\0" in path:
        return True
    return ".." in path and ".." in path.replace("\\", "/").split("/")


def faults_on_disk(
    root: Path, paths: Iterable[str], *, follow_links: bool = False
) -> dict[str, str]:
    """Path -> why it must not be opened: missing, a link out of the root, a pipe or a device.

    Costs one listing per folder; only links are looked at individually.

    Args:
        paths: below `root`, with `/`; those for which `leaves_root` holds are not looked up.
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
OUTSIDE = "outside the data root"
LINKED = "a link that leads out of the data root"
IRREGULAR = "not a regular file (a folder, pipe or device)"


def _listing(top: str, folder: str, follow_links: bool) -> dict[str, str] | None:
    """Name -> what is wrong with it, or ""; None if the folder itself is outside `top`."""
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
    """A file beside `path` whose name differs only in case or Unicode form, as happens when files
    are copied between systems."""
    place = root / PurePosixPath(path).parent
    wanted = folded(PurePosixPath(path).name)
    there = os.listdir(place) if os.path.isdir(place) else []
    return next((name for name in sorted(there) if folded(name) == wanted), None)


def folded(name: str) -> str:
    """The same for names that differ only in case or Unicode form."""
    return unicodedata.normalize("NFC", name).casefold()


PLACES = (
    *("data.root", "data.path", "data.cache", "run_dir", "checkpoint", "input", "output", "run"),
    "old_data",
)
"""Settings with a path; only these may contain `${oc.env:DATA}`."""

PATHS = (*PLACES, "data.table", "data.folder", "dicom.folder", "model.weights")
"""Settings with a literal value, which may contain blanks, commas and brackets."""

ELSEWHERE = "..."
"""Replaces the path to a folder of this machine: `.../labels.xlsx`."""
# Everything before the last part of an absolute path, one from a home folder, or one that climbs
# (`../`), in a sentence. A blank ends it, since a sentence does not mark where a path ends; known
# paths are cut first.
_PART = r"(?:[^\s/'\"`‹›|;,()\[\]{}<>]+/)"
_WAY = re.compile(rf"(?<![\w.:/<>~-])(?:(?:~\w*)?/{{1,3}}{_PART}+|(?:\.\./)+{_PART}*)")
_OF_HOME = re.compile(r"~\w*/")


def name_of_place(value: str) -> str:
    """A path as it is written to files: only its last part, if it is absolute or climbs.

    `/` alone names nothing and may be a separator, so it stays.
    """
    text = value.removeprefix("file://")
    leads = os.path.isabs(text) or _OF_HOME.match(text) or ".." in text.split("/")
    name = PurePosixPath(text.rstrip("/")).name
    return f"{ELSEWHERE}/{name}" if leads and name else value


def last_parts(value: str) -> str:
    """What a setting of `PATHS` was given, a path or a list of them, without the folders."""
    bare = value.strip("'\"")
    if bare[:1] == "[" and bare[-1:] == "]":
        return f"[{','.join(last_parts(part.strip()) for part in bare[1:-1].split(','))}]"
    name = PurePosixPath(bare).name
    return f"{ELSEWHERE}/{name}" if name and "/" in bare.rstrip("/") else value


def without_folders(text: str, known: Iterable[str | Path] = ()) -> str:
    """A sentence in which only the last part of each path of this machine is kept.

    Args:
        known: paths that may occur in it, absolute or climbing; they may contain blanks.
    """
    said = {way: name_of_place(way) for way in map(str, known)}
    said |= {os.path.realpath(way): name for way, name in said.items()}
    # the last part of a home folder is a person's name
    said |= {os.path.expanduser("~"): "~", os.getcwd(): "."}
    for way in sorted(said, key=len, reverse=True):
        if way.strip("/") and (os.path.isabs(way) or ".." in way.split("/")):
            text = text.replace(way.rstrip("/"), said[way])
    return _WAY.sub(f"{ELSEWHERE}/", text.replace("file://", ""))


def without_ways(node: Any) -> Any:
    """Nested plain settings with only the last part of every path."""
    if isinstance(node, Mapping):
        return {key: without_ways(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [without_ways(value) for value in node]
    return name_of_place(node) if isinstance(node, str) else node


def places_in(node: Any, key: str = "") -> dict[str, str]:
    """Dotted key -> path, for all paths that `without_ways` cuts."""
    if isinstance(node, Mapping):
        pairs = (places_in(v, f"{key}.{k}".lstrip(".")) for k, v in node.items())
        return {k: v for found in pairs for k, v in found.items()}
    return {key: node} if isinstance(node, str) and name_of_place(node) != node else {}


def config_folder() -> Path:
    """`configs/`: inside an installed wheel, else at the top of the checkout."""
    inside = Path(__file__).parents[1] / "configs"
    return inside if inside.is_dir() else Path(__file__).parents[3] / "configs"
