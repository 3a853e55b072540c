"""The cache of an audit: entries are sealed and have a key, so that damaged ones and those of other
sets are not used. What cannot be stored or read is made again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medcnn.system.files import cache_place, read_sealed, write_sealed
from medcnn.system.progress import log


def recall(path: Path, key: str) -> dict[str, Any] | None:
    """What `keep` wrote for that key; None if nothing valid is there."""
    try:
        stored: dict[str, Any] = json.loads(bytes(read_sealed(path, shared=False)))
    except OSError:
        return None
    except ValueError:
        stored = {}
    if stored.get("key") == key:
        return stored
    log.info(f"the audit cache {path.name} is damaged and will be made again")
    return None


def keep(path: Path, key: str, **content: Any) -> None:
    """Raises OSError if it cannot be written."""
    cache_place(path.parent.name)
    write_sealed(path, json.dumps({"key": key, **content}).encode())


@contextmanager
def keeping(folder: Path) -> Iterator[None]:
    """If the block cannot write, the audit says so and goes on: it is needed only once."""
    try:
        yield
    except OSError as error:
        log.warning(
            f"the audit cannot be cached: {folder} cannot be written "
            f"({error.strerror or error}). Name another folder with MEDCNN_CACHE=FOLDER."
        )
