"""A command as the command line does it, in this process."""

from __future__ import annotations

import pytest

from medcnn.cli import main


def run(*words: object) -> int:
    """Exit code of a command."""
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return int(ended.value.code or 0)
