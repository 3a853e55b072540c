from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from medcnn.data.labels import Kind, LabelSpace
from medcnn.data.manifest import Manifest, Record
from medcnn.images.preprocessing import Fit, Preprocessing
from medcnn.models.appearance import FACTS, Watcher, appearance_of, facts_of, outside
from medcnn.pixels.opening import open_store
from medcnn.pixels.pixel_store import PixelStore


def opened(root: Path, paths: list[str], channels: int = 3, bits: int = 8) -> PixelStore:
    labels = LabelSpace(kind=Kind.BINARY, names=("no", "yes"))
    records = tuple(Record(image_id=p, path=p, group=p, target=(0.0,)) for p in paths)
    manifest = Manifest(source="x", root=root, labels=labels, records=records)
    how = Preprocessing(size_px=64, channels=channels, fit=Fit.PAD, bits=bits)
    return open_store(manifest, how, cache="off")


def below(root: Path, pattern: str, count: int) -> list[str]:
    found = sorted(p.relative_to(root).as_posix() for p in root.glob(pattern))
    return [found[i] for i in np.random.default_rng(0).permutation(len(found))[:count]]


def rows(store: PixelStore) -> NDArray[np.int64]:
    return np.arange(len(store))


def flagged(model: PixelStore, images: PixelStore) -> float:
    """Share of images that look unlike those of a model."""
    beyond = outside(
        appearance_of(model, rows(model)), facts_of(images, images.readable(rows(images)))
    )
    return float((beyond > 0).any(axis=1).mean())


@pytest.fixture(scope="module")
def phantoms(drawn: Callable[[str, int], Path]) -> dict[str, PixelStore]:
    found = {}
    for kind in ("dermoscopy", "fundus", "chest"):
        root = drawn(kind, 32)
        paths = (
            below(root, "**/*.png", 80) + below(root, "**/*.jpg", 80) + below(root, "**/*.dcm", 80)
        )
        found[kind] = opened(root, paths[:60])
    return found


@pytest.mark.parametrize("trained", ["dermoscopy", "fundus", "chest"])
@pytest.mark.parametrize("given", ["dermoscopy", "fundus", "chest"])
def test_phantoms_of_another_kind_look_unlike(
    phantoms: dict[str, PixelStore], trained: str, given: str
) -> None:
    share = flagged(phantoms[trained], phantoms[given])
    assert share == 0 if trained == given else share > 0.6


def test_real_images_of_another_kind_look_unlike_and_those_of_the_same_set_do_not(
    shared: Path,
) -> None:
    skin = shared / "ham10000"
    chest = shared / "nih_chestxray14_sample"
    sets = {
        "skin": opened(skin, below(skin, "*part*/*.jpg", 300)),
        "chest": opened(chest, below(chest, "images/*.png", 300)),
        "fundus": opened(shared / "fundus", ["retina_cc0.jpg"]),
    }
    halves = {
        name: (opened(folder, found[:200]), opened(folder, found[200:]))
        for name, folder, found in (
            ("skin", skin, below(skin, "*part*/*.jpg", 300)),
            ("chest", chest, below(chest, "images/*.png", 300)),
        )
    }
    for name, (model, new) in halves.items():
        assert flagged(model, new) <= 0.01, name
    for trained, given in (
        ("skin", "chest"),
        ("chest", "skin"),
        ("chest", "fundus"),
        ("skin", "fundus"),
    ):
        assert flagged(sets[trained], sets[given]) > 0.95, (trained, given)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [1, 3])
def test_facts_are_those_of_the_picture_whatever_its_depth(
    tmp_path: Path, bits: int, channels: int
) -> None:
    pixels = np.zeros((64, 64), np.uint8)
    pixels[16:48, 16:48] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    store = opened(tmp_path, ["a.png"], channels, bits)
    facts = dict(zip(FACTS, facts_of(store, rows(store))[0], strict=True))
    assert facts["red"] == facts["blue"] == pytest.approx(0.25)
    assert facts["colour"] == facts["border"] == facts["corners"] == facts["darkest"] == 0
    assert facts["centre"] == facts["brightest"] == 1


def test_the_warning_is_one_line_that_names_images_and_what_is_unlike(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for i in range(12):
        high = 60 if i < 10 else 255
        Image.fromarray(draw.integers(0, high, (32, 32, 3), dtype=np.uint8)).save(
            tmp_path / f"{i:02}.png"
        )
    (tmp_path / "11.png").write_bytes(b"no image")
    paths = [f"{i:02}.png" for i in range(12)]
    store = opened(tmp_path, paths)
    watcher = Watcher(appearance_of(store, np.arange(10)))
    for part in (np.arange(6), np.arange(6, 12)):
        watcher.look(store, paths, part)
    line = watcher.line()
    assert line.startswith(
        "1 of 11 images looks unlike those that the model was trained on (‹10.png›"
    )
    assert "simple check" in line
    assert "\n" not in line
    quiet = Watcher(None)  # a checkpoint from before this was looked at
    quiet.look(store, paths, np.arange(12))
    assert quiet.line() == ""
