"""What goes wrong with a data YAML of one's own, said with its file and line."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from medcnn.config import DataConfig
from medcnn.data import adapters
from medcnn.system.errors import UsageError
from medcnn.system.registry import nearest

MAX_BYTES, MAX_DEPTH = 1 << 18, 16


def own_file(folder: Path | None, name: str | None) -> Path | None:
    """The YAML that `data=NAME` means, where it is the user's own."""
    file = folder / "data" / f"{name}.yaml" if folder else None
    return file if file and file.is_file() else None


def refuse_bombs(folder: Path) -> None:
    """Raises UsageError for a YAML of a group that a few lines make endless (aliases of aliases),
    or that is too large or too deep to be settings."""
    for file in sorted(folder.glob("*/**/*.yaml")):
        size, depth, fault = file.stat().st_size, 0, ""
        if size > MAX_BYTES:
            fault = f"has {size:,} bytes, and settings at most {MAX_BYTES:,}"
        else:
            with suppress(yaml.YAMLError):  # what is no YAML is told where it is read
                for token in yaml.scan(file.read_text(encoding="utf-8", errors="replace")):
                    depth += isinstance(token, _OPENING) - isinstance(token, _CLOSING)
                    if isinstance(token, yaml.AliasToken):
                        fault = f"repeats a part by its alias (*{token.value}); write it out"
                    elif depth > MAX_DEPTH:
                        fault = f"is nested more than {MAX_DEPTH} deep"
                    if fault:
                        break
        if fault:
            raise UsageError(f"{file} {fault}, or move it out of --config-dir.")


_OPENING = (
    yaml.BlockMappingStartToken,
    yaml.BlockSequenceStartToken,
    yaml.FlowMappingStartToken,
    yaml.FlowSequenceStartToken,
)
_CLOSING = (yaml.BlockEndToken, yaml.FlowMappingEndToken, yaml.FlowSequenceEndToken)


def place_hint(group: str, name: str, folder: Path | None) -> str:
    """Where a file of that name does lie, and where it must; blank where there is none."""
    if folder is None:
        for place in (Path("conf"), Path("configs"), Path()):
            if (file := place / group / f"{name}.yaml").is_file():
                return f" There is {file}: add --config-dir {place}."
        return ""
    wanted = folder / group / f"{name}.yaml"
    found = sorted((*folder.rglob(f"{name}.yaml"), *folder.rglob(f"{name}.yml")))
    if not found:
        return ""
    if folder.name == group and found[0].parent == folder and found[0].suffix == ".yaml":
        return f" There is {found[0]}: say --config-dir {folder.parent}."
    return f" There is {found[0]}, which must be {wanted}."


def refuse_nameless(file: Path, data: Collection[str]) -> None:
    """Raises UsageError where the YAML does not say which adapter reads the data."""
    if "name" not in data:
        raise UsageError(
            f"{file} does not say what reads the data: its first line should be `defaults: [table]`"
            " for a table or a folder per class (a public set: `defaults: [ham10000]`)."
        )


def refuse_unknown(file: Path, data: Mapping[str, Any], given: Collection[str]) -> None:
    """Raises UsageError for keys that neither the adapter nor what every data set has knows.

    Args:
        data: the composed settings of the data.
        given: keys of the command line, which are answered elsewhere.
    """
    name = str(data.get("name"))
    if name not in adapters.DATASETS:
        return
    known = [*adapters.option_names(name), *(f.name for f in fields(DataConfig))]
    lines = file.read_text(encoding="utf-8").splitlines()
    faults = []
    for key in data:
        if key not in known and f"data.{key}" not in given:
            at = [
                i for i, text in enumerate(lines, 1) if re.match(rf"\s*{re.escape(key)}\s*:", text)
            ]
            line = f":{at[0]}" if at else ""
            faults.append(
                f"{file}{line}: '{key}' is no setting of data={name}{nearest(key, known)}"
            )
    if faults:
        raise UsageError("\n".join(faults))
