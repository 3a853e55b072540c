"""An exported file in the clinic: it answers the page and an archive, and says what it lacks."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pydicom
import pytest
import torch

pytest.importorskip("onnxruntime", reason="the extra export is not installed")
pytest.importorskip("starlette", reason="the extra serve is not installed")
pytest.importorskip("pynetdicom", reason="the extra clinic is not installed")
from medcnn.models import checkpoint as checkpoints
from medcnn.models.deployed import load_model
from medcnn.statistics.conformal import EVERYONE, Conformal
from medcnn.statistics.decisions import Referral
from tests.command import run

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import serve as load_test

BEST = Path(__file__).parents[1] / "golden" / "run" / "checkpoints" / "best.safetensors"
LACKS = "an exported file answers here, which has no layers to look into"


@pytest.fixture(scope="module")
def best(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that also has prediction sets and referrals."""
    checkpoint, classifier = checkpoints.load(BEST, torch.device("cpu"))
    bounds = {EVERYONE: (0.75,) * len(checkpoint.labels.names)}
    readout = replace(
        checkpoint.readout,
        conformal=Conformal(method="split", coverage=0.9, by="", bounds=bounds),
        referral=Referral(share=0.1, certainty=0.6),
    )
    path = tmp_path_factory.mktemp("whole") / "best.safetensors"
    checkpoints.save(path, classifier, replace(checkpoint, readout=readout))
    return path


@pytest.fixture(scope="module")
def onnx(best: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out") / "exported"
    assert run("export", best, f"output={folder}", "trainer.threads=1") == 0
    return folder / "model.onnx"


def numbers_in(made: pydicom.Dataset) -> Iterator[float]:
    for element in made:
        if element.keyword == "NumericValue":
            yield float(element.value)
        elif element.VR == "SQ":
            for item in element.value:
                yield from numbers_in(item)


@pytest.mark.slow
def test_an_exported_file_answers_an_archive_and_the_page_as_its_checkpoint_does(
    best: Path, onnx: Path, tmp_path: Path
) -> None:
    image = load_test.phantom(1, "1.2.3.4", "1.2.3")
    pydicom.dcmwrite(tmp_path / "image.dcm", image, enforce_file_format=True)
    said = load_model(best, device="cpu").predict(tmp_path / "image.dcm")
    archive = load_test.Archive()
    server = load_test.Server(str(onnx), tmp_path / "served", archive.port)
    try:
        sender = threading.Thread(target=load_test.send, args=([image], server, Counter()))
        sender.start()
        sender.join(60)
        headers = {"X-Medcnn": "1"}
        with httpx.Client(base_url=server.address, headers=headers, timeout=60) as page:
            upload = page.post("/judge", content=(tmp_path / "image.dcm").read_bytes()).text
            whole = page.get("/").text
        until = time.monotonic() + 60
        while not archive.reports and time.monotonic() < until:
            time.sleep(0.2)
    finally:
        server.process.terminate()
        assert server.process.wait(60) == 0
        archive.server.shutdown()
    ((body,),) = archive.contents.values()
    report = pydicom.filereader.read_dataset(BytesIO(body), False, True)
    in_report = list(numbers_in(report))
    for name, p in zip(said.labels.names, said.probabilities[0], strict=True):
        assert np.isclose(in_report, p, atol=1e-5).any(), name
        assert f'{name}</th><td class="number">{100 * p:.1f} %' in upload
    row = said.new_rows()[0]
    assert f'<p class="verdict">{row["decision"]}</p>' in upload
    assert f"Prediction set: {row['set'].replace('|', ', ')}" in upload
    assert ("Referred:" if row["refer"] == "yes" else "Not referred:") in upload
    assert "The model cannot tell whether this image is unlike its" in upload, "this one is old"
    assert f"No map: {LACKS}." in upload
    assert f"No image gets a map: {LACKS}." in whole
    assert "exported from checkpoint" in whole


def test_what_an_exported_file_lacks_is_said_when_the_server_starts(
    onnx: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medcnn.clinic.review.serving.serve_until_stopped", lambda *_, **__: None)

    def started(checkpoint: Path, *words: Any) -> str:
        assert run("serve", checkpoint, "port=0", f"folder={tmp_path / 'served'}", *words) == 0
        return " ".join(capsys.readouterr().err.split())

    assert f"no maps: {LACKS}" in started(onnx)
    assert "cannot tell which images are unusual" in started(onnx, "explain=null")
    assert "no maps" not in started(BEST, "trainer.device=cpu")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("model.pt2",), "loading it runs code stored in the file"),
        ((BEST, "trusted=true"), "trusted=true has no effect"),
    ],
)
def test_a_program_of_torch_needs_your_word(
    words: tuple[Any, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("serve", *words) == 2
    assert said in " ".join(capsys.readouterr().err.split())
