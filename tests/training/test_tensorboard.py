"""What stands in the event files, read back as TensorBoard reads them."""

from __future__ import annotations

import math
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2
from tensorboard.util import tensor_util

from medcnn.cli.compose import read_command
from medcnn.config import to_json
from medcnn.data.labels import Kind
from medcnn.statistics.scores import evaluate
from medcnn.training.tensorboard import Board, changed_settings


def read(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder), size_guidance={"tensors": 0}).Reload()


def plugin_data(board: EventAccumulator, tag: str) -> Any:
    content = board.summary_metadata[tag].plugin_data.content
    return plugin_data_pb2.HParamsPluginData.FromString(content)


@pytest.fixture
def rare(simulate: Any) -> Any:
    """A finding in 2 % of the images, whose probabilities are all small."""
    from dataclasses import replace

    predictions = simulate(Kind.MULTILABEL, 1000, names=("rare", "other"))
    targets = predictions.targets.copy()
    targets[:, 0] = 0
    targets[:20, 0] = 1
    logits = predictions.logits.copy()
    logits[:, 0] = -7 + 1.5 * targets[:, 0] + np.random.default_rng(1).normal(size=1000)
    return replace(predictions, targets=targets, logits=logits.astype(np.float32))


@pytest.mark.fault
def test_the_curve_of_a_rare_finding_is_full(rare: Any, tmp_path: Path) -> None:
    """Row B14: at thresholds of equal distance all but one or two points are empty."""
    board = Board(tmp_path, 0)
    board.predictions(rare, 3)
    board.close()
    found = read(tmp_path)
    (event,) = found.Tensors("pr_test/rare")
    assert event.step == 3
    _, _, _, _, precision, recall = tensor_util.make_ndarray(event.tensor_proto)
    assert len(np.unique(recall)) > 15  # of 21 that 20 images can have
    assert recall[0] == 1
    assert precision[0] == pytest.approx(0.02)
    assert np.isfinite(precision).all()
    assert "quantiles" in found.summary_metadata["pr_test/rare"].summary_description


def test_event_files_do_not_name_the_machine_and_a_resumed_run_finds_earlier_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "ward7-meier")
    named = tmp_path / "events.out.tfevents.1700000000.ward7-meier.12.0"
    named.write_bytes(b"")
    for epoch in range(2):
        board = Board(tmp_path, epoch)
        board.numbers({"train/loss": 1.0 - epoch}, epoch)
        board.close()
    assert [p.name for p in tmp_path.iterdir() if "ward7" in p.name] == []
    assert len([p for p in tmp_path.iterdir() if p.name.endswith(".earlier")]) == 2
    assert [e.value for e in read(tmp_path).Scalars("train/loss")] == [1.0, 0.0]
    assert socket.gethostname() == "ward7-meier"


def test_scores_are_one_table_and_one_row_beside_the_changed_settings(
    simulate: Any, tmp_path: Path
) -> None:
    evaluations = {
        split: evaluate(simulate(Kind.MULTILABEL, split=split), resamples=20)
        for split in ("test", "validation")
    }
    board = Board(tmp_path, 0)
    board.results({"optimizer.lr": 0.01, "model.backbone": "resnet50"}, evaluations, 7)
    board.close()
    found = read(tmp_path)
    assert len(found.Tags()["scalars"]) <= 5
    auroc = evaluations["test"].find("auroc")
    assert found.Scalars("test/auroc")[0].value == pytest.approx(auroc.value)
    for split, evaluation in evaluations.items():
        (event,) = found.Tensors(f"scores/{split}/text_summary")
        table = tensor_util.make_ndarray(event.tensor_proto)[0].decode()
        defined = [s for s in evaluation.scores if not math.isnan(s.value)]
        assert table.count("\n") == len(defined) + 1
        assert f"| AUROC | macro | {evaluation.find('auroc').value:.3f} |" in table
    start = plugin_data(found, "_hparams_/session_start_info").session_start_info
    assert set(start.hparams) == {"optimizer.lr", "model.backbone"}
    experiment = plugin_data(found, "_hparams_/experiment").experiment
    assert {m.name.tag for m in experiment.metric_infos} == set(found.Tags()["scalars"])


def test_losses_of_training_and_validation_share_a_chart(tmp_path: Path) -> None:
    Board(tmp_path, 0).close()
    found = read(tmp_path)
    (event,) = found.Tensors("custom_scalars__config__")
    layout = tensor_util.make_ndarray(event.tensor_proto).item()
    assert b"train/loss" in layout
    assert b"val/loss" in layout


def test_only_settings_that_differ_from_the_shipped_ones_are_reported() -> None:
    def changed(*words: str) -> dict[str, Any]:
        return changed_settings(to_json(read_command("train", list(words)).config))

    plain = changed()
    assert not {k for k in plain if k.split(".")[0] in ("trainer", "optimizer", "audit", "seed")}
    found = changed("optimizer.lr=0.02", "seed=3", "run_dir=/home/someone/x", "data.size_px=64")
    added = {k: v for k, v in found.items() if plain.get(k) != v}
    assert added["optimizer.lr"] == 0.02
    assert added["seed"] == 3
    assert not any("someone" in str(v) for v in found.values())
