"""A table as commands read it: rows with faults refuse it, while the adapter alone keeps them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medcnn.data import adapters
from medcnn.data.manifest import Manifest


def read(root: Path | None, **options: Any) -> Manifest:
    return adapters.read("table", root, options)
