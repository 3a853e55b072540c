"""Flip bytes in files of every kind that is read, and count what the reader does.

    python scripts/fuzz_readers.py 10000

A file must be read or refused with a reason, within 8 seconds, in 2 GiB of address space. Case n is
the same on every machine. Prints counts for each kind as JSON; ends with 1 where a process died,
anything but an ImageError came out, or a file took too long, and names those cases.
"""

from __future__ import annotations

import json
import resource
import select
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter, defaultdict
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from medcnn.images import Frames, read_pixels
from medcnn.system.errors import ImageError

LIMIT_S, LIMIT_BYTES = 8.0, 2 << 30
SYNTAXES = (
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEG2000Lossless,
    HTJ2KLossless,
)


def drawn(shape: tuple[int, ...], most: int) -> np.ndarray[Any, Any]:
    """A smooth picture under noise."""
    rng = np.random.default_rng(0)
    down, right = np.mgrid[: shape[0], : shape[1]] / 20
    light = 0.5 + 0.4 * np.sin(down) * np.cos(right)
    light = light.reshape(shape[:2] + (1,) * (len(shape) - 2)) + rng.normal(0, 0.03, shape)
    return (light.clip(0, 1) * most).astype(np.uint8 if most < 256 else np.uint16)


def dicom(syntax: pydicom.uid.UID) -> bytes:
    """A radiograph of 96x80 with a window and a padding value, 12 bits (8 in JPEG baseline)."""
    bits = 8 if syntax == JPEGBaseline8Bit else 12
    values = drawn((96, 80), 2**bits - 1)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = (
        DigitalXRayImageStorageForPresentation
    )
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset.Rows, dataset.Columns = values.shape
    dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 0
    dataset.PhotometricInterpretation = "MONOCHROME1"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = (
        8 if bits == 8 else 16,
        bits,
        bits - 1,
    )
    dataset.WindowCenter, dataset.WindowWidth = 2 ** (bits - 1), 2**bits
    dataset.PixelPaddingValue = 0
    frames = {
        JPEGBaseline8Bit: lambda: imagecodecs.jpeg8_encode(values),
        JPEGExtended12Bit: lambda: imagecodecs.jpeg8_encode(values, bitspersample=12),
        JPEGLossless: lambda: lossless(values, 5),
        JPEGLosslessSV1: lambda: lossless(values, 1),
        JPEGLSLossless: lambda: imagecodecs.jpegls_encode(values),
        JPEG2000Lossless: lambda: imagecodecs.jpeg2k_encode(
            values, codecformat="j2k", level=0, reversible=True, bitspersample=12
        ),
        HTJ2KLossless: lambda: imagecodecs.htj2k_encode(values),
    }
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    dataset.PixelData = values.astype(values.dtype.newbyteorder(order)).tobytes()
    dataset["PixelData"].VR = "OW"
    if syntax == RLELossless:
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.compress(RLELossless, generate_instance_uid=False)
    elif syntax in frames:
        dataset.PixelData = encapsulate([frames[syntax]()])
        dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    buffer = BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def photograph() -> bytes:
    """A DICOM of 96x80 in colour, as JPEG baseline."""
    dataset = pydicom.dcmread(BytesIO(dicom(JPEGBaseline8Bit)))
    dataset.SamplesPerPixel, dataset.PlanarConfiguration = 3, 0
    dataset.PhotometricInterpretation = "YBR_FULL_422"
    dataset.PixelData = encapsulate([raster("JPEG", "RGB")])
    buffer = BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def lossless(values: np.ndarray[Any, Any], predictor: int) -> bytes:
    return bytes(
        imagecodecs.jpeg8_encode(values, lossless=True, bitspersample=12, predictor=predictor)
    )


def raster(kind: str, mode: str, **options: Any) -> bytes:
    shape = (96, 80) if mode in ("L", "I;16") else (96, 80, 3)
    buffer = BytesIO()
    values = drawn(shape, 65535 if mode == "I;16" else 255)
    Image.fromarray(values).save(buffer, kind, **options)
    return buffer.getvalue()


def npz() -> bytes:
    buffer = BytesIO()
    np.savez_compressed(buffer, train_images=drawn((28, 28, 6), 255).transpose(2, 0, 1))
    return buffer.getvalue()


