"""Steps that must not be taken, memory that is too small, and a compiler that fails."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from medcnn.config import Choice, OptimizerConfig
from medcnn.data.labels import Kind
from medcnn.data.manifest import Manifest, Split
from medcnn.models.classifier import Architecture, Classifier, build_classifier
from medcnn.pixels.batches import batches, image_keys
from medcnn.system.errors import DivergedError, MedcnnError
from medcnn.system.files import read_sealed
from medcnn.training import epochs as epochs_module
from medcnn.training import optimizers
from medcnn.training import steps as steps_module
from medcnn.training.losses import LOSSES
from medcnn.training.tally import NOTHING, Tally
from medcnn.training.transfer import TRANSFERS, planned
from medcnn.verbs.steps import sitting, starting
from medcnn.verbs.steps.datasets import pixels_of, preprocessing_of
from medcnn.verbs.train import TrainConfig
from tests.killing import killed

Make = Callable[..., TrainConfig]
Train = Callable[[TrainConfig], Path]
PER_EPOCH = 4  # steps, of 8 images each


def weights(run: Path | str | None, name: str = "last") -> dict[str, Tensor]:
    return load_file(Path(str(run)) / "checkpoints" / f"{name}.safetensors")


def saved(run: Path) -> dict[str, Any]:
    content = io.BytesIO(read_sealed(run / "checkpoints" / "resume.pt"))
    return dict(torch.load(content, weights_only=True))


@pytest.fixture(autouse=True)
def only_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes after training is tested elsewhere."""
    monkeypatch.setattr(sitting, "report", lambda *_, **__: None)
    monkeypatch.setattr(sitting, "score_and_save", lambda *_, **__: {})
    monkeypatch.setattr(sitting, "Board", lambda *_, **__: Mock())


def with_batch_norm(config: TrainConfig) -> TrainConfig:
    assert config.model is not None
    return replace(config, model=replace(config.model, backbone="test_resnet", options={}))


def plain(config: TrainConfig) -> TrainConfig:
    """Without BatchNorm, dropout and mixup the parts of a batch do not see each other."""
    assert config.model is not None
    assert config.head is not None
    return replace(
        config,
        model=replace(config.model, backbone="lenet5", options={}),
        head=replace(config.head, name="linear", options={}),
        augmentation=replace(config.augmentation, preset="none"),
    )


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """From then on the batches with these numbers hold a pixel that is no number."""

    def poison(*numbers: int, value: float = math.inf) -> None:
        real, calls = steps_module.augment, []

        def augment(images: Tensor, *arguments: Any, **more: Any) -> Tensor:
            calls.append(1)
            images = real(images, *arguments, **more)
            if len(calls) - 1 in numbers:
                images[0, 0, 0, 0] = value
            return images

        monkeypatch.setattr(steps_module, "augment", augment)

    return poison


