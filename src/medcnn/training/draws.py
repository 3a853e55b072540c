"""Random numbers without a state: a function of (seed, epoch, image)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def uniforms(seed: int, epoch: int, keys: NDArray[np.uint64], count: int) -> NDArray[np.float32]:
    """Random numbers [B, count] in [0, 1) that depend only on (seed, epoch, key).

    Args:
        keys: [B], one per image.

    Source:
        SplitMix64 (Steele, Lea and Flood 2014, OOPSLA), used as a counter-based generator.
    """
    with np.errstate(over="ignore"):  # arithmetic modulo 2**64 is the point
        start = mixed_keys(seed, epoch, keys)[:, None]
        state = start + _GOLDEN * np.arange(1, count + 1, dtype=np.uint64)
        return ((_mix(state) >> np.uint64(40)).astype(np.float64) / 2**24).astype(np.float32)


def mixed_keys(seed: int, epoch: int, keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A seed for each image [B], from which all its numbers follow."""
    with np.errstate(over="ignore"):
        return _mix(keys ^ _mix(np.uint64(seed) * _GOLDEN + np.uint64(epoch + 1) * _ODD))


def again(keys: NDArray[np.uint64], times: NDArray[np.int64] | None) -> NDArray[np.uint64]:
    """The keys [B] of images that occurred `times` before in their epoch. They differ each time, so
    an image that a sampler repeats is augmented differently."""
    if times is None or not times.any():
        return keys
    with np.errstate(over="ignore"):
        return np.where(times > 0, _mix(keys + times.astype(np.uint64) * _ODD), keys)


_GOLDEN, _ODD = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD1342543DE82EF95)


def _mix(z: NDArray[np.uint64] | np.uint64) -> NDArray[np.uint64]:
    z = np.asarray(z, dtype=np.uint64)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(z ^ (z >> np.uint64(31)))


def on_device(numbers: NDArray[Any], device: torch.device) -> Tensor:
    """Copy to the device from pinned memory, so that the loop does not wait for a GPU."""
    tensor = torch.from_numpy(numbers)
    pinned = tensor.pin_memory() if device.type == "cuda" else tensor
    return pinned.to(device, non_blocking=True)