@cache
def whole_files() -> dict[str, tuple[str, bytes]]:
    """Kind -> the file's ending, and the file."""
    files = {f"DICOM {s.name}": ("dcm", dicom(s)) for s in SYNTAXES}
    return files | {
        "DICOM photograph": ("dcm", photograph()),
        "JPEG": ("jpg", raster("JPEG", "RGB")),
        "JPEG progressive": ("jpg", raster("JPEG", "RGB", progressive=True)),
        "PNG": ("png", raster("PNG", "RGB")),
        "PNG 16 bit": ("png", raster("PNG", "I;16")),
        "TIFF": ("tif", raster("TIFF", "RGB")),
        "TIFF LZW": ("tif", raster("TIFF", "L", compression="tiff_lzw")),
        "TIFF JPEG": ("tif", raster("TIFF", "RGB", compression="jpeg")),
        "npz": ("npz", npz()),
    }


def case(number: int) -> tuple[str, str, bytes]:
    """Kind, ending and bytes of a case; its number is its seed."""
    kinds = list(whole_files())
    kind = kinds[number % len(kinds)]
    ending, whole = whole_files()[kind]
    rng = np.random.default_rng(number)
    damaged = bytearray(whole)
    # the header is short and says most: half of the files are hurt there alone
    reach = len(damaged) if rng.random() < 0.5 else min(len(damaged), 1200)
    for place in rng.integers(0, reach, int(rng.choice([1, 2, 4, 16]))):
        way = rng.random()
        damaged[place] = 0xFF if way < 0.1 else 0 if way < 0.2 else int(rng.integers(256))
    if rng.random() < 0.05:
        del damaged[int(rng.integers(1, len(damaged))) :]
    return kind, ending, bytes(damaged)


def work() -> None:
    """Read the cases whose numbers come on standard input; one line each before and after."""
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT_BYTES, LIMIT_BYTES))
    with tempfile.TemporaryDirectory() as folder:
        for line in sys.stdin:
            number = int(line)
            _, ending, damaged = case(number)
            path = f"case.{ending}"
            (Path(folder) / path).write_bytes(damaged)
            start = time.perf_counter()
            try:
                read_pixels(
                    Path(folder),
                    path + "#train_images/3" if ending == "npz" else path,
                    frames=(Frames.ERROR, Frames.FIRST)[number // 3 % 2],
                    at_least_px=(None, 20)[number // 5 % 2],
                )
                outcome = "read"
            except ImageError as error:
                outcome = "refused" if "\n" not in str(error) else "refused in many lines"
            except BaseException as error:
                outcome = f"uncaught {type(error).__name__}"
            print(f"{time.perf_counter() - start:.4f} {outcome}", flush=True)


def started() -> subprocess.Popen[str]:
    command = [sys.executable, __file__, "--work"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def main(count: int) -> int:
    kinds = list(whole_files())
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    slowest, bad = 0.0, []
    worker = started()
    for number in range(count):
        assert worker.stdin
        assert worker.stdout
        print(number, file=worker.stdin, flush=True)
        # the first case of a process also waits for its imports
        ready, _, _ = select.select([worker.stdout], [], [], LIMIT_S + 20)
        line = worker.stdout.readline() if ready else ""
        seconds, _, outcome = line.strip().partition(" ")
        if not ready:
            outcome = "too slow"
        elif not line:
            outcome = f"died with {worker.wait()}"
        else:
            slowest = max(slowest, float(seconds))
            if float(seconds) > LIMIT_S:
                outcome = "too slow"
        counts[kinds[number % len(kinds)]][outcome] += 1
        if outcome not in ("read", "refused"):
            bad.append({"case": number, "kind": kinds[number % len(kinds)], "outcome": outcome})
            if not line:
                worker.kill()
                worker.wait()
                worker = started()
    worker.kill()
    worker.wait()
    result = {"cases": count, "slowest_s": round(slowest, 2), "bad": bad, "kinds": counts}
    print(json.dumps(result, indent=2))
    return int(bool(bad))


if __name__ == "__main__":
    if sys.argv[1] == "--work":
        work()
    else:
        sys.exit(main(int(sys.argv[1])))
