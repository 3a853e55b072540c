"""Row 66 and 67: strings that name a patient are found in no byte that medcnn writes or prints."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

TAGS = (
    *("PatientName", "PatientID", "OtherPatientNames", "PatientAddress", "PatientComments"),
    *("PatientTelephoneNumbers", "ReferringPhysicianName", "PerformingPhysicianName"),
    *("OperatorsName", "InstitutionName", "InstitutionAddress", "StudyDescription"),
    *("AccessionNumber", "StudyID", "RequestingPhysician", "ImageComments"),
)
QUICK = ("model=lenet5", "data.size_px=32", "trainer.epochs=1", "trainer.device=cpu")


def canary(where: str, number: int = 0) -> str:
    return f"CNRY{where.upper()}{number:03d}"


def write_dicom(path: Path, number: int, rng: np.random.Generator) -> None:
    image = pydicom.Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID = CTImageStorage
    image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    for tag in TAGS:
        setattr(image, tag, canary(tag[:8], number))
    image.Rows = image.Columns = 40
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 12, 11
    image.PixelRepresentation = 0
    shade = 600 + 1500 * (number // 2 % 2)
    image.PixelData = rng.integers(shade, shade + 900, (40, 40)).astype("<u2").tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save_as(path, enforce_file_format=True)


@pytest.fixture
def hospital(tmp_path: Path) -> Path:
    """48 DICOMs of 24 patients, whose names stand wherever a hospital may write them."""
    rng = np.random.default_rng(0)
    root = tmp_path / "export"
    rows = []
    for i in range(48):
        name = f"{canary('folder', i // 2)}/{canary('file', i)}.dcm"
        write_dicom(root / name, i, rng)
        label = ("healthy", "ill")[i // 2 % 2]
        rows.append([name, canary("patient", i // 2), label, canary("column", i)])
    with (root / "table.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["file", "who", "finding", "remark"], *rows])
    conf = tmp_path / "conf" / "data"
    conf.mkdir(parents=True)
    (conf / "ours.yaml").write_text(
        f"defaults: [table]\nroot: {root}\ntable: table.csv\nimage: file\nlabel: finding\n"
        "patient: who\nmodality: chest\n"
    )
    return tmp_path


def medcnn(folder: Path, *words: str) -> tuple[int, bytes]:
    """Exit code and everything printed by a command in a process of its own, run in `folder`."""
    done = subprocess.run(
        [sys.executable, "-m", "medcnn", *words],
        cwd=folder / "work",
        env={**os.environ, "MEDCNN_CACHE": str(folder / "work" / "cache")},
        capture_output=True,
        timeout=240,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def leaks_under(folder: Path) -> list[str]:
    """Files that hold a canary in their name or in their bytes."""
    return [
        str(p.relative_to(folder))
        for p in folder.rglob("*")
        if "CNRY" in str(p.relative_to(folder)) or (p.is_file() and b"CNRY" in p.read_bytes())
    ]


@pytest.mark.fault
def test_no_byte_that_is_written_or_printed_names_a_patient(hospital: Path) -> None:
    """Rows 66, 67 and 69."""
    work = hospital / "work"
    work.mkdir()
    own = ("data=ours", "--config-dir", str(hospital / "conf"))
    best = "checkpoint=run/checkpoints/best.safetensors"
    commands: list[tuple[int, tuple[str, ...]]] = [
        (0, ("audit", *own, "output=audit.html")),
        (0, ("preview", *own, "output=preview.html", "preview.per_class=1")),
        (0, ("train", *own, *QUICK, "run_dir=run")),
        (0, ("evaluate", best)),
        (0, ("evaluate", best, *own, "split=all")),
        (0, ("finetune", best, *own, "trainer.epochs=1", "trainer.device=cpu", "run_dir=tuned")),
    ]
    for code, words in commands:
        found, printed = medcnn(hospital, *words)
        assert found == code, printed.decode()
        assert b"CNRY" not in printed, printed.decode()
    # a crash: one image is damaged, another is gone
    files = sorted((hospital / "export").rglob("*.dcm"))
    files[0].write_bytes(files[0].read_bytes()[:900])
    found, printed = medcnn(hospital, "train", *own, *QUICK, "run_dir=crashed")
    assert found == 4, printed.decode()
    assert b"CNRY" not in printed, printed.decode()
    files[1].unlink()
    found, printed = medcnn(hospital, "train", *own, *QUICK, "run_dir=crashed")
    assert found == 4, printed.decode()
    assert b"CNRY" not in printed, printed.decode()
    assert leaks_under(work) == []


def test_the_search_for_canaries_can_fail(hospital: Path) -> None:
    found = leaks_under(hospital / "export")
    assert len(found) == 24 + 48 + 1  # folders, files and the table
