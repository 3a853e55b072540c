"""What an audit keeps in the cache: sealed and under its key, so that nothing is believed that is
damaged or was made of another set. What cannot be kept or read is made anew."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medcnn.system.files import cache_place, read_sealed, write_sealed
from medcnn.system.progress import log


def recall(path: Path, key: str) -> dict[str, Any] | None:
    """What `keep` wrote for that key; None where nothing whole is there."""
    try:
        stored: dict[str, Any] = json.loads(bytes(read_sealed(path, shared=False)))
    except OSError:
        return None
    except ValueError:
        stored = {}
    if stored.get("key") == key:
        return stored
    log.info(f"the audit cache {path.name} is damaged and is made again")
    return None


def keep(path: Path, key: str, **content: Any) -> None:
    """Raises OSError where nothing can be written."""
    cache_place(path.parent.name)
    write_sealed(path, json.dumps({"key": key, **content}).encode())


@contextmanager
def keeping(folder: Path) -> Iterator[None]:
    """Where the block cannot write, the audit goes on and says so: it is needed only once."""
    try:
        yield
    except OSError as error:
        log.warning(
            f"the audit is not kept for the next time: {folder} cannot be written "
            f"({error.strerror or error}). MEDCNN_CACHE=FOLDER names another place."
        )
