"""One look at every image: decoded once, kept as two thumbnails and facts from its header.

Everything the audit says about pixels comes from these. They stay in the cache, so that the next
audit of the same files decodes nothing.
"""

from __future__ import annotations

import json
import os
import tempfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from medcnn.audit.headers import BURNED_IN, SIZE, TOP, Header, read_header
from medcnn.audit.kept import keeping
from medcnn.audit.person_names import IMAGING_WORDS, names_in_path
from medcnn.data.manifest import Manifest
from medcnn.data.own.vocabulary import tokens
from medcnn.images import Frames, Preprocessing
from medcnn.images.resizing import grey, narrowed, resized
from medcnn.pixels.decoder import Maker, Opened, Reading, Recipe, Seen, decode
from medcnn.pixels.executors import Where
from medcnn.pixels.pool import Request
from medcnn.pixels.shards import fill
from medcnn.pixels.shelves import Part, Shelf, states_of
from medcnn.system.errors import ImageError
from medcnn.system.files import cache_folder, cache_place
from medcnn.system.privacy import keyed
from medcnn.system.progress import log, track

# Increased whenever the same file would give another look.
LOOKS_VERSION = 7
GREY_PX, COLOUR_PX = 64, 32
FACTS_BYTES = 1024
LOOK_BYTES = GREY_PX**2 + 3 * COLOUR_PX**2 + FACTS_BYTES
MOST_IN_MEMORY = 1 << 28
# Used if nothing is known about the training.
PLAIN = Preprocessing(size_px=GREY_PX)
BLANK = "blank"
BLANK_LEVELS = 2
"""A thumbnail whose greys span at most this many of 255 levels shows nothing."""

