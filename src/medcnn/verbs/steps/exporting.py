"""What `export` puts into its folder, and the check that 8-bit integers rank patients as well."""

from __future__ import annotations

import json
import math
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from medcnn.data.manifest import Split
from medcnn.data.matching import in_words_of, matched_targets
from medcnn.models import exporting, foreign_formats, quantising
from medcnn.models.deployed import Model
from medcnn.models.exported import DESCRIPTION, Exported, of_torch
from medcnn.models.exporting import GateError
from medcnn.models.no_result import refuse_without_result
from medcnn.pages.format import signed
from medcnn.pixels.opening import open_store
from medcnn.statistics.comparing import compare
from medcnn.statistics.predictions import Predictions
from medcnn.system.errors import DataError
from medcnn.system.files import packaged, sha256_of
from medcnn.system.progress import log
from medcnn.verbs.export import ExportConfig
from medcnn.verbs.steps.judged_images import chosen_split, own_data


@contextmanager
def filled(folder: Path) -> Iterator[Path]:
    """A new folder beside `folder` that gets its name when the block ends; none is left if it
    raises."""
    part = folder.absolute().with_name(f".{folder.name}.{uuid.uuid4().hex}.part")
    part.mkdir(parents=True)
    try:
        yield part
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def exported(config: ExportConfig, model: Model, folder: Path) -> str:
    """Fill `folder`; returns a summary."""
    checkpoint = model.checkpoint
    about: dict[str, Any] = {
        "labels": checkpoint.labels.to_json(),
        "preprocessing": checkpoint.preprocessing.to_json(),
        "normalisation": "mean and std of config.json" if config.to == "timm" else "in the file",
        "flips": checkpoint.flips,
        "readout": checkpoint.readout.to_json(),
        "decision": checkpoint.readout.rule(checkpoint.labels),
        **exporting.origin_of(model, int8=config.int8),
        "intended_use": foreign_formats.NOT_A_DEVICE,
    }
    if config.to == "timm":
        about["gate"] = foreign_formats.write_timm(model, folder)
        _write(folder, about)
        return f"logits within {about['gate']['apart']['logits']:.2g} of the network's"
    names = exporting.draw_golden(folder / "golden", checkpoint.modality)
    golden, seen = exporting.golden_facts(model, folder / "golden", names)
    (folder / "run.py").write_text(packaged("medcnn.models", "runner.py"), encoding="utf-8")
    file = {"onnx": "model.onnx", "torch": "model.pt2", "monai": "models/model.pt2"}[config.to]
    (folder / file).parent.mkdir(exist_ok=True)
    program = exporting.program_of(model)
    if config.to == "onnx":
        proto = exporting.as_onnx(program, _bytes_of(model))
        content = exporting.with_description(proto, checkpoint, exporting.origin_of(model))
        about["gate"] = exporting.gate(model, exporting.answers_of_onnx(content), seen)
        if config.int8:
            content, about["int8"] = _in_int8(config, model, proto)
            golden, about["gate"] = _golden_of(content, golden, seen), {"most": INT8_APART}
        (folder / file).write_bytes(content)
    else:
        said = exporting.described(checkpoint, exporting.origin_of(model))
        torch.export.save(program, folder / file, extra_files={DESCRIPTION: said})
        answers = of_torch(folder / file, "the exported file")
        about["gate"] = exporting.gate(model, answers, seen)
    if config.to == "monai":
        foreign_formats.write_bundle(model, folder, file)
    _write(folder, {"file": file, "sha256": sha256_of(folder / file), **about, "golden": golden})
    if config.int8:
        found = about["int8"]
        return (
            f"in 8 bits, AUROC on {found['images']:,} validation images is {found['auroc']:.4f} "
            f"instead of {found['reference']:.4f} (difference "
            f"{signed(found['low'], 4)} to {signed(found['high'], 4)})"
        )
    return (
        f"logits within {about['gate']['apart']['logits']:.2g} of the checkpoint's, same decisions"
    )


INT8_APART = 0.05
"""Allowed difference of golden logits on another processor, which may add in another order."""


def _bytes_of(model: Model) -> int:
    return sum(p.numel() * p.element_size() for p in model.classifier.parameters())


