"""The mean of the weights of late epochs."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, update_bn

from medcnn.models.classifier import Classifier, unit_range
from medcnn.training import averages
from medcnn.training import epochs as epochs_module
from medcnn.training.averages import first_averaged
from medcnn.verbs.steps import sitting
from medcnn.verbs.train import TrainConfig

Make = Callable[..., TrainConfig]
Train = Callable[[TrainConfig], Path]


@pytest.fixture(autouse=True)
def only_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sitting, "report", lambda *_, **__: None)
    monkeypatch.setattr(sitting, "score_and_save", lambda *_, **__: {})
    monkeypatch.setattr(sitting, "Board", lambda *_, **__: Mock())


@pytest.fixture
def tiny(settings: Make) -> Make:
    """With BatchNorm, unmixed and unchanged images, four epochs of which the last two are
    averaged."""

    def make(name: str, **trainer: Any) -> TrainConfig:
        config = settings(name, **{"epochs": 4, "swa_from": 0.5, "save_every_s": 1e-6, **trainer})
        assert config.model is not None
        return replace(
            config,
            model=replace(config.model, backbone="test_resnet", options={}),
            augmentation=replace(config.augmentation, preset="none"),
        )

    return make


def last(run: Path) -> dict[str, Tensor]:
    return load_file(run / "checkpoints" / "last.safetensors")


def trained_and_seen(config: TrainConfig, train: Train) -> tuple[Path, list[Classifier], list[Any]]:
    """The run, the classifier at the end of each epoch, and the last state and batches."""
    classifiers, ends = [], []
    real = epochs_module.take_in

    def seen(state: Any, setting: Any, shown: Any, keys: Any) -> None:
        classifiers.append(copy.deepcopy(state.classifier))
        ends[:] = [state, setting, list(shown()), keys]
        real(state, setting, shown, keys)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(epochs_module, "take_in", seen)
        return train(config), classifiers, ends


def test_weights_and_statistics_are_those_of_torchs_own_average(tiny: Make, train: Train) -> None:
    run, classifiers, (_, _, batches, _) = trained_and_seen(tiny("swa"), train)
    theirs = AveragedModel(classifiers[2])
    for classifier in classifiers[2:]:
        theirs.update_parameters(classifier)
    # statistics of batches in training, but without dropout
    for module in theirs.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    update_bn([unit_range(batch.images) for batch in batches], theirs)
    ours, expected = last(run), theirs.module.state_dict()
    floats = [name for name in ours if ours[name].is_floating_point()]
    assert any("running_var" in name for name in floats)
    for name in floats:
        torch.testing.assert_close(ours[name], expected[name], rtol=1e-4, atol=1e-6)
    lone = classifiers[-1].state_dict()
    assert not all(torch.allclose(ours[name], lone[name], atol=1e-5) for name in floats)


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_before_the_first_averaged_epoch_nothing_else_is_judged_than_without(
    tiny: Make, train: Train, ema_decay: float
) -> None:
    """Until then the rate is not held either."""
    judged: dict[str, list[Tensor]] = {}
    for name, start in (("with", 0.9), ("without", None)):
        real, found = epochs_module.predict, judged.setdefault(name, [])

        def predict(
            classifier: Classifier,
            *arguments: Any,
            real: Any = real,
            found: Any = found,
            **more: Any,
        ) -> Any:
            found.append(torch.cat([p.flatten().clone() for p in classifier.parameters()]))
            return real(classifier, *arguments, **more)

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(epochs_module, "predict", predict)
            train(tiny(name, epochs=2, swa_from=start, ema_decay=ema_decay))
    assert len(judged["with"]) == 2
    assert torch.equal(judged["with"][0], judged["without"][0])
    assert not torch.equal(judged["with"][1], judged["without"][1])


def test_an_epoch_is_taken_in_once(tiny: Make, train: Train) -> None:
    """A run that is stopped in validation comes by here again."""
    _, _, (state, setting, batches, keys) = trained_and_seen(tiny("once"), train)
    assert (state.averaged_at, state.averaged_epochs) == (3, 2)
    before = copy.deepcopy(state.averaged.state_dict())
    state.epoch = 3
    averages.take_in(state, setting, lambda: batches, keys)
    after = state.averaged.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


@pytest.mark.fault
def test_a_run_that_is_killed_while_it_averages_ends_with_the_same_weights(
    tiny: Make, train: Train
) -> None:
    """Rows 1 and 2."""
    whole = train(tiny("whole"))
    real, calls = epochs_module.update, iter(range(1, 100))

    def dies(*arguments: Any) -> None:
        if next(calls) == 15:  # of 16
            raise Killed
        real(*arguments)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(epochs_module, "update", dies)
        with pytest.raises(Killed):
            train(tiny("killed"))
    theirs, ours = last(whole), last(train(tiny("killed")))
    assert all(torch.equal(theirs[name], ours[name]) for name in theirs)


def test_the_learning_rate_stays_while_weights_are_averaged(tiny: Make, train: Train) -> None:
    shares: list[float] = []
    real = epochs_module.set_learning_rates

    def seen(optimizer: Any, share: float) -> None:
        shares.append(share)
        real(optimizer, share)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(epochs_module, "set_learning_rates", seen)
        train(tiny("rates"))
    half = len(shares) // 2
    assert len(set(shares[half:])) == 1
    assert 0 < shares[half] < shares[half - 1]


@pytest.mark.parametrize(
    ("share", "epochs", "first"), [(None, 4, 4), (0.0, 4, 0), (0.75, 4, 3), (0.99, 4, 3)]
)
def test_the_share_of_the_epochs_names_the_first_that_is_averaged(
    tiny: Make, share: float | None, epochs: int, first: int
) -> None:
    assert first_averaged(tiny("any", epochs=epochs, swa_from=share).trainer) == first
