"""What a reader advises can be said to every verb that reads images."""

from __future__ import annotations

import csv
import json
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest

from medcnn.models.checkpoint import load
from tests.images.test_dicom import crafted
from tests.verbs.test_commands import QUICK, best, run

READ = "data.frames=first"


def cine(number: int, frames: int = 3) -> bytes:
    """[frames, 40, 48]: the first frame is brighter by class, the middle one is dark."""
    rng = np.random.default_rng(number)
    stored = rng.integers(0, 1200, (frames, 40, 48)).astype(np.uint16)
    stored[0] += np.uint16(400 + 2000 * (number % 2))
    dataset = pydicom.dcmread(BytesIO(crafted(stored=stored[0])))
    dataset.NumberOfFrames, dataset.PixelData = frames, stored.tobytes()
    dataset.WindowCenter, dataset.WindowWidth = [2048, 1500], [4096, 3600]
    buffer = BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


def clinic(folder: Path, frames: int) -> Path:
    """A folder of settings with data=cines."""
    (folder / "data").mkdir(parents=True)
    (folder / "images").mkdir()
    lines = ["image,label,patient"]
    for number in range(36):
        (folder / "images" / f"{number}.dcm").write_bytes(cine(number, frames))
        lines.append(f"{number}.dcm,{'ab'[number % 2]},{number}")
    (folder / "images" / "t.csv").write_text("\n".join(lines))
    (folder / "data" / "cines.yaml").write_text(
        f"defaults: [table]\nroot: {folder}/images\ntable: t.csv\nimage: image\nlabel: label\n"
        "patient: patient\nmodality: other\n"
    )
    return folder


@pytest.fixture(scope="module")
def cines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clinic(tmp_path_factory.mktemp("cines") / "x", 3)


@pytest.fixture(scope="module")
def stills(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was trained on single frames, with frames: error."""
    folder = clinic(tmp_path_factory.mktemp("stills") / "x", 1)
    words = ("data=cines", f"--config-dir={folder}", f"run_dir={folder}/run", "data.channels=1")
    assert run("train", *QUICK, *words, "trainer.epochs=1") == 0
    return folder / "run"


@pytest.mark.fault
def test_predict_reads_a_cine_as_its_reader_advises(
    stills: Path, cines: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Row B10: what the checkpoint says stays the default, and a difference is said."""
    source = (best(stills), f"input={cines}/images/0.dcm")
    assert run("predict", *source, f"output={tmp_path}/a.csv") == 4
    assert "set data.frames to first or middle" in capsys.readouterr().err
    found = {}
    for how in ("first", "middle"):
        assert run("predict", *source, f"output={tmp_path}/{how}.csv", f"data.frames={how}") == 0
        assert f"data.frames={how}; the checkpoint was trained with data.frames=error" in (
            capsys.readouterr().err
        )
        with (tmp_path / f"{how}.csv").open() as file:
            (found[how],) = csv.DictReader(file)
        said = json.loads((tmp_path / f"{how}.json").read_text())
        assert said["read_with"] == {"window": 0, "frames": how}
    assert found["first"]["probability:b"] != found["middle"]["probability:b"]
    narrow = (READ, "data.window=1")
    assert run("predict", *source, f"output={tmp_path}/b.csv", *narrow) == 0
    assert "data.window=1" in capsys.readouterr().err
    assert run("predict", *source, f"output={tmp_path}/c.csv", READ, "data.window=2") == 4
    assert "set data.window to 0 to 1" in capsys.readouterr().err


@pytest.mark.fault
def test_every_verb_that_reads_takes_the_settings_of_reading(
    stills: Path, cines: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Row B10: evaluate, audit, preview and finetune too, by the command or the data's YAML."""
    data = ("data=cines", f"--config-dir={cines}")
    assert run("audit", *data, f"output={tmp_path}/a.html", READ) == 0
    assert run("preview", *data, f"output={tmp_path}/p.html", READ, "preview.per_class=1") == 0
    evaluate = ("evaluate", best(stills), *data, "split=all")
    assert run(*evaluate, f"run_dir={tmp_path}/refused") == 4
    assert run(*evaluate, f"run_dir={tmp_path}/e", READ) == 0
    notes = json.loads((tmp_path / "e" / "run.json").read_text())["notes"]
    assert any("data.frames=first; the checkpoint was trained with" in note for note in notes)
    yaml = cines / "data" / "cines.yaml"
    (cines / "data" / "first.yaml").write_text(yaml.read_text() + "frames: first\n")
    data = ("data=first", f"--config-dir={cines}")
    assert run("evaluate", best(stills), *data, "split=all", f"run_dir={tmp_path}/y") == 0
    words = ("trainer.epochs=1", "trainer.device=cpu", f"run_dir={tmp_path}/f")
    assert run("finetune", best(stills), *data, *words) == 0
    checkpoint, _ = load(tmp_path / "f" / "checkpoints" / "best.safetensors", "cpu")
    assert checkpoint.preprocessing.frames == "first"
    capsys.readouterr()


@pytest.mark.fault
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("predict", "data.size_px=64"), "data.size_px is not a setting of medcnn predict"),
        (("evaluate", "data.size_px=64"), "preprocessing comes from the checkpoint"),
        (("report", "run=x", "data.frames=first"), "data.frames is not a setting of medcnn report"),
        (("predict", "data.frames=last"), "data.frames=last is not one of error, first, middle"),
    ],
)
def test_a_setting_without_effect_is_refused_as_ever(
    words: tuple[str, ...], said: str, stills: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Row B10."""
    verb, *rest = words
    given = (best(stills),) if verb != "report" else ()
    more = (f"input={stills}", "output=never.csv") if verb == "predict" else ()
    assert run(verb, *given, *more, *rest) == 2
    assert said in capsys.readouterr().err


@pytest.mark.fault
def test_the_images_of_the_training_can_be_read_in_another_way(
    stills: Path, tmp_path: Path
) -> None:
    """Row B10: `evaluate` without data=."""
    words = ("data.window=1", "split=all", f"run_dir={tmp_path}/w")
    assert run("evaluate", best(stills), *words) == 0
    notes = json.loads((tmp_path / "w" / "run.json").read_text())["notes"]
    assert any("data.window=1; the checkpoint was trained with data.window=0" in n for n in notes)
