"""An archive that is not ours sends images to `medcnn serve`, and gets the answers back."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

pytest.importorskip("pynetdicom", reason="the extra clinic is not installed")
from medcnn.models.deployed import load_model

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import serve as load_test

BEST = Path(__file__).parents[1] / "golden" / "run" / "checkpoints" / "best.safetensors"
UP_S, DONE_S = 180, 400


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


class Orthanc:
    """A running archive, asked by its REST interface."""

    def __init__(self, http: int) -> None:
        self.address = f"http://127.0.0.1:{http}"

    def ask(self, path: str, data: bytes | None = None) -> Any:
        request = urllib.request.Request(f"{self.address}/{path}", data=data)
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.loads(answer.read())

    def file(self, instance: str) -> pydicom.Dataset:
        with urllib.request.urlopen(f"{self.address}/instances/{instance}/file") as answer:
            return pydicom.dcmread(BytesIO(answer.read()))

    def reports(self) -> list[pydicom.Dataset]:
        query = {"Level": "Instance", "Query": {"Modality": "SR"}}
        found = self.ask("tools/find", json.dumps(query).encode())
        return [self.file(instance) for instance in found]


@pytest.fixture
def ports() -> tuple[int, int, int, int]:
    return free_port(), free_port(), free_port(), free_port()


@pytest.fixture
def orthanc(tmp_path: Path, ports: tuple[int, int, int, int]) -> Iterator[Orthanc]:
    found = shutil.which("Orthanc", path="/usr/sbin:/usr/bin:/usr/local/bin")
    if found is None:
        pytest.skip("Orthanc (Debian: orthanc) is not installed")
    http, dicom, scp, _ = ports
    settings = {
        "StorageDirectory": str(tmp_path / "stored"),
        "IndexDirectory": str(tmp_path / "stored"),
        "HttpPort": http,
        "DicomPort": dicom,
        "DicomAet": "PACS",
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomModalities": {"medcnn": ["MEDCNN", "127.0.0.1", scp]},
        "Plugins": [str(p) for p in Path("/usr/share/orthanc/plugins").glob("*DicomWeb.so")],
    }
    (tmp_path / "orthanc.json").write_text(json.dumps(settings))
    command = [found, str(tmp_path / "orthanc.json")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    archive = Orthanc(http)
    try:
        wait(lambda: answers(archive), UP_S)
        yield archive
    finally:
        process.terminate()
        process.wait(60)


def answers(archive: Orthanc) -> bool:
    try:
        return bool(archive.ask("system"))
    except OSError:
        return False


def wait(ready: Any, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.5)


@pytest.mark.slow
def test_orthanc_gets_a_report_of_each_image_with_the_numbers_that_predict_gives(
    orthanc: Orthanc, ports: tuple[int, int, int, int], shared: Path, tmp_path: Path
) -> None:
    _, dicom, scp, page = ports
    command = [
        *(sys.executable, "-m", "medcnn", "serve", str(BEST), f"folder={tmp_path / 'served'}"),
        *(f"port={page}", f"scp.port={scp}", "scp.allowed=[PACS]", "trainer.device=cpu"),
        *("peer.host=127.0.0.1", f"peer.port={dicom}", "peer.title=PACS", "trainer.threads=1"),
    ]
    log = (tmp_path / "log").open("w")
    server = subprocess.Popen(command, stderr=log)
    files = sorted((shared / "dicom").glob("*.dcm"))
    sources = {str(pydicom.dcmread(f, stop_before_pixels=True).SOPInstanceUID): f for f in files}
    try:
        wait(lambda: "open http" in (tmp_path / "log").read_text(), UP_S)
        assert orthanc.ask("modalities/medcnn/echo", b"{}") == {}
        sent = [orthanc.ask("instances", f.read_bytes())["ID"] for f in files]
        stored = orthanc.ask("modalities/medcnn/store", json.dumps(sent).encode())
        assert stored["FailedInstancesCount"] == 0
        wait(lambda: len(orthanc.reports()) >= len(sources), DONE_S)
    finally:
        server.terminate()
        assert server.wait(60) == 0, "Ctrl-C and SIGTERM are the usual end"
        log.close()
    model = load_model(BEST, device="cpu")
    said = model.predict(list(sources.values()))
    of = {Path(i).name: p for i, p in zip(said.image_ids, said.probabilities, strict=True)}
    reports = orthanc.reports()
    assert len(reports) == len(sources)
    for report in reports:
        evidence = report.CurrentRequestedProcedureEvidenceSequence[0]
        image = evidence.ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
        file = sources[str(image.ReferencedSOPInstanceUID)]
        source = pydicom.dcmread(file, stop_before_pixels=True)
        assert report.StudyInstanceUID == source.StudyInstanceUID
        numbers = [float(n) for n in numbers_in(report)]
        for probability in of[file.name]:
            assert np.isclose(numbers, probability, atol=1e-5).any()
    assert list((tmp_path / "served" / "spool").rglob("*.dcm")) == []


@pytest.mark.slow
def test_by_dicomweb_orthanc_gets_a_report_of_each_image_and_is_asked_no_more(
    orthanc: Orthanc, ports: tuple[int, int, int, int], shared: Path, tmp_path: Path
) -> None:
    if not any("dicom-web" in name for name in orthanc.ask("plugins")):
        pytest.skip("the plug-in orthanc-dicomweb is not installed")
    files = sorted((shared / "dicom").glob("*.dcm"))
    headers = [pydicom.dcmread(f, stop_before_pixels=True) for f in files]
    dated = {str(h.SOPInstanceUID) for h in headers if h.get("StudyDate")}
    for file in files:
        orthanc.ask("instances", file.read_bytes())
    command = [
        *(sys.executable, "-m", "medcnn", "serve", str(BEST), f"folder={tmp_path / 'served'}"),
        *(f"port={ports[3]}", f"web.url={orthanc.address}/dicom-web", "web.days=36500"),
        *("web.every_s=1", "trainer.device=cpu", "trainer.threads=1"),
    ]
    log = (tmp_path / "log").open("w")
    server = subprocess.Popen(command, stderr=log)
    try:
        wait(lambda: len(orthanc.reports()) >= len(dated), DONE_S)
        time.sleep(5)  # whatever would be fetched or sent again
    finally:
        server.terminate()
        assert server.wait(60) == 0
        log.close()
    assert len(orthanc.reports()) == len(dated) > 5
    assert "nothing more is fetched" not in (tmp_path / "log").read_text()
    assert list((tmp_path / "served" / "spool").rglob("*.dcm")) == []


def numbers_in(report: pydicom.Dataset) -> list[Any]:
    return [one.NumericValue for one in items(report) if "NumericValue" in one]


def items(made: pydicom.Dataset) -> Iterator[pydicom.Dataset]:
    yield made
    for element in made:
        if element.VR == "SQ":
            for item in element.value:
                yield from items(item)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_two_senders_and_a_kill_leave_each_image_with_one_answer(tmp_path: Path) -> None:
    assert load_test.load(str(BEST), 24, 1, tmp_path / "served")["faults"] == []