def _write(folder: Path, about: dict[str, Any]) -> None:
    text = json.dumps(about, indent=1, allow_nan=False)
    (folder / "export.json").write_text(text + "\n", encoding="utf-8")


def _golden_of(content: bytes, golden: list[Any], seen: NDArray[Any]) -> list[Any]:
    """`golden` with the answers of this file."""
    answer = exporting.answers_of_onnx(content)
    logits, p, decisions, _ = answer(np.ascontiguousarray(seen.transpose(0, 2, 3, 1)))
    own = zip(golden, logits.tolist(), p.tolist(), decisions.tolist(), strict=True)
    return [{**g, "logits": z, "probabilities": q, "decisions": d} for g, z, q, d in own]


def _in_int8(config: ExportConfig, model: Model, proto: Any) -> tuple[bytes, dict[str, Any]]:
    """The content of the file, and how it compares on validation.

    Raises:
        DataError: validation has too few images.
        GateError: AUROC may fall by more than `quantising.MOST_DROP`.
    """
    checkpoint, own = model.checkpoint, config.data is None
    data = config.data or own_data(Path(config.checkpoint), checkpoint, config.moved)
    manifest, _ = chosen_split("all", checkpoint, data, log.warning, own=own)
    if not own:
        manifest = in_words_of(checkpoint.labels, manifest, data.names)
    kept = [r for r in manifest.records if r.split is Split.VALIDATION]
    if kept or own:  # another hospital's set without splits is used whole
        manifest = manifest.with_records(kept)
    store = open_store(manifest, checkpoint.preprocessing, cache=data.cache)
    rows = store.readable(np.arange(len(manifest.records)))
    if len(rows) < quantising.LEAST_IMAGES:
        raise DataError(
            f"int8=true needs {quantising.LEAST_IMAGES} validation images or more to find the "
            f"ranges of activations; {manifest.source} has {len(rows)} that can be read. Name "
            "another set with data=, or export without int8."
        )
    chosen = store.take(rows[quantising.spread(len(rows))])
    small = quantising.quantised(proto, np.ascontiguousarray(chosen.transpose(0, 2, 3, 1)))
    origin = exporting.origin_of(model, int8=True)
    content = exporting.with_description(small, checkpoint, origin)
    targets = matched_targets(checkpoint.labels, manifest)
    said = []
    for one in (model, replace(model, network=Exported(exporting.answers_of_onnx(content)))):
        size = config.batch_size
        said.append(one.said(manifest, store, rows, "validation", targets, batch_size=size))
        refuse_without_result(said[-1], "the checkpoint" if one is model else "the int8 file")
    return content, judged(*said)


def judged(whole: Predictions, small: Predictions) -> dict[str, Any]:
    """How much AUROC changes in 8 bits, paired by patient.

    Raises:
        GateError: it may fall by more than `quantising.MOST_DROP`, or this cannot be known.
    """
    found = compare(whole, small, ["auroc"]).differences[0]
    if np.array_equal(whole.logits, small.logits):
        found = replace(found, low=0.0, high=0.0)
    if math.isnan(found.low):
        raise GateError(
            f"int8: the change of AUROC on validation has no interval ({found.note or 'undefined'}"
            "), so the cost of 8 bits cannot be known. Export without int8, or name a larger set "
            "with data="
        )
    if -found.low > quantising.MOST_DROP:
        raise GateError(
            f"int8: AUROC on {found.count:,} validation images is {found.other:.4f} instead of "
            f"{found.reference:.4f}; the 95 % interval of the drop reaches {-found.low:.4f}, and "
            f"{quantising.MOST_DROP} is the limit. Export without int8, or with more validation "
            "images if the interval is wide"
        )
    same = (whole.decisions == small.decisions).all(axis=1)
    facts = {
        "images": found.count,
        "reference": found.reference,
        "auroc": found.other,
        "low": found.low,
        "high": found.high,
        "most_drop": quantising.MOST_DROP,
        "same_decisions": float(same.mean()),
    }
    if whole.verdicts is not None and small.verdicts is not None:
        facts["same_verdicts"] = float((whole.verdicts == small.verdicts).mean())
    return facts
