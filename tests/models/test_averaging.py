"""Old and new weights, averaged."""

from __future__ import annotations

import torch

from medcnn.models.averaging import between

OLD = {"w": torch.zeros(3, 2), "head": torch.zeros(3, 2), "count": torch.tensor(3)}
NEW = {"w": torch.ones(3, 2), "head": torch.ones(3, 2), "count": torch.tensor(9)}


def test_the_ends_are_the_two_networks_to_the_bit() -> None:
    assert all(torch.equal(v, NEW[k]) for k, v in between(OLD, NEW, 1.0, {}).items())
    found = between(OLD, NEW, 0.0, {})
    assert torch.equal(found["w"], OLD["w"])


def test_rows_of_new_classes_and_counts_are_those_of_the_new_network() -> None:
    found = between(OLD, NEW, 0.25, {"head": [1]})
    assert found["w"].eq(0.25).all()
    assert found["head"].tolist() == [[0.25] * 2, [1.0] * 2, [0.25] * 2]
    assert found["count"] == 9
    assert OLD["head"].eq(0).all()
