"""L2-SP: weights are pulled to those that training began with, in every sitting the same ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from medcnn.config import Choice, OptimizerConfig
from medcnn.system.errors import CheckpointError, UsageError
from medcnn.training.pull import Pull
from medcnn.verbs.train import TrainConfig
from tests.killing import killed


def pulling(config: TrainConfig, strength: float) -> TrainConfig:
    return replace(config, optimizer=replace(config.optimizer, lr=0.01, l2_sp=strength))


def distance(run: Path) -> float:
    start, last = (load_file(run / "checkpoints" / f"{n}.safetensors") for n in ("start", "last"))
    return float(sum((last[k] - start[k]).square().sum() for k in start)) ** 0.5


def test_a_step_takes_the_share_of_the_distance_that_the_rate_says_and_a_skipped_one_none() -> None:
    net = torch.nn.Linear(3, 2)
    start = {"weight": net.weight.detach().clone() - 1}
    for p in net.parameters():
        p.grad = torch.zeros_like(p)
    config = OptimizerConfig(
        name="sgd", lr=0.1, weight_decay=0.0, l2_sp=0.5, head_lr_factor=1.0, options={}
    )
    pull = Pull(start, net, config, torch.optim.SGD(net.parameters(), lr=0.1))
    before = {n: p.detach().clone() for n, p in net.named_parameters()}
    pull.step(torch.tensor(1.0))
    assert all(torch.equal(p, before[n]) for n, p in net.named_parameters())
    pull.step(torch.tensor(0.0))
    assert torch.allclose(net.weight, before["weight"] - 0.05)
    assert torch.equal(net.bias, before["bias"])
    net.weight.grad = None  # frozen in this stage
    moved = net.weight.detach().clone()
    pull.step(torch.tensor(0.0))
    assert torch.equal(net.weight, moved)


def test_a_run_that_is_pulled_stays_nearer_and_goes_on_to_the_same_bits_after_a_kill(
    settings: Callable[..., TrainConfig],
    train: Callable[[TrainConfig], Path],
) -> None:
    whole = train(pulling(settings("whole", epochs=2), 10.0))
    free = train(pulling(settings("free", epochs=2), 1e-9))
    assert 0 < distance(whole) < 0.9 * distance(free)
    config = pulling(settings("killed", epochs=2, save_every_s=1e-9), 10.0)
    killed(config, train, 4)
    last, other = (
        load_file(run / "checkpoints" / "last.safetensors") for run in (whole, train(config))
    )
    assert all(torch.equal(last[name], other[name]) for name in last)
    # with more epochs a finished run still knows what it began with
    longer = replace(config, trainer=replace(config.trainer, epochs=3))
    assert json.loads((train(longer) / "run.json").read_text())["exit"]["code"] == 0
    (Path(longer.run_dir or "") / "checkpoints" / "start.safetensors").unlink()
    with pytest.raises(CheckpointError, match="the starting weights of this run, cannot be read"):
        train(replace(config, trainer=replace(config.trainer, epochs=4)))


@pytest.mark.parametrize(("mode", "why"), [("linear_probe", "only the head"), ("lora", "at 0")])
def test_where_there_is_nothing_to_be_pulled_to_it_is_refused(
    mode: str,
    why: str,
    settings: Callable[..., TrainConfig],
    train: Callable[[TrainConfig], Path],
) -> None:
    config = replace(settings("r"), transfer=Choice(name=mode, options={}))
    with pytest.raises(UsageError, match=why):
        train(pulling(config, 0.1))
