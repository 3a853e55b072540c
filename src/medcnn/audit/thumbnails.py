"""One look at every image: decoded once, kept as two thumbnails and what its header says.

All that the audit says of pixels comes from these, and they stay in the cache, so that the next
audit of the same files decodes nothing.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from medcnn.audit.headers import BURNED_IN, SIZE, TOP, Header, read_header
from medcnn.audit.kept import keep, keeping, recall
from medcnn.audit.person_names import IMAGING_WORDS, names_in_path
from medcnn.data.manifest import Manifest
from medcnn.data.own.vocabulary import tokens
from medcnn.images import Frames, file_part, read_pixels
from medcnn.images.limits import MAX_FILE_BYTES
from medcnn.images.resizing import grey, narrowed, resized
from medcnn.pixels.pool import Request, answers
from medcnn.pixels.process import Look, serve
from medcnn.system.errors import ImageError
from medcnn.system.files import cache_folder, cache_place, open_own, replacing
from medcnn.system.privacy import keyed
from medcnn.system.progress import log, track

# Raised whenever the same file would give another look.
LOOKS_VERSION = 5
GREY_PX, COLOUR_PX = 64, 32
BLANK_LEVELS = 2
BLANK = "blank"
"""A thumbnail whose greys span no more of 255 levels than this shows nothing."""

Bytes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of one image besides its thumbnails.

    Attributes:
        bad: why it must not be used; empty where it may.
        traits: how it was made: format, size, bit depth, photometric, scanner.
        persons: tags whose content looks like that of a real person; `path` for a name in a path.
    """

    bad: str
    traits: dict[str, str]
    persons: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Looks:
    """Of every record of a manifest, in its order.

    Attributes:
        grey: [N, 64, 64] in 0..255, the image squashed to a square; zeros where it is unreadable.
        colour: [N, 32, 32, 3] likewise.
        key: names files, headers and their times; equal exactly where nothing has changed.
    """

    grey: Bytes
    colour: Bytes
    facts: tuple[Facts, ...]
    key: str


def look_at(
    manifest: Manifest,
    *,
    window: int = 0,
    frames: Frames = Frames.ERROR,
    full_scale: int = 16,
    processes: int = 0,
) -> Looks:
    """Decode all images, or take their looks from the cache.

    Args:
        window: which of several windows of a DICOM, counted from 0.
        frames: which frame of a DICOM with several.
        full_scale: how many bits grey samples of 16 bits use.
        processes: 0: one for each core.
    """
    key = _key(manifest, window, frames, full_scale)
    place = cache_folder() / "audit" / key
    if stored := _stored(place, key):
        return stored
    count = len(manifest.records)
    grey_of = np.zeros((count, GREY_PX, GREY_PX), np.uint8)
    colour_of = np.zeros((count, COLOUR_PX, COLOUR_PX, 3), np.uint8)
    harmless = harmless_words(manifest)
    setting = {
        "root": str(manifest.root),
        "window": window,
        "frames": str(frames),
        "full_scale": full_scale,
        "harmless": sorted(harmless),
    }
    requests = [Request(row=i, path=r.path) for i, r in enumerate(manifest.records)]
    looked = answers(requests, __name__, setting, processes=processes or os.cpu_count() or 1)
    found: dict[int, Facts] = {}
    for request, head, data in track(looked, count, "looking at images"):
        if "why" in head:  # a decoder died of it
            head = {"bad": head["why"], "traits": {}, "persons": _in_path(request.path, harmless)}
        elif data:
            small, colour = data[: GREY_PX**2], data[GREY_PX**2 :]
            grey_of[request.row] = np.frombuffer(small, np.uint8).reshape(GREY_PX, GREY_PX)
            colour_of[request.row] = np.frombuffer(colour, np.uint8).reshape(colour_of.shape[1:])
        found[request.row] = Facts(**head | {"persons": tuple(head["persons"])})
    facts = tuple(found[row] for row in range(count))
    looks = Looks(grey=grey_of, colour=colour_of, facts=facts, key=key)
    _keep(place, looks)
    return looks


def _stored(place: Path, key: str) -> Looks | None:
    """The looks that `_keep` kept; None where all must be looked at."""
    stored = recall(place.with_suffix(".json"), key)
    # an image that was unreadable may be readable by now: a decoder was installed
    if not stored or any(f["bad"] and not f["traits"].get("seen") for f in stored["facts"]):
        return None
    files = _arrays(place)
    try:
        whole = [_crc(file) for file in files] == stored["crcs"]
    except (OSError, ValueError):
        whole = False
    if not whole:
        log.info("the thumbnails that an audit kept are damaged; all images are looked at again")
        return None
    grey_of, colour_of = (np.load(file, mmap_mode="r") for file in files)
    facts = tuple(Facts(**f | {"persons": tuple(f["persons"])}) for f in stored["facts"])
    return Looks(grey=grey_of, colour=colour_of, facts=facts, key=key)


