"""The Python door: every block of docs/python.md runs, and says what the commands say."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import medcnn
from medcnn import api
from medcnn.data.labels import Kind
from medcnn.data.phantoms.drawing import generate
from medcnn.models.deployed import Model
from medcnn.statistics.predictions import Predictions
from medcnn.system.errors import DataError, MedcnnError, UsageError
from tests.command import run

TOP = Path(__file__).parents[1]
HOSPITAL = """\
defaults: [table]
root: {root}
table: labels.csv
image: image
label: diagnosis
kind: binary
classes: [other, nevus]
rename: {{melanoma: other, basal_cell: other, keratosis: other}}
patient: lesion
modality: dermoscopy
test_share: 0.4
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with all that docs/python.md takes for granted; it is the working folder."""
    place = tmp_path_factory.mktemp("python")
    generate(place / "set", "dermoscopy", patients=60, size_px=64)
    (place / "new_patients").mkdir()
    for number, image in enumerate(sorted((place / "set").rglob("*.jpg"))[:5]):
        Image.open(image).save(place / "new_patients" / f"{number + 1:03d}.png")
    settings = place / "my-configs" / "data" / "my_hospital.yaml"
    settings.parent.mkdir(parents=True)
    settings.write_text(HOSPITAL.format(root=place / "set"), encoding="utf-8")
    before, threads = Path.cwd(), torch.get_num_threads()
    os.chdir(place)
    yield place
    os.chdir(before)
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def facts_of(place: Path) -> dict[str, Any]:
    """The names that the blocks of docs/python.md leave behind."""
    text = (TOP / "docs" / "python.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(compile(block, "docs/python.md", "exec"), names)
    return names


def test_every_block_of_the_page_runs(facts_of: dict[str, Any]) -> None:
    assert facts_of["run"].report.is_file()
    assert 0 <= facts_of["auroc"].low <= facts_of["auroc"].value <= facts_of["auroc"].high <= 1
    assert facts_of["images"].shape == (8, 3, 32, 32)
    assert facts_of["features"].shape == (5, facts_of["model"].classifier.head[-1].in_features)


def test_python_says_what_the_command_says_to_the_bit(
    facts_of: dict[str, Any], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tables are rounded, so what they are written from is compared."""
    more = ["data.steps=shades_of_grey", "readout.calibration=temperature", "run_dir=runs/c"]
    kept = medcnn.train([*facts_of["quick"], *more], config_dir="my-configs").checkpoint
    said: list[Predictions] = []
    said_new = Model.said_new

    def heard(*given: Any) -> Predictions:
        said.append(said_new(*given))
        return said[-1]

    monkeypatch.setattr(Model, "said_new", heard)
    words = ("predict", f"checkpoint={kept}", "input=new_patients")
    assert run(*words, "output=command.csv", "device=cpu") == 0
    model = medcnn.load(kept)
    model.predict("new_patients").to_csv("python.csv")
    command, python = said
    assert model.preprocessing.steps
    assert python.readout.calibration
    for name in ("logits", "probabilities", "decisions"):
        assert np.array_equal(getattr(command, name), getattr(python, name)), name
    assert (place / "command.csv").read_bytes() == (place / "python.csv").read_bytes()


def test_a_manifest_is_told_what_the_run_kept(facts_of: dict[str, Any]) -> None:
    kept = facts_of["run"].predictions("test")
    assert np.array_equal(kept.logits, facts_of["test"].logits)
    assert kept.image_ids == facts_of["test"].image_ids
    found = facts_of["run"].scores["test"].find("auroc")
    assert (found.low, found.high) == (facts_of["auroc"].low, facts_of["auroc"].high)


@pytest.mark.parametrize("form", ["batch", "list", "floats", "sixteen"])
def test_pixels_of_any_form_are_read_as_the_file_is(facts_of: dict[str, Any], form: str) -> None:
    files = sorted(Path("new_patients").iterdir())
    images = np.stack([np.asarray(Image.open(file)) for file in files])
    given = {
        "batch": images,
        "list": list(images),
        "floats": images / 255,
        "sixteen": images.astype(np.uint16) * 257,
    }[form]
    found = facts_of["model"].predict(given).logits
    # 16 bits are resized in finer steps, so a pixel may come out one grey level apart
    atol = 1e-3 if form == "sixteen" else 0
    assert np.allclose(found, facts_of["out"].logits, rtol=0, atol=atol)


