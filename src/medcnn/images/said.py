"""What is said of many files of a set, once."""

from __future__ import annotations

import logging
from functools import cache

log = logging.getLogger(__name__)


@cache
def say_once(level: int, message: str) -> None:
    """Log once in a process what concerns many files of a set."""
    log.log(level, message)
