from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medcnn.data.labels import Kind, LabelSpace
from medcnn.statistics.decisions import Readout
from medcnn.statistics.predictions import Predictions
from medcnn.system.errors import DataError


def some(kind: Kind = Kind.MULTILABEL) -> Predictions:
    rng = np.random.default_rng(0)
    names = ("no", "yes") if kind is Kind.BINARY else ("Mass", "Nodule", 'odd "name", <b>')
    labels = LabelSpace(kind=kind, names=names)
    k = len(labels.outputs)
    targets = (rng.random((20, k)) > 0.5).astype(np.float32)
    targets[3] = np.nan
    return Predictions(
        labels=labels,
        split="test",
        image_ids=tuple(f"i{n}" for n in range(20)),
        groups=tuple(f"p{n // 2}" for n in range(20)),
        targets=targets,
        logits=rng.normal(0, 4, (20, k)).astype(np.float32),
        readout=Readout.of_thresholds((0.3,) * k),
        unreadable=(("i99", "truncated"),),
        provenance={"checkpoint": "best"},
    )


def test_attributes_survive_the_file_and_go_with_their_rows(tmp_path: Path) -> None:
    sexes = ("f", "", "=1+1", *("m",) * 17)
    before = replace(some(), attributes={"sex": sexes, "a, b": ("x",) * 20})
    before.write(tmp_path / "p.csv")
    after = Predictions.read(tmp_path / "p.csv")
    assert after.attributes == before.attributes
    assert after.digest == some().digest  # no score depends on them
    assert after.only([2, 0]).attributes["sex"] == ("=1+1", "f")


def test_the_digest_survives_the_file_and_changes_with_all_that_a_score_depends_on(
    tmp_path: Path,
) -> None:
    before = some()
    before.write(tmp_path / "p.csv")
    assert Predictions.read(tmp_path / "p.csv").digest == before.digest
    changed = before.logits.copy()
    changed[7, 1] = np.nextafter(changed[7, 1], np.float32(9))
    others = [
        replace(before, logits=changed),
        replace(before, targets=1 - before.targets),
        replace(before, groups=("p1", *before.groups[1:])),
        replace(before, readout=Readout.of_thresholds((0.3, 0.3, 0.4))),
        replace(before, unreadable=()),
    ]
    assert len({p.digest for p in (before, *others)}) == 6


@pytest.mark.parametrize("kind", Kind)
def test_predictions_are_read_back_bit_for_bit(kind: Kind, tmp_path: Path) -> None:
    before = some(kind)
    before.write(tmp_path / "p.csv")
    after = Predictions.read(tmp_path / "p.csv")
    assert np.array_equal(after.logits, before.logits)
    assert np.array_equal(after.targets, before.targets, equal_nan=True)
    for name in ("labels", "split", "image_ids", "groups", "readout", "unreadable"):
        assert getattr(after, name) == getattr(before, name)


def test_a_table_that_is_no_predictions_is_refused(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="not a table of predictions"):
        Predictions.read(tmp_path / "p.csv")


def test_new_images_have_a_row_each_unreadable_ones_too() -> None:
    rows = some(Kind.BINARY).new_rows()
    assert len(rows) == 21
    assert rows[-1] == {"image_id": "i99", "unreadable": "truncated"}
    assert float(rows[0]["probability:no"]) + float(rows[0]["probability:yes"]) == pytest.approx(1)


@pytest.mark.fault
@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_name_in_a_table_is_a_formula_and_each_is_read_back(start: str, tmp_path: Path) -> None:
    """Row 72: class, image, patient, category and the reason of a failure."""
    names = (f"{start}cmd()", f"{start}1", "plain")
    odd = tuple(f"{start}{n}" for n in range(20))
    before = replace(
        some(),
        labels=LabelSpace(kind=Kind.MULTICLASS, names=names),
        image_ids=odd,
        groups=odd,
        categories=odd,
        unreadable=((f"{start}x", f"{start}y"),),
        readout=Readout(),
    )
    before.write(tmp_path / "p.csv")
    with (tmp_path / "p.csv").open(newline="", encoding="utf-8") as file:
        written = list(csv.DictReader(file))
    for row in [*written, *before.new_rows()]:
        texts = [t for c, t in row.items() if not c.startswith(("target", "logit"))]
        assert not [t for t in texts if t.startswith(start)]
        assert not [c for c in row if c.startswith(start)]
    after = Predictions.read(tmp_path / "p.csv")
    for name in ("labels", "image_ids", "groups", "categories", "unreadable"):
        assert getattr(after, name) == getattr(before, name)
