from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from medcnn.data.labels import Kind
from medcnn.statistics.cases import EACH, cases_of


@pytest.mark.parametrize("kind", Kind)
def test_a_gallery_has_a_few_of_each_kind_and_no_image_twice(simulate, kind: Kind) -> None:
    given = simulate(kind, missing=0.1)
    cases = cases_of(given)
    assert Counter(c.kind for c in cases) == dict.fromkeys(
        ("sure hit", "miss", "false alarm", "least certain"), EACH
    )
    assert len({c.row for c in cases}) == len(cases)
    for c in cases:
        truth, called = given.targets[c.row, c.output], given.decisions[c.row, c.output]
        meant = {"sure hit": (1, True), "miss": (1, False), "false alarm": (0, True)}
        assert c.kind == "least certain" or (truth, called) == meant[c.kind]
        assert c.probability == given.probabilities[c.row, c.output]


def test_the_surest_come_first_and_classes_take_turns(simulate) -> None:
    given = simulate(Kind.MULTICLASS)
    hits = [c for c in cases_of(given) if c.kind == "sure hit"]
    assert sorted(c.output for c in hits) == [0, 1, 2]
    for c in hits:
        right = given.decisions[:, c.output] & (given.targets[:, c.output] == 1)
        assert c.probability == given.probabilities[right, c.output].max()


def test_without_labels_there_are_no_cases(simulate) -> None:
    given = simulate(Kind.MULTILABEL)
    assert cases_of(replace(given, targets=np.full_like(given.targets, np.nan))) == []