def _keep(place: Path, looks: Looks) -> None:
    crcs = []
    with keeping(place.parent):
        cache_place(place.parent.name)
        for file, array in zip(_arrays(place), (looks.grey, looks.colour), strict=True):
            with replacing(file) as temporary:
                np.save(temporary, array)
                crcs.append(_crc(temporary))
        facts = [asdict(f) for f in looks.facts]
        keep(place.with_suffix(".json"), looks.key, facts=facts, crcs=crcs)


def _arrays(place: Path) -> list[Path]:
    return [place.with_suffix(s) for s in (".grey.npy", ".colour.npy")]


def _crc(file: Path) -> int:
    """Of a whole file, mapped: thumbnails of 100,000 images take 700 MB.

    Raises:
        OSError, ValueError: there is none, or nothing in it.
    """
    os.close(open_own(file))
    return zlib.crc32(np.memmap(file, np.uint8, "r").data)


def main() -> None:
    """In a process of its own, so that a decoder that aborts ends no audit."""

    def look_of(setting: dict[str, Any]) -> Look:
        root, harmless = Path(setting["root"]), frozenset(setting["harmless"])
        window, frames = setting["window"], Frames(setting["frames"])

        def look(path: str, _: str | None) -> tuple[dict[str, Any], bytes]:
            header = read_header(_bytes_of(root / file_part(path), path), path)
            traits = dict(header.traits)
            persons = [*header.persons, *_in_path(path, harmless, header.names)]
            tops: list[int] = []
            try:
                pixels = read_pixels(
                    root,
                    path,
                    window=window,
                    frames=frames,
                    at_least_px=GREY_PX * 2,
                    full_scale=setting["full_scale"],
                    tops=tops,
                )
            except ImageError as error:
                return {"bad": str(error), "traits": traits, "persons": persons}, b""
            small, colour = thumbnails(pixels)
            traits = {"seen": "1", SIZE: f"{pixels.shape[1]}x{pixels.shape[0]}", **traits}
            if tops:
                traits[TOP] = str(max(tops))
            head = {"bad": _bad(small, header), "traits": traits, "persons": persons}
            return head, small.tobytes() + colour.tobytes()

        return look

    serve(look_of)


def _in_path(path: str, harmless: frozenset[str], names: Iterable[str] = ()) -> list[str]:
    return ["path"] if names_in_path(path, names, harmless) else []


def thumbnails(pixels: NDArray[Any]) -> tuple[Bytes, Bytes]:
    """[64, 64] grey and [32, 32, 3] colour of [H, W, C] pixels, squashed to squares."""
    small = narrowed(resized(cast(Bytes, pixels), GREY_PX, GREY_PX))
    colour = resized(small, COLOUR_PX, COLOUR_PX)
    return grey(small)[:, :, 0].astype(np.uint8), np.broadcast_to(
        colour, (COLOUR_PX, COLOUR_PX, 3)
    ).astype(np.uint8)


def _bad(small: Bytes, header: Header) -> str:
    if header.burned_in:
        return BURNED_IN
    if int(np.ptp(small)) <= BLANK_LEVELS:
        return f"{BLANK}: every pixel is about {int(small.mean())} of 255"
    return ""


def _bytes_of(file: Path, path: str) -> bytes:
    """The file, or nothing where there is no readable one: reading its pixels says why."""
    try:
        if path != file_part(path) or not file.is_file() or file.stat().st_size > MAX_FILE_BYTES:
            return b""
        return file.read_bytes()
    except (OSError, ValueError):
        return b""


def harmless_words(manifest: Manifest) -> frozenset[str]:
    """Words in paths that are no names: classes, and what folders of images are called."""
    names = (*manifest.labels.names, manifest.source)
    return IMAGING_WORDS.union(*map(tokens, names))


def _key(manifest: Manifest, window: int, frames: Frames, full_scale: int) -> str:
    parts = [json.dumps([LOOKS_VERSION, window, str(frames), full_scale])]
    stats: dict[str, tuple[int, int]] = {}
    for record in manifest.records:
        file = file_part(record.path)
        if file not in stats:
            try:
                found = (manifest.root / file).stat()
                stats[file] = (found.st_size, found.st_mtime_ns)
            except (OSError, ValueError):
                stats[file] = (-1, -1)
        parts.append(json.dumps([str(manifest.root), record.path, *stats[file]]))
    parts.append(json.dumps(manifest.labels.names))
    return keyed("\n".join(parts), "looks").hex()
