"""The page of a data set before training: what it shows, and what it must not show."""

from __future__ import annotations

import base64
import csv
import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.data import get_testdata_file

from medcnn.cli.compose import read_command
from medcnn.images import Frames, read_pixels
from medcnn.images.dicom_chain import explained
from medcnn.pages.way import THUMBNAIL_PX
from medcnn.verbs import execute
from tests.command import run

KINDS = {"fundus": "disc_crop", "dermoscopy": "shades_of_grey", "chest": "border_crop"}


def page(output: Path, *words: str) -> str:
    execute(read_command("preview", [*words, f"output={output}"]))
    return output.read_text(encoding="utf-8")


def thumbnails(html: str, name: str = '[^"]*') -> list[Image.Image]:
    """The pictures of that name, in the order of the page."""
    found = re.findall(rf'src="data:image/\w+;base64,([^"]+)"[^>]* alt="{name}"', html)
    return [Image.open(io.BytesIO(base64.b64decode(f))) for f in found]


def without_pictures(html: str) -> str:
    return re.sub(r'src="data:[^"]*"', "", html)


@pytest.fixture(scope="module", params=sorted(KINDS))
def phantoms(request: pytest.FixtureRequest, drawn: Callable[[str, int], Path]) -> Path:
    return drawn(request.param, 32)


def test_a_page_has_a_section_for_each_class_and_every_step_and_names_no_image(
    phantoms: Path, tmp_path: Path
) -> None:
    kind = phantoms.name
    words = (f"data.root={phantoms}", f"data.phantom={kind}", "data.patients=32", "data.size_px=64")
    html = page(tmp_path / "p.html", *words, f"data.steps={kind}", "preview.per_class=2")
    names = re.search(r"labels: ([^<]*)\.</p>", html)
    assert names
    headings = re.findall(r"<h2>(.*?) <small", html)
    assert headings[: len(names[1].split(", "))] == names[1].split(", ")
    start = "polarity" if kind == "chest" else "as read"  # the drawn chests are DICOM files
    for step in (start, KINDS[kind], "final", "epoch 1", "epoch 4"):
        assert html.count(f"<figcaption>{step}<") == html.count('<div class="image">') > 0
    assert 0 < max(max(t.size) for t in thumbnails(html)) <= THUMBNAIL_PX
    assert "<script" not in html
    assert "default-src 'none'" in html
    text = without_pictures(html)
    assert str(phantoms) not in text
    with (phantoms / "labels.csv").open() as file:
        for row in csv.DictReader(file):
            stem = Path(row["image"]).stem
            assert stem not in text


