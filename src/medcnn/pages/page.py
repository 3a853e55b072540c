"""A template of this folder as a page that needs nothing but itself."""

from __future__ import annotations

import base64
import hashlib
import json
from importlib import resources
from typing import Any


def rendered(template: str, **values: Any) -> str:
    """The template with `values`, whose texts are escaped; a name without a value raises."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    page = Environment(
        loader=PackageLoader("medcnn", "pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page.filters["svg"] = Markup  # our own drawing, whose texts `svg` has escaped
    page.filters["data"] = lambda value: Markup(_data(value))
    return page.get_template(template).render(**values)


def _data(value: Any) -> str:
    """JSON that cannot end the element it stands in, whatever its texts hold."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.translate({ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"})


def script(name: str) -> tuple[str, str]:
    """A script of this folder, and the hash by which a page's policy lets it and no other run."""
    text = resources.files("medcnn.pages").joinpath(name).read_text(encoding="utf-8")
    digest = hashlib.sha256(text.encode()).digest()
    return text, f"'sha256-{base64.b64encode(digest).decode()}'"
