from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medcnn.errors import DataError, ImageError
from medcnn.images import preprocessing
from medcnn.images.preprocessing import Fit, Preprocessing
from medcnn.loading import pixel_store
from medcnn.loading.pixel_store import open_store
from medcnn.manifest import Manifest

HOW = Preprocessing(size_px=16, channels=3, fit=Fit.PAD, bits=8)


def test_pixels_are_those_of_the_files_in_manifest_order(colours: Callable[..., Manifest]) -> None:
    manifest = colours()
    store = open_store(manifest, HOW, cache="off")
    for i in (0, 7, 47):
        pixels = np.asarray(Image.open(manifest.root / manifest.records[i].path))
        assert np.array_equal(store.images[i], HOW.apply(pixels))


def test_the_second_run_reads_the_cache_and_decodes_nothing(
    colours: Callable[..., Manifest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, cache = colours(), str(tmp_path / "cache")
    first = open_store(manifest, HOW, cache=cache)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr(preprocessing, "read_pixels", refuse)
    assert np.array_equal(open_store(manifest, HOW, cache=cache).images, first.images)


def test_a_changed_file_or_option_is_decoded_anew(
    colours: Callable[..., Manifest], tmp_path: Path
) -> None:
    manifest, cache = colours(), str(tmp_path / "cache")
    before = open_store(manifest, HOW, cache=cache).images.copy()
    file = manifest.root / manifest.records[3].path
    Image.new("RGB", (24, 24), "white").save(file)
    os.utime(file, ns=(1, 1))
    after = open_store(manifest, HOW, cache=cache).images
    assert (after[3] == 255).all()
    assert np.array_equal(after[4], before[4])
    other = Preprocessing(size_px=8, channels=1, fit=Fit.PAD, bits=16)
    assert open_store(manifest, other, cache=cache).images.shape == (48, 1, 8, 8)


@pytest.mark.fault
def test_unreadable_images_are_named_with_their_reason_and_never_replaced(
    colours: Callable[..., Manifest], tmp_path: Path
) -> None:
    """Rows 34 and 35."""
    manifest = colours()
    root = manifest.root
    (root / "001.png").write_bytes(b"")
    (root / "002.png").write_bytes((root / "002.png").read_bytes()[:200])
    (root / "003.png").write_text("<!DOCTYPE html><p>Please log in")
    (root / "004.png").unlink()
    for cache in ("off", str(tmp_path / "cache"), str(tmp_path / "cache")):
        store = open_store(manifest, HOW, cache=cache)
        assert sorted(store.unreadable) == [1, 2, 3, 4]
        assert "empty" in store.unreadable[1]
        assert "truncated" in store.unreadable[2]
        assert "html" in store.unreadable[3].lower()
        assert store.readable(np.arange(6)).tolist() == [0, 5]


def test_a_full_disk_is_refused_before_decoding(
    colours: Callable[..., Manifest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    class Usage:
        free = 1000

    monkeypatch.setattr(pixel_store.shutil, "disk_usage", lambda _: Usage)
    with pytest.raises(DataError, match=r"data.cache=off"):
        open_store(colours(), HOW, cache=str(tmp_path / "cache"))


def test_an_image_that_can_be_read_by_now_is_read(
    colours: Callable[..., Manifest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, cache = colours(), str(tmp_path / "cache")
    real = preprocessing.read_pixels

    def no_decoder(root: Path, path: str, **_: object) -> object:
        if path == "003.png":
            raise ImageError("no decoder is installed")
        return real(root, path)

    monkeypatch.setattr(preprocessing, "read_pixels", no_decoder)
    assert list(open_store(manifest, HOW, cache=cache).unreadable) == [3]
    monkeypatch.setattr(preprocessing, "read_pixels", real)
    assert open_store(manifest, HOW, cache=cache).unreadable == {}


def test_a_sign_in_a_file_name_does_not_hide_that_it_changed(
    colours: Callable[..., Manifest], tmp_path: Path
) -> None:
    manifest = colours()
    (manifest.root / "001.png").rename(manifest.root / "a#1.png")
    records = list(manifest.records)
    records[1] = replace(records[1], path="a#1.png")
    manifest, cache = manifest.with_records(records), str(tmp_path / "cache")
    open_store(manifest, HOW, cache=cache)
    Image.new("RGB", (24, 24), "white").save(manifest.root / "a#1.png")
    assert (open_store(manifest, HOW, cache=cache).images[1] == 255).all()
