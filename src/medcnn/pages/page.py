"""Renders a template of this folder as a self-contained page, or as Markdown."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from functools import cache
from importlib import resources
from typing import Any


def rendered(
    template: str, filters: Mapping[str, Callable[..., Any]] | None = None, **values: Any
) -> str:
    """The template with `values`, whose texts are escaped; a missing value raises."""
    page = _environment(template)
    page.filters |= filters or {}
    text: str = page.get_template(template).render(**values)
    return text


@cache
def _environment(template: str) -> Any:
    """What a template and those that it includes are compiled in, once a process."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    from medcnn.pages.format import count

    markdown = template.endswith(".md.j2")
    page = Environment(
        loader=PackageLoader("medcnn", "pages"),
        autoescape=not markdown,
        finalize=_markdown if markdown else None,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=markdown,
    )
    # not escaped: our own drawings, whose texts `svg` has escaped, and our own words
    page.filters["raw"] = Markup
    page.filters |= {"count": count, "data": lambda value: Markup(_data(value))}
    return page


def _data(value: Any) -> str:
    """JSON that cannot end its HTML element, whatever its texts contain."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.translate({ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"})


def _markdown(value: Any) -> str:
    """Markdown that shows a text literally."""
    if hasattr(value, "__html__"):
        return str(value)
    signs = str.maketrans({sign: f"\\{sign}" for sign in "\\`*_{}[]<>#|"})
    return " ".join(str(value).translate(signs).split())


def script(name: str) -> tuple[str, str]:
    """A script of this folder, and its hash, by which a page's policy allows only this script."""
    text = resources.files("medcnn.pages").joinpath(name).read_text(encoding="utf-8")
    digest = hashlib.sha256(text.encode()).digest()
    return text, f"'sha256-{base64.b64encode(digest).decode()}'"
