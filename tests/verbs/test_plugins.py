"""The package of examples/plugin, installed as users install it, from training to prediction."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors
from PIL import Image

TOP = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the example is installed, without network and beside what is there."""
    copy = shutil.copytree(TOP / "examples" / "plugin", tmp_path_factory.mktemp("plugin") / "it")
    target = copy.parent / "site-packages"
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--no-index", "--target", str(target), str(copy)], check=True)
    return target


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 patients with an image each; the ill ones have a bright square."""
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for patient in range(40):
        pixels = rng.integers(0, 120, (40, 40, 3), dtype=np.uint8)
        ill = patient % 2 == 1
        pixels[8:24, 8:24] += 100 * ill
        name = f"p{patient:02}_{'ill' if ill else 'well'}_0.png"
        Image.fromarray(pixels).save(folder / name)
    return folder


def medcnn(
    *words: object, place: Path | None, cwd: Path, code: int = 0
) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own, with the plug-in or without."""
    paths = [str(TOP / "src"), *([str(place)] if place else [])]
    done = subprocess.run(
        [sys.executable, "-m", "medcnn", *map(str, words)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done


def test_the_example_is_what_the_guide_shows() -> None:
    """docs/plugins.md quotes the files of the example."""
    guide = (TOP / "docs" / "plugins.md").read_text(encoding="utf-8")
    for line in (TOP / "examples" / "plugin" / "pyproject.toml").read_text().splitlines():
        if line.startswith("[project.entry-points"):
            assert line in guide


@pytest.mark.slow
def test_a_package_of_ones_own_trains_evaluates_and_predicts(
    place: Path, images: Path, tmp_path: Path
) -> None:
    settings = (
        *("data=named_files", f"data.root={images}", "data.steps=gamma", "data.size_px=32"),
        *("loss=tversky", "loss.alpha=0.2", "head=normed", "model=lenet5", "trainer.score=f2"),
        "augmentation.preset=exposures",
        *("trainer.epochs=2", "trainer.device=cpu", "trainer.threads=1"),
    )
    for run in ("a", "b"):
        medcnn("train", *settings, f"run_dir={run}", place=place, cwd=tmp_path)
    best = tmp_path / "a" / "checkpoints" / "best.safetensors"
    with (
        safetensors.safe_open(best, framework="np") as one,
        safetensors.safe_open(str(best).replace("/a/", "/b/"), framework="np") as other,
    ):
        described = json.loads(one.metadata()["medcnn"])
        assert all(np.array_equal(one.get_tensor(k), other.get_tensor(k)) for k in one.keys())  # noqa: SIM118
    assert {(p["group"], p["name"]) for p in described["plugins"]} == {
        ("augmentations", "exposures"),
        ("datasets", "named_files"),
        ("heads", "normed"),
        ("losses", "tversky"),
        ("scores", "f2"),
        ("steps", "gamma"),
    }
    assert {(p["distribution"], p["version"]) for p in described["plugins"]} == {
        ("medcnn-example", "0.1.0")
    }
    # all options stand there, so that another default would not change what the run means
    assert described["training"]["loss"]["options"] == {"alpha": 0.2, "beta": 0.7}
    assert described["training"]["data"]["steps"] == [{"name": "gamma", "exponent": 0.8}]
    facts = json.loads((tmp_path / "a" / "run.json").read_text(encoding="utf-8"))
    assert facts["versions"]["medcnn-example"] == "0.1.0"
    scores = json.loads((tmp_path / "a" / "metrics.json").read_text(encoding="utf-8"))
    assert "f2" in {s["name"] for s in scores["splits"]["test"]["scores"]}

    medcnn("preview", *settings, place=place, cwd=tmp_path)
    shown = (tmp_path / "preview.html").read_text(encoding="utf-8")
    assert "then the operation of exposures" in shown
    medcnn("evaluate", best, "run_dir=again", place=place, cwd=tmp_path)
    again = json.loads((tmp_path / "again" / "metrics.json").read_text(encoding="utf-8"))
    assert again["splits"]["test"]["scores"] == scores["splits"]["test"]["scores"]
    medcnn("predict", best, images, "p.csv", place=place, cwd=tmp_path)
    with (tmp_path / "p.csv").open(encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 40
    finetuned = ("finetune", best, "data=named_files", f"data.root={images}", *settings[-3:])
    medcnn(*finetuned, "run_dir=c", place=place, cwd=tmp_path)
    with safetensors.safe_open(
        tmp_path / "c" / "checkpoints" / "best.safetensors", framework="np"
    ) as file:
        kept = json.loads(file.metadata()["medcnn"])["plugins"]
    assert {"heads", "steps"} <= {p["group"] for p in kept}

    # the same commands where nobody installed the package
    wanted = (
        "needs 'gamma' (steps) and 'normed' (heads) of medcnn-example 0.1.0, which is not "
        "installed. If you trust that package: pip install medcnn-example==0.1.0"
    )
    elsewhere = ("finetune", best, "data=phantom")
    for words in (("evaluate", best), ("predict", best, images, "q.csv"), elsewhere):
        done = medcnn(*words, place=None, cwd=tmp_path, code=1)
        assert wanted in " ".join(done.stderr.split())
    done = medcnn("report", "a", place=None, cwd=tmp_path)
    assert "no installed package defines these scores: f2" in " ".join(done.stderr.split())