@pytest.mark.fault
def test_a_loss_that_leaves_the_numbers_ends_the_run_and_keeps_what_was_good(
    settings: Make, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 25."""
    config = with_batch_norm(settings("diverged", ema_decay=0, clip_norm=None))
    real = epochs_module.set_learning_rates
    shares: list[float] = []

    def too_high(optimizer: torch.optim.Optimizer, share: float) -> None:
        shares.append(share)
        real(optimizer, 1e30 if len(shares) > PER_EPOCH else share)

    monkeypatch.setattr(epochs_module, "set_learning_rates", too_high)
    with pytest.raises(DivergedError, match=r"(?s)diverged in epoch 2: .*Lower optimizer.lr") as e:
        train(config)
    assert e.value.exit_code == 3
    assert json.loads((Path(str(config.run_dir)) / "run.json").read_text())["exit"]["code"] == 3
    for name in ("best", "last"):
        assert all(tensor.isfinite().all() for tensor in weights(config.run_dir, name).values())


@pytest.mark.fault
@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_a_poisoned_batch_is_skipped_and_counted_and_leaves_no_trace(
    settings: Make,
    train: Train,
    poisoned: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    value: float,
) -> None:
    """Row 26."""
    before: dict[str, Any] = {}
    real = epochs_module.update

    def watched(stepper: steps_module.Stepper, *arguments: Any) -> None:
        state = stepper.state

        def all_of_it() -> dict[str, Tensor]:
            parts = {"c": state.classifier.state_dict(), "a": state.averaged.state_dict()}  # type: ignore[union-attr]
            parts |= {str(i): s for i, s in state.optimizer.state_dict()["state"].items()}
            return {
                f"{k}{n}": t.clone()
                for k, part in parts.items()
                for n, t in part.items()
                if isinstance(t, Tensor) and "num_batches" not in n
            }

        now = all_of_it()
        real(stepper, *arguments)
        after = all_of_it()
        before[state.updates] = all(torch.equal(now[k], after[k]) for k in now)

    monkeypatch.setattr(epochs_module, "update", watched)
    poisoned(5, value=value)
    run = train(with_batch_norm(settings("poisoned", epochs=2)))
    unchanged = [number for number, same in before.items() if same]
    assert unchanged == [6]
    history = saved(run)["numbers"]["history"]
    assert [h["train/skipped"] for h in history] == [0, 1]
    assert all(math.isfinite(h["train/loss"]) for h in history)
    said = [r.message for r in caplog.records if "skipped" in r.message]
    assert len(said) == 1
    assert "epoch 2: 1 of 4 steps were skipped" in said[0]
    assert "first at step 2, images i0" in said[0]


def test_a_run_that_goes_on_counts_the_steps_that_were_skipped_before(
    settings: Make,
    train: Train,
    poisoned: Callable[..., None],
) -> None:
    poisoned(1)
    config = plain(settings("killed", epochs=1, save_every_s=1e-6))
    killed(config, train, 4)
    run = train(config)
    history = saved(run)["numbers"]["history"]
    assert history[0]["train/skipped"] == 1


def test_many_skipped_steps_in_a_row_end_a_run_before_its_epoch_does(
    settings: Make,
    train: Train,
    poisoned: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(epochs_module, "LOOK_EVERY_S", -1.0)
    monkeypatch.setattr(epochs_module, "MAX_SKIPPED_IN_A_ROW", 2)
    poisoned(1, 2)
    with pytest.raises(DivergedError, match=r"in 2 steps, 2 of them in a\s+row; first at step 2,"):
        train(plain(settings("rows")))


@pytest.mark.fault
def test_an_epoch_whose_score_is_not_defined_is_not_the_best(
    settings: Make, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 27."""
    scores = iter([math.nan, 0.6, math.nan, 0.5])
    monkeypatch.setattr(epochs_module.metrics, "score", lambda *_: next(scores, 0.5))
    run = train(plain(settings("undefined", epochs=4)))
    assert json.loads((run / "run.json").read_text())["best_epoch"] == 2


@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
def test_every_optimizer_can_be_told_on_the_device_to_skip_a_step(name: str) -> None:
    """The first one too, and what follows is as if it had not been."""

    def trained(skips: list[float]) -> list[Tensor]:
        torch.manual_seed(0)
        net = nn.ModuleDict({"body": nn.Linear(3, 4), "head": nn.Linear(4, 2)})
        chosen = OptimizerConfig(
            name=name, lr=0.1, weight_decay=0.1, l2_sp=0.0, head_lr_factor=1.0, options={}
        )
        made = optimizers.OPTIMIZERS[name](
            optimizers.groups_of(net, planned(TRANSFERS["full"], net, 1), chosen)
        )
        for skip in skips:
            for number, p in enumerate(net.parameters()):
                p.grad = torch.full_like(p, math.nan if skip else 0.1 * (number + 1))
            made.found_inf = torch.tensor(float(skip))
            made.step()
        return [p.detach() for p in net.parameters()]

    for left, right in zip(trained([1, 0, 1, 0]), trained([0, 0]), strict=True):
        assert torch.equal(left, right)


@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
def test_every_optimizer_holds_from_the_start_what_it_will_hold(name: str) -> None:
    """Memory that it asks for after the first gradients could not be had by smaller parts."""
    net = nn.ModuleDict({"body": nn.Linear(3, 4), "head": nn.Linear(4, 2)})
    chosen = OptimizerConfig(
        name=name, lr=0.1, weight_decay=0.1, l2_sp=0.0, head_lr_factor=1.0, options={}
    )
    made = optimizers.OPTIMIZERS[name](
        optimizers.groups_of(net, planned(TRANSFERS["full"], net, 1), chosen)
    )

    def held() -> list[Tensor]:
        return [t for one in made.state.values() for t in one.values() if isinstance(t, Tensor)]

    before = held()
    assert all(p.grad is None for p in net.parameters())
    assert not any(t.any() for t in before)
    for p in net.parameters():
        p.grad = torch.ones_like(p)
    made.step()
    assert [t.shape for t in held()] == [t.shape for t in before]
    assert any(t.any() for t in held())


def test_a_tally_comes_back_as_it_was_written() -> None:
    tally, again = Tally(torch.device("cpu")), Tally(torch.device("cpu"))
    for batch, bad in enumerate([False, True, True, False, True]):
        loss = torch.tensor(math.nan if bad else 0.1, dtype=torch.float64)
        two, none = torch.tensor([2.0, 0.0], dtype=torch.float64)
        tally.add(loss, two, none, torch.tensor(bad), batch)
    counts = tally.read()
    assert (counts.skipped, counts.in_a_row, counts.most_in_a_row, counts.first) == (3, 1, 2, 1)
    assert counts.mean_loss == pytest.approx(0.05)
    again.set(counts)
    assert again.read() == counts
    again.set(NOTHING)
    assert math.isnan(again.read().mean_loss)


def test_the_scale_of_half_precision_falls_where_a_step_is_skipped(
    settings: Make, train: Train, poisoned: Callable[..., None]
) -> None:
    poisoned(1, 2)
    run = train(plain(settings("half", epochs=1, precision="fp16", warmup_share=0)))
    stored = saved(run)
    assert stored["numbers"]["history"][0]["train/skipped"] == 2
    assert stored["scaler"]["scale"] == 2.0**14


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """A device that can train on so many images at once."""
    room = {"images": 1000, "most": 0}
    real = Classifier.forward

    def forward(self: Classifier, images: Tensor) -> Tensor:
        if self.training:
            logits = real(self, images)  # the statistics have moved when memory runs out
            if len(images) > room["images"]:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            room["most"] = max(room["most"], len(images))
            return logits
        return real(self, images)

    monkeypatch.setattr(Classifier, "forward", forward)
    return room


@pytest.mark.fault
def test_too_little_memory_halves_what_goes_through_at_once_and_keeps_the_batch(
    settings: Make, train: Train, memory: dict[str, int], caplog: pytest.LogCaptureFixture
) -> None:
    """Row 28."""
    whole = weights(train(plain(settings("whole", epochs=2))))
    memory.update(images=3, most=0)
    run = train(plain(settings("parts", epochs=2)))
    assert memory["most"] == 2
    assert "out of memory with 8 images at once: continuing with 4 images at once" in caplog.text
    for name, tensor in weights(run).items():
        assert torch.allclose(tensor, whole[name], atol=1e-5), name
    assert saved(run)["numbers"]["micro_batch"] == 2


def test_memory_that_ran_out_leaves_no_trace(
    settings: Make, train: Train, memory: dict[str, int]
) -> None:
    """As if what goes through at once had been asked for, to the bit."""
    asked = weights(train(with_batch_norm(settings("asked", epochs=1, micro_batch=4))))
    assert memory["most"] == 4
    memory.update(images=4)
    found = weights(train(with_batch_norm(settings("found", epochs=1))))
    assert all(torch.equal(asked[k], found[k]) for k in asked if "num_batches" not in k)


@pytest.mark.parametrize("images", [4, 1000])
def test_a_probe_before_the_first_step_leaves_no_trace(
    settings: Make,
    train: Train,
    memory: dict[str, int],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    images: int,
) -> None:
    """All that is saved is as if what goes through at once had been asked for."""
    options: dict[str, Any] = {"epochs": 1, "accumulate": 2, "keep_state": True}
    asked = train(with_batch_norm(settings("asked", micro_batch=min(images, 8), **options)))
    monkeypatch.setattr(steps_module, "PROBED", ("cpu",))
    memory.update(images=images)
    real, calls = steps_module.augment, []
    monkeypatch.setattr(
        steps_module, "augment", lambda *a, **k: (calls.append(1), real(*a, **k))[1]
    )
    found = train(with_batch_norm(settings("found", **options)))
    assert len(calls) == PER_EPOCH + (2 if images == 1000 else 3)
    assert ("out of memory with 8 images at once" in caplog.text) == (images == 4)
    left, right = saved(asked), saved(found)
    for part in ("classifier", "averaged"):
        assert all(torch.equal(left[part][k], right[part][k]) for k in left[part]), part
    for number, one in left["optimizer"]["state"].items():
        assert all(torch.equal(one[k], right["optimizer"]["state"][number][k]) for k in one)
    assert left["tally"] == right["tally"]
    assert right["numbers"]["micro_batch"] == min(images, 8)


def test_a_run_that_goes_on_is_not_probed_again(
    settings: Make, train: Train, memory: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though other programs have left the memory meanwhile."""
    monkeypatch.setattr(steps_module, "PROBED", ("cpu",))
    memory.update(images=4)
    whole = weights(train(with_batch_norm(settings("through", epochs=1))))
    config = with_batch_norm(settings("twice", epochs=1))
    killed(config, train, 3)
    memory.update(images=1000, most=0)
    twice = weights(train(config))
    assert memory["most"] == 4
    assert all(torch.equal(whole[k], twice[k]) for k in whole)


@pytest.mark.fault
def test_memory_that_is_gone_in_a_later_epoch_ends_the_run_with_advice(
    settings: Make, train: Train, memory: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 29."""
    config = plain(settings("gone"))
    real = epochs_module._finish

    def finish(*arguments: Any) -> Any:
        memory["images"] = 0
        return real(*arguments)

    monkeypatch.setattr(epochs_module, "_finish", finish)
    with pytest.raises(MedcnnError, match="too little memory for one image of 32 px") as e:
        train(config)
    assert e.value.exit_code == 1
    kept = weights(config.run_dir)
    monkeypatch.setattr(epochs_module, "_finish", real)
    memory["images"] = 1000
    run = train(config)  # and the same command goes on
    assert kept.keys() == weights(run).keys()
    assert json.loads((run / "run.json").read_text())["sittings"] == 2


def test_a_run_that_goes_on_after_memory_ran_out_ends_with_the_same_weights(
    settings: Make, train: Train, memory: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """BatchNorm sees other images at once from that step on, so it must be the same step."""
    ends = []
    real = epochs_module.update
    for name, dies_at in (("through", 0), ("twice", 6)):
        memory["images"], calls = 1000, []

        def update(*arguments: Any, calls: list[int] = calls, dies_at: int = dies_at) -> None:
            calls.append(1)
            memory["images"] = 5 if len(calls) == 5 else 1000
            if len(calls) == dies_at:
                raise KeyboardInterrupt
            real(*arguments)

        monkeypatch.setattr(epochs_module, "update", update)
        config = with_batch_norm(settings(name, epochs=2))
        if dies_at:
            with pytest.raises(KeyboardInterrupt):
                train(config)
            monkeypatch.setattr(epochs_module, "update", real)
        ends.append(weights(train(config)))
    assert all(torch.equal(ends[0][k], ends[1][k]) for k in ends[0])


@pytest.mark.fault
def test_a_compiler_that_fails_costs_one_line_and_no_run(
    settings: Make,
    train: Train,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Row 94."""
    real = torch.compile

    def backend(*_: Any) -> Any:
        raise RuntimeError("no C++ compiler was found")

    def broken(*arguments: Any, **more: Any) -> Any:
        return real(*arguments, backend=backend, **more)

    whole = weights(train(plain(settings("plain", epochs=1))))
    monkeypatch.setattr(torch, "compile", broken)
    compiled = weights(train(plain(settings("compiled", epochs=1, compile="on"))))
    assert sum("torch.compile failed" in r.message for r in caplog.records) == 1
    assert all(torch.equal(whole[k], compiled[k]) for k in whole)


class Asked(TorchDispatchMode):
    """Notes every operation that makes a GPU say what it holds, or how much that is."""

    WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "unique")

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        masks = any(isinstance(i, Tensor) and i.dtype == torch.bool for i in _indices(name, args))
        if name.startswith(self.WAITS) or masks:
            self.names.append(name)
        return func(*args, **(kwargs or {}))


def _indices(name: str, arguments: Any) -> list[Any]:
    return list(arguments[1]) if name.startswith("index") and len(arguments) > 1 else []


def test_a_loss_is_weighted_by_the_training_split_alone(
    settings: Make, colours: Callable[..., Manifest]
) -> None:
    """Three of four blue images leave the training split; validation and test keep theirs."""
    whole = colours()
    blue = [r for r in whole.records if r.split is Split.TRAIN and r.target[2] == 1]
    manifest = whole.with_records(r for r in whole.records if r not in blue[1:])
    config = plain(settings("weighted"))
    config = replace(config, loss=Choice(name="auto", options={"weighting": "balanced"}))
    store = pixels_of(manifest, preprocessing_of(config.data), config.data, lambda _: None)
    assert config.model is not None
    architecture = Architecture(
        backbone="lenet5", options={}, head="linear", head_options={}, channels=3, size_px=32
    )
    classifier, _ = build_classifier(architecture, 3)
    plan = starting.plan_of(config, classifier)
    setting = starting.setting_of(config, plan, manifest, store, torch.device("cpu"))
    found = manifest.targets()[manifest.rows(Split.TRAIN)].sum(axis=0)
    assert found[2] == 1
    total, _ = setting.task.loss(torch.zeros(3, 3), torch.eye(3), 0)
    assert float(total) == pytest.approx(math.log(3) * (found.sum() / 3 / found).sum(), rel=1e-5)


@pytest.mark.parametrize("optimizer", optimizers.OPTIMIZERS)
@pytest.mark.parametrize("loss", LOSSES)
def test_a_step_never_asks_the_device_what_it_holds(
    settings: Make, colours: Callable[..., Manifest], optimizer: str, loss: str
) -> None:
    kinds = LOSSES[loss].kinds
    kind = next(k for k in (Kind.MULTILABEL, Kind.MULTICLASS, Kind.ORDINAL) if k in kinds)
    config = plain(settings("asked", precision="bf16", batch_size=4))
    config = replace(
        config,
        data=replace(config.data, size_px=32),
        augmentation=replace(config.augmentation, preset="dermoscopy"),
        optimizer=replace(config.optimizer, name=optimizer),
        loss=replace(config.loss, name=loss),
    )
    manifest = colours(kind=kind)
    preprocessing = preprocessing_of(config.data)
    store = pixels_of(manifest, preprocessing, config.data, lambda _: None)
    assert config.model is not None
    architecture = Architecture(
        backbone="lenet5", options={}, head="linear", head_options={}, channels=3, size_px=32
    )
    classifier, _ = build_classifier(architecture, len(manifest.labels.outputs))
    plan = starting.plan_of(config, classifier)
    setting = starting.setting_of(config, plan, manifest, store, torch.device("cpu"))
    state = starting.state_of(config, classifier, setting)
    stepper = steps_module.Stepper(state, setting, num_batches=4)
    rows = manifest.rows(Split.TRAIN)
    [batch] = batches(store, manifest.targets(), rows[:4], 4, device=torch.device("cpu"))
    state.step = 1
    with Asked() as asked:
        stepper.step([batch], image_keys(manifest))
        assert asked.names == []
        assert not bool(state.tally.values.isnan().any())
    assert asked.names == ["_local_scalar_dense"]  # so that the check itself is seen to work
