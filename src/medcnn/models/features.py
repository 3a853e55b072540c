"""The features that a frozen body computes from each image, computed once.

Features are kept beside the pixels that they were computed from, in segments as pixels are
(`pixels.segments`): a folder for each body, precision, device and view. Readers get a `PixelStore`
of shape [F], so that batches and predictions come from it as they do from pixels.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from torch import Tensor

from medcnn.data.manifest import Manifest
from medcnn.images.preprocessing import Preprocessing
from medcnn.models.classifier import Classifier, unit_range
from medcnn.models.inference import logits_of
from medcnn.pixels.batches import batches, num_batches
from medcnn.pixels.opening import OFF, folder_of, usable
from medcnn.pixels.pixel_store import PixelStore
from medcnn.pixels.segments import NOWHERE, Memory, Segments, Stored, Writer, path_key, stored_in
from medcnn.pixels.shards import turn
from medcnn.pixels.shelves import size
from medcnn.system.files import own_folder
from medcnn.system.privacy import keyed
from medcnn.system.progress import log, track

# Raised whenever the same body would compute other features from the same pixels.
FEATURES_VERSION = 1
# Every forward pass has this many images, the last one filled up: their number changes the last
# bits of the result, and which ones they are does not.
IMAGES_AT_ONCE = {"cpu": 16}
ON_OTHER_DEVICES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """How images are changed before the body sees them.

    Attributes:
        name: of the view; empty for the image as it is.
        settings: everything else that the change depends on.
        change: images [B, C, H, W] in 0..1 and their `keys` -> such images.
        keys: [N] of the manifest's images, if the change depends on them.
    """

    name: str
    change: Callable[[Tensor, NDArray[np.uint64]], Tensor]
    settings: str = ""
    keys: NDArray[np.uint64] | None = None


PLAIN = View(name="", change=lambda images, _: images)


class FrozenBody:
    """A classifier whose body stays as it is, and the images that it looks at.

    Attributes:
        computed: how many features were computed rather than found.
        seconds: how long that took.
    """

    def __init__(
        self,
        classifier: Classifier,
        store: PixelStore,
        manifest: Manifest,
        *,
        preprocessing: Preprocessing,
        cache: str,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        """
        Args:
            cache: as in `open_store`, except `known`.
            dtype: of the autocast that the body runs in; features are always float32.
        """
        self.classifier, self.store, self.manifest = classifier, store, manifest
        self.device, self.dtype = device, dtype
        self.computed, self.seconds = 0, 0.0
        self.above: Path | None = None
        if cache.lower() not in OFF:
            self.above = folder_of(manifest.root, preprocessing, cache)
            self.key = [FEATURES_VERSION, torch.__version__, timm.__version__]
            self.key += [digest_of_body(classifier), device.type, str(dtype)]
        empty = torch.zeros(1, *store.shape, device=device)
        classifier.eval()
        self.shape: tuple[int, ...] = logits_of(classifier.features, empty, "", dtype).shape[1:]

    def features(self, view: View, rows: NDArray[np.int64]) -> PixelStore:
        """Features [F] of the readable images among `rows`; the others have none.

        Raises:
            DataError: the folder of the cache cannot be used.
        """
        rows = self.store.readable(rows)
        if self.above is None:
            found = _Found(len(self.store), [])
            held = np.empty((len(rows), *self.shape), np.float32)
            for start, part in self._computed(view, rows):
                held[start : start + len(part)] = part
            for slot, row in enumerate(rows.tolist()):
                found.places[row] = (0, slot)
            found.segments = [Memory(held)]
            found.checked[:] = True
        else:
            name = keyed(json.dumps([*self.key, view.name, view.settings]), "features").hex()
            with usable(folder := self.above / f"features-{name}"):
                found = self._on_disk(folder, view, rows)

        def again(damaged: list[int]) -> dict[int, bytes]:
            order = np.array(damaged, np.int64)
            made = np.concatenate([part for _, part in self._computed(view, order)])
            return {row: one.tobytes() for row, one in zip(damaged, made, strict=True)}

        return PixelStore(
            shape=self.shape,
            dtype=np.dtype(np.float32),
            segments=found.segments,
            places=found.places,
            crcs=found.crcs,
            checked=found.checked,
            unreadable=self.store.unreadable,
            again=again,
        )

    def _on_disk(self, folder: Path, view: View, rows: NDArray[np.int64]) -> _Found:
        """Raises OSError if the folder cannot be used."""
        if folder.is_dir():
            found, missing = self._look_up(folder, view, rows)
            if not len(missing):
                return found
        own_folder(folder.parent)
        with turn(own_folder(folder), self._bytes(), "computing features"):
            found, missing = self._look_up(folder, view, rows)  # another run may have made them
            if not len(missing):
                return found
            log.info(
                f"features: {len(missing):,} of {len(rows):,} images to compute, "
                f"{size(len(missing) * self._bytes())} beside their pixels in the cache"
            )
            with Writer(folder) as writer:
                for start, part in self._computed(view, missing):
                    for row, one in zip(missing[start : start + len(part)], part, strict=True):
                        found.put(int(row), writer.add(self._record(view, int(row), one), one.data))
        return found

    def _look_up(
        self, folder: Path, view: View, rows: NDArray[np.int64]
    ) -> tuple[_Found, NDArray[np.int64]]:
        """What is stored for `rows`, and the rows for which nothing is."""
        found = _Found(len(self.store), Segments(folder, self._bytes()))
        rows_of: dict[bytes, list[int]] = {}
        for row in rows.tolist():
            rows_of.setdefault(path_key(self.manifest.records[row].path), []).append(row)
        for stored in stored_in(folder):
            for row in rows_of.get(stored.path, ()):
                if stored.seen == self._seen(view, row):
                    found.put(row, stored)
        return found, rows[found.places[rows, 0] == NOWHERE]

    def _record(self, view: View, row: int, features: NDArray[np.float32]) -> Stored:
        return Stored(
            path=path_key(self.manifest.records[row].path),
            seen=self._seen(view, row),
            content=bytes(16),
            crc=zlib.crc32(features.data),
        )

    def _seen(self, view: View, row: int) -> tuple[int, int, int]:
        """What the features of an image depend on besides the name of their folder."""
        key = 0 if view.keys is None else int(view.keys[row].astype(np.int64))
        return int(self.store.crcs[row]), key, 0

    def _bytes(self) -> int:
        return 4 * math.prod(self.shape)

    def _computed(
        self, view: View, rows: NDArray[np.int64]
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Features [B, F] of `rows`, in order, each part with the position of its first row."""
        if not len(rows):
            return
        at_once = IMAGES_AT_ONCE.get(self.device.type, ON_OTHER_DEVICES)
        order = np.pad(rows, (0, -len(rows) % at_once), mode="edge")
        nothing = np.zeros((len(self.store), 0), np.float32)
        coming = batches(self.store, nothing, order, at_once, device=self.device)
        self.classifier.eval()
        before = time.monotonic()
        named = f"features, {view.name}" if view.name else "features"
        for step, batch in enumerate(track(coming, num_batches(len(order), at_once), named)):
            keys = np.zeros(at_once, np.uint64) if view.keys is None else view.keys[batch.rows]
            images = view.change(unit_range(batch.images), keys)
            part = logits_of(self.classifier.features, images, "", self.dtype)
            start = step * at_once
            yield start, part[: len(rows) - start]
        self.computed += len(rows)
        self.seconds += time.monotonic() - before


class _Found:
    """Where features are, in the form that `PixelStore` uses."""

    def __init__(self, count: int, segments: Segments | list[Memory]) -> None:
        self.segments = segments
        self.places = np.full((count, 2), NOWHERE, np.int64)
        self.crcs = np.zeros(count, np.uint32)
        self.checked = np.zeros(count, np.bool_)

    def put(self, row: int, stored: Stored) -> None:
        assert isinstance(self.segments, Segments)
        number = self.segments.number(stored)
        if number != NOWHERE:
            self.places[row], self.crcs[row] = (number, stored.slot), stored.crc


def digest_of_body(classifier: Classifier) -> str:
    """SHA-256 of what turns images into features: layers, their settings, weights, statistics,
    normalisation."""
    body = classifier.body
    digest = hashlib.sha256(f"{body!r} {classifier.normalisation}".encode())
    for name, module in body.named_modules():
        # a layer need not print its settings, such as how sharp a pooling is
        own = {k: v for k, v in vars(module).items() if isinstance(v, str | int | float)}
        own.pop("training")
        digest.update(f"{name} {sorted(own.items())}".encode())
    for name, tensor in sorted(body.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        plain = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(plain.view(torch.uint8).numpy().data)
    return digest.hexdigest()
