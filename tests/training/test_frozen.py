"""A frozen body is computed once: the same training as when it is computed in every epoch."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from medcnn.config import Choice
from medcnn.data.manifest import Manifest, Split
from medcnn.images.preprocessing import Preprocessing
from medcnn.models.classifier import Architecture, Classifier, build_classifier
from medcnn.models.features import PLAIN, FrozenBody
from medcnn.pixels.batches import image_keys
from medcnn.pixels.opening import open_store
from medcnn.system.errors import UsageError
from medcnn.training import epochs as epochs_module
from medcnn.training import frozen
from medcnn.training.augmentations import Augmentation, augment
from medcnn.training.frozen import features_of
from medcnn.training.state import newest_whole
from medcnn.training.transfer import TRANSFERS, Stage, planned
from medcnn.verbs import train as train_verb
from medcnn.verbs.steps import auditing
from medcnn.verbs.steps.sitting import ClosedTestError
from medcnn.verbs.train import TrainConfig
from tests.killing import Killed, at_call, die

MIRRORED = Augmentation(horizontal_flip=True, vertical_flip=True)
TURNED = replace(MIRRORED, rotation_deg=20)

Config = Callable[..., TrainConfig]


@pytest.fixture
def probe(settings: Config) -> Config:
    """Settings of a probe of LeNet-5, by default without augmentation."""

    def make(name: str, features: str = "auto", mode: str = "linear_probe", **more: Any) -> Any:
        changed = more.pop("augmentation", {})
        options = {k: more.pop(k) for k in ("views", "probe_share") if k in more}
        config = settings(name, **more)
        assert config.model is not None
        return replace(
            config,
            model=replace(config.model, backbone="lenet5", options={}),
            transfer=Choice(name=mode, options={"features": features, **options}),
            augmentation=replace(config.augmentation, preset="none", **changed),
        )

    return make


@pytest.fixture
def history(
    colours: Callable[..., Manifest], monkeypatch: pytest.MonkeyPatch
) -> Callable[[TrainConfig], list[dict[str, float]]]:
    """Trains all epochs, without the scores and pages that follow."""
    manifest = colours()
    monkeypatch.setattr(auditing, "manifest_to_audit", lambda *_: (manifest, ""))

    def train(config: TrainConfig) -> list[dict[str, float]]:
        seen: list[dict[str, float]] = []
        with pytest.raises(ClosedTestError):
            train_verb.train(config, ["train"], lambda _, now: seen.__setitem__(slice(None), now))
        return seen

    return train


History = Callable[[TrainConfig], list[dict[str, float]]]


def facts(config: TrainConfig) -> Any:
    return json.loads((Path(str(config.run_dir)) / "run.json").read_text())


def losses(history: list[dict[str, float]]) -> Any:
    return [[epoch[name] for name in ("train/loss", "val/loss")] for epoch in history]


@pytest.mark.parametrize("flips", [(), ("horizontal_flip", "vertical_flip")])
def test_a_probe_on_features_is_the_probe_on_images(
    probe: Config, history: History, flips: tuple[str, ...]
) -> None:
    """With dropout in the head, an average of the weights and micro-batches."""
    changed = {"augmentation": dict.fromkeys(flips, True), "micro_batch": 3}
    once, every = probe("once", **changed), probe("every", "every_epoch", **changed)
    assert losses(history(once)) == pytest.approx(np.array(losses(history(every))), abs=1e-5)
    assert facts(once)["features"]["views"] == 2 ** len(flips)
    assert "features" not in facts(every)
    left, right = (load_file(f"{c.run_dir}/checkpoints/last.safetensors") for c in (once, every))
    assert all(torch.allclose(left[name], right[name], atol=1e-5) for name in left)


def test_gradual_trains_its_first_stage_on_features_too(probe: Config, history: History) -> None:
    once, every = probe("once", mode="gradual"), probe("every", "every_epoch", mode="gradual")
    # rounding grows once the body trains, so only the first epoch is equal
    assert losses(history(once))[0] == pytest.approx(losses(history(every))[0], abs=1e-5)
    assert facts(once)["features"]["views"] == 1
    assert "features" not in facts(every)


def test_more_epochs_that_lead_back_to_the_probe_judge_the_weights_that_they_save(
    probe: Config, history: History
) -> None:
    few = {"mode": "lp_ft", "probe_share": 0.5, "keep_state": True}
    history(probe("r", epochs=2, **few))
    longer = probe("r", epochs=8, **few)
    with pytest.raises(Killed), at_call(6, epochs_module, "update", die):
        history(longer)
    stored = newest_whole(Path(str(longer.run_dir)) / "checkpoints/resume.pt")
    assert stored["numbers"]["epoch"] == 3, "in the probe again, after all has trained"
    body = [n for n in stored["averaged"] if n.startswith("body.")]
    assert all(torch.equal(stored["averaged"][n], stored["classifier"][n]) for n in body)


@pytest.mark.fault
def test_killed_in_both_stages_it_ends_with_the_same_weights_to_the_bit(
    probe: Config, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the second epoch of the probe, and again when everything trains."""
    turned = {"augmentation": {"rotation_deg": 20.0}, "views": 2, "mode": "lp_ft"}
    few = {"save_every_s": 1e-6, "epochs": 4, "probe_share": 0.5, **turned}
    whole, killed = probe("whole", **few), probe("killed", **few)
    history(whole)
    real, calls = epochs_module.update, []

    def dies(*arguments: Any) -> None:
        calls.append(1)
        if len(calls) in (6, 14):
            raise Killed
        real(*arguments)

    monkeypatch.setattr(epochs_module, "update", dies)
    for _ in range(2):
        with pytest.raises(Killed):
            train_verb.train(killed, ["train"], lambda *_: None)
    history(killed)
    assert len(calls) == 18  # four epochs of four steps, and the two that were not taken
    left, right = (load_file(f"{c.run_dir}/checkpoints/last.safetensors") for c in (whole, killed))
    assert all(left[name].equal(right[name]) for name in left.keys() | right.keys())


