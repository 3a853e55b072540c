"""Reads a model that `medcnn export` wrote as ONNX: the description of its checkpoint, and a
network that onnxruntime computes. Part of the extra `export`.

The description lies in the metadata of the file, behind the graph, and a seal over both at its end.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor

from medcnn.models.checkpoint import NEWER, SCHEMA, Checkpoint
from medcnn.models.description import faults_of
from medcnn.models.familiarity import stored_familiarity
from medcnn.system import plugins
from medcnn.system.errors import CheckpointError, PluginError, UsageError, pip_install

SUFFIX, SEAL_DIGITS = ".onnx", 64
# Plug-ins without which an exported file cannot predict: its network needs none.
NEEDED = ("steps",)


class Exported:
    """Images [B, C, H, W] of full range -> logits [B, K], averaged over mirrored views, and what
    the head sees of the images as they are."""

    def __init__(self, content: bytes, source: str) -> None:
        runtime = onnxruntime()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 4  # what is wrong is raised
        try:
            self.session = runtime.InferenceSession(
                content, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # it raises types of its own for what it cannot read
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise CheckpointError(
                f"{source} ({len(content):,} bytes) cannot be read: {reason:.200}. It is half "
                "written or damaged, or onnxruntime is older than it: export it again."
            ) from error
        self.metadata: Mapping[str, str] = self.session.get_modelmeta().custom_metadata_map

    def __call__(self, images: Tensor) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        given = images.permute(0, 2, 3, 1).contiguous().cpu().numpy()
        logits, features = self.session.run(["logits", "features"], {"images": given})
        return logits, features


def onnxruntime() -> Any:
    """The package, which is imported when it is needed.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import onnxruntime as runtime
    except ImportError as error:
        raise UsageError(
            f"exported models need the extra medcnn[export]: {pip_install('export')}."
        ) from error
    return runtime


def seal_of(content: bytes) -> bytes:
    """SHA-256 in hexadecimal digits of all but the last SEAL_DIGITS bytes, which hold it."""
    return hashlib.sha256(content[:-SEAL_DIGITS]).hexdigest().encode()


def read_exported(path: Path) -> tuple[Checkpoint, Exported, dict[str, Any]]:
    """The description, the network, and what the file was made from.

    Raises:
        CheckpointError: it is damaged, not from medcnn, or of a newer schema.
    """
    source, content = f"checkpoint={path}", path.read_bytes()
    network = Exported(content, source)
    if "medcnn" not in network.metadata:
        raise CheckpointError(
            f"{source} holds a network but no medcnn description (labels, preprocessing): only "
            "what `medcnn export` wrote can be used."
        )
    try:
        stored = json.loads(network.metadata["medcnn"])
        origin = stored["exported"]
        if stored["schema"] > SCHEMA:
            raise CheckpointError(NEWER.format(path, stored["schema"], origin["medcnn"]))
        if content[-SEAL_DIGITS:] != seal_of(content):
            raise ValueError("it was changed since it was written: its checksum does not fit")
        plugins.require(stored.get("plugins", []), NEEDED, source)
        checkpoint = Checkpoint.from_json(stored)
        if known := stored["familiar"]:
            tensors = safetensors.torch.load(base64.b64decode(known))
            familiar = stored_familiarity(tensors, str(stored["familiar_weights"]))
            checkpoint = replace(checkpoint, familiar=familiar)
        faults = faults_of(checkpoint)
    except (CheckpointError, UsageError, PluginError):
        raise
    except Exception as error:  # anybody may have written it: it raises whatever it meets first
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"{source} is damaged: {reason:.200}. Take a fresh copy, or export it again."
        ) from error
    if faults:
        raise CheckpointError(f"{source}: its description is damaged: {'; '.join(faults)}.")
    return checkpoint, network, dict(origin)
