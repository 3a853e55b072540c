"""Checks users' own YAML files, and reports faults with file and line. Files may come from anyone,
so content that would fill memory, name Python code, or not mean what it seems to is refused before
Hydra sees it."""

from __future__ import annotations

import io
import os
import re
import stat
from collections.abc import Collection, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource
from omegaconf import OmegaConf

from medcnn.cli.help import PLUGGED
from medcnn.cli.plugin_yaml import PluginSource, names_in
from medcnn.cli.words import NAMES, shortened, too_much
from medcnn.config import DataConfig
from medcnn.data import adapters
from medcnn.system.errors import UsageError, listed, private
from medcnn.system.paths import config_folder
from medcnn.system.registry import nearest

MAX_BYTES, MAX_DEPTH, MAX_LETTERS, MAX_NAMES = 1 << 18, 16, 10_000, 1000
MAX_ENTRIES = 3000


def own_file(folder: Path | None, name: str | None) -> Path | None:
    """The YAML that `data=NAME` means, if it is the user's own."""
    file = folder / "data" / f"{name}.yaml" if folder else None
    return file if file and os.path.isfile(file) else None


def own_folder(text: str) -> Path:
    """The folder of --config-dir. Raises UsageError if there is none."""
    folder = Path(os.path.expanduser(text))
    if not text:
        raise UsageError("--config-dir needs a folder: --config-dir FOLDER.")
    if not os.path.isdir(folder):
        found = "it is a file; name the folder" if os.path.exists(folder) else "no such folder"
        raise UsageError(f"--config-dir {text}: {found}.")
    return folder


def searched(folder: Path | None) -> list[str]:
    """The override that adds a user's folder, and after it the plug-ins. Its files must not have
    names of ours, which would be found first."""
    Plugins.instance().register(PluginSource)
    plugins = f"'{PluginSource.scheme()}://installed'"
    if folder is None:
        return [f"hydra.searchpath=[{plugins}]"] if any(map(names_in, PLUGGED)) else []
    ours = (p.relative_to(config_folder()).as_posix() for p in config_folder().rglob("*.yaml"))
    if hidden := sorted(name for name in ours if os.path.isfile(folder / name)):
        raise UsageError(
            f"--config-dir {folder}: {listed(hidden)} is also a file of medcnn; give yours "
            "another name."
        )
    Plugins.instance().register(OwnSource)
    path = str(folder.resolve()).replace("\\", "\\\\").replace("'", "\\'")
    return [f"hydra.searchpath=['{OwnSource.scheme()}://{path}',{plugins}]"]


class OwnSource(ConfigSource):
    """Hydra reads the files of --config-dir through this class."""

    @staticmethod
    def scheme() -> str:
        return "own"

    def available(self) -> bool:
        return self.is_group("")

    def is_group(self, config_path: str) -> bool:
        return os.path.isdir(os.path.join(self.path, config_path))

    def is_config(self, config_path: str) -> bool:
        return os.path.isfile(self._file(config_path))

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        found = sorted(Path(self.path, config_path).iterdir())
        files = [p.stem for p in found if p.suffix == ".yaml" and p.is_file()]
        groups = [p.name for p in found if p.is_dir()]
        only = {ObjectType.CONFIG: files, ObjectType.GROUP: groups}
        return [*groups, *files] if results_filter is None else only[results_filter]

    def _file(self, config_path: str) -> Path:
        return Path(self.path) / f"{config_path.removesuffix('.yaml')}.yaml"

    def load_config(self, config_path: str) -> ConfigResult:
        file = self._file(config_path)
        if not file.exists():
            raise ConfigLoadError(f"there is no {file}")
        text = read_yaml(file)
        package = re.match(r"\s*#\s*@package\s+(\S+)", text)
        return ConfigResult(
            config=OmegaConf.load(io.StringIO(text)),
            path=f"{self.scheme()}://{self.path}",
            provider=self.provider,
            header={"package": package and package[1]},
        )


