"""Two models with other classes are compared on those that they share, with what they decided."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from medcnn.data.labels import Kind, LabelSpace
from medcnn.statistics.common_classes import common_labels, in_common
from medcnn.statistics.decisions import Readout
from medcnn.statistics.operating import OperatingPoint


def space(kind: Kind, *names: str) -> LabelSpace:
    return LabelSpace(kind=kind, names=names)


ABC = space(Kind.MULTICLASS, "a", "b", "c")


@pytest.mark.parametrize(
    ("old", "new", "common", "asked"),
    [
        (ABC, ABC, ABC, False),
        (space(Kind.MULTICLASS, "c", "a", "b"), ABC, ABC, False),
        (
            space(Kind.MULTILABEL, "x", "y"),
            space(Kind.MULTILABEL, "z", "y"),
            space(Kind.MULTILABEL, "y"),
            False,
        ),
        (space(Kind.MULTICLASS, "a", "d"), ABC, space(Kind.MULTILABEL, "a"), True),
        (
            space(Kind.BINARY, "no", "yes"),
            space(Kind.BINARY, "yes", "no"),
            space(Kind.MULTILABEL, "no"),
            True,
        ),
        (space(Kind.MULTICLASS, "x", "y"), ABC, None, False),
        (space(Kind.ORDINAL, "a", "b", "c"), ABC, space(Kind.MULTILABEL, "a", "b", "c"), True),
    ],
)
def test_what_two_models_have_in_common(old, new, common, asked: bool) -> None:
    assert common_labels(old, new) == (common, asked)


def test_another_order_of_the_classes_moves_columns_and_no_decision(simulate) -> None:
    given = simulate(Kind.MULTICLASS)
    names = given.labels.names
    turned = space(Kind.MULTICLASS, *reversed(names))
    found = in_common(given, turned, asked=False)
    assert np.allclose(found.probabilities, given.probabilities[:, ::-1], atol=1e-6)
    assert np.array_equal(found.decisions, given.decisions[:, ::-1])
    assert np.array_equal(found.targets, given.targets[:, ::-1])
    same = in_common(given, replace(given.labels), asked=False)
    assert np.array_equal(same.logits, given.logits)


def test_findings_keep_the_thresholds_that_were_chosen_for_them(simulate) -> None:
    given = simulate(Kind.MULTILABEL)
    names = given.labels.names
    thresholds = tuple(0.2 + 0.1 * k for k in range(len(names)))
    point = OperatingPoint(name="youden", thresholds=thresholds)
    given = replace(given, readout=Readout(points=(point,)))
    found = in_common(given, space(Kind.MULTILABEL, names[-1]), asked=False)
    assert found.thresholds == thresholds[-1:]
    assert np.array_equal(found.decisions[:, 0], given.decisions[:, -1])
