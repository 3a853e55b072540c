from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from medcnn.data.manifest import Manifest
from medcnn.images.preprocessing import Fit, Preprocessing
from medcnn.pixels.batches import (
    batches,
    epoch_order,
    image_keys,
    keep_freed_memory,
    num_batches,
)
from medcnn.pixels.opening import open_store

CPU = torch.device("cpu")
HOW = Preprocessing(size_px=8, channels=3, fit=Fit.PAD, bits=8)


@pytest.mark.fault
@pytest.mark.parametrize("batch_size", [1, 7, 16, 47, 48, 100])
def test_every_image_comes_exactly_once_and_no_batch_is_tiny(
    colours: Callable[..., Manifest], batch_size: int
) -> None:
    """Row 83."""
    manifest = colours()
    store = open_store(manifest, HOW, cache="off")
    order = epoch_order(np.arange(48), seed=0, epoch=3)
    found = list(batches(store, manifest.targets(), order, batch_size, device=CPU))
    assert len(found) == num_batches(48, batch_size)
    assert sorted(np.concatenate([b.rows for b in found])) == list(range(48))
    assert max(len(b.rows) for b in found) - min(len(b.rows) for b in found) <= 1
    for batch in found:
        assert np.array_equal(batch.images.numpy(), store.take(batch.rows))
        assert np.array_equal(batch.targets.numpy(), manifest.targets()[batch.rows])


def test_pixels_are_read_into_the_memory_that_is_given(colours: Callable[..., Manifest]) -> None:
    """So that those of a GPU go into pinned memory, with no copy between."""
    store = open_store(colours(), HOW, cache="off")
    rows, into = np.arange(5), torch.zeros(5, 3, 8, 8, dtype=torch.uint8)
    store.take(rows, into.numpy())
    assert np.array_equal(into.numpy(), store.take(rows))
    assert into.any()


def test_a_restarted_epoch_goes_on_where_it_stopped(colours: Callable[..., Manifest]) -> None:
    manifest = colours()
    store = open_store(manifest, HOW, cache="off")
    order = epoch_order(np.arange(48), seed=0, epoch=0)
    whole = list(batches(store, manifest.targets(), order, 10, device=CPU))
    rest = list(batches(store, manifest.targets(), order, 10, device=CPU, start=2))
    assert [b.rows.tolist() for b in rest] == [b.rows.tolist() for b in whole[2:]]


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    rows = np.arange(100)
    assert np.array_equal(epoch_order(rows, seed=1, epoch=2), epoch_order(rows, seed=1, epoch=2))
    assert not np.array_equal(
        epoch_order(rows, seed=1, epoch=2), epoch_order(rows, seed=1, epoch=3)
    )
    assert not np.array_equal(
        epoch_order(rows, seed=1, epoch=2), epoch_order(rows, seed=2, epoch=2)
    )


def test_an_image_has_the_same_key_in_any_manifest(colours: Callable[..., Manifest]) -> None:
    manifest = colours()
    shorter = manifest.with_records(manifest.records[5:9])
    assert np.array_equal(image_keys(shorter), image_keys(manifest)[5:9])
    assert len(set(image_keys(manifest).tolist())) == 48


@pytest.mark.fault
def test_the_name_of_a_file_may_be_no_text(colours: Callable[..., Manifest]) -> None:
    """Row 74."""
    manifest = colours()
    odd = replace(manifest.records[0], image_id=os.fsdecode(b"\xff.png"))
    assert len(image_keys(manifest.with_records([odd]))) == 1


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator")
def test_memory_that_is_freed_is_there_for_the_next_step() -> None:
    """In a process of its own: what others left on the heap decides where a block comes from."""
    measure = """
import resource, torch
from medcnn.pixels.batches import keep_freed_memory
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(10_000_000)  # 40 MB, 10,000 pages
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
for keep in (lambda: None, keep_freed_memory):
    keep()
    faults()
    print(min(faults() for _ in range(3)))
"""
    said = subprocess.run([sys.executable, "-c", measure], capture_output=True, check=True)
    before, after = map(int, said.stdout.split())
    assert before > 9000 > 1000 > after


@pytest.mark.parametrize(
    ("most", "in_force"),
    [
        (1 << 40, {-3: 1 << 30, -1: 1 << 30}),
        (32 << 20, {-3: 32 << 20, -1: 1 << 30}),
        (0, {}),
    ],
    ids=["glibc 2.35", "glibc 2.34", "a glibc that takes none"],
)
def test_an_older_glibc_keeps_as_much_freed_memory_as_it_can(
    most: int, in_force: dict[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks of more than 128 kB would be returned if only M_TRIM_THRESHOLD (-1) were set."""
    kept: dict[int, int] = {}

    def mallopt(what: int, value: int) -> int:
        if what == -3 and value > most:
            return 0
        kept[what] = value
        return 1

    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", ""))
    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace(mallopt=mallopt))
    keep_freed_memory.__wrapped__()
    assert kept == in_force