def read_yaml(file: Path) -> str:
    """The text of a settings file, checked to mean what it seems to.

    Raises:
        UsageError: with the line and what to write instead.
    """
    said = os.path.relpath(file) if file.is_relative_to(Path.cwd()) else str(file)
    about = os.stat(file)
    if not stat.S_ISREG(about.st_mode):
        raise UsageError(f"{said} is not a regular file.")
    if about.st_size > MAX_BYTES:
        raise UsageError(f"{said} has {about.st_size:,} bytes; the limit is {MAX_BYTES:,}.")
    text = _decoded(said, file.read_bytes())
    try:
        _refuse_tokens(said, text)
        root = yaml.compose(text, yaml.SafeLoader)
        if root is not None and not isinstance(root, yaml.MappingNode):
            raise UsageError(f"{said} should contain settings, such as `root: /data/images`.")
        faults = list(_faults(root)) if root is not None else []
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        tabs = " Indent with spaces, not tabs." if "\\t" in str(error.problem) else ""
        raise UsageError(f"{said}{line} is not YAML: {error.problem}.{tabs}") from error
    except yaml.YAMLError as error:
        raise UsageError(f"{said} is not YAML: {' '.join(str(error).split())[:300]}") from error
    if faults:
        raise UsageError("\n".join(f"{said}:{line + 1}: {fault}" for line, fault in faults[:20]))
    return text


def _decoded(said: str, raw: bytes) -> str:
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise UsageError(f"{said} is in UTF-16; save it as UTF-8.")
    if b"\0" in raw:
        line = raw[: raw.index(b"\0")].count(b"\n") + 1
        raise UsageError(f"{said}:{line} contains a NUL byte: this is not a text file.")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise UsageError(
            f"{said}:{line} is not in UTF-8 (byte 0x{raw[error.start]:02x}); save it as UTF-8."
        ) from error


def _refuse_tokens(said: str, text: str) -> None:
    """Raises UsageError for constructs that expand endlessly, and for Python types."""
    depth = names = 0
    for token in yaml.scan(text):
        names += isinstance(token, yaml.KeyToken)
        depth += isinstance(token, _OPENING) - isinstance(token, _CLOSING)
        if isinstance(token, yaml.AliasToken):
            fault = f"repeats a part by its alias (*{token.value}); write it out"
        elif isinstance(token, yaml.TagToken):
            name = "".join(part or "" for part in token.value)
            fault = f"names a type ({shortened(name)}); settings are text, numbers and lists"
        elif names > MAX_NAMES:
            fault = f"has more than {MAX_NAMES:,} settings"
        elif depth > MAX_DEPTH:
            fault = f"is nested more than {MAX_DEPTH} deep"
        else:
            continue
        raise UsageError(f"{said}:{token.start_mark.line + 1} {fault}.")


_OPENING = (
    yaml.BlockMappingStartToken,
    yaml.BlockSequenceStartToken,
    yaml.FlowMappingStartToken,
    yaml.FlowSequenceStartToken,
)
_CLOSING = (yaml.BlockEndToken, yaml.FlowMappingEndToken, yaml.FlowSequenceEndToken)


def _faults(node: Any, *, within: bool = False, names: bool = False) -> Iterator[tuple[int, str]]:
    """Line and fault of values that YAML would read as something else.

    Args:
        within: a key or an item of a list, which is a name and never a switch.
        names: all within is a name, since it belongs to a setting of NAMES.
    """
    if isinstance(node, yaml.ScalarNode):
        if fault := _fault(node, within or names, names):
            yield node.start_mark.line, fault
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _faults(item, within=True, names=names)
    else:
        seen = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                yield key.start_mark.line, "a list or a mapping cannot be the name of a setting."
                continue
            if key.value in seen:
                yield key.start_mark.line, f"'{shortened(key.value)}' is given twice."
            seen.add(key.value)
            yield from _faults(key, within=True, names=True)
            yield from _faults(value, names=names or key.value in NAMES)


def _fault(node: yaml.ScalarNode, within: bool, names: bool) -> str:
    text, kind = node.value, node.tag.rpartition(":")[2]
    if len(text) > MAX_LETTERS:
        return f"a value has {len(text):,} characters; the limit is {MAX_LETTERS:,}."
    if fault := too_much(text):
        return f"{private(shortened(text))} {fault}."
    if any((ord(c) < 32 and c not in "\t\n\r") or "\ud800" <= c <= "\udfff" for c in text):
        return f"{private(shortened(text))} contains a control character."
    if node.style:
        return ""
    quoted = f"write it in quotes: '{shortened(text)}'."
    if kind == "int" and not re.fullmatch(r"[+-]?(0|[1-9][0-9]*)", text):
        return f"{private(text)} is read as another number; write it in quotes."
    # OmegaConf reads more numbers than YAML 1.1: 2E63, a code of ICD-11, and 12e4, maybe a patient
    code = names and re.fullmatch(r"[+-]?\d+[eE]\d+", text)
    float_ = kind == "float" or re.fullmatch(r"[+-]?\d+(_\d+)*(\.[\d_]*)?[eE][+-]?\d+", text)
    if float_ and (code or set(text) & set(":_")):
        return f"{private(text)} is read as another number; write it in quotes."
    if kind == "bool" and within:
        return f"{text} is read as true or false; {quoted}"
    if kind == "null" and within:
        return f"{text} is read as nothing; {quoted}" if text else "an item or a name is empty."
    if kind == "merge":
        return "<< repeats another part; write it out."
    return ""


