"""Messages that concern many files of a set, logged once."""

from __future__ import annotations

import logging
from functools import cache

log = logging.getLogger(__name__)


@cache
def say_once(level: int, message: str) -> None:
    """Log a message about many files of a set only once in a process."""
    log.log(level, message)
