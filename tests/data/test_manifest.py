from __future__ import annotations

import csv
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from medcnn.data.manifest import Manifest, Record, Split, parse_split
from medcnn.system.errors import DataError


def test_a_manifest_is_written_and_read_back(
    colours: Callable[..., Manifest], tmp_path: Path
) -> None:
    manifest = colours()
    records = list(manifest.records)
    records[0] = replace(records[0], attributes={"age": "61", "note": 'a "quoted", word'})
    records[1] = replace(records[1], target=(math.nan,) * 3, split=None)
    manifest = replace(manifest, records=tuple(records), excluded={"todo": 3})
    manifest.write(tmp_path / "m.csv")
    again = Manifest.read(tmp_path / "m.csv", manifest.root)
    assert again.fingerprint() == manifest.fingerprint()
    assert again.records[0] == manifest.records[0]
    assert (again.excluded, again.labels) == (manifest.excluded, manifest.labels)


FORMULAS = ("=cmd()", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "'=quoted", "'", "plain", "a=b")


@pytest.mark.fault
@pytest.mark.parametrize("text", FORMULAS)
def test_no_cell_of_a_manifest_is_a_formula_and_each_is_read_back(
    colours: Callable[..., Manifest], tmp_path: Path, text: str
) -> None:
    """Row 72."""
    manifest = colours()
    hostile = replace(
        manifest.records[0], image_id=text, path=text, group=text, attributes={text: text}
    )
    manifest = replace(manifest, records=(hostile, *manifest.records[1:]))
    manifest.write(tmp_path / "m.csv")
    with (tmp_path / "m.csv").open(newline="", encoding="utf-8") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert not [c for c in cells if c.startswith(("=", "+", "-", "@", "\t", "\r"))]
    again = Manifest.read(tmp_path / "m.csv", manifest.root)
    assert again.records[0] == hostile
    assert again.fingerprint() == manifest.fingerprint()


def test_the_fingerprint_sees_every_label_split_and_patient(
    colours: Callable[..., Manifest],
) -> None:
    manifest = colours()
    first, *rest = manifest.records
    for change in (
        {"target": (1.0, 1.0, 0.0)},
        {"split": Split.TEST},
        {"group": "other"},
        {"path": "other.png"},
        {"attributes": {"age": "3"}},
    ):
        assert first != replace(first, **change)
        changed = manifest.with_records([replace(first, **change), *rest])
        assert changed.fingerprint() != manifest.fingerprint()
    assert replace(manifest, root=Path("/elsewhere")).fingerprint() == manifest.fingerprint()


@pytest.mark.fault
@pytest.mark.parametrize("path", ["../x.png", "/etc/passwd", "a/../../x", "C:/x.png", "a\0.png"])
def test_a_path_that_leaves_the_root_is_refused(
    colours: Callable[..., Manifest], path: str
) -> None:
    """Row 70."""
    manifest = colours()
    record = replace(manifest.records[0], path=path)
    with pytest.raises(DataError, match="leave the data root"):
        manifest.with_records([record])


def test_all_faults_of_a_manifest_are_reported_at_once(colours: Callable[..., Manifest]) -> None:
    first = colours().records[0]
    with pytest.raises(DataError) as raised:
        colours().with_records([first, first, replace(first, image_id="x", target=(1.0,))])
    assert "are not unique" in str(raised.value)
    assert "do not have 3 values" in str(raised.value)


def test_counts_are_by_split_class_and_patient(colours: Callable[..., Manifest]) -> None:
    counts = colours().counts()
    assert counts["train"]["images"] == sum(
        counts["train"][f"label:{c}"] for c in ("red", "green", "blue")
    )
    assert counts["train"]["groups"] * 2 == counts["train"]["images"]


def test_splits_are_known_by_their_usual_words_and_the_tables_own() -> None:
    assert parse_split("valid", "x") is Split.VALIDATION
    assert parse_split("Training", "x") is Split.TRAIN
    assert parse_split("fold9", "x", {"fold9": "test"}) is Split.TEST
    with pytest.raises(DataError, match=r"t\.csv:118: split ‹tset› .* did you mean 'test'"):
        parse_split("tset", "t.csv:118")


def test_a_record_is_frozen(colours: Callable[..., Manifest]) -> None:
    with pytest.raises(AttributeError):
        colours().records[0].group = "x"  # type: ignore[misc]
    assert isinstance(colours().records[0], Record)


def test_a_damaged_manifest_is_refused_in_words(
    colours: Callable[..., Manifest], tmp_path: Path
) -> None:
    def said() -> str:
        with pytest.raises(DataError) as raised:
            Manifest.read(tmp_path / "m.csv", tmp_path)
        return str(raised.value)

    assert "m.csv is missing" in said()
    colours().write(tmp_path / "m.csv")
    whole = (tmp_path / "m.csv").read_text()
    (tmp_path / "m.csv").write_text(whole.replace("group", "patient", 1))
    assert "has no column group" in said()
    (tmp_path / "m.csv").write_text(whole.replace("label:red", "label:rde"))
    assert "m.csv:2: bad label column or value" in said()
    (tmp_path / "m.json").write_text('{"source": ')
    assert "m.json is not the header of a manifest" in said()
