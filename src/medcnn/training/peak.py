"""Peak memory of a training: on the GPU if there is one, else of the whole process."""

from __future__ import annotations

from typing import Any

import torch

from medcnn.system.memory import forget_peak, peak_bytes


def forget(device: torch.device) -> None:
    """Count from here on."""
    forget_peak()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def used_memory(device: torch.device) -> dict[str, Any]:
    """As stored in `run.json`."""
    if device.type == "cuda":
        return {"of": "GPU", "peak_bytes": torch.cuda.max_memory_allocated(device)}
    return {"of": "process", "peak_bytes": peak_bytes()}
