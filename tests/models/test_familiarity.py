from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.covariance import ledoit_wolf

from medcnn.models.familiarity import (
    LEAST_PATIENTS,
    MOST_AXES,
    SPACES,
    Familiarity,
    Seen,
    Space,
    axes_of,
    coordinates,
    fit_familiarity,
    fit_space,
    grouped,
    joined,
    seen_in,
    shrunk_covariance,
    spread,
    stored_familiarity,
    style,
)

WORDS = ("class", "group")


def features(count: int, width: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Of length 1, in classes that lie apart along a few directions."""
    draw = np.random.default_rng(seed)
    way = np.random.default_rng(99)
    middles = way.standard_normal((classes, width))
    mix = way.standard_normal((width, width)) / width**0.5
    of = draw.integers(0, classes, count)
    x = middles[of] + draw.standard_normal((count, width)) @ mix
    return x / np.linalg.norm(x, axis=1, keepdims=True), of


def test_the_covariance_is_that_of_scikit_learn() -> None:
    x = features(60, 30, 1)[0]
    x -= x.mean(axis=0)
    assert shrunk_covariance(x) == pytest.approx(ledoit_wolf(x, assume_centered=True)[0], abs=1e-12)


def test_mahalanobis_ranks_as_pytorch_ood_does() -> None:
    detector = pytest.importorskip("pytorch_ood.detector").Mahalanobis(None)
    x, of = features(300, 20, 3)
    new = np.concatenate([features(100, 20, 3, seed=1)[0], features(100, 20, 9, seed=2)[0]])
    space = fit_space(x, of, np.arange(300), WORDS)
    # theirs does not shrink: pairs of points at both sides of a class mean, along every
    # direction, add the same to its covariance
    middles = np.stack([x[of == k].mean(axis=0) for k in range(3)])
    centred = x - middles[of]
    share = ledoit_wolf(centred, assume_centered=True)[1]
    level = np.trace(centred.T @ centred / 300) / 20
    step = np.eye(20) * np.sqrt(300 * level * share / (1 - share) / 2)
    more = np.concatenate([middles[0] + step, middles[0] - step])
    given = np.concatenate([x, more]), np.concatenate([of, np.zeros(40, int)])
    detector.fit_features(torch.from_numpy(given[0]), torch.from_numpy(given[1]))
    detector.mu, detector.precision = detector.mu.double(), detector.precision.double()
    theirs = detector.predict_features(torch.from_numpy(new)).numpy()
    ours = space.distances(new)[:, 0]
    assert spearmanr(ours, theirs).statistic == pytest.approx(1, abs=1e-6)
    assert ours**2 / theirs == pytest.approx(np.full(200, (ours**2 / theirs)[0]), rel=1e-3)


def test_the_nearest_group_ranks_as_pytorch_ood_does() -> None:
    detector = pytest.importorskip("pytorch_ood.detector").KNN(None, k=1, normalize=False)
    x, of = features(300, 20, 3)
    new = features(200, 20, 9, seed=2)[0]
    space = fit_space(x, of, np.arange(300), WORDS)
    bank = torch.from_numpy(space.groups + space.mean @ space.axes)
    detector.fit_features(bank, torch.zeros(len(bank), dtype=torch.long))
    theirs = detector.predict_features(torch.from_numpy(new)).numpy()
    assert spearmanr(space.distances(new)[:, 1], theirs).statistic == pytest.approx(1, abs=1e-6)
    assert space.distances(new)[:, 1] == pytest.approx(theirs, abs=1e-5)


def test_wide_features_keep_most_of_the_variance_and_the_length_of_the_rest() -> None:
    draw = np.random.default_rng(0)
    x = draw.standard_normal((400, 60)) @ draw.standard_normal((60, 600))
    x = x + 0.01 * draw.standard_normal(x.shape)
    x -= x.mean(axis=0)
    axes = axes_of(x)
    assert axes.shape[0] == 600
    assert axes.shape[1] <= 60 < MOST_AXES
    assert axes.T @ axes == pytest.approx(np.eye(axes.shape[1]), abs=1e-9)
    assert ((x @ axes) ** 2).sum() > 0.985 * (x**2).sum()
    at = coordinates(x, np.zeros(600), axes)
    assert (at**2).sum(axis=1) == pytest.approx((x**2).sum(axis=1))
    assert (axes_of(x[:, :5]) == np.eye(5)).all()


def test_no_group_is_of_few_patients() -> None:
    draw = np.random.default_rng(0)
    usual, odd = draw.standard_normal((200, 4)), draw.standard_normal((20, 4)) + 100
    patients = np.concatenate([np.arange(200), np.full(20, 200)])
    means = grouped(np.concatenate([usual, odd]), patients)
    assert (np.abs(means) < 10).all()  # that of the twenty images of one patient is left out
    assert len(means) > 5
    few = LEAST_PATIENTS - 1
    assert len(grouped(usual[:few], patients[:few])) == 1


@pytest.mark.parametrize("few", [1, LEAST_PATIENTS - 1])
def test_no_class_mean_is_of_few_patients(few: int) -> None:
    """The features of a rare class could be read out of a checkpoint."""
    x, of = features(200 + 2 * few, 8, 2)
    of[200:], patients = 2, np.concatenate([np.arange(200), 200 + np.arange(2 * few) // 2])
    x[200:] += 100
    space = fit_space(x, of, patients, WORDS)
    stored = space.classes @ np.linalg.inv(space.whiten)
    rare = coordinates(x[200:].mean(axis=0, keepdims=True), space.mean, space.axes)
    assert len(stored) == 3
    assert np.linalg.norm(stored - rare, axis=1).min() > 1
    overall = coordinates(x.mean(axis=0, keepdims=True), space.mean, space.axes)
    assert np.linalg.norm(stored - overall, axis=1).min() < 1e-3


def test_distances_of_new_images_are_in_standard_deviations_even_where_few_were_seen() -> None:
    x, of = features(60, 40, 2)
    space = fit_space(x, of, np.arange(60), WORDS)
    strange = space.strangeness(features(500, 40, 2, seed=1)[0])
    assert np.abs(np.median(strange, axis=0)).max() < 1.5
    assert 0.4 < strange.std() < 2.5


@pytest.mark.parametrize("patients", [[0], [0, 0, 0], [0, 1]])
def test_even_a_single_patient_or_image_gives_finite_numbers(patients: list[int]) -> None:
    x = features(len(patients), 40, 1)[0]
    space = fit_space(x, np.zeros(len(patients), int), np.array(patients), WORDS)
    assert np.isfinite(space.strangeness(features(50, 40, 3)[0])).all()


def of_images(images: torch.Tensor) -> Seen:
    """As a network with nearly no features of its own would have it: means of colours."""
    floats = images.float().flatten(2)
    return seen_in(images, torch.cat([floats.mean(2), floats.std(2) + 1], dim=1).numpy())


@pytest.fixture(scope="module")
def known() -> tuple[Familiarity, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    level = torch.rand(120, 3, 1, 1, generator=draw) * 60 + 60
    pattern = torch.nn.functional.interpolate(
        torch.rand(120, 1, 6, 6, generator=draw) * 80, size=(32, 32), mode="bilinear"
    )
    images = (level + pattern).clamp(0, 255).to(torch.uint8)
    targets = np.eye(3, dtype=np.float32)[np.arange(100) % 3]
    groups = [f"p{i // 2}" for i in range(100)]
    made = fit_familiarity(of_images(images[:100]), targets, groups, exclusive=True, weights="abc")
    return made, images[100:]


def test_noise_blank_and_blurred_images_are_stranger_than_new_ones_of_the_same_kind(known) -> None:
    familiar, new = known
    usual = familiar.looks(of_images(new))
    assert np.isfinite(usual).all()
    noise = torch.randint(0, 256, new.shape, dtype=torch.uint8)
    blank = torch.zeros_like(new)
    for strange in (noise, blank, 255 - blank):
        looks = familiar.looks(of_images(strange))
        assert np.isfinite(looks).all()
        assert looks[:, 0].min() > usual[:, 0].max() + 3
    soft = torch.nn.functional.avg_pool2d(new.float(), 5, 1, 2, count_include_pad=False)
    looks = familiar.looks(of_images(soft.to(torch.uint8)))
    assert np.median(looks[:, 2]) > np.median(usual[:, 2]) + 1


def test_what_a_checkpoint_stores_measures_the_same(known) -> None:
    familiar, new = known
    tensors = familiar.tensors()
    again = stored_familiarity(tensors, familiar.weights)
    assert (again.looks(of_images(new)) == familiar.looks(of_images(new))).all()
    assert sum(t.numel() for t in tensors.values()) * 4 < 100_000


@pytest.mark.parametrize("fault", ["missing", "shape", "nan", "empty"])
def test_stored_numbers_that_make_no_sense_are_refused(known, fault: str) -> None:
    tensors = known[0].tensors()
    name = "familiar.features.classes"
    wrong = {
        "shape": torch.zeros(2, 2),
        "nan": tensors[name] * torch.nan,
        "empty": tensors[name][:0],
    }
    if fault == "missing":
        tensors.pop(name)
    else:
        tensors[name] = wrong[fault]
    with pytest.raises((KeyError, ValueError), match="familiar"):
        stored_familiarity(tensors, "abc")


def test_labels_that_were_not_assessed_or_are_not_exclusive_give_no_classes(known) -> None:
    seen = of_images(known[1])
    targets = np.full((20, 3), np.nan, np.float32)
    groups = [str(i) for i in range(20)]
    for given in (targets, np.nan_to_num(targets)):
        made = fit_familiarity(seen, given, groups, exclusive=given is targets, weights="")
        assert len(made.spaces["features"].classes) == 1


def test_features_of_any_shape_are_brought_to_length_one() -> None:
    images = torch.zeros(2, 1, 16, 16, dtype=torch.uint8)
    maps = np.random.default_rng(0).standard_normal((2, 5, 4, 4)).astype(np.float32)
    wide = np.random.default_rng(0).standard_normal((2, 9000)).astype(np.float32)
    for given, width in ((maps, 5), (wide, 2048), (wide * 0, 2048)):
        found = seen_in(images, given).features
        assert found.shape == (2, width)
        if given.any():
            assert np.linalg.norm(found, axis=1) == pytest.approx(np.ones(2))
    both = joined([seen_in(images, maps), seen_in(images, maps)])
    assert [len(getattr(both, f.name)) for f in fields(Seen)] == [4, 4, 4]


def test_style_is_the_same_for_grey_in_one_channel_and_in_three() -> None:
    grey = torch.rand(3, 1, 20, 14)
    assert torch.allclose(style(grey), style(grey.expand(-1, 3, -1, -1)), atol=1e-5)
    assert style(grey).isfinite().all()
    assert style(torch.zeros(1, 3, 8, 8)).isfinite().all()


def test_at_most_some_thousand_images_are_looked_at_evenly() -> None:
    assert spread(np.arange(7)).tolist() == list(range(7))
    assert len(spread(np.arange(20_000))) == 5_000
    assert spread(np.arange(20_000))[[0, -1]].tolist() == [0, 19_999]


def test_every_space_has_what_it_measures(known) -> None:
    for name, distances in SPACES.items():
        space: Space = known[0].spaces[name]
        assert space.usual.shape == (2, len(distances))
        assert (len(space.groups) > 0) == ("group" in distances)
