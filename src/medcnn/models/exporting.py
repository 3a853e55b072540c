"""Writes a classifier as one file for other programs, and refuses a file whose answers differ.

The gate gives both the same images, in batches of several sizes: golden images, which our own code
draws and which travel with the file, and extremes.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import logging
import warnings
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.export import Dim, ExportedProgram

from medcnn import __version__
from medcnn.data.manifest import Modality
from medcnn.data.phantoms.drawing import PHANTOMS, draws
from medcnn.images.preprocessing import Preprocessing
from medcnn.images.reading import read_pixels
from medcnn.images.resizing import narrowed
from medcnn.models.checkpoint import Checkpoint
from medcnn.models.deployed import Model
from medcnn.models.exported import OUTPUTS, SEAL_DIGITS, Answers, of_onnx, seal_of
from medcnn.models.graph import Graph
from medcnn.models.inference import logits_and_features
from medcnn.system.errors import MedcnnError, UsageError, pip_install

GOLDEN, SEED = 20, 2_026
BATCHES = (1, 3, 8)
MOST_APART, MOST_OF_EXTREMES = 1e-4, 1e-3
"""Of logits; of features, and of all outputs of extremes, as a share of the largest."""
MOST_BYTES = 2**31 - 2**20
"""The size limit of a protobuf message, such as an ONNX file."""


class GateError(MedcnnError):
    """An exported file that does not answer as its checkpoint does."""


def draw_golden(folder: Path, modality: Modality) -> list[str]:
    """Write GOLDEN images that show no patient, phantoms of this modality, below `folder`; returns
    their names. Radiographs become 8-bit PNG, which every program reads."""
    kind = Modality.DERMOSCOPY if modality is Modality.OTHER else modality
    folder.mkdir()
    draw, size_px, names = draws(kind), PHANTOMS[kind].default_size_px, list[str]()
    of_all = chain.from_iterable(draw(patient, SEED, size_px) for patient in range(GOLDEN))
    for number, drawing in enumerate(islice(of_all, GOLDEN)):
        suffix = Path(drawing.name).suffix
        names.append(f"{number:02d}{'.png' if suffix == '.dcm' else suffix}")
        if suffix == ".dcm":
            grey = narrowed(read_pixels(folder, drawing.name, data=drawing.data))[:, :, 0]
            Image.fromarray(grey).save(folder / names[-1])
        else:
            (folder / names[-1]).write_bytes(drawing.data)
    return names


def extremes(how: Preprocessing) -> NDArray[Any]:
    """Noise, black and white, [4, C, H, W]."""
    most = int(np.iinfo(how.dtype).max)
    shape = (how.channels, how.size_px, how.size_px)
    noise = np.random.default_rng(0).integers(0, most, (2, *shape), how.dtype, endpoint=True)
    flat = [np.full(shape, value, how.dtype) for value in (0, most)]
    return np.concatenate([noise, np.stack(flat)])


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without what exporters print about their progress and their own internals."""
    loud = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "torch.export")]
    levels = [one.level for one in loud]
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        for one in loud:
            one.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for one, level in zip(loud, levels, strict=True):
                one.setLevel(level)


def program_of(model: Model) -> ExportedProgram:
    """The graph by torch.export, for batches of any size, without paths of this machine.

    Raises:
        GateError: torch cannot trace this network.
    """
    how = model.preprocessing
    graph = Graph(model.classifier, model.checkpoint).eval().requires_grad_(False)
    dtype = torch.uint8 if how.bits == 8 else torch.uint16
    example = torch.zeros((2, how.size_px, how.size_px, how.channels), dtype=dtype)
    try:
        with quiet(), torch.no_grad():
            program = torch.export.export(graph, (example,), dynamic_shapes=({0: Dim.DYNAMIC},))
    except Exception as error:  # torch raises many types for what it cannot trace
        raise GateError(f"torch cannot export this network: {first_line(error)}") from error
    for module in program.graph_module.modules():
        for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
            node.meta.pop("stack_trace", None)  # names source files of this machine
    return program


