"""First pass over radiographs: pydicom's way over ours, one thread each, for five syntaxes.

    python benchmarks/dicom.py > benchmarks/results/dicom-cpu.json
    python benchmarks/dicom.py "JPEG 2000"    # one syntax only

40 images of 2048x2048, 12 bits, in each syntax: phantom chests of 512 px, enlarged, with the noise
of a sensor (its deviation 0.35 times the root of the value: 1.9 to 1 in JPEG-LS), written to a
temporary folder and read once so that the disk does not count. All have a LINEAR window.

    pydicom   dcmread, pixel_array, apply_modality_lut, apply_voi_lut (float64), divided by 4095,
              turned for MONOCHROME1, float32, pillow's resize to 256x256 (bilinear, antialiased).
              Decoders: pydicom for RLE, pyjpegls, pylibjpeg-openjpeg, and for JPEG lossless the one
              of medcnn, since no other can be depended on: gdcm aborts on bad input, and
              pylibjpeg-libjpeg is GPL. Where those are installed they are timed too, on 10 files
    medcnn    read_pixels(at_least_px=512) and Preprocessing(size_px=256, bits=16)

For each file the two take turns, each time the other one first; ratios are of the two times of one
file, and the median over the files is given. `max_before_resizing` is the largest difference of a
pixel at full size, `mean_at_256_px` the mean difference, both of full scale 1.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

import medcnn.images.decoders  # noqa: F401  (gives pydicom a decoder for JPEG lossless)
from medcnn.data.phantoms.chest import draw
from medcnn.images import Preprocessing, read_pixels

FILES, SIDE_PX, SIZE_PX = 40, 2048, 256
SYNTAXES = {
    "uncompressed": ExplicitVRLittleEndian,
    "RLE": RLELossless,
    "JPEG-LS": JPEGLSLossless,
    "JPEG lossless": JPEGLosslessSV1,
    "JPEG 2000": JPEG2000Lossless,
}
# Plugins of pydicom: the first is the one of `ratio`.
PLUGINS = {
    "uncompressed": ("",),
    "RLE": ("pydicom", "gdcm"),
    "JPEG-LS": ("pyjpegls", "gdcm", "pylibjpeg"),
    "JPEG lossless": ("medcnn", "gdcm", "pylibjpeg"),
    "JPEG 2000": ("pylibjpeg", "gdcm"),
}
GOALS = {
    "uncompressed": 3.0,
    "RLE": 2.0,
    "JPEG-LS": 2.0,
    "JPEG lossless": 2.5,
    "JPEG 2000": 12.0,
}
OURS = Preprocessing(size_px=SIZE_PX, channels=1, bits=16)


def radiograph(number: int) -> pydicom.Dataset:
    """An uncompressed chest; every other one is MONOCHROME1."""
    rng = np.random.default_rng(number)
    dataset = pydicom.dcmread(BytesIO(next(draw(number, 0, 512)).data))
    small = Image.fromarray(dataset.pixel_array.astype(np.float32))
    large = np.asarray(small.resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC)).clip(0)
    noisy = large + 0.35 * np.sqrt(large) * rng.standard_normal(large.shape, dtype=np.float32)
    dataset.PixelData = noisy.round().clip(0, 4095).astype("<u2").tobytes()
    dataset.Rows = dataset.Columns = SIDE_PX
    dataset.PhotometricInterpretation = ("MONOCHROME2", "MONOCHROME1")[number % 2]
    dataset.WindowCenter, dataset.WindowWidth = 2000 + 10 * number, 3600
    for name in ("VOILUTFunction", "VOILUTSequence", "PixelPaddingValue", "PresentationLUTShape"):
        if name in dataset:
            del dataset[name]
    return dataset


def written(dataset: pydicom.Dataset, syntax: UID) -> bytes:
    values = dataset.pixel_array
    if syntax == JPEGLosslessSV1:
        frame = imagecodecs.jpeg8_encode(values, lossless=True, bitspersample=12, predictor=1)
        dataset.PixelData = encapsulate([frame])
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = syntax
    elif syntax != ExplicitVRLittleEndian:
        dataset.compress(syntax, values)
    buffer = BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


def pydicom_full(file: Path, plugin: str) -> np.ndarray[Any, Any]:
    dataset = pydicom.dcmread(file)
    dataset.pixel_array_options(decoding_plugin=plugin)
    shown = apply_voi_lut(apply_modality_lut(dataset.pixel_array, dataset), dataset) / 4095
    return 1 - shown if dataset.PhotometricInterpretation == "MONOCHROME1" else shown


def pydicom_way(file: Path, plugin: str) -> np.ndarray[Any, Any]:
    image = Image.fromarray(pydicom_full(file, plugin).astype(np.float32))
    return np.asarray(image.resize((SIZE_PX, SIZE_PX), Image.Resampling.BILINEAR))


def our_way(file: Path) -> np.ndarray[Any, Any]:
    pixels = read_pixels(file.parent, file.name, at_least_px=2 * SIZE_PX)
    return OURS.apply(pixels)[0] / np.float32(65535)


def timed(way: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    found = way()
    return time.perf_counter() - start, found


def pairs(files: list[Path], plugin: str) -> tuple[list[float], list[float], list[float]]:
    """Seconds of pydicom and of medcnn, and the mean difference, for each file."""
    theirs, ours, means = [], [], []
    pydicom_way(files[0], plugin), our_way(files[0])
    for i, file in enumerate(files):
        ways = {"pydicom": partial(pydicom_way, file, plugin), "medcnn": partial(our_way, file)}
        found = {n: timed(ways[n]) for n in (list(ways) if i % 2 else list(ways)[::-1])}
        theirs.append(found["pydicom"][0])
        ours.append(found["medcnn"][0])
        means.append(float(np.abs(found["pydicom"][1] - found["medcnn"][1]).mean()))
    return theirs, ours, means


def median_ratio(theirs: list[float], ours: list[float]) -> float:
    return round(statistics.median(t / o for t, o in zip(theirs, ours, strict=True)), 2)


def measured(files: list[Path], syntax: UID, plugins: tuple[str, ...]) -> dict[str, Any]:
    for file in files:
        file.read_bytes()
    theirs, ours, means = pairs(files, plugins[0])
    most = 0.0
    for file in files[:4]:
        full = read_pixels(file.parent, file.name)[:, :, 0] / 65535
        most = max(most, float(np.abs(full - pydicom_full(file, plugins[0])).max()))
    others = {}
    for plugin in plugins[1:]:
        if plugin in get_decoder(syntax).available_plugins:
            others[plugin] = median_ratio(*pairs(files[:10], plugin)[:2])
    return {
        "files": len(files),
        "mib_each": round(sum(f.stat().st_size for f in files) / len(files) / 2**20, 2),
        "pydicom_ms": round(1e3 * statistics.median(theirs), 1),
        "medcnn_ms": round(1e3 * statistics.median(ours), 1),
        "decoder_of_pydicom": plugins[0],
        "ratio": median_ratio(theirs, ours),
        "ratio_to_other_decoders": others,
        "max_before_resizing": round(most, 6),
        "mean_at_256_px": round(statistics.mean(means), 6),
    }


def main() -> None:
    chosen = {name: SYNTAXES[name] for name in sys.argv[1:] or SYNTAXES}
    with tempfile.TemporaryDirectory() as folder:
        files: dict[str, list[Path]] = {name: [] for name in chosen}
        for number in range(FILES):
            whole = radiograph(number)
            for name, syntax in chosen.items():
                file = Path(folder) / f"{number:02d} {name}.dcm"
                file.write_bytes(written(deepcopy(whole), syntax))
                files[name].append(file)
        results = {
            name: {"goal": GOALS[name], **measured(files[name], syntax, PLUGINS[name])}
            for name, syntax in chosen.items()
        }
    packages = ("numpy", "pillow", "pydicom", "imagecodecs", "pylibjpeg-openjpeg", "pyjpegls")
    print(
        json.dumps(
            {
                "command": "python benchmarks/dicom.py",
                "machine": f"{platform.machine()}, {os.cpu_count()} cores, one thread used",
                "versions": {p: version(p) for p in packages},
                "results": results,
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
