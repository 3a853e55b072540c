"""Reads a model that `medcnn export` wrote: the description of its checkpoint, and a network that
onnxruntime (extra `export`) or torch runs.

In an ONNX file the description is in the metadata, after the graph, with a seal over both at the
end. In a torch program (.pt2, a zip archive) it is a separate entry. Loading such a program runs
code stored in the file (pickle), so it is read only if the user trusts it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import warnings
import zipfile
from collections.abc import Callable, Mapping
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

TORCH, SEAL_DIGITS = ".pt2", 64
OUTPUTS = ("logits", "probabilities", "decisions", "features")
# Integers [B, H, W, C] -> OUTPUTS.
Answers = Callable[[NDArray[Any]], tuple[NDArray[Any], ...]]
# Name of the entry of a torch program that describes it.
DESCRIPTION = "medcnn.json"
# Kinds of plug-ins without which an exported file cannot predict: its network needs none.
NEEDED = ("steps",)


class Exported:
    """Full-range images [B, C, H, W] -> logits [B, K], averaged over mirrored views, and what the
    head sees of the unmirrored images."""

    def __init__(self, answers: Answers) -> None:
        self.answers = answers

    def __call__(self, images: Tensor) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        given = images.permute(0, 2, 3, 1).contiguous().cpu().numpy()
        logits, _, _, features = self.answers(given)
        return logits, features


def of_onnx(content: bytes, source: str) -> tuple[Answers, Mapping[str, str]]:
    """What the graph answers, and the metadata; raises CheckpointError."""
    runtime = onnxruntime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4  # faults are raised anyway
    try:
        session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # it has its own exception types
        raise CheckpointError(
            f"{source} ({len(content):,} bytes) cannot be read: {_line(error)}. It is "
            "damaged or half written, or onnxruntime is too old for it: export it again."
        ) from error
    metadata: Mapping[str, str] = session.get_modelmeta().custom_metadata_map
    return lambda images: tuple(session.run(list(OUTPUTS), {"images": images})), metadata


def of_torch(path: Path, source: str) -> Answers:
    """What a torch program answers; runs code in the file. Raises CheckpointError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about torch's internals
            module = torch.export.load(path).module()
    except Exception as error:
        raise CheckpointError(
            f"{source} cannot be read: {_line(error)}. It is damaged, or from another version of "
            "torch: export it again."
        ) from error

    def answers(images: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        with torch.no_grad():
            return tuple(one.numpy() for one in module(torch.from_numpy(images)))

    return answers


def description_in(path: Path, source: str) -> dict[str, str]:
    """The description in a torch program, without running any of it; raises CheckpointError."""
    try:
        with zipfile.ZipFile(path) as archive:
            if damaged := archive.testzip():
                raise CheckpointError(f"{source} is damaged, in {damaged}: export it again.")
            names = [n for n in archive.namelist() if n.endswith(f"/extra/{DESCRIPTION}")]
            return {"medcnn": archive.read(names[0]).decode()} if names else {}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{source} cannot be read: {_line(error)}.") from error


def _line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def onnxruntime() -> Any:
    """The package, imported only when it is needed.

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


def read_exported(
    path: Path, *, trusted: bool = False
) -> tuple[Checkpoint, Exported, dict[str, Any]]:
    """The description, the network, and what the file was made from.

    Args:
        trusted: whether a torch program may be read, which runs code in it.

    Raises:
        CheckpointError: it is damaged, not from medcnn, or of a newer schema.
        UsageError: it is a torch program, and not trusted.
    """
    if path.suffix == TORCH and not trusted:
        raise UsageError(
            f"checkpoint={path} is a torch program: loading it runs code stored in the file. If "
            "you know who made it, pass trusted=True. An .onnx file cannot run code."
        )
    source, answers, content = f"checkpoint={path}", None, b""
    metadata: Mapping[str, str]
    if path.suffix == TORCH:
        metadata = description_in(path, source)
    else:
        content = path.read_bytes()
        answers, metadata = of_onnx(content, source)
    if "medcnn" not in metadata:
        raise CheckpointError(
            f"{source} holds a network but no medcnn description (labels, preprocessing): only "
            "what `medcnn export` wrote can be used."
        )
    try:
        stored = json.loads(metadata["medcnn"])
        origin = stored["exported"]
        if stored["schema"] > SCHEMA:
            raise CheckpointError(NEWER.format(path, stored["schema"], origin["medcnn"]))
        if content and content[-SEAL_DIGITS:] != seal_of(content):
            raise ValueError("it has changed since it was written: its checksum does not match")
        plugins.require(stored.get("plugins", []), NEEDED, source)
        checkpoint = Checkpoint.from_json(stored)
        if known := stored["familiar"]:
            tensors = safetensors.torch.load(base64.b64decode(known))
            familiar = stored_familiarity(tensors, str(stored["familiar_weights"]))
            checkpoint = replace(checkpoint, familiar=familiar)
        faults = faults_of(checkpoint)
    except (CheckpointError, UsageError, PluginError):
        raise
    except Exception as error:  # anybody may have written it, so it may raise anything
        raise CheckpointError(
            f"{source} is damaged: {_line(error)}. Get a fresh copy, or export it again."
        ) from error
    if faults:
        raise CheckpointError(f"{source}: its description is damaged: {'; '.join(faults)}.")
    return checkpoint, Exported(answers or of_torch(path, source)), dict(origin)
