"""Pages of the documentation that are made from the code, for MkDocs (`mkdocs build`).

`hooks` in mkdocs.yml names this file. `reference/settings.md` has every setting of every command,
`reference/python.md` the public names of `import medcnn`, `project/first_steps.md` the notebook.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import os
import re
import sys
import types
import typing
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml

import medcnn
import medcnn.config
from medcnn.cli.help import _flat, settings
from medcnn.verbs import VERBS, verb_of

TOP = Path(__file__).parents[1]
CONFIGS = TOP / "configs"
GROUPS = ("pooling", "head", "loss", "sampler", "optimizer", "transfer", "model")
# pages that lie elsewhere in the repository
NOTEBOOK = "examples/first_steps.ipynb"
MOVED = {
    "CONTRIBUTING.md": "project/contributing.md",
    "CHANGELOG.md": "project/changelog.md",
    NOTEBOOK: "project/first_steps.md",
}


@dataclasses.dataclass(frozen=True)
class Setting:
    key: str
    type: str  # with its range
    default: str
    meaning: str


def kinds(config: type, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Key, and type with range, of each setting that a config class declares."""
    names = vars(medcnn.config) | vars(sys.modules[config.__module__])
    hints = typing.get_type_hints(config, localns=names, include_extras=True)
    for field in dataclasses.fields(config):
        hint, rule = hints[field.name], dict(field.metadata)
        key = prefix + (rule.get("called") or field.name)
        if typing.get_origin(hint) is typing.Annotated:
            hint, marked = typing.get_args(hint)
            rule |= marked._asdict()
        inner = [t for t in typing.get_args(hint) or (hint,) if t is not types.NoneType]
        if dataclasses.is_dataclass(inner[0]) and not rule.get("parse"):
            yield from kinds(inner[0], prefix if rule.get("beside") else f"{key}.")
        elif field.name != "options":
            yield key, range_of(hint, rule)


def range_of(hint: Any, rule: dict[str, Any]) -> str:
    """A type and its range in words."""
    if parse := rule.get("parse"):
        said = " ".join((inspect.getdoc(parse) or "").split("\n\n")[0].split())
        said = re.sub(r"\s*Raises UsageError.*", "", said).rstrip(".")
        return re.sub(r"\bNone\b", "null", said)
    optional = isinstance(hint, types.UnionType)
    plain = next(t for t in typing.get_args(hint) if t) if optional else hint
    if typing.get_origin(plain) is tuple:
        words = "list of words"
    elif typing.get_origin(plain) is not None:
        words = "mapping"
    elif issubclass(plain, StrEnum):
        words = ", ".join(plain)
    else:
        words = {int: "whole number", float: "number", bool: "true or false", str: "text"}[plain]
    low, high = rule.get("low"), rule.get("high")
    if low is not None:
        words += f", at least {low:.12g}" if high is None else f", {low:.12g} to {high:.12g}"
    return words + (", or null" if optional else "")


def of_value(text: str) -> str:
    """The type of an option, as its default shows it."""
    value = yaml.safe_load(text)
    known = {bool: "true or false", int: "whole number", float: "number", str: "text"}
    return known.get(type(value), "list" if isinstance(value, list) else "mapping or null")


def of_verb(verb: str) -> list[Setting]:
    """Every setting that `medcnn VERB --help` shows."""
    config = verb_of(verb).config
    declared = dict(kinds(config)) if config else {}
    return [
        Setting(key, declared.get(key) or _choice(key) or of_value(default), default, meaning)
        for key, (default, meaning) in settings(verb, CONFIGS).items()
    ]


def _choice(key: str) -> str:
    return "a name" if (CONFIGS / key).is_dir() else ""


def of_group(group: str) -> dict[str, list[Setting]]:
    """Each choice of a group with its own settings. One that two choices share is explained at one
    of them."""
    files = {p.stem: list(_flat(p.read_text("utf-8"))) for p in CONFIGS.glob(f"{group}/*.yaml")}
    said = {key: words for of in files.values() for key, _, words in of if words}
    return {
        name: [
            Setting(f"{group}.{key}", of_value(value), value, words or said.get(key, ""))
            for key, value, words in files[name]
            if key != "name"
        ]
        for name in sorted(files)
    }


def table(rows: list[Setting]) -> str:
    lines = ["| setting | type and range | default | meaning |", "|---|---|---|---|"]
    for s in rows:
        cells = (f"`{s.key}`", s.type, f"`{s.default}`", s.meaning)
        lines.append(f"| {' | '.join(_cell(c) for c in cells)} |")
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def settings_page() -> str:
    parts = [
        "# Every setting",
        "Of each command, with its type, range, default and meaning. `???` must be given. A "
        "default is what the YAML of the command says; `data=`, `loss=` and other groups bring "
        "their own, which stand at the end. `medcnn COMMAND --help` prints the same.",
    ]
    for verb in VERBS:
        if (CONFIGS / f"{verb}.yaml").is_file():
            parts += [f"## medcnn {verb}", table(of_verb(verb))]
    for group in GROUPS:
        parts.append(f"## {group}=NAME")
        for name, rows in of_group(group).items():
            parts += [f"### {group}={name}", table(rows) if rows else "No settings of its own."]
    return "\n\n".join(parts) + "\n"


