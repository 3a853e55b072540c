"""What tests of several commands share: drawn lesions, and a run of `SMALL` on them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.command import SMALL, run


@pytest.fixture(scope="module")
def images(drawn: Callable[[str, int], Path]) -> str:
    """The setting for dermoscopy phantoms of 30 patients."""
    return f"data.root={drawn('dermoscopy', 30)}"


@pytest.fixture(scope="module")
def trained(images: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of `SMALL` on `images`, of this module alone: it counts who looks at test."""
    folder = tmp_path_factory.mktemp("runs") / "trained"
    assert run("train", *SMALL, images, f"run_dir={folder}") == 0
    return folder