SMALL = Architecture(
    backbone="resnet18", options={}, head="linear", head_options={}, channels=3, size_px=32
)


def body_of(
    manifest: Manifest, classifier: Classifier | None = None, cache: str = "off"
) -> FrozenBody:
    if classifier is None:
        torch.manual_seed(0)
        classifier, _ = build_classifier(SMALL, 3)
        classifier.train_only({"head.1.weight", "head.1.bias"})
    how = Preprocessing(size_px=32)
    return FrozenBody(
        classifier,
        open_store(manifest, how, cache="off"),
        manifest,
        preprocessing=how,
        cache=cache,
        device=torch.device("cpu"),
        dtype=torch.float32,
    )


def stage(features: Any = "auto", views: int = 0, epochs: int = 5) -> Stage:
    return Stage(epochs=epochs, rates={"head": 1.0}, features=features, views=views)


def test_the_first_outputs_of_fine_tuning_are_the_last_ones_of_the_probe(
    colours: Callable[..., Manifest],
) -> None:
    body = body_of(colours(16))
    classifier, rows = body.classifier, np.arange(16)
    plan = planned(TRANSFERS["lp_ft"], classifier, 4)
    features = torch.from_numpy(body.features(PLAIN, rows).take(rows))
    probed = classifier.head.train()(features)
    second = plan.stages[1]
    classifier.train_only(plan.training(second), still=second.still)
    tuned = classifier.train()(torch.from_numpy(body.store.take(rows)))
    assert torch.allclose(probed, tuned, atol=1e-5)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (TURNED, "changes every image in every epoch"),
        (replace(MIRRORED, mixup_alpha=0.2), "augmentation.mixup_alpha=0.2 mixes images"),
    ],
)
def test_what_differs_in_every_epoch_is_not_computed_once(
    colours: Callable[..., Manifest],
    caplog: pytest.LogCaptureFixture,
    how: Augmentation,
    said: str,
) -> None:
    body, notes = body_of(colours(16)), list[str]()
    with caplog.at_level("INFO"):
        assert features_of(stage(), body, how, 0, notes.append) is None
    assert said in caplog.text
    assert notes == []
    with pytest.raises(UsageError, match=f"{said}.*lets it be computed once"):
        features_of(stage("once"), body, how, 0, notes.append)


def test_a_body_that_trains_or_drops_values_is_not_computed_once(
    colours: Callable[..., Manifest],
) -> None:
    body = body_of(colours(16))
    body.classifier.train_only({"body.fc.weight", "body.layer4.1.conv2.weight"})
    with pytest.raises(UsageError, match="a part of the body or its pooling trains") as fault:
        features_of(stage("once"), body, TURNED, 0, print)
    assert "augmentation changes every image" in str(fault.value)
    assert "lets it be computed once" not in str(fault.value), "the body would train on"
    body.classifier.train_only({"head.1.weight"})
    body.classifier._still = []
    with pytest.raises(UsageError, match="uses dropout"):
        features_of(stage("once"), body, Augmentation(), 0, print)