def python_page() -> str:
    parts = [
        "# Python",
        "The public names of `import medcnn`. [How to use them](../python.md), with examples.",
    ]
    for name in medcnn.__all__:
        thing = getattr(medcnn, name)
        parts += [f"## {name}", f"```text\n{name}{_signature(thing)}\n```", _documented(thing)]
        if inspect.isclass(thing):
            for part, value in vars(thing).items():
                inner = inspect.unwrap(
                    getattr(value, "fget", None) or getattr(value, "__func__", value)
                )
                if part[0] != "_" and inspect.isfunction(inner):
                    call = "" if isinstance(value, property) else _signature(inner)
                    parts += [f"### {name}.{part}", f"```text\n{part}{call}\n```"]
                    parts.append(_documented(inner))
    return "\n\n".join(parts) + "\n"


def _signature(thing: Any) -> str:
    try:
        signature = str(inspect.signature(thing)).replace("'", "")
    except ValueError:
        return ""
    return re.sub(r"\bmedcnn\.[\w.]+\.(\w+)", r"\1", re.sub(r"<.*?>", "...", signature))


def _documented(thing: Any) -> str:
    """A docstring as Markdown; its sections become lists."""
    lines: list[str] = []
    for line in (inspect.getdoc(thing) or "").replace("<", "&lt;").splitlines():
        section = re.fullmatch(r"(Args|Attributes|Raises|Returns|Source|Sources|Yields):", line)
        entry = re.fullmatch(r"    ([\w, *]+): (.*)", line)
        if section:
            lines += ["", f"**{section[1]}**", ""]
        elif entry:
            lines.append(f"- `{entry[1]}`: {entry[2]}")
        else:
            lines.append(line if not line.startswith("    ") else line.strip())
    return "\n".join(lines)


def notebook_page(content: str) -> str:
    """The cells of a notebook, which has no outputs, as Markdown."""
    parts = []
    for cell in json.loads(content)["cells"]:
        text = "".join(cell["source"])
        parts.append(f"```python\n{text}\n```" if cell["cell_type"] == "code" else text)
    title, *rest = parts
    return "\n\n".join(
        [title, f"This is the notebook `{NOTEBOOK}` without its outputs.", *rest, ""]
    )


def pages() -> dict[str, str]:
    """Place in the site -> Markdown."""
    made = {place: (TOP / name).read_text("utf-8") for name, place in MOVED.items()}
    return made | {
        MOVED[NOTEBOOK]: notebook_page(made[MOVED[NOTEBOOK]]),
        "reference/settings.md": settings_page(),
        "reference/python.md": python_page(),
    }


def inside(markdown: str, here: str) -> str:
    """Links of a page that lead out of the site become links to where a page is now, or words.

    Args:
        here: place of the page in the site.
    """
    back = {place: name for name, place in MOVED.items()}
    own = (TOP / back[here] if here in back else TOP / "docs" / here).parent

    def moved(link: re.Match[str]) -> str:
        text, target, anchor = link[1], link[2], link[3] or ""
        if re.match(r"\w+:", target) or here.startswith("reference/"):
            return link[0]
        path = Path(os.path.normpath(own / target))
        name = path.relative_to(TOP).as_posix() if path.is_relative_to(TOP) else ""
        if name in MOVED:
            place = MOVED[name]
        elif path.is_file() and path.is_relative_to(TOP / "docs"):
            place = path.relative_to(TOP / "docs").as_posix()
        elif path.exists():
            return f"{text} (`{path.relative_to(TOP).as_posix()}`)" if target not in text else text
        else:
            return link[0]  # which MkDocs reports
        return f"[{text}]({os.path.relpath(place, Path(here).parent)}{anchor})"

    return re.sub(r"(?<!!)\[([^\]]*)\]\(([^)#\s]+)(#[^)\s]*)?\)", moved, markdown)


def on_config(config: Any) -> Any:
    """Called by MkDocs: pages that mkdocs.yml does not place come last, decisions in order."""
    docs = TOP / "docs"
    placed = set(re.findall(r"[\w./-]+\.md", str(config.nav)))
    more = sorted(p.relative_to(docs).as_posix() for p in docs.rglob("*.md"))
    decisions = [page for page in more if page.startswith("decisions/")]
    rest = [page for page in more if page not in placed and page not in decisions]
    config.nav += [*([{"More": rest}] if rest else []), {"Decisions": decisions}]
    return config


def on_files(files: Any, config: Any) -> Any:
    """Called by MkDocs: adds the pages that are made from the code."""
    from mkdocs.structure.files import File

    for place, text in pages().items():
        files.append(File.generated(config, place, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Called by MkDocs for each page."""
    return inside(markdown, page.file.src_uri)