def test_ten_classes_of_four_noisy_images_stay_below_5_mb(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for k in range(10):
        (tmp_path / "set" / f"class{k}").mkdir(parents=True)
        for i in range(4):
            coarse = Image.fromarray(rng.integers(0, 256, (60, 80, 3), dtype=np.uint8))
            coarse.resize((320, 240)).save(tmp_path / "set" / f"class{k}" / f"{k}-{i}.png")
    words = ("data=table", f"data.root={tmp_path / 'set'}", "data.steps=dermoscopy")
    html = page(tmp_path / "p.html", *words, "data.modality=dermoscopy")
    assert html.count('<div class="image">') == 40
    assert len(html) < 5_000_000


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """DICOM files in a folder per class, one of them broken off."""
    root = tmp_path_factory.mktemp("archive")
    dataset = pydicom.dcmread(str(get_testdata_file("CT_small.dcm")))
    dataset.PatientName, dataset.PatientID = "Doe^Jane", "4711"
    dataset.WindowCenter, dataset.WindowWidth = [40, 300], [400, 1500]
    for name, patient in (("a", "4711"), ("b", "4712")):
        (root / name).mkdir()
        dataset.PatientID = patient
        dataset.PhotometricInterpretation = "MONOCHROME1" if name == "b" else "MONOCHROME2"
        dataset.save_as(root / name / f"{name}.dcm")
    whole = (root / "a" / "a.dcm").read_bytes()
    (root / "a" / "short.dcm").write_bytes(whole[: len(whole) // 2])
    return root


def test_a_dicom_shows_its_chain_and_what_in_the_header_decided(
    archive: Path, tmp_path: Path
) -> None:
    words = ("data=table", f"data.root={archive}", "data.channels=1", "data.window=1")
    html = page(tmp_path / "p.html", *words)
    order = [html.index(f"<figcaption>{s}<") for s in ("stored values", "modality", "VOI")]
    assert order == sorted(order)
    assert order[-1] < html.index("<figcaption>polarity<") < html.index("<figcaption>final<")
    for said in (
        "rescale: slope 1, intercept -1024",
        "window 1 of 2: center 300, width 1500, LINEAR",
        "turned (MONOCHROME1)",
        "kept (MONOCHROME2: low values are dark)",
    ):
        assert said in html
    text = without_pictures(html)
    assert not [n for n in ("Doe", "Jane", "4711", "4712", "a.dcm", "short.dcm") if n in text]


def test_an_unreadable_image_is_a_line_with_its_reason(archive: Path, tmp_path: Path) -> None:
    html = page(tmp_path / "p.html", "data=table", f"data.root={archive}", "data.channels=1")
    assert html.count("cannot be read: ") == 1
    assert re.search(r"cannot be read: .*(truncated|broke|end of)", html, re.IGNORECASE)


@pytest.mark.fault
def test_what_kills_a_decoder_is_a_line_of_the_page(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 31."""
    (tmp_path / "at_start").mkdir()
    (tmp_path / "at_start" / "sitecustomize.py").write_text(
        "import os\nfrom medcnn.images import reading\nread = reading.read_file\n"
        "reading.read_file = lambda f: os.abort() if f.name == 'b.dcm' else read(f)\n"
    )
    monkeypatch.syspath_prepend(tmp_path / "at_start")  # of decoder processes, not of this one
    html = page(tmp_path / "p.html", "data=table", f"data.root={archive}", "data.channels=1")
    assert "the decoder crashed on this file (SIGABRT)" in html
    assert html.count("cannot be read: ") == 2


def test_the_last_stage_of_a_chain_is_what_readers_get(archive: Path) -> None:
    for path in ("a/a.dcm", "b/b.dcm"):
        read = read_pixels(archive, path)
        data = (archive / path).read_bytes()
        facts, stages = explained(data, window=0, frames=Frames.ERROR)
        wanted = np.rint(read.astype(np.float32) * (255 / 65535)).astype(np.uint8)
        assert np.array_equal(stages[-1].pixels, wanted)
        assert facts["stored"] == "16 of 16 bits, signed"


def test_the_augmentations_are_those_of_the_first_epochs(phantoms: Path, tmp_path: Path) -> None:
    words = (f"data.root={phantoms}", f"data.phantom={phantoms.name}", "data.patients=32")
    size = ("data.size_px=32", "preview.per_class=1", "preview.augmentations=2")
    one, same = (page(tmp_path / f"{n}.html", *words, *size) for n in "ab")
    other = page(tmp_path / "c.html", *words, *size, "seed=1")
    still = page(tmp_path / "d.html", *words, *size, "augmentation.preset=none")
    assert one == same
    assert one != other
    for name, html in (("plain", still), ("moved", one)):
        final, first, second = (
            np.asarray(thumbnails(html, n)[0]) for n in ("final", "epoch 1", "epoch 2")
        )
        assert np.array_equal(final, first) == (name == "plain")
        assert np.array_equal(first, second) == (name == "plain")


def test_a_page_that_exists_is_not_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "preview.html"
    output.write_text("mine")
    assert run("preview", f"output={output}") == 2
    assert "Nothing is overwritten" in " ".join(capsys.readouterr().err.split())
    assert output.read_text() == "mine"
    output.unlink()
    small = ("data.patients=12", "preview.per_class=1", "preview.augmentations=0")
    first = page(output, *small)
    assert page(output, *small, "data.size_px=32") != first  # its own page is made again
    assert run("preview", f"output={tmp_path / 'preview.txt'}") == 2


def test_words_of_a_train_command_work_and_those_without_effect_are_named(
    phantoms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"data.root={phantoms}", f"data.phantom={phantoms.name}", "data.patients=32"]
    words += ["experiment=chest_xray", "data=phantom", "model=resnet50", "trainer.epochs=3"]
    words += ["data.size_px=32", "preview.per_class=1", f"output={tmp_path / 'p.html'}"]
    assert run("preview", *words) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "no effect on a preview: model, trainer.epochs" in said