Bytes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known about an image besides its thumbnails.

    Attributes:
        bad: why it must not be used, or "".
        traits: how it was made: format, size, bit depth, photometric, scanner.
        persons: tags whose content seems to be about a real person; `path` for a name in a path.
    """

    bad: str
    traits: dict[str, str]
    persons: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Looks:
    """The looks of all records of a manifest, in its order.

    Attributes:
        grey: [N, 64, 64] in 0..255, the image squashed to a square; zeros if unreadable.
        colour: [N, 32, 32, 3], likewise.
        key: depends on files, headers and their times; equal if and only if nothing has changed.
    """

    grey: Bytes
    colour: Bytes
    facts: tuple[Facts, ...]
    key: str


def look_at(
    manifest: Manifest,
    how: Preprocessing = PLAIN,
    *,
    also: Sequence[Shelf] = (),
    processes: int = 0,
    executor: Where = Where.HERE,
) -> Looks:
    """Look at all images, or take their looks from the cache.

    Args:
        how: which frame, window and depth; and how large images are decoded, so that training
            needs no second decoding.
        also: what to fill in the same pass over the files.
        processes: 0 for one per core.
        executor: what decodes.

    Raises:
        DataError: a disk is full.
    """
    root, paths = manifest.root, [r.path for r in manifest.records]
    harmless, processes = harmless_words(manifest), processes or os.cpu_count() or 1
    recipe = Recipe(module=__name__, setting={**_reading(how), "harmless": sorted(harmless)})
    name = keyed(json.dumps([LOOKS_VERSION, str(root.resolve()), recipe.setting]), "looks").hex()
    folder = cache_folder() / "audit" / name
    made = _array(len(paths))
    rows, unreadable = list(range(len(paths))), dict[int, tuple[str, bytes]]()
    states, shelf = states_of(root, paths), None
    with keeping(folder):
        cache_place("audit")
        shelf = Shelf(Part(recipe=recipe, folder=folder, item_bytes=LOOK_BYTES), paths)
        shelves = [shelf, *also]
        for one in shelves:
            one.look_up(states)
        if any(one.missing for one in shelves):
            fill(root, paths, shelves, processes=processes, executor=executor)
        unreadable = shelf.unreadable
        rows = [r for r in rows if r not in unreadable and not shelf.read(r, made[r])]
        if rows:
            log.info(f"{len(rows)} cached thumbnails are damaged and will be made again")
    if rows:
        unreadable |= _into(made, rows, root, paths, recipe, processes)
        if shelf:
            shelf.mend(rows, made)
    for row, (_, data) in unreadable.items():
        made[row] = np.frombuffer(data or bytes(LOOK_BYTES), np.uint8)
    facts = tuple(
        _unreadable(paths[row], unreadable[row][0], harmless)
        if row in unreadable and not unreadable[row][1]
        else _unpacked(made[row, -FACTS_BYTES:])
        for row in range(len(paths))
    )
    count = len(paths)
    return Looks(
        grey=made[:, : GREY_PX**2].reshape(count, GREY_PX, GREY_PX),
        colour=made[:, GREY_PX**2 : -FACTS_BYTES].reshape(count, COLOUR_PX, COLOUR_PX, 3),
        facts=facts,
        key=_key(manifest, name, states),
    )


def _array(count: int) -> Bytes:
    """Looks in order; on disk for a large set, to save memory."""
    if count * LOOK_BYTES < MOST_IN_MEMORY:
        return np.zeros((count, LOOK_BYTES), np.uint8)
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, np.uint8, "w+", shape=(count, LOOK_BYTES))


def _into(
    made: Bytes,
    rows: Sequence[int],
    root: Path,
    paths: Sequence[str],
    recipe: Recipe,
    processes: int,
) -> dict[int, tuple[str, bytes]]:
    """Fill these rows without the cache; returns the unreadable ones."""
    unreadable = {}
    requests = [Request(row=row, path=paths[row]) for row in rows]
    answers = decode(requests, root, [recipe], processes=processes)
    for answer in track(answers, len(requests), "looking at images"):
        (look,) = answer.made
        assert look is not None
        if look.why:
            unreadable[answer.row] = look.why, look.data
        else:
            made[answer.row] = np.frombuffer(look.data, np.uint8)
    return unreadable


def _reading(how: Preprocessing) -> dict[str, Any]:
    """How images are decoded for a look: as for training, if that shows enough."""
    least = how.needs_px
    enough = least is not None and least >= GREY_PX * 3 // 2
    return {
        "window": how.window,
        "frames": str(how.frames),
        "full_scale": how.full_scale or 16,
        "at_least_px": least if enough else GREY_PX * 2,
    }


def maker(setting: dict[str, Any]) -> Maker:
    """Makes looks in a decoder process: grey, colour and facts."""
    harmless = frozenset(setting["harmless"])
    asked = {name: setting[name] for name in ("window", "full_scale", "at_least_px")}
    reading = Reading(frames=Frames(setting["frames"]), **asked)

    def make(opened: Opened) -> tuple[str, bytes]:
        header = read_header(opened.data or b"", opened.path)
        traits = dict(header.traits)
        persons = (*header.persons, *_in_path(opened.path, harmless, header.names))
        try:
            pixels, top = opened.pixels(reading)
        except ImageError as error:
            if isinstance(error.__cause__, OSError):
                raise
            facts = Facts(bad=str(error), traits=traits, persons=persons)
            return str(error), bytes(LOOK_BYTES - FACTS_BYTES) + _packed(facts)
        small, colour = thumbnails(pixels)
        traits = {"seen": "1", SIZE: f"{pixels.shape[1]}x{pixels.shape[0]}", **traits}
        if top is not None:
            traits[TOP] = str(top)
        facts = Facts(bad=_bad(small, header), traits=traits, persons=persons)
        return "", small.tobytes() + colour.tobytes() + _packed(facts)

    return make


def _packed(facts: Facts) -> bytes:
    """`FACTS_BYTES` bytes; texts of unlimited length are cut to fit."""
    for length in (400, 100, 0):
        cut = {name: value[:length] for name, value in facts.traits.items()}
        stored = [facts.bad[:length], cut if length else {}, facts.persons]
        packed = zlib.compress(json.dumps(stored, ensure_ascii=False).encode("utf-8", "replace"))
        if len(packed) <= FACTS_BYTES:
            break
    return packed.ljust(FACTS_BYTES, b"\0")


def _unpacked(packed: Bytes) -> Facts:
    stored = zlib.decompressobj().decompress(packed.tobytes())
    bad, traits, persons = json.loads(stored)
    return Facts(bad=bad, traits=traits, persons=tuple(persons))


def _unreadable(path: str, why: str, harmless: frozenset[str]) -> Facts:
    return Facts(bad=why, traits={}, persons=tuple(_in_path(path, harmless)))


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


def harmless_words(manifest: Manifest) -> frozenset[str]:
    """Words in paths that are not names: classes, and common names of image folders."""
    names = (*manifest.labels.names, manifest.source)
    return IMAGING_WORDS.union(*map(tokens, names))


def _key(manifest: Manifest, name: str, states: Sequence[Seen | None]) -> str:
    parts = [name, json.dumps(manifest.labels.names)]
    parts += [json.dumps([r.path, s]) for r, s in zip(manifest.records, states, strict=True)]
    return keyed("\n".join(parts), "looks").hex()