@pytest.mark.parametrize(
    ("pixels", "fault"),
    [
        (np.zeros((4, 5, 6), np.uint8), "neither"),
        (np.zeros((5, 5), np.int64), "int64"),
        (np.full((5, 5), 1.5), "0..1"),
        (np.full((5, 5), np.nan), "finite"),
        (np.zeros((0, 5), np.uint8), "no pixel"),
        ([], "no images were given"),
        (np.zeros((0, 32, 32, 3), np.uint8), "no images were given"),
        (["not-there.png"], "files not found"),
        ("nowhere", "nowhere"),
    ],
)
def test_what_is_no_image_is_refused_by_name(
    facts_of: dict[str, Any], pixels: Any, fault: str
) -> None:
    with pytest.raises(UsageError, match=re.escape(fault)):
        facts_of["model"].predict(pixels)


def test_a_list_of_files_keeps_its_order(facts_of: dict[str, Any], place: Path) -> None:
    files = sorted((place / "new_patients").iterdir(), reverse=True)
    found = facts_of["model"].predict(files)
    assert [Path(i).name for i in found.image_ids] == [f.name for f in files]
    assert np.allclose(found.logits[::-1], facts_of["out"].logits, atol=1e-5)


def test_an_unreadable_file_has_a_reason_and_no_features(
    facts_of: dict[str, Any], place: Path, tmp_path: Path
) -> None:
    shutil.copytree(place / "new_patients", tmp_path / "mixed")
    (tmp_path / "mixed" / "002.png").write_bytes(b"<html>")
    found = facts_of["model"].predict(tmp_path / "mixed")
    assert [i for i, _ in found.unreadable] == ["002.png"]
    assert len(found.logits) == 4
    found.to_csv(tmp_path / "table.csv")
    with (tmp_path / "table.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["image_id"]: row for row in csv.DictReader(file)}
    assert rows["002.png"]["unreadable"]
    assert not rows["002.png"]["decision"]
    with pytest.raises(UsageError, match=r"1 of 5 images"):
        facts_of["model"].features(tmp_path / "mixed")


def test_features_through_the_head_are_the_logits_of_one_view(facts_of: dict[str, Any]) -> None:
    model = facts_of["model"]
    plain = replace(model, checkpoint=replace(model.checkpoint, flips=""))
    with torch.inference_mode():
        logits = model.classifier.head(torch.from_numpy(facts_of["features"])).numpy()
    assert np.allclose(logits, plain.predict("new_patients").logits, atol=1e-5)


def test_a_split_without_images_has_no_features(facts_of: dict[str, Any]) -> None:
    manifest = facts_of["manifest"]
    without = manifest.with_records(r for r in manifest.records if r.split != "test")
    with pytest.raises(UsageError, match="no images"):
        facts_of["model"].features(without, split="test")


def test_a_frame_holds_the_table_with_exact_probabilities(facts_of: dict[str, Any]) -> None:
    pytest.importorskip("pandas")
    frame = facts_of["out"].to_frame()
    assert list(frame.columns) == facts_of["out"].new_columns
    name = facts_of["model"].labels.outputs[0]
    assert np.array_equal(frame[f"probability:{name}"], facts_of["out"].probabilities[:, 0])


def test_a_dataset_holds_each_readable_image_once(facts_of: dict[str, Any]) -> None:
    dataset, manifest = facts_of["dataset"], facts_of["manifest"]
    assert len(dataset) == len(set(dataset.image_ids)) == manifest.counts()["train"]["images"]
    assert sum(1 for _ in dataset) == len(dataset)
    image, _ = dataset[0]
    assert image.dtype is torch.float32
    assert 0 <= image.min() < image.max() <= 1


def test_a_yaml_is_read_in_its_own_folder(place: Path) -> None:
    """A copy of it found no sibling, and messages named the copy, which was deleted by then."""
    folder = place / "own" / "data"
    folder.mkdir(parents=True)
    (folder / "shared.yaml").write_text(HOSPITAL.format(root=place / "set"), encoding="utf-8")
    eye, slip = folder / "eye.yaml", folder / "slip.yaml"
    eye.write_text("defaults: [shared]\ntest_share: 0.3\n", encoding="utf-8")
    slip.write_text("defaults: [shared]\ntest_shar: 0.3\n", encoding="utf-8")
    assert medcnn.read_manifest(eye).records
    with pytest.raises(UsageError, match=re.escape(f"{slip}:2: 'test_shar'")):
        medcnn.read_manifest(slip)
    elsewhere = folder.rename(place / "own" / "beside-the-images")
    assert medcnn.read_manifest(elsewhere / "eye.yaml").records
    with pytest.raises(UsageError, match=re.escape(f"{elsewhere / 'slip.yaml'}:2: 'test_shar'")):
        medcnn.read_manifest(elsewhere / "slip.yaml")
    good = (elsewhere / "eye.yaml").read_bytes()
    (elsewhere / "slip.yml").write_bytes(good)  # beside slip.yaml, which is another file
    assert medcnn.read_manifest(elsewhere / "slip.yml").records


def test_the_images_of_all_splits_are_a_dataset_too(facts_of: dict[str, Any]) -> None:
    manifest = facts_of["manifest"]
    dataset = medcnn.torch_dataset(manifest, "all", facts_of["model"].preprocessing)
    assert dataset.image_ids == tuple(r.image_id for r in manifest.records)


def test_a_split_that_does_not_exist_is_refused_before_any_image_is_decoded(
    facts_of: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def decodes(*_: object, **__: object) -> None:
        raise AssertionError("images are decoded")

    monkeypatch.setattr("medcnn.api.open_store", decodes)
    monkeypatch.setattr("medcnn.models.deployed.open_store", decodes)
    manifest, model = facts_of["manifest"], facts_of["model"]
    for ask in (
        lambda: medcnn.torch_dataset(manifest, "val", model.preprocessing),
        lambda: model.predict(manifest, split="val"),
        lambda: model.features(manifest, split="val"),
        lambda: facts_of["run"].predictions("val"),
        lambda: medcnn.compare(facts_of["run"], facts_of["run"], split="val"),
    ):
        with pytest.raises(MedcnnError, match="val"):
            ask()


def test_models_of_other_images_are_not_compared(facts_of: dict[str, Any]) -> None:
    train = facts_of["model"].predict(facts_of["manifest"], split="train")
    with pytest.raises(DataError, match="no image in common"):
        medcnn.compare(facts_of["test"], train)


def test_a_comparison_says_what_the_command_says(simulate) -> None:
    a = simulate(Kind.BINARY, 200)
    noise = np.random.default_rng(0).normal(scale=4, size=a.logits.shape).astype(np.float32)
    found = medcnn.compare(a, replace(a, logits=a.logits + noise), margin=0.01).differences
    tested = [d for d in found if not np.isnan(d.p)]
    assert all(d.p_holm >= d.p for d in tested)  # it was nan, so that nothing was ever worse
    assert (found[0].verdict, found[0].margin, found[1].margin) == ("worse", 0.01, None)


def test_importing_the_package_imports_no_torch() -> None:
    code = "import sys, medcnn; print(*medcnn.__all__); assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [n for n in api.__all__ if n != "Evaluation"]


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing_like_it"):
        medcnn.nothing_like_it  # noqa: B018


def test_every_cell_of_the_notebook_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import matplotlib.pyplot as plt

    monkeypatch.chdir(tmp_path)
    plt.switch_backend("agg")
    monkeypatch.setattr(plt, "show", lambda: plt.close("all"))
    notebook = json.loads((TOP / "examples" / "first_steps.ipynb").read_text(encoding="utf-8"))
    names: dict[str, Any] = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [], "a notebook is kept without its outputs"
            exec(compile("".join(cell["source"]), cell["id"], "exec"), names)
    assert "auroc" in capsys.readouterr().out
