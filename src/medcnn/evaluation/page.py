"""A template of this folder as a page that needs nothing but itself."""

from __future__ import annotations

from typing import Any


def rendered(template: str, **values: Any) -> str:
    """The template with `values`, whose texts are escaped; a name without a value raises."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    page = Environment(
        loader=PackageLoader("medcnn", "evaluation"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page.filters["svg"] = Markup  # our own drawing, whose texts matplotlib has escaped
    return page.get_template(template).render(**values)
