"""No patient id of seven digits comes back from what is written, by trying numbers without the key;
and nobody but its owner may look into a cache or a run folder.

`benchmarks/attack.py` tries all ten million numbers; here the true ones and some others are tried.
"""

from __future__ import annotations

import importlib.util
import json
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from medcnn.system.errors import UsageError
from tests.command import run

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "attack.py"
PATIENTS = [f"{n:07d}" for n in np.random.default_rng(5).integers(10**6, 10**7, 18)]
QUICK = ("model=lenet5", "data.size_px=32", "trainer.epochs=1", "trainer.device=cpu")


@pytest.fixture(scope="module")
def attacker() -> Any:
    spec = importlib.util.spec_from_file_location("attack", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_dicom(path: Path, patient: str, shade: int, rng: np.random.Generator) -> None:
    image = pydicom.Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID = CTImageStorage
    image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    image.PatientID, image.AccessionNumber = patient, str(int(patient) // 2 + 1000000)
    image.Rows = image.Columns = 40
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 12, 11, 0
    image.PixelData = rng.integers(shade, shade + 900, (40, 40)).astype("<u2").tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save_as(path, enforce_file_format=True)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the cache and the runs of a join on PatientID and of class folders, all made
    under a umask that lets everybody read."""
    top = tmp_path_factory.mktemp("attacked")
    rng = np.random.default_rng(0)
    lines = ["id,finding"]
    for i, patient in enumerate(PATIENTS):
        name, label = f"{patient}.dcm", ("healthy", "ill")[i % 2]
        write_dicom(top / "export" / name, patient, 600 + 1500 * (i % 2), rng)
        place = top / "classes" / label / name
        place.parent.mkdir(parents=True, exist_ok=True)
        os.link(top / "export" / name, place)
        lines.append(f"{patient},{label}")
    (top / "export" / "table.csv").write_text("\n".join(lines) + "\n")
    join = (f"data.root={top}/export", "data.table=table.csv", "data.image=id")
    join += ("data.label=finding", "data.join=PatientID")
    mask, before = os.umask(0), os.environ["MEDCNN_CACHE"]
    os.environ["MEDCNN_CACHE"] = str(top / "out" / "cache")
    try:
        for words in (
            ("audit", *join, f"output={top}/out/audit.html"),
            ("train", f"data.root={top}/classes", *QUICK, f"run_dir={top}/out/run"),
        ):
            assert run(words[0], "data=table", *words[1:]) == 0
    finally:
        os.umask(mask)
        os.environ["MEDCNN_CACHE"] = before
    return top / "out"


def files(folder: Path) -> list[Path]:
    return [p for p in folder.rglob("*") if p.is_file()]


@pytest.mark.fault
def test_no_patient_id_is_found_by_trying_numbers_without_the_key(
    written: Path, attacker: Any
) -> None:
    """Row A1: PatientID and AccessionNumber of DICOM files, file names that are patient ids."""
    numbers = {*PATIENTS, *(str(int(p) // 2 + 1000000) for p in PATIENTS), "1234567"}
    found = attacker.digests_in(files(written))
    assert len(found) > 100
    assert list(attacker.attack(found, numbers)) == []


def test_an_id_that_is_hashed_without_a_key_is_found(tmp_path: Path, attacker: Any) -> None:
    digest = attacker.HASHES["sha256"](b"1234567")
    (tmp_path / "a.json").write_text(json.dumps({digest.hex()[:32]: 1}))
    (tmp_path / "b.rows").write_bytes(b"xyz" + attacker.HASHES["blake2b of 16 bytes"](b"7654321"))
    hits = list(attacker.attack(attacker.digests_in(files(tmp_path)), ["1234567", "7654321"]))
    assert [(number, name) for number, name, _ in hits] == [
        ("1234567", "sha256"),
        ("7654321", "blake2b of 16 bytes"),
    ]


@pytest.mark.fault
def test_caches_and_runs_are_for_their_owner_alone_whatever_the_umask(written: Path) -> None:
    """Row A1: folders 0700, files 0600."""
    modes = {
        str(p.relative_to(written)): stat.S_IMODE(p.lstat().st_mode)
        for folder in ("cache", "run")
        for p in (written / folder, *(written / folder).rglob("*"))
    }
    kinds = {name.split("/")[1] for name in modes if "/" in name}
    assert {"audit", "dicom-headers", "pixels", "places", "pseudonym.key", "events"} <= kinds
    open_to_others = {name: oct(mode) for name, mode in modes.items() if mode & 0o077}
    assert open_to_others == {}


def read_key(monkeypatch: pytest.MonkeyPatch, cache: Path) -> str:
    from medcnn.system import privacy

    monkeypatch.setenv("MEDCNN_CACHE", str(cache))
    privacy._key.cache_clear()
    return privacy.pseudonym("7")


@pytest.mark.fault
@pytest.mark.parametrize("how", ["a link", "writable", "readable", "another user's"])
def test_a_key_that_others_could_have_planted_or_read_is_refused(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row A1."""
    key = tmp_path / "cache" / "pseudonym.key"
    key.parent.mkdir()
    key.write_text("a" * 64)
    key.chmod({"writable": 0o620, "readable": 0o640}.get(how, 0o600))
    if how == "a link":
        key.rename(tmp_path / "elsewhere")
        key.symlink_to(tmp_path / "elsewhere")
    if how == "another user's":
        if os.geteuid():
            pytest.skip("only root may give files away")
        os.chown(key, 4711, 4711)
    with pytest.raises(UsageError, match=r"link|chmod 600|another user"):
        read_key(monkeypatch, key.parent)


@pytest.mark.fault
def test_a_cache_that_another_user_made_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row A1: what stands in it would be believed."""
    if os.geteuid():
        pytest.skip("only root may give files away")
    from medcnn.system.files import cache_place

    monkeypatch.setenv("MEDCNN_CACHE", str(tmp_path))
    (tmp_path / "audit").mkdir()
    os.chown(tmp_path / "audit", 4711, 4711)
    with pytest.raises(UsageError, match="another user"):
        cache_place("audit")
    (tmp_path / "pixels").symlink_to(tmp_path / "audit")
    with pytest.raises(NotADirectoryError):
        cache_place("pixels")
