"""A command as the command line does it, in this process."""

from __future__ import annotations

import pytest

from medcnn.cli import main

# Settings of a small training run: 30 patients of dermoscopy phantoms, two epochs of LeNet-5.
SMALL = (
    "model=lenet5",
    "data=phantom",
    "data.phantom=dermoscopy",
    "data.patients=30",
    "data.size_px=32",
    "trainer.epochs=2",
    "trainer.batch_size=10",
    "trainer.device=cpu",
    "trainer.threads=1",
    "audit.copies=false",
    "explain=null",
)


def run(*words: object) -> int:
    """Exit code of a command."""
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return int(ended.value.code or 0)