def as_onnx(program: ExportedProgram, num_bytes: int) -> Any:
    """The graph as an ONNX ModelProto.

    Raises:
        UsageError: the extra is not installed, or the network is too large for a file.
        GateError: an operation has no counterpart.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"to=onnx needs the extra medcnn[export]: {pip_install('export')}."
        ) from error
    if num_bytes > MOST_BYTES:
        raise UsageError(
            f"to=onnx: the weights have {num_bytes / 1e9:.1f} GB, and an ONNX file holds at most 2 "
            "GB. Use to=torch."
        )
    try:
        with quiet():
            found = torch.onnx.export(
                program, (), dynamo=True, input_names=["images"], output_names=list(OUTPUTS)
            )
    except Exception as error:  # torch.onnx raises many types for what it cannot write
        raise GateError(f"ONNX cannot hold this network: {first_line(error)}") from error
    assert found is not None, "without a name for the file, the program is returned"
    proto = found.model_proto
    for graph in (proto.graph, *proto.functions):
        for node in graph.node:  # these name the source files of this machine
            del node.metadata_props[:]
    return proto


def first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]


def described(checkpoint: Checkpoint, origin: dict[str, Any]) -> str:
    """The description that travels with a graph, as JSON."""
    known = checkpoint.familiar
    tensors = safetensors.torch.save(known.tensors()) if known else b""
    more = {"familiar": base64.b64encode(tensors).decode(), "exported": origin}
    return json.dumps(checkpoint.to_json() | more, allow_nan=False)


def with_description(proto: Any, checkpoint: Checkpoint, origin: dict[str, Any]) -> bytes:
    """The content of a file: the graph, then its metadata, which readers of protobuf merge. The
    last value is the seal."""
    import onnx

    del proto.metadata_props[:]
    readout = checkpoint.readout.to_json()
    entries = {
        "medcnn": described(checkpoint, origin),
        "classes": json.dumps(checkpoint.labels.to_json()),
        "preprocessing": json.dumps(checkpoint.preprocessing.to_json()),
        "operating_points": json.dumps(readout["points"]),
        "checkpoint_sha256": origin["checkpoint_sha256"],
        "intended_use": "research only; not a medical device",
        "medcnn_seal": "0" * SEAL_DIGITS,
    }
    tail = onnx.ModelProto()
    for key, value in entries.items():
        tail.metadata_props.add(key=key, value=value)
    content = bytes(proto.SerializeToString() + tail.SerializeToString())
    return content[:-SEAL_DIGITS] + seal_of(content)


def answers_of_onnx(content: bytes) -> Answers:
    return of_onnx(content, "the exported file")[0]


def origin_of(model: Model, **more: Any) -> dict[str, Any]:
    """What an exported file says about the checkpoint it was made from."""
    own = {k: model.provenance[k] for k in ("checkpoint", "checkpoint_sha256")}
    return own | {"medcnn": __version__, **more}


def gate(model: Model, answer: Answers, seen: NDArray[Any]) -> dict[str, Any]:
    """How far the answers of a file are from those of its checkpoint on CPU in float32.

    Args:
        seen: [N, C, H, W], images as the network takes them.

    Raises:
        GateError: they are too far apart, or a decision differs; for noise, black and white,
            decisions do not count.
    """
    apart, others = _apart(model, answer, seen, extreme=False)
    extreme, _ = _apart(model, answer, extremes(model.preprocessing), extreme=True)
    faults = [
        f"on {what}, {', '.join(f'{name} differ by {far:.2g}' for name, far in worst.items())} "
        f"(at most {most:g})"
        for what, worst, most in (
            ("images", apart, MOST_APART),
            ("noise, black and white", extreme, MOST_OF_EXTREMES),
        )
        if max(worst.values()) > most
    ]
    if others:
        faults.append(f"{others} of {len(seen)} images get a different decision")
    if faults:
        raise GateError(
            f"the exported file does not answer as its checkpoint does: {'; '.join(faults)}"
        )
    return {"most": MOST_APART, "batches": list(BATCHES), "images": len(seen), "apart": apart}


def _apart(
    model: Model, answer: Answers, pixels: NDArray[Any], *, extreme: bool
) -> tuple[dict[str, float], int]:
    """The largest difference of each output, and how many decisions differ. For features, and for
    all outputs of extremes, it is a share of the largest value: float32 has no more digits."""
    logits, features = map(np.concatenate, zip(*_own(model, pixels), strict=True))
    p = model.readout.probabilities(model.labels, logits)
    decisions = model.readout.decide(model.labels, p)
    wanted = {"logits": logits, "probabilities": p, "features": features}
    last = np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))
    apart, others = dict.fromkeys(wanted, 0.0), 0
    for own in _batches(len(last)):
        found = dict(zip(OUTPUTS, answer(last[own]), strict=True))
        for name, right in {**wanted, "decisions": decisions}.items():
            if found[name].shape != right[own].shape:
                raise GateError(f"for {len(last[own])} images, {name} have another shape")
        others += int((found["decisions"] != decisions[own]).any(axis=1).sum())
        for name, right in wanted.items():
            shared = extreme or name == "features"
            scale = max(1.0, float(np.abs(right).max())) if shared else 1.0
            far = float(np.abs(found[name].astype(np.float64) - right[own]).max()) / scale
            # nan counts as infinitely far
            apart[name] = max(apart[name], far if np.isfinite(far) else np.inf)
    return apart, others


def _batches(count: int) -> Iterator[slice]:
    """For each size in BATCHES, every full batch; one of all images if there are too few."""
    for size in BATCHES:
        for first in range(0, max(1, count - size + 1), size):
            yield slice(first, first + size)


def _own(model: Model, pixels: NDArray[Any]) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    for part in np.array_split(pixels, -(-len(pixels) // 8)):
        images: Tensor = torch.from_numpy(part)
        flips = model.checkpoint.flips
        yield logits_and_features(model.classifier, images, flips, torch.float32)


def golden_facts(model: Model, folder: Path, names: list[str]) -> tuple[list[Any], NDArray[Any]]:
    """What the checkpoint says about each golden image, and the pixels that its network sees."""
    said = replace(model, dtype=torch.float32).predict([folder / name for name in names])
    facts = [
        {
            "file": f"{folder.name}/{name}",
            "logits": said.logits[i].tolist(),
            "probabilities": said.probabilities[i].tolist(),
            "decisions": said.decisions[i].tolist(),
        }
        for i, name in enumerate(names)
    ]
    return facts, np.stack([model.preprocessing.read(folder, name) for name in names])
