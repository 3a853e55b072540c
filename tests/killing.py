"""A training that is killed at one of its updates."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from medcnn.training import epochs
from medcnn.verbs.train import TrainConfig


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


@contextmanager
def at_call(number: int, module: Any, name: str, act: Callable[[], Any]) -> Iterator[None]:
    """Do `act` at the start of that call of a function."""
    real, calls = getattr(module, name), []

    def counted(*arguments: Any, **more: Any) -> Any:
        calls.append(1)
        if len(calls) == number:
            act()
        return real(*arguments, **more)

    setattr(module, name, counted)
    try:
        yield
    finally:
        setattr(module, name, real)


def die() -> None:
    raise Killed


def killed(config: TrainConfig, train: Callable[[TrainConfig], Path], at_update: int) -> Path:
    """The checkpoints that are left."""
    with pytest.raises(Killed), at_call(at_update, epochs, "update", die):
        train(config)
    return Path(str(config.run_dir)) / "checkpoints"
