"""Probes against scikit-learn, and what both do where labels are missing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from medcnn.data.labels import Kind, LabelSpace
from medcnn.training.probes import PROBES, TEMPERATURE, Examples, chosen, log_loss

GRADES = LabelSpace(kind=Kind.ORDINAL, names=("none", "mild", "severe"))
BINARY = LabelSpace(kind=Kind.BINARY, names=("no", "yes"))
FINDINGS = LabelSpace(kind=Kind.MULTILABEL, names=("mass", "edema"))


def examples(labels: LabelSpace, count: int = 60, features: int = 5, seed: int = 0) -> Examples:
    rng = np.random.default_rng(seed)
    x = rng.normal(3, [1, 2, 5, 1, 1][:features] + [1] * (features - 5), (count, features))
    width = len(labels.outputs)
    score = x[:, :width] + rng.normal(0, 2, (count, width))
    targets = np.eye(width)[score.argmax(1)] if labels.exclusive else score > 3
    groups = [f"p{i // 2}" for i in range(count)]
    return Examples(features=x.astype("f4"), targets=targets.astype("f4"), groups=groups)


def probabilities(name: str, labels: LabelSpace, fitted: Examples, value: float) -> Any:
    with torch.inference_mode():
        module = PROBES[name](fitted, labels, value).eval()
        logits = module(
            torch.from_numpy(examples(labels, 30, fitted.features.shape[1], 1).features)
        )
    return labels.probabilities(logits.numpy())


def of_sklearn(labels: LabelSpace, classes: Any, fitted: Examples, c: float) -> Any:
    """Over the classes, as its users would write it."""
    known = ~np.isnan(classes)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=c, tol=1e-8, max_iter=10_000))
    if known.all():
        model.fit(fitted.features.astype(float), classes)
    else:  # the scale is that of all images
        model[0].fit(fitted.features.astype(float))
        model[1].fit(model[0].transform(fitted.features[known].astype(float)), classes[known])
    looked_at = examples(labels, 30, fitted.features.shape[1], 1).features
    return model.predict_proba(looked_at.astype(float))


@pytest.mark.parametrize("features", [5, 100], ids=["more images", "more features"])
@pytest.mark.parametrize("c", [0.01, 1.0])
def test_logistic_regression_is_that_of_scikit_learn(features: int, c: float) -> None:
    for labels in (GRADES, BINARY):
        fitted = examples(labels, features=features)
        classes = fitted.targets.argmax(1) if labels.exclusive else fitted.targets[:, 0]
        ours = probabilities("logistic", labels, fitted, c)
        theirs = of_sklearn(labels, classes, fitted, c)
        assert ours == pytest.approx(theirs if labels.exclusive else theirs[:, 1:], abs=1e-4)


def test_each_finding_is_learnt_from_the_images_on_which_it_was_assessed() -> None:
    fitted = examples(FINDINGS)
    fitted.targets[::3, 1] = np.nan
    ours = probabilities("logistic", FINDINGS, fitted, 0.1)
    for k in range(2):
        theirs = of_sklearn(FINDINGS, fitted.targets[:, k], fitted, 0.1)
        assert ours[:, k] == pytest.approx(theirs[:, 1], abs=1e-4)


def test_two_of_three_classes_are_told_apart_as_two_and_the_third_never_comes() -> None:
    fitted = examples(GRADES)
    fitted.targets[fitted.targets[:, 1] == 1] = np.nan
    ours = probabilities("logistic", GRADES, fitted, 0.1)
    classes = np.where(np.isnan(fitted.targets[:, 0]), np.nan, fitted.targets.argmax(1))
    assert ours[:, [0, 2]] == pytest.approx(of_sklearn(GRADES, classes, fitted, 0.1), abs=1e-4)
    assert ours[:, 1].max() < 1e-9


def test_a_finding_that_all_or_no_images_have_gets_its_share() -> None:
    fitted = examples(FINDINGS)
    fitted.targets[:, 0] = 0
    ours = probabilities("logistic", FINDINGS, fitted, 0.1)
    assert ours[:, 0] == pytest.approx(np.full(30, 0.5 / 61))


def test_a_soft_target_is_that_much_of_an_image_of_each_class() -> None:
    hard = examples(BINARY)
    twice = Examples(
        features=np.repeat(hard.features, 2, 0),
        targets=np.tile(np.array([[1.0], [0.0]], "f4"), (60, 1)),
        groups=[*hard.groups, *hard.groups],
    )
    soft = Examples(features=hard.features, targets=np.full((60, 1), 0.5, "f4"), groups=hard.groups)
    left, right = (probabilities("logistic", BINARY, e, c) for e, c in ((soft, 1.0), (twice, 0.5)))
    assert left == pytest.approx(right, abs=1e-4)


@pytest.mark.parametrize("k", [1, 7, 1000])
def test_neighbours_are_those_of_scikit_learn_with_one_vote_more(k: int) -> None:
    fitted, few = examples(GRADES), min(k, 60)
    theirs = KNeighborsClassifier(
        few, metric="cosine", algorithm="brute", weights=lambda d: np.exp(-d / TEMPERATURE)
    ).fit(fitted.features.astype(float), fitted.targets.argmax(1))
    looked_at = examples(GRADES, 30, 5, 1).features.astype(float)
    share = (fitted.targets.sum(0) + 0.5) / 61
    wanted = (theirs.predict_proba(looked_at) * few + share / share.sum()) / (few + 1)
    ours = probabilities("knn", GRADES, fitted, k)
    assert ours == pytest.approx(wanted, abs=1e-4)


def test_a_neighbour_without_a_finding_assessed_does_not_vote_on_it() -> None:
    fitted = examples(FINDINGS)
    fitted.targets[:, 1] = np.nan
    fitted.targets[0, 1] = 1
    ours = probabilities("knn", FINDINGS, fitted, 3)
    assert np.isfinite(ours).all()
    far = np.isclose(ours[:, 1], 0.75)  # what one image of it leaves: the share in training
    assert far.sum() > 20
    assert (ours[~far, 1] > 0.75).all()


def test_a_patient_with_many_images_counts_no_more_than_another() -> None:
    logits = np.array([[2.0], [2.0], [2.0], [-1.0]], "f4")
    targets = np.ones((4, 1), "f4")
    each = np.log1p(np.exp(-logits[:, 0].astype(float)))
    given = Examples(features=logits, targets=targets, groups=["a", "a", "a", "b"])
    assert log_loss(BINARY, logits, given) == pytest.approx((each[0] + each[3]) / 2)
    targets[3] = np.nan
    assert log_loss(BINARY, logits, given) == pytest.approx(each[0])


def test_validation_chooses_the_value_with_the_least_log_loss() -> None:
    fitted, validation = examples(GRADES, features=40), examples(GRADES, 60, 40, 2)
    values = (1e-4, 0.01, 100.0)
    found = chosen(PROBES["logistic"], values, GRADES, fitted, validation)
    assert found.value == min(found.losses, key=lambda v: found.losses[v]) == 0.01
    with torch.inference_mode():
        logits = found.module(torch.from_numpy(validation.features)).numpy()
    assert log_loss(GRADES, logits, validation) == pytest.approx(found.losses[0.01])
