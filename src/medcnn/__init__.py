"""Train, evaluate and fine-tune CNNs on medical images, with results that can be defended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = [
    "Manifest",
    "Model",
    "Pairing",
    "Predictions",
    "Run",
    "compare",
    "evaluate",
    "load",
    "read_manifest",
    "torch_dataset",
    "train",
]

if TYPE_CHECKING:
    from medcnn.api import (
        Manifest,
        Model,
        Pairing,
        Predictions,
        Run,
        compare,
        evaluate,
        load,
        read_manifest,
        torch_dataset,
        train,
    )


def __getattr__(name: str) -> Any:
    """Imports `medcnn.api`, and with it torch, only when a name in `__all__` is used."""
    if name in __all__:
        from medcnn import api

        return getattr(api, name)
    raise AttributeError(f"module 'medcnn' has no attribute '{name}'")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
