"""A checkpoint leaves for other programs without changing an answer."""

from __future__ import annotations

import contextlib
import csv
import json
import pickle
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import medcnn
from medcnn.data.labels import Kind
from medcnn.system.errors import CheckpointError, UsageError
from medcnn.verbs.export import ExportConfig
from medcnn.verbs.steps.exporting import GateError, exported, judged
from tests.command import run
from tests.conftest import Simulate
from tests.models.test_exporting import model

BEST = Path(__file__).parents[1] / "golden" / "run" / "checkpoints" / "best.safetensors"


@pytest.fixture(scope="module")
def onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out") / "exported"
    assert run("export", BEST, f"output={folder}", "trainer.threads=1") == 0
    return folder


def runner(folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """The script alone, in a Python that finds no medcnn."""
    block = "import sys, runpy; sys.modules['medcnn'] = None; sys.argv = sys.argv[1:]; "
    block += "runpy.run_path(sys.argv[0], run_name='__main__')"
    command = [sys.executable, "-c", block, str(folder / "run.py"), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def rows(table: Path) -> list[dict[str, str]]:
    with table.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def assert_alike(of: list[dict[str, str]], other: list[dict[str, str]]) -> None:
    """Two tables of predictions: numbers up to 1e-5, words equal."""
    for one, same in zip(of, other, strict=True):
        for column, cell in one.items():
            if column.startswith(("probability:", "strange:", "image:")):
                assert float(same[column]) == pytest.approx(float(cell), abs=1e-5)
            else:
                assert same[column] == cell


def test_predict_says_the_same_of_an_exported_file_as_of_its_checkpoint(
    onnx: Path, drawn: object, tmp_path: Path
) -> None:
    """Same columns, same decisions, same verdicts, numbers within 1e-5."""
    images = drawn("fundus", 12)  # type: ignore[operator]
    said = []
    for checkpoint in (BEST, onnx / "model.onnx"):
        table = tmp_path / f"{checkpoint.stem}.csv"
        words = (f"output={table}", "trainer.device=cpu", "trainer.threads=1")
        assert run("predict", checkpoint, images / "images", *words) == 0
        said.append(rows(table))
    assert said[0][0].keys() == said[1][0].keys()
    assert len(said[0]) == len(said[1]) > 12
    assert_alike(*said)
    header = json.loads((tmp_path / "model.json").read_text(encoding="utf-8"))
    assert header["checkpoint"] == "model.onnx"
    assert header["exported"]["checkpoint"] == "best.safetensors"


def test_a_notebook_takes_an_exported_file(onnx: Path) -> None:
    whole, exported = medcnn.load(BEST, device="cpu"), medcnn.load(onnx / "model.onnx")
    pixels = np.random.default_rng(0).integers(0, 255, (3, 50, 40, 3), np.uint8)
    assert exported.labels == whole.labels
    assert np.allclose(exported.features(pixels), whole.features(pixels), atol=1e-5)
    assert np.allclose(exported.predict(pixels).logits, whole.predict(pixels).logits, atol=1e-5)
    with pytest.raises(UsageError, match="use the checkpoint it was made from"):
        exported.explain(pixels[0])
    with pytest.raises(UsageError, match="runs with device cpu"):
        medcnn.load(onnx / "model.onnx", device="cuda")


def test_the_runner_needs_no_medcnn_and_finds_the_golden_logits(onnx: Path, tmp_path: Path) -> None:
    done = runner(onnx)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("20 golden images: logits differ by")
    assert "decisions same: True" in done.stdout
    copy = shutil.copytree(onnx, tmp_path / "copy")
    about = json.loads((copy / "export.json").read_text(encoding="utf-8"))
    about["golden"][0]["logits"][0] += 1
    (copy / "export.json").write_text(json.dumps(about), encoding="utf-8")
    assert runner(copy).returncode == 1
    missing = runner(onnx, "nowhere.png")
    assert missing.returncode == 1
    assert missing.stderr.startswith("an image cannot be read:"), missing.stderr
    assert "nowhere.png" in missing.stderr


@pytest.fixture(scope="module")
def pt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("torch") / "exported"
    assert run("export", BEST, "to=torch", f"output={folder}", "trainer.threads=1") == 0
    return folder / "model.pt2"


def test_a_program_of_torch_says_the_same_as_its_checkpoint(
    pt2: Path, drawn: object, tmp_path: Path
) -> None:
    images = drawn("fundus", 12)  # type: ignore[operator]
    said = []
    for number, words in enumerate(((BEST,), (pt2, "trusted=true"))):
        table = tmp_path / f"{number}.csv"
        more = (f"output={table}", "trainer.device=cpu", "trainer.threads=1")
        assert run("predict", words[0], images / "images", *words[1:], *more) == 0
        said.append(rows(table))
    assert len(said[0]) == len(said[1]) > 12
    assert_alike(*said)
    pixels = np.random.default_rng(0).integers(0, 255, (3, 50, 40, 3), np.uint8)
    whole, exported = medcnn.load(BEST, device="cpu"), medcnn.load(pt2, trusted=True)
    assert np.allclose(exported.features(pixels), whole.features(pixels), atol=1e-5)
    assert np.allclose(exported.predict(pixels).logits, whole.predict(pixels).logits, atol=1e-5)
    with pytest.raises(UsageError, match="use the checkpoint it was made from"):
        exported.explain(pixels[0])


class Runs:
    """What a foreign file may hold: it calls something when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.file,)


def test_nothing_in_a_program_of_torch_runs_until_it_is_trusted(
    pt2: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign, ran = tmp_path / "model.pt2", tmp_path / "ran"
    with zipfile.ZipFile(pt2) as archive, zipfile.ZipFile(foreign, "w") as other:
        for name in archive.namelist():
            inputs = "sample_inputs" in name
            other.writestr(name, pickle.dumps(Runs(ran)) if inputs else archive.read(name))
        assert any("sample_inputs" in name for name in archive.namelist())
    assert run("predict", foreign, BEST.parent, f"output={tmp_path / 'a.csv'}") == 2
    assert "loading it runs code stored in the file" in " ".join(capsys.readouterr().err.split())
    with pytest.raises(UsageError, match="pass trusted=True"):
        medcnn.load(foreign)
    assert not ran.exists()
    with contextlib.suppress(CheckpointError):
        medcnn.load(foreign, trusted=True)
    assert ran.exists(), "or the check would see nothing"


def test_a_program_of_torch_that_is_damaged_or_of_others_is_refused_before_it_runs(
    pt2: Path, tmp_path: Path
) -> None:
    content = bytearray(pt2.read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "flipped.pt2").write_bytes(content)
    (tmp_path / "half.pt2").write_bytes(content[:1000])
    with zipfile.ZipFile(tmp_path / "foreign.pt2", "w") as other:
        other.writestr("model/archive_format", "pt2")
    for name, said in (
        ("flipped", "is damaged|cannot be read"),
        ("half", "cannot be read"),
        ("foreign", "no medcnn description"),
    ):
        with pytest.raises(CheckpointError, match=said):
            medcnn.load(tmp_path / f"{name}.pt2", trusted=True)


def test_trust_without_a_program_of_torch_has_no_effect(
    onnx: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("predict", onnx / "model.onnx", tmp_path, "trusted=true") == 2
    assert "trusted=true has no effect" in " ".join(capsys.readouterr().err.split())


ORDINARY = (
    *(("RGB", (90, 61), "png"), ("L", (64, 200), "png"), ("RGBA", (70, 70), "png")),
    *(("P", (51, 80), "png"), ("LA", (40, 64), "png"), ("RGB", (512, 384), "jpg")),
    *(("L", (256, 128), "jpg"), ("CMYK", (120, 99), "jpg"), ("RGB", (33, 20), "webp")),
    ("RGB", (10, 12), "bmp"),
)


def test_the_runner_reads_ordinary_files_as_medcnn_does(onnx: Path, tmp_path: Path) -> None:
    exif, files = Image.Exif(), list[Path]()
    exif[274] = 6  # turned
    for mode, size, suffix in ORDINARY:
        pixels = np.random.default_rng(1).integers(0, 255, (size[1], size[0], 3), np.uint8)
        image = Image.fromarray(pixels).convert("RGB" if mode == "P" else mode)
        image = image.convert("P") if mode == "P" else image
        files.append(tmp_path / f"{mode}-{len(files)}.{suffix}")
        image.save(files[-1], **({"exif": exif} if suffix == "jpg" else {}))
    done = runner(onnx, *files)
    assert done.returncode == 0, done.stderr
    rows = [line.split("\t") for line in done.stdout.splitlines()[1:]]
    right = medcnn.load(onnx / "model.onnx").predict(files)
    assert [row[0] for row in rows] == list(map(str, files))
    for file, row, p in zip(files, rows, right.probabilities, strict=True):
        assert np.allclose([float(cell) for cell in row[1:-1]], p, atol=2e-6), file.name


def test_no_path_and_no_text_of_this_machine_is_in_an_exported_file(
    onnx: Path, tmp_path: Path
) -> None:
    assert run("export", BEST, "to=torch", f"output={tmp_path / 't'}") == 0
    home = str(Path(__file__).parents[2])
    for file in [*onnx.glob("*.*"), *(tmp_path / "t").glob("*.*")]:
        content = file.read_bytes()
        assert home.encode() not in content, file
        assert b"site-packages" not in content, file
        assert str(Path.home()).encode() + b"/" not in content, file
    assert runner(tmp_path / "t").returncode == 0


@pytest.mark.fault
def test_a_file_whose_answers_differ_from_its_checkpoints_is_not_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Row 95."""
    from medcnn.models import exporting

    true = exporting.answers_of_onnx

    def shifted(content: bytes) -> exporting.Answers:
        answer = true(content)
        return lambda images: (answer(images)[0] + 2e-4, *answer(images)[1:])

    monkeypatch.setattr(exporting, "answers_of_onnx", shifted)
    assert run("export", BEST, f"output={tmp_path / 'e'}") == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "does not answer as its checkpoint does: on images, logits differ by 0.0002" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("to=onx",), "to=onx is not one of onnx, torch, monai, timm; did you mean 'onnx'?"),
        (("to=huggingface",), "the same folder as to=timm"),
        (("to=torch", "int8=true"), "int8=true has no effect with to=torch"),
        (("data=phantom",), "data= has no effect without int8=true"),
        (("output=tests",), "output=tests exists"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_loaded(
    words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("export", BEST, *words) == 2
    assert said in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("evaluate",), "only predict, serve and `medcnn.load` accept"),
        (("predict", "input=tests", "explain=gradcam"), "maps need the network's layers"),
        (("predict", "input=tests", "trainer.precision=bf16"), "runs with precision fp32"),
    ],
)
def test_what_an_exported_file_cannot_do_is_said(
    onnx: Path,
    words: tuple[str, ...],
    said: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    more = (f"output={tmp_path / 'o.csv'}",) if words[0] == "predict" else ()
    assert run(words[0], f"checkpoint={onnx / 'model.onnx'}", *words[1:], *more) == 2
    assert said in " ".join(capsys.readouterr().err.split())


@pytest.mark.fault
def test_a_changed_or_foreign_file_is_refused(onnx: Path, tmp_path: Path) -> None:
    """Row 11: a flipped bit of a weight; half of a file; a file of another program."""
    content = bytearray((onnx / "model.onnx").read_bytes())
    whole = medcnn.load(onnx / "model.onnx").checkpoint
    assert whole.familiar is None or whole.familiar.spaces
    content[len(content) // 3] ^= 1
    tail = (onnx / "model.onnx").read_bytes()
    at = tail.rindex(b"operating_points") + 20
    for name, damaged, reason in (
        ("bit", bytes(content), "checksum|cannot be read"),
        ("tail", tail[:at] + bytes([tail[at] ^ 1]) + tail[at + 1 :], "checksum"),
        ("half", bytes(content[: len(content) // 2]), "cannot be read"),
        ("none", b"", "cannot be read"),
        ("foreign", foreign(), "no medcnn description"),
    ):
        (tmp_path / f"{name}.onnx").write_bytes(damaged)
        with pytest.raises(CheckpointError, match=reason):
            medcnn.load(tmp_path / f"{name}.onnx")


def foreign() -> bytes:
    from onnx import TensorProto, helper

    one = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    two = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "g", [one], [two])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return bytes(made.SerializeToString())


def test_a_folder_for_timm_says_that_images_are_normalised_before(tmp_path: Path) -> None:
    how = {"batch_size": 8, "threads": 1, "data": None, "moved": {}, "int8": False}
    config = ExportConfig(checkpoint="best.safetensors", to="timm", output="t", **how)  # type: ignore[arg-type]
    exported(config, model("resnet18", flips="", px=48), tmp_path)
    about = json.loads((tmp_path / "export.json").read_text(encoding="utf-8"))
    assert about["normalisation"] == "mean and std of config.json"


def test_eight_bits_need_two_hundred_validation_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("int8=true", "data=phantom", "data.patients=12", "data.phantom=fundus")
    assert run("export", BEST, *words, f"output={tmp_path / 'e'}") == 4
    said = " ".join(capsys.readouterr().err.split())
    assert "int8=true needs 200 validation images or more" in said
    assert list(tmp_path.iterdir()) == []


def test_eight_bits_that_may_cost_more_than_five_thousandths_are_refused(
    simulate: Simulate,
) -> None:
    whole = simulate(Kind.BINARY, 400)
    from dataclasses import replace

    noise = np.random.default_rng(0).normal(size=whole.logits.shape).astype(np.float32)
    near = judged(whole, replace(whole, logits=whole.logits + 1e-3 * noise))
    assert near["low"] > -0.005
    assert near["same_decisions"] > 0.98
    assert judged(whole, whole)["low"] == 0
    with pytest.raises(GateError, match="interval of the drop reaches"):
        judged(whole, replace(whole, logits=whole.logits + noise))
    one = replace(whole, targets=np.zeros_like(whole.targets))
    with pytest.raises(GateError, match="the cost of 8 bits cannot be known"):
        judged(one, replace(one, logits=one.logits + noise))


def test_monai_loads_the_bundle_and_finds_the_logits(tmp_path: Path) -> None:
    import torch
    from monai.bundle import ConfigParser

    bundle = tmp_path / "bundle"
    assert run("export", BEST, "to=monai", f"output={bundle}") == 0
    parser = ConfigParser()
    parser.read_config(bundle / "configs" / "inference.json")
    parser.read_meta(bundle / "configs" / "metadata.json")
    parser["bundle_root"] = str(bundle)
    network = parser.get_parsed_content("network_def")
    pixels = parser.get_parsed_content("preprocessing")
    about = json.loads((bundle / "export.json").read_text(encoding="utf-8"))
    files = [bundle / one["file"] for one in about["golden"]]
    with torch.no_grad():
        logits = network(torch.from_numpy(np.stack([pixels(f) for f in files])))[0]
    assert np.allclose(logits, [one["logits"] for one in about["golden"]], atol=1e-4)
    inputs = parser.get("_meta_")["network_data_format"]["inputs"]["image"]
    assert inputs["spatial_shape"] == [about["preprocessing"]["size_px"]] * 2
    assert runner(bundle).returncode == 0
