"""The objects in an archive that is not ours: sent to Orthanc, found there, and read back."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian

from medcnn.clinic.objects import file_of, objects_of
from tests.clinic.test_objects import MODEL, heated, radiograph

UP_S = 30.0


@dataclass(frozen=True)
class Archive:
    http: int
    dicom: int

    def get(self, path: str) -> bytes:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.http}/{path}", headers={"Accept": "application/json, */*"}
        )
        with urllib.request.urlopen(request, timeout=UP_S) as answer:
            return bytes(answer.read())

    def asked(self, path: str) -> Any:
        return json.loads(self.get(path))

    def instances(self) -> dict[str, pydicom.Dataset]:
        """SOP Instance UID -> what it has stored."""
        files = [self.get(f"instances/{i}/file") for i in self.asked("instances")]
        found = [pydicom.dcmread(BytesIO(file)) for file in files]
        return {str(one.SOPInstanceUID): one for one in found}

    def send(self, objects: list[pydicom.Dataset]) -> list[int]:
        """The status of each C-STORE; 0 is success (PS3.7 C.1)."""
        from pynetdicom.ae import ApplicationEntity

        entity = ApplicationEntity(ae_title="MEDCNN")
        for one in objects:
            entity.add_requested_context(one.SOPClassUID, one.file_meta.TransferSyntaxUID)
        association = entity.associate("127.0.0.1", self.dicom, ae_title="ORTHANC")
        assert association.is_established
        try:
            return [int(association.send_c_store(one).Status) for one in objects]
        finally:
            association.release()


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    if (orthanc := shutil.which("Orthanc", path="/usr/sbin:/usr/bin:/usr/local/bin")) is None:
        pytest.skip("Orthanc (Debian: orthanc) is not installed")
    found = Archive(http=free_port(), dicom=free_port())
    settings = {
        "StorageDirectory": str(tmp_path / "stored"),
        "IndexDirectory": str(tmp_path / "stored"),
        "HttpPort": found.http,
        "DicomPort": found.dicom,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "Plugins": [str(p) for p in Path("/usr/share/orthanc/plugins").glob("*DicomWeb.so")],
    }
    (tmp_path / "orthanc.json").write_text(json.dumps(settings))
    with (tmp_path / "log").open("w") as log:
        running = subprocess.Popen(
            [orthanc, tmp_path / "orthanc.json"], stdout=log, stderr=subprocess.STDOUT
        )
    try:
        until = time.monotonic() + UP_S
        while time.monotonic() < until and running.poll() is None:
            try:
                found.asked("system")
                break
            except OSError:
                time.sleep(0.1)
        else:
            pytest.fail(f"Orthanc does not start: {(tmp_path / 'log').read_text()[-500:]}")
        yield found
    finally:
        running.terminate()
        running.wait(UP_S)


def source() -> pydicom.Dataset:
    tags = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelRepresentation": 0}
    return radiograph(**tags, Modality="DX", PixelData=bytes(300 * 200))


def as_sent(made: pydicom.Dataset) -> pydicom.Dataset:
    return pydicom.dcmread(BytesIO(file_of(made)))


def test_an_archive_keeps_every_element_and_files_them_with_the_image(archive: Archive) -> None:
    image = source()
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    objects = [as_sent(made) for made in objects_of(image, heated(), MODEL)]
    assert len(objects) == 3
    assert {made.file_meta.TransferSyntaxUID for made in objects} == {ExplicitVRLittleEndian}
    assert archive.send([image, *objects]) == [0] * 4
    stored = archive.instances()
    assert len(stored) == 4
    for made in objects:
        back = stored[str(made.SOPInstanceUID)]
        assert list(back.keys()) == list(made.keys())
        for element in made:
            assert back[element.tag] == element, element.keyword
    if not any("dicom-web" in name for name in archive.asked("plugins")):
        pytest.skip("everything but DICOMweb: the plug-in (orthanc-dicomweb) is not installed")
    (study,) = archive.asked("dicom-web/studies?PatientID=0815")
    assert study["0020000D"]["Value"] == [image.StudyInstanceUID]
    assert sorted(study["00080061"]["Value"]) == ["DX", "OT", "PR", "SR"]
    series = archive.asked(f"dicom-web/studies/{image.StudyInstanceUID}/series")
    assert {one["0020000E"]["Value"][0] for one in series} == {
        str(made.SeriesInstanceUID) for made in (image, *objects)
    }


def test_sending_twice_changes_nothing(archive: Archive) -> None:
    assert archive.send(objects_with_meta()) == [0, 0, 0]
    before = archive.instances()
    assert archive.send(objects_with_meta()) == [0, 0, 0]
    assert archive.instances() == before
    assert len(before) == 3


def objects_with_meta() -> list[pydicom.Dataset]:
    return [as_sent(made) for made in objects_of(source(), heated(), MODEL)]
