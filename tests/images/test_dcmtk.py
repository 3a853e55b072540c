"""The pixels of DCMTK, which has another code for every step, beside ours: docs/dicom.md."""

from __future__ import annotations

import shutil
import subprocess
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image

from medcnn.images import Frames, grayscale, read_pixels
from medcnn.images.dicom import MONOCHROME, checked, decode
from medcnn.images.luts import voi_luts
from medcnn.system.errors import ImageError
from tests.images.test_dicom import crafted
from tests.images.test_luts import item

FILES = Path(pydicom.__file__).parent / "data" / "test_files"
TOOLS = ("dcm2pnm", "dcmj2pnm", "dcmdjpls")

needs_dcmtk = pytest.mark.skipif(
    any(shutil.which(t) is None for t in TOOLS), reason="DCMTK is not installed: apt install dcmtk"
)
STORED = np.tile(np.arange(0, 4096, 13, dtype=np.uint16), (20, 1))
SIGNED = (STORED.astype(np.int16) - 2048).astype(np.int16)
WIDE: dict[str, Any] = {"WindowCenter": 2048, "WindowWidth": 4096}
FALLING = np.arange(65535, 0, -16)[:4096].astype("<u2").tobytes()
LUT = [item(LUTDescriptor=[4096, 0, 16], LUTData=FALLING)]
SHAPES = ("IDENTITY", "INVERSE", None)
CRAFTED: dict[str, dict[str, Any]] = {
    **{
        f"{kind} {shape}": WIDE | {"PhotometricInterpretation": kind, "PresentationLUTShape": shape}
        for kind in MONOCHROME
        for shape in SHAPES
    },
    "narrow": {"WindowCenter": 1000, "WindowWidth": 500},
    "width 1": {"WindowCenter": 1000, "WindowWidth": 1},
    "sigmoid": {"WindowCenter": 1500, "WindowWidth": 900, "VOILUTFunction": "SIGMOID"},
    "rescaled": {"RescaleSlope": 2, "RescaleIntercept": -1024, **WIDE},
    "falling": {"RescaleSlope": -1, "RescaleIntercept": 4095, **WIDE},
    "signed": {"stored": SIGNED, "WindowCenter": 40, "WindowWidth": 400},
    "signed and rescaled": {"stored": SIGNED, "RescaleSlope": 0.5, "RescaleIntercept": 10, **WIDE},
    "junk above": {"stored": STORED | np.uint16(0xA000), **WIDE},
    "a modality LUT": {"ModalityLUTSequence": LUT, "WindowCenter": 32768, "WindowWidth": 65536},
    "a VOI LUT": {"VOILUTSequence": LUT},
    "an empty item": {"VOILUTSequence": [item()], "ModalityLUTSequence": [item()], **WIDE},
    "big endian": {"syntax": pydicom.uid.ExplicitVRBigEndian, **WIDE},
    "deflated": {"syntax": pydicom.uid.DeflatedExplicitVRLittleEndian, **WIDE},
}


def theirs(file: Path, folder: Path, *options: str) -> np.ndarray | None:
    """[H, W] or [H, W, 3] of 8 bits as DCMTK shows the first frame; None where it shows nothing."""
    native, out = folder / "native.dcm", folder / "shown.pnm"
    out.unlink(missing_ok=True)
    if _runs("dcmdjpls", file, native):
        file = native
    if any(_runs(tool, "-O", "+F", "1", *options, file, out) for tool in TOOLS[:2]):
        with Image.open(out) as image:
            return np.asarray(image)
    return None


def _runs(*command: str | Path) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def window_of(dataset: pydicom.Dataset, cells: np.ndarray) -> tuple[str, ...]:
    """The options that make DCMTK show what we show: the same LUT or window, or, where the file
    names none, the range that we take."""
    if voi_luts(dataset):
        return ("+Wl", "1")
    centers, widths, function = grayscale.windows(dataset)
    if centers and widths and grayscale.usable(centers[0], widths[0], function):
        return ("+Wi", "1")
    stored = grayscale.stored_values(dataset, cells)
    measured, bits = grayscale.modality(dataset, stored)
    seen = measured[~grayscale.padding_mask(dataset, stored)]
    low, high = np.percentile(seen, grayscale.FALLBACK_PERCENTILES)
    if bits is not None and bits <= 8:
        low, high = 0, 2**bits - 1
    return ("+Ww", f"{(low + high + 1) / 2:.6f}", f"{high - low + 1:.6f}")


def compared(file: Path, folder: Path) -> tuple[np.ndarray, np.ndarray] | None:
    """Ours and theirs, in 0..255, where no padding is; None where one of us reads nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom warns of files that break the standard
        try:
            ours = read_pixels(file.parent, file.name, frames=Frames.FIRST)
        except ImageError:
            return None
        dataset, index = checked(file.read_bytes(), Frames.FIRST)
        grey = dataset.PhotometricInterpretation in MONOCHROME
        cells = decode(dataset, index, None, 0)
        found = theirs(file, folder, *(window_of(dataset, cells) if grey else ()))
        if found is None:
            return None
        seen = np.ones(found.shape[:2], dtype=bool)
        if grey:
            seen = ~grayscale.padding_mask(dataset, grayscale.stored_values(dataset, cells))
    shown = ours[:, :, 0] / 257 if grey else ours
    return np.asarray(shown, dtype=float)[seen], found.astype(float)[seen]


def assert_alike(ours: np.ndarray, theirs: np.ndarray, name: str) -> None:
    """DCMTK rounds down, which is half a level of 255 in the mean."""
    assert ours.shape == theirs.shape, name
    assert np.abs(ours - theirs).mean() <= 0.8, name
    if ours.std() and theirs.std():
        # and so the polarity
        assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.999, name


def alike(files: list[Path], folder: Path) -> int:
    """How many of the files look the same; those that one of us does not read do not count."""
    count = 0
    for file in files:
        if (found := compared(file, folder)) is not None:
            assert_alike(*found, file.name)
            count += 1
    return count


@needs_dcmtk
@pytest.mark.parametrize("name", CRAFTED)
def test_a_crafted_file_looks_as_in_dcmtk(name: str, tmp_path: Path) -> None:
    file = tmp_path / "crafted.dcm"
    file.write_bytes(crafted(**{"stored": STORED, **CRAFTED[name]}))
    assert alike([file], tmp_path) == 1


@needs_dcmtk
def test_the_files_of_pydicom_look_as_in_dcmtk(tmp_path: Path) -> None:
    """43 of them with DCMTK 3.6.7, which reads no JPEG 2000."""
    count = alike(sorted(FILES.rglob("*.dcm")), tmp_path)
    print(f"{count} files of pydicom look as in DCMTK")
    assert count >= 40


@needs_dcmtk
def test_real_radiographs_look_as_in_dcmtk(shared: Path, tmp_path: Path) -> None:
    count = alike(sorted((shared / "dicom").glob("*.dcm")), tmp_path)
    print(f"{count} real radiographs look as in DCMTK")
    assert count >= 8
