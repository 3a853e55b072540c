"""Names of all backbones, found without importing torch, so that a misspelt one is reported at
once."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

CLASSIC_NAMES = ("alexnet", "googlenet", "lenet5")
_REGISTERED = re.compile(r"^@register_model\s+def (\w+)\(", re.MULTILINE)


def backbone_names() -> list[str]:
    """timm's registered networks, read from its source (importing timm imports torch), and the
    classics. A name may be followed by `.tag`, which picks one of timm's weights."""
    spec = importlib.util.find_spec("timm")
    assert spec is not None, "timm is a dependency"
    assert spec.origin is not None, "timm has a source"
    files = sorted((Path(spec.origin).parent / "models").glob("*.py"))
    found = {name for f in files for name in _REGISTERED.findall(f.read_text(encoding="utf-8"))}
    return sorted(found | set(CLASSIC_NAMES))
