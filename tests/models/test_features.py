"""Features of a frozen body: computed once, found again, and never those of something else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medcnn.data.manifest import Manifest
from medcnn.images.preprocessing import Preprocessing
from medcnn.models import features as module
from medcnn.models.classifier import Architecture, Classifier, build_classifier
from medcnn.models.features import PLAIN, FrozenBody, View
from medcnn.pixels.opening import open_store
from medcnn.pixels.pixel_store import PixelStore

HOW = Preprocessing(size_px=32)
CPU = torch.device("cpu")


@cache
def classifier_of(backbone: str = "efficientnet_lite0", seed: int = 0) -> Classifier:
    torch.manual_seed(seed)
    architecture = Architecture(
        backbone=backbone, options={}, head="linear", head_options={}, channels=3, size_px=32
    )
    return build_classifier(architecture, 3)[0]


@pytest.fixture
def manifest(colours: Callable[..., Manifest]) -> Manifest:
    return colours(20)


@pytest.fixture
def body(manifest: Manifest, tmp_path: Path) -> Callable[..., FrozenBody]:
    def make(classifier: Classifier | None = None, **changed: Any) -> FrozenBody:
        cache = changed.pop("cache", str(tmp_path / "cache"))
        store = changed.pop("store", None) or open_store(manifest, HOW, cache=cache)
        settings = {"device": CPU, "dtype": torch.float32, "preprocessing": HOW, **changed}
        return FrozenBody(classifier or classifier_of(), store, manifest, cache=cache, **settings)

    return make


ALL = np.arange(20)


def values(store: PixelStore, rows: np.ndarray[Any, Any] = ALL) -> np.ndarray[Any, Any]:
    return store.take(rows)


def test_they_are_what_the_classifier_gives_its_head(body: Callable[..., FrozenBody]) -> None:
    frozen = body()
    images = torch.from_numpy(frozen.store.take(ALL))
    with torch.no_grad():
        wanted = frozen.classifier.eval().features(images).numpy()
    assert values(frozen.features(PLAIN, ALL)) == pytest.approx(wanted, abs=1e-5)


def test_they_are_computed_once_and_found_again(body: Callable[..., FrozenBody]) -> None:
    first, second = body(), body()
    made = values(first.features(PLAIN, ALL))
    found = values(second.features(PLAIN, ALL))
    assert (first.computed, second.computed) == (20, 0)
    assert (made == found).all()


@pytest.mark.parametrize("backbone", ["efficientnet_lite0", "lenet5"])
def test_to_the_bit_they_do_not_depend_on_what_else_is_computed(
    body: Callable[..., FrozenBody], backbone: str
) -> None:
    classifier = classifier_of(backbone)
    whole = values(body(classifier, cache="off").features(PLAIN, ALL))
    few = np.array([3, 17, 11])
    assert (values(body(classifier).features(PLAIN, few), few) == whole[few]).all()
    # of which three are found and the others computed now
    assert (values(body(classifier).features(PLAIN, ALL)) == whole).all()


@pytest.mark.parametrize(
    "changed",
    [
        {"seed": 1},
        {"dtype": torch.bfloat16},
        {"view": View(name="mirror image", change=lambda images, _: images.flip(3))},
    ],
    ids=["weights", "precision", "view"],
)
def test_other_weights_precision_or_view_are_computed_again(
    body: Callable[..., FrozenBody], changed: dict[str, Any]
) -> None:
    before = values(body().features(PLAIN, ALL))
    view, seed = changed.pop("view", PLAIN), changed.pop("seed", 0)
    other = body(classifier_of(seed=seed), **changed)
    after = values(other.features(view, ALL))
    assert other.computed == 20
    assert not np.array_equal(before, after)


def test_the_statistics_of_batchnorm_and_the_normalisation_are_weights_too() -> None:
    classifier = classifier_of("resnet18")
    before = module.digest_of_body(classifier)
    classifier.body.bn1.running_mean += 1  # type: ignore[union-attr, operator]
    moved = module.digest_of_body(classifier)
    classifier.normalise_by(replace(classifier.normalisation, mean=(0.1, 0.1, 0.1)))
    assert len({before, moved, module.digest_of_body(classifier)}) == 3


@pytest.mark.parametrize(
    ("backbone", "changed"),
    [
        (
            "test_resnet",
            [{"pooling": "lse", "pooling_options": {"sharpness": s}} for s in (1.0, 9.0)],
        ),
        ("test_vit", [{"options": {"global_pool": how}} for how in ("avg", "max")]),
    ],
)
def test_settings_that_a_layer_does_not_print_make_another_body(
    backbone: str, changed: list[dict[str, Any]]
) -> None:
    architecture = Architecture(
        backbone=backbone, options={}, head="linear", head_options={}, channels=3, size_px=160
    )
    digests = []
    for own in (*changed, changed[0]):
        torch.manual_seed(0)
        classifier = build_classifier(replace(architecture, **own), 3)[0]
        digests.append(module.digest_of_body(classifier))
    assert digests[0] != digests[1]
    assert digests[0] == digests[2]


def test_of_changed_pixels_they_are_computed_again(body: Callable[..., FrozenBody]) -> None:
    frozen = body()
    frozen.features(PLAIN, ALL)
    crcs = frozen.store.crcs.copy()
    crcs[4] += 1
    other = body(store=replace(frozen.store, crcs=crcs, checked=np.ones(20, np.bool_)))
    other.features(PLAIN, ALL)
    assert other.computed == 1


def test_a_view_that_depends_on_the_id_of_an_image_knows_it(
    body: Callable[..., FrozenBody],
) -> None:
    def change(images: torch.Tensor, keys: np.ndarray[Any, Any]) -> torch.Tensor:
        share = torch.from_numpy(keys.astype(np.float32)) / 40
        return images * share.view(-1, 1, 1, 1)

    keys = np.arange(20, dtype=np.uint64)
    view = View(name="darker", change=change, keys=keys)
    values(body().features(view, ALL))
    other = body()
    other.features(replace(view, keys=keys + (keys > 14)), ALL)
    assert other.computed == 5


@pytest.mark.fault
def test_a_damaged_one_is_computed_again(
    body: Callable[..., FrozenBody], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = values(body().features(PLAIN, ALL))
    (file,) = (tmp_path / "cache").glob("*/features-*/*.pixels")
    data = bytearray(file.read_bytes())
    data[100] ^= 1
    file.write_bytes(data)
    with caplog.at_level("WARNING"):
        assert (values(body().features(PLAIN, ALL)) == before).all()
    assert "damaged" in caplog.text
    again = body()
    assert (values(again.features(PLAIN, ALL)) == before).all()
    assert again.computed == 0


@pytest.mark.fault
def test_after_a_kill_only_the_rest_is_computed(
    body: Callable[..., FrozenBody], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    real, calls = module.logits_of, []

    def dies(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) > 2:  # the first shows how many features there are
            raise Killed
        return real(*arguments)

    monkeypatch.setattr(module, "logits_of", dies)
    with pytest.raises(Killed):
        body().features(PLAIN, ALL)
    monkeypatch.setattr(module, "logits_of", real)
    rest = body()
    made = values(rest.features(PLAIN, ALL))
    assert rest.computed == 4
    assert (made == values(body(cache="off").features(PLAIN, ALL))).all()


def test_images_that_cannot_be_read_have_none(body: Callable[..., FrozenBody]) -> None:
    store = replace(body().store, unreadable={2: "it is a text"})
    found = body(store=store).features(PLAIN, ALL)
    assert not found.decoded(2)
    assert found.readable(ALL).tolist() == [0, 1, *range(3, 20)]
