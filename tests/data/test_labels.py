from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import expit, softmax

from medcnn.data.labels import Kind, LabelSpace
from medcnn.system.errors import DataError

SPACES = {
    Kind.BINARY: LabelSpace(kind=Kind.BINARY, names=("benign", "malignant")),
    Kind.MULTICLASS: LabelSpace(kind=Kind.MULTICLASS, names=("a", "b", "c")),
    Kind.MULTILABEL: LabelSpace(kind=Kind.MULTILABEL, names=("Mass", "Nodule")),
    Kind.ORDINAL: LabelSpace(kind=Kind.ORDINAL, names=("0", "1", "2")),
}


@pytest.mark.parametrize("kind", Kind)
def test_a_space_goes_to_json_and_back(kind: Kind) -> None:
    assert LabelSpace.from_json(SPACES[kind].to_json()) == SPACES[kind]


@pytest.mark.parametrize("kind", Kind)
def test_probabilities_equal_scipys_and_survive_huge_logits(kind: Kind) -> None:
    space = SPACES[kind]
    logits = np.random.default_rng(0).normal(0, 3, (50, len(space.outputs)))
    wanted = softmax(logits, axis=1) if space.exclusive else expit(logits)
    assert np.allclose(space.probabilities(logits), wanted, rtol=1e-12)
    huge = space.probabilities(np.array([[1e4] + [-1e4] * (len(space.outputs) - 1)]))
    assert np.isfinite(huge).all()


def test_targets_are_one_hot_or_flags() -> None:
    assert SPACES[Kind.MULTICLASS].encode(["b"]) == (0, 1, 0)
    assert SPACES[Kind.BINARY].encode(["malignant"]) == (1,)
    assert SPACES[Kind.BINARY].encode(["benign"]) == (0,)
    assert SPACES[Kind.MULTILABEL].encode([]) == (0, 0)
    assert all(map(math.isnan, SPACES[Kind.ORDINAL].not_assessed))


def test_an_unknown_label_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(DataError, match=r"label ‹malignent› is not one of .*did you mean 'malig"):
        SPACES[Kind.BINARY].encode(["malignent"])
    with pytest.raises(DataError, match="exactly one class"):
        SPACES[Kind.MULTICLASS].encode(["a", "b"])


def test_a_decided_grade_is_the_median_of_its_distribution() -> None:
    p = np.array([[0.4, 0.25, 0.35], [0.6, 0.2, 0.2], [0.1, 0.2, 0.7]])
    space = SPACES[Kind.ORDINAL]
    assert space.decision_texts(space.decide(p, None)) == ["1", "0", "2"]


def test_decisions_are_the_most_probable_class_or_pass_their_threshold() -> None:
    p = np.array([[0.2, 0.5, 0.3], [0.4, 0.1, 0.5]])
    decided = SPACES[Kind.MULTICLASS].decide(p, None)
    assert SPACES[Kind.MULTICLASS].decision_texts(decided) == ["b", "c"]
    q = np.array([[0.3, 0.6], [0.1, 0.2]])
    flags = SPACES[Kind.MULTILABEL].decide(q, (0.25, 0.7))
    assert SPACES[Kind.MULTILABEL].decision_texts(flags) == ["Mass", ""]
    assert SPACES[Kind.BINARY].decision_texts(np.array([[True], [False]])) == [
        "malignant",
        "benign",
    ]


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (Kind.BINARY, ("a",)),
        (Kind.BINARY, ("a", "b", "c")),
        (Kind.MULTICLASS, ("a", "a")),
        (Kind.MULTILABEL, ()),
        (Kind.ORDINAL, ("0", "")),
    ],
)
def test_a_space_without_proper_names_is_refused(kind: Kind, names: tuple[str, ...]) -> None:
    with pytest.raises(DataError):
        LabelSpace(kind=kind, names=names)
