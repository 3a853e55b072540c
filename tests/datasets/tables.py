"""A table as commands read it: rows with faults refuse it, while the adapter alone keeps them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medcnn import datasets
from medcnn.manifest import Manifest


def read(root: Path | None, **options: Any) -> Manifest:
    return datasets.read("table", root, options)