@pytest.mark.parametrize(
    ("asked", "how", "said"),
    [
        (stage("every_epoch", views=2), TURNED, "Remove one of the two settings"),
        (stage("auto", views=2), MIRRORED, "has no effect"),
        (stage("auto", views=2), replace(TURNED, mixup_alpha=0.1), "mixes images"),
    ],
)
def test_views_that_would_do_nothing_are_refused(
    colours: Callable[..., Manifest], asked: Stage, how: Augmentation, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        features_of(asked, body_of(colours(16)), how, 0, print)


@pytest.mark.parametrize(("how", "views"), [(MIRRORED, 0), (TURNED, 2)])
def test_every_epoch_has_the_images_of_its_own_random_numbers(
    colours: Callable[..., Manifest], how: Augmentation, views: int
) -> None:
    """With views the first epochs have, and these come back in the same order."""
    manifest, notes = colours(16), list[str]()
    body = body_of(manifest)
    rows, keys = manifest.rows(Split.TRAIN), image_keys(manifest)
    found = features_of(stage(views=views), body, how, 7, notes.append)
    assert found is not None
    assert bool(notes) is bool(views)
    for epoch in range(4):
        drawn = epoch % views if views else epoch
        images = torch.from_numpy(body.store.take(rows)).float() / 255
        images = augment(images, keys[rows], how, seed=7, epoch=drawn)
        with torch.no_grad():
            wanted = body.classifier.eval().features(images).numpy()
        assert found.of_epoch(epoch).take(rows) == pytest.approx(wanted, abs=1e-4)


def test_no_more_views_are_computed_than_there_are_epochs(
    colours: Callable[..., Manifest],
) -> None:
    found = features_of(stage(views=8, epochs=2), body_of(colours(16)), TURNED, 0, print)
    assert found is not None
    assert len(found.views) == 2


BRIGHTENED: list[int] = []


def brighter(images: Tensor, draws: Tensor) -> Tensor:
    BRIGHTENED.append(len(images))
    return images + draws[:, :1, None, None]


def test_features_of_a_plugins_augmentation_are_computed_again_with_another_version(
    colours: Callable[..., Manifest], package: Callable[..., None], tmp_path: Path
) -> None:
    body = body_of(colours(16), cache=str(tmp_path / "cache"))
    how = Augmentation(last=brighter)

    def computed() -> int:
        BRIGHTENED.clear()
        assert features_of(stage(views=2), body, how, 0, print) is not None
        return sum(BRIGHTENED)

    package("bright", "1.0", {"augmentations": ["brighter"]}, "")
    first, again = computed(), computed()
    shutil.rmtree(tmp_path / "site-packages" / "bright-1.0.dist-info")
    package("bright", "1.1", {"augmentations": ["brighter"]}, "")
    assert (first > 0, again, computed()) == (True, 0, first)


def test_features_of_an_augmentation_without_a_name_are_not_kept(
    colours: Callable[..., Manifest],
) -> None:
    how = Augmentation(last=lambda images, draws: brighter(images, draws))
    assert features_of(stage(), body_of(colours(16)), how, 0, print) is None
    with pytest.raises(UsageError, match="the plug-in's augmentation is a lambda"):
        features_of(stage(views=2), body_of(colours(16)), how, 0, print)


def test_a_damaged_view_is_computed_again_as_what_it_was(
    colours: Callable[..., Manifest], caplog: pytest.LogCaptureFixture
) -> None:
    manifest = colours(16)
    found = features_of(stage(), body_of(manifest), MIRRORED, 0, print)
    assert found is not None
    rows, chosen = manifest.rows(Split.TRAIN), found.chosen(0)
    before = found.of_epoch(0).take(rows)
    views = [replace(v, crcs=v.crcs + 1, checked=np.zeros(16, np.bool_)) for v in found.views]
    with caplog.at_level("WARNING"):
        after = frozen.mixed(views, chosen).take(rows)
    assert "damaged" in caplog.text
    assert (after == before).all()


def test_a_sampler_that_repeats_images_of_some_patients_is_seen(
    probe: Config, history: History
) -> None:
    config = probe("repeated", "once", augmentation={"horizontal_flip": True})
    by_patient = replace(config, sampler=Choice(name="shuffle", options={"by": "patient"}))
    with pytest.raises(UsageError, match="the sampler repeats images"):
        history(by_patient)