def place_hint(group: str, name: str, folder: Path | None) -> str:
    """Where a file of that name is, and where it must be; else how to name its folder."""
    if folder is None:
        return _near_hint(group, name)
    wanted = folder / group / f"{name}.yaml"
    found = [p for p in _below(folder, depth=3) if p.stem == name]
    if not found:
        return f" Your own would be {wanted}." if group in ("data", "experiment") else ""
    if folder.name == group and found[0].parent == folder and found[0].suffix == ".yaml":
        return f" There is {found[0]}: use --config-dir {folder.parent}."
    return f" There is {found[0]}, which must be {wanted}."


def _near_hint(group: str, name: str) -> str:
    stem = Path(name).stem if name.endswith((".yaml", ".yml")) else Path(name).name
    here = Path()
    for file in (*_below(here, depth=3), *_below(Path(".."), depth=3)):
        if file.stem.lower() == stem.lower() and file.parent.name == group:
            if file.suffix == ".yml":
                return f" There is {file}: rename it to {file.with_suffix('.yaml').name}."
            place = file.parent.parent
            choice = "" if name == file.stem else f"write {group}={file.stem} and "
            return f" There is {file}: {choice}add --config-dir {place}."
    if group == "data" and ("/" in name or os.path.exists(os.path.expanduser(name))):
        return (
            f" data= needs a name. To say where the images are, use data.root={name}; `medcnn init "
            f"{name}` writes a YAML for them."
        )
    return f" Give --config-dir FOLDER if its YAML is elsewhere (FOLDER/{group}/{stem}.yaml)."


def _below(folder: Path, depth: int) -> Iterator[Path]:
    """YAML files within a folder, near ones first; looks at `MAX_ENTRIES` at most."""
    seen = 0
    level = [folder]
    for _ in range(depth):
        deeper: list[Path] = []
        for place in level:
            try:
                entries = sorted(os.scandir(place), key=lambda e: e.name)
            except OSError:
                continue
            for entry in entries:
                seen += 1
                if seen > MAX_ENTRIES:
                    return
                path = place / entry.name
                if entry.name.endswith((".yaml", ".yml")) and os.path.isfile(path):
                    yield path
                elif not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False):
                    deeper.append(path)
        level = deeper


def refuse_nameless(file: Path, data: Collection[str]) -> None:
    """Raises UsageError if the YAML does not say which adapter reads the data."""
    if "name" not in data:
        raise UsageError(
            f"{file} does not say how to read the data: its first line should be `defaults: "
            "[table]` for a table or one folder per class (for a public set: `defaults: "
            "[ham10000]`)."
        )


def refuse_unknown(file: Path, data: Mapping[str, Any], given: Collection[str]) -> None:
    """Raises UsageError for keys that are settings neither of the adapter nor of data in general.

    Args:
        data: the composed settings of the data.
        given: keys of the command line, which are checked elsewhere.
    """
    name = str(data.get("name"))
    if name not in adapters.DATASETS:
        return
    known = [*adapters.DATASETS.options(name), *(f.name for f in fields(DataConfig))]
    lines = read_yaml(file).splitlines()
    faults = []
    for key in data:
        if key not in known and f"data.{key}" not in given:
            at = [
                i for i, text in enumerate(lines, 1) if re.match(rf"\s*{re.escape(key)}\s*:", text)
            ]
            line = f":{at[0]}" if at else ""
            faults.append(
                f"{file}{line}: '{key}' is not a setting of data={name}{nearest(key, known)}"
            )
    if faults:
        more = [f"and {len(faults) - 20} more."] if len(faults) > 20 else []
        raise UsageError("\n".join(faults[:20] + more))
