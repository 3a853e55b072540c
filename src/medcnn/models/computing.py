"""Runs a network on images, in halves if memory is too small for all at once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medcnn.models.classifier import unit_range


def autocast(dtype: torch.dtype, device: torch.device) -> AbstractContextManager[Any]:
    """The one path for every precision: with float32 the context does nothing."""
    return torch.autocast(device.type, dtype=dtype, enabled=dtype is not torch.float32)


def out_of_memory(error: Exception) -> bool:
    """Also if torch raises a plain RuntimeError, as the allocators of CPUs and Apple's GPUs do, and
    NVIDIA's libraries that have no room for their own workspace."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in NO_ROOM)


NO_ROOM = (
    "out of memory",
    "can't allocate memory",
    "_STATUS_ALLOC_FAILED",  # cuBLAS and cuDNN
    "unable to find an engine to execute this computation",  # cuDNN, after all engines failed
)


def computed(
    of: Callable[[Tensor], tuple[Tensor, ...]], images: Tensor, dtype: torch.dtype
) -> list[NDArray[np.float32]]:
    """What `of` returns for images in 0..1, in halves if memory is too small for all at once."""
    try:
        with torch.inference_mode(), autocast(dtype, images.device):
            found = of(unit_range(images))
        return [np.asarray(one.float().cpu().numpy()) for one in found]
    except RuntimeError as error:
        if len(images) == 1 or not out_of_memory(error):
            raise
    halves = [computed(of, half, dtype) for half in images.chunk(2)]
    return [np.concatenate(parts) for parts in zip(*halves, strict=True)]
