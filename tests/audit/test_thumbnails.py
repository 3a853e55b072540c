"""One pass over the files makes what the audit sees and what is trained on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medcnn.audit import thumbnails
from medcnn.audit.thumbnails import FACTS_BYTES, Facts, look_at
from medcnn.images import Fit, Preprocessing
from medcnn.pixels import decoder, shards
from medcnn.pixels.decoder import Recipe, decoded, pixels_by
from medcnn.pixels.opening import open_store, pixel_shelves
from medcnn.pixels.pool import Request
from tests.images.test_dicom import crafted

HOW = Preprocessing(size_px=64)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDCNN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MEDCNN_PSEUDONYM_KEY", "a secret of the hospital")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """What is asked of the decoder processes from here on."""
    requests: list[Request] = []
    real = shards.decode

    def decode(wanted: Sequence[Request], *rest: Any, **named: Any) -> Any:
        requests.extend(wanted)
        return real(wanted, *rest, **named)

    for module in (shards, thumbnails):
        monkeypatch.setattr(module, "decode", decode)
    return requests


def _recipes(how: Preprocessing) -> list[Recipe]:
    setting = {**thumbnails._reading(how), "harmless": []}
    return [Recipe(module="medcnn.audit.thumbnails", setting=setting), pixels_by(how)]


def _made(folder: Path, name: str, recipes: list[Recipe]) -> bytes:
    modules = {"medcnn.audit.thumbnails": thumbnails, "medcnn.pixels.decoder": decoder}
    makers = [modules[r.module].maker(r.setting) for r in recipes]  # type: ignore[attr-defined]
    head, data = decoded(folder, name, [""] * len(recipes), makers, ())
    assert all(not one["why"] for one in head["made"])
    return data


def test_an_audit_before_a_training_fills_the_pixel_cache_in_the_same_pass(
    bench: Any, asked: list[Request]
) -> None:
    clean = bench.make(12)
    (clean.root / "003.png").write_bytes(b"no image")
    together = look_at(clean, HOW, also=pixel_shelves(clean, HOW, "auto"))
    assert sorted(r.row for r in asked) == list(range(12))
    assert {r.asked for r in asked} == {("", "")}
    asked.clear()
    store = open_store(clean, HOW, cache="auto")
    again = look_at(clean, HOW)
    assert {r.row for r in asked} == {3}, "what was unreadable may be readable by now"
    alone = open_store(clean, HOW, cache="off")
    rows = store.readable(np.arange(12))
    assert rows.tolist() == [r for r in range(12) if r != 3]
    assert np.array_equal(store.take(rows), alone.take(rows))
    assert together.facts == again.facts
    assert together.key == again.key
    assert together.facts[3].bad == store.unreadable[3]


@pytest.mark.parametrize("first", ["audit", "pixels"])
def test_what_is_there_already_is_not_made_again(
    bench: Any, asked: list[Request], first: str
) -> None:
    clean = bench.make(12)
    if first == "audit":
        look_at(clean, HOW)
    else:
        open_store(clean, HOW, cache="auto")
    asked.clear()
    look_at(clean, HOW, also=pixel_shelves(clean, HOW, "auto"))
    assert {r.asked for r in asked} == {(None, "") if first == "audit" else ("", None)}


@pytest.mark.parametrize("size_px", [16, 64, 100, 256])
@pytest.mark.parametrize("kind", ["jpg", "png", "dcm"])
def test_together_they_are_to_the_bit_what_each_is_alone(
    bench: Any, tmp_path: Path, kind: str, size_px: int
) -> None:
    if kind == "dcm":
        (tmp_path / "x.dcm").write_bytes(crafted())
    else:
        Image.fromarray(bench.drawing(1, 600)).save(tmp_path / f"x.{kind}")
    recipes = _recipes(Preprocessing(size_px=size_px))
    alone = [_made(tmp_path, f"x.{kind}", [recipe]) for recipe in recipes]
    assert _made(tmp_path, f"x.{kind}", recipes) == b"".join(alone)


def test_a_file_is_read_once_and_decoded_once_for_both(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(bench.drawing(1, 1600)).save(tmp_path / "x.jpg")
    done: list[str] = []
    for name in ("read_file", "read_pixels"):
        real = getattr(decoder, name)

        def counting(*given: Any, real: Any = real, name: str = name, **named: Any) -> Any:
            done.append(name)
            return real(*given, **named)

        monkeypatch.setattr(decoder, name, counting)
    for how in (HOW, Preprocessing(size_px=256), Preprocessing(size_px=512, fit=Fit.CROP)):
        _made(tmp_path, "x.jpg", _recipes(how))
        assert done == ["read_file", "read_pixels"]
        done.clear()


@pytest.mark.fault
def test_a_file_that_kills_its_decoder_is_named_by_audit_and_training(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 31."""
    clean = bench.make(12)
    start = clean.root / "start"
    start.mkdir()
    (start / "sitecustomize.py").write_text(
        "import os\nfrom medcnn.pixels import decoder\nreal = decoder.read_pixels\n"
        "def read_pixels(root, path, **how):\n    if path == '003.png': os.abort()\n"
        "    return real(root, path, **how)\ndecoder.read_pixels = read_pixels\n"
    )
    monkeypatch.syspath_prepend(start)  # of decoder processes, not of this one
    also = pixel_shelves(clean, HOW, "auto")
    looks = look_at(clean, HOW, also=also)
    why = "the decoder crashed on this file (SIGABRT)"
    assert {row: f.bad for row, f in enumerate(looks.facts) if f.bad} == {3: why}
    assert also[0].unreadable == {3: (why, b"")}
    assert (also[0].places[:, 0] < 0).tolist() == [row == 3 for row in range(12)]


def test_looks_of_a_large_set_lie_on_disk_and_are_the_same(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean = bench.make(12)
    in_memory = look_at(clean)
    monkeypatch.setattr(thumbnails, "MOST_IN_MEMORY", 0)
    on_disk = look_at(clean)
    assert isinstance(on_disk.grey.base, np.memmap)
    assert np.array_equal(on_disk.grey, in_memory.grey)
    assert np.array_equal(on_disk.colour, in_memory.colour)


def test_what_a_file_says_at_any_length_is_cut_to_what_is_kept() -> None:
    noise = np.random.default_rng(0)
    strange = "".join(map(chr, noise.integers(0x4E00, 0x9000, 5000)))
    for scanner, kept in (("ACME " * 20, 100), (strange, 400)):
        facts = Facts(bad="", traits={"seen": "1", "scanner": scanner}, persons=("path",))
        packed = thumbnails._packed(facts)
        assert len(packed) == FACTS_BYTES
        found = thumbnails._unpacked(np.frombuffer(packed, np.uint8))
        assert found.persons == ("path",)
        assert found.traits == {"seen": "1", "scanner": scanner[:kept]}


def test_a_look_at_a_touched_file_is_taken_over(bench: Any, asked: list[Request]) -> None:
    clean = bench.make(12)
    before = look_at(clean)
    os.utime(clean.root / "003.png", ns=(5, 5))
    asked.clear()
    after = look_at(clean)
    assert [len(r.asked[0] or "") for r in asked] == [32], "its content is asked"
    assert np.array_equal(before.grey, after.grey)
    assert before.facts == after.facts
