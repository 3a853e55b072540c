"""What a model is given becomes a manifest and its pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medcnn.data.labels import Kind, LabelSpace
from medcnn.images.preprocessing import Preprocessing
from medcnn.models.inputs import read_inputs

LABELS = LabelSpace(kind=Kind.BINARY, names=("no", "yes"))


def grey(place: Path, value: int) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8, 3), value, np.uint8)).save(place)


def test_files_of_a_folder_beside_this_one_are_read_also_behind_a_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grey(tmp_path / "x" / "a.png", 10)
    grey(tmp_path / "notebooks" / "b.png", 20)
    grey(tmp_path / "notebooks" / "a.png", 30)
    grey(tmp_path / "far" / "a.png", 40)
    (tmp_path / "far" / "deep").mkdir()
    (tmp_path / "notebooks" / "link").symlink_to(tmp_path / "far" / "deep")
    monkeypatch.chdir(tmp_path / "notebooks")
    files = ["../x/a.png", "b.png", "link/../a.png"]
    (found,) = read_inputs(files, LABELS, Preprocessing(size_px=8))
    assert not found.store.unreadable
    assert found.store.take(found.rows).mean(axis=(1, 2, 3)).tolist() == [10, 20, 40]
