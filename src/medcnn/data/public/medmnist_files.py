"""The files of MedMNIST on Zenodo: their MD5, and how to fetch one.

Source: the INFO table of the package medmnist 3.0.2 (Apache-2.0); doi 10.5281/zenodo.10519652.
"""

from __future__ import annotations

import hashlib
import http.client
import tomllib
import urllib.request
from collections.abc import Iterator
from http.client import HTTPResponse
from pathlib import Path

from medcnn.system.errors import MedcnnError
from medcnn.system.files import packaged, replacing
from medcnn.system.progress import log, track

RECORD = "https://zenodo.org/records/10519652/files/"
SIZES_PX = (28, 64, 128, 224)
TIMEOUT_S = 30.0
CHUNK_BYTES = 1 << 20
SETS = tomllib.loads(packaged("medcnn.data.public", "medmnist.toml"))


def published() -> dict[str, str]:
    """Name of a file -> its MD5: `pathmnist.npz` (28 pixels), `pathmnist_64.npz` and so on."""
    return {
        f"{name}.npz" if size == SIZES_PX[0] else f"{name}_{size}.npz": md5
        for name, known in SETS.items()
        for size, md5 in zip(SIZES_PX, known["md5"], strict=True)
    }


def fetch(file: Path) -> None:
    """Fetch a file. It appears complete and with the right MD5, or not at all.

    Args:
        file: its name is one of `published`.

    Raises:
        MedcnnError: no network, an interrupted download, or a wrong MD5.
    """
    url, wanted = f"{RECORD}{file.name}", published()[file.name]
    log.info(f"fetching {url}")
    digest = hashlib.md5(usedforsecurity=False)
    try:
        with (
            urllib.request.urlopen(f"{url}?download=1", timeout=TIMEOUT_S) as answer,
            replacing(file) as part,
            part.open("wb") as out,
        ):
            total = -(-int(answer.headers.get("Content-Length") or 0) // CHUNK_BYTES)
            for chunk in track(_chunks(answer), total, f"{file.name} (MiB)"):
                digest.update(chunk)
                out.write(chunk)
            if digest.hexdigest() != wanted:
                raise MedcnnError(
                    f"{url} has the MD5 {digest.hexdigest()} instead of {wanted}, so it was not "
                    "kept. Fetch it again."
                )
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise MedcnnError(
            f"{url} could not be fetched ({error}). If this machine has no network, fetch it "
            f"elsewhere, compare its MD5 with {wanted}, and put it at {file}."
        ) from error


def _chunks(answer: HTTPResponse) -> Iterator[bytes]:
    while chunk := answer.read(CHUNK_BYTES):
        yield chunk
