"""Batches from the store. The order of an epoch is a function of (seed, epoch)."""

from __future__ import annotations

import ctypes
import hashlib
import platform
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medcnn.data.manifest import Manifest
from medcnn.pixels.pixel_store import PixelStore
from medcnn.system.distributed import ALONE, Ranks


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Images [B, C, H, W] uint8 or uint16, targets [B, K], rows [B] of the manifest.

    Attributes:
        own: how many of these, from the first on, are this process's; the rest are the partners
            that mixup needs, in the same order. None: all are.
        times: how often each of these images occurred earlier in this epoch [B]. None: never.
    """

    images: Tensor
    targets: Tensor
    rows: NDArray[np.int64]
    own: int | None = None
    times: NDArray[np.int64] | None = None


# Step and number of images of the whole batch -> the partner of each, by position [B].
Partners = Callable[[int, int], NDArray[np.int64]]


def epoch_order(rows: NDArray[np.int64], *, seed: int, epoch: int) -> NDArray[np.int64]:
    return np.random.default_rng((seed, epoch)).permutation(rows)


def times_before(order: NDArray[np.int64]) -> NDArray[np.int64]:
    """How often the number at each position [N] occurred before it."""
    by_number = np.argsort(order, kind="stable")
    numbers, place = order[by_number], np.arange(len(order))
    begins = np.diff(numbers, prepend=-1) != 0
    times = np.empty_like(place)
    times[by_number] = place - np.maximum.accumulate(np.where(begins, place, 0))
    return times


def num_batches(num_images: int, batch_size: int) -> int:
    return -(-num_images // batch_size)


def parts_of(order: NDArray[np.int64], batch_size: int) -> list[NDArray[np.int64]]:
    """The rows of each batch: nearly equal, since a last batch of one image breaks BatchNorm."""
    return np.array_split(order, num_batches(len(order), batch_size)) if len(order) else []


def batches(
    store: PixelStore,
    targets: NDArray[np.float32],
    order: NDArray[np.int64],
    batch_size: int,
    *,
    device: torch.device,
    start: int = 0,
    ranks: Ranks = ALONE,
    partners: Partners | None = None,
) -> Iterator[Batch]:
    """Every position of `order` exactly once, in nearly equal batches of at most `batch_size`.

    One thread prepares the next batch while the current one is computed. A GPU copies it on a
    stream of its own, since on the stream of the computation, the copy would wait for all of it.

    Args:
        targets: [N, K] of the whole manifest.
        start: how many batches of the epoch are already done.
        ranks: each process gets its share of every batch. A batch with fewer images than processes
            is filled up with an image that counts as not assessed, since each process must take
            part in the step.
        partners: with several processes, each also reads the partners of its images, so that pairs
            are those of the whole batch, whichever process holds which part of it.
    """
    if device.type == "cpu":
        keep_freed_memory()
    parts, times = (parts_of(all_, batch_size) for all_ in (order, times_before(order)))
    on_gpu = device.type == "cuda"
    aside = torch.cuda.Stream(device) if on_gpu else None  # type: ignore[no-untyped-call]
    dtype = getattr(torch, store.dtype.name)

    def prepare(step: int) -> Batch:
        part = parts[step]
        positions = ranks.share(np.arange(len(part)))
        filling = len(positions) == 0
        positions = positions if not filling else np.zeros(1, np.int64)
        own = None
        if partners is not None and ranks.world > 1:
            own = len(positions)
            positions = np.concatenate([positions, partners(step, len(part))[positions]])
        rows = part[positions]
        # read straight into pinned memory, from which a GPU copies without blocking
        images = torch.empty((len(rows), *store.shape), dtype=dtype, pin_memory=on_gpu)
        store.take(rows, images.numpy())
        target = torch.from_numpy(targets[rows])
        if filling:
            target = torch.full_like(target, torch.nan)
        if on_gpu:
            target = target.pin_memory()
        with torch.cuda.stream(aside) if aside else nullcontext():
            return Batch(
                images=images.to(device, non_blocking=True),
                targets=target.to(device, non_blocking=True),
                rows=rows,
                own=own,
                times=times[step][positions],
            )

    with ThreadPoolExecutor(1) as ahead:
        coming = ahead.submit(prepare, start) if start < len(parts) else None
        for following in range(start + 1, len(parts) + 1):
            assert coming is not None
            batch = coming.result()
            if aside:
                # before the next copy begins, or this would wait for that one too
                now = torch.cuda.current_stream(device)
                now.wait_stream(aside)
                for copied in (batch.images, batch.targets):
                    copied.record_stream(now)
            if following < len(parts):
                coming = ahead.submit(prepare, following)
            yield batch


@cache
def keep_freed_memory() -> None:
    """Let glibc keep the memory that a step frees, since the next step needs as much again.

    By default, it returns blocks of more than 32 MB, and the end of its heap, to the system after
    every step; getting them back cost 7,000 to 30,000 page faults and 6 to 13 % of the CPU time of
    a step of resnet18. At its peak, a process now holds up to an eighth more (mallopt(3)).
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        # before 2.35, glibc takes no more than 32 MB for the first; the second alone would fix the
        # first at 128 kB
        if any(libc.mallopt(M_MMAP_THRESHOLD, most) for most in (1 << 30, 32 << 20)):
            libc.mallopt(M_TRIM_THRESHOLD, 1 << 30)


M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3


def image_keys(manifest: Manifest) -> NDArray[np.uint64]:
    """[N], one number per image id, independent of the row in the manifest."""
    # a file name may not be valid text
    ids = (r.own_id.encode("utf-8", "surrogatepass") for r in manifest.records)
    digests = (hashlib.sha256(i).digest()[:8] for i in ids)
    return np.frombuffer(b"".join(digests), dtype="<u8")
