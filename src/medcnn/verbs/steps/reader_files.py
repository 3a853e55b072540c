"""Files with readers' points: YAML, or a CSV with one row a reader."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import yaml

from medcnn.statistics.reader_points import ReaderPoint, points_of
from medcnn.system.errors import UsageError


def read_readers(path: Path) -> list[ReaderPoint]:
    """Raises UsageError where there is no such file, or something else in it."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        rows = list(csv.DictReader(io.StringIO(text))) if path.suffix == ".csv" else _of_yaml(text)
    except OSError as error:
        raise UsageError(f"readers={path} cannot be read: {error.strerror or error}.") from None
    except (yaml.YAMLError, csv.Error, UnicodeDecodeError):
        raise UsageError(f"readers={path} is neither YAML nor a CSV.") from None
    return points_of(rows, f"readers={path}")


def _of_yaml(text: str) -> list[object]:
    found = yaml.safe_load(text)
    return found if isinstance(found, list) else [found]
