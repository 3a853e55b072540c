"""A shard built twice, or killed and built again, here or elsewhere, gives the same store."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medcnn.data.manifest import Manifest
from medcnn.images import Preprocessing
from medcnn.pixels import executors, shards
from medcnn.pixels.executors import Where
from medcnn.pixels.opening import open_store, pixel_shelves
from medcnn.pixels.pixel_store import PixelStore
from medcnn.pixels.pool import Request
from medcnn.pixels.shards import Shard, build
from medcnn.pixels.shelves import states_of
from medcnn.system.errors import UsageError

HOW = Preprocessing(size_px=16)
BUILD = """
import pickle, sys
from medcnn.pixels.shards import build
build(pickle.load(open(sys.argv[1], 'rb')))
"""


@pytest.fixture
def shard(colours: Callable[..., Manifest], tmp_path: Path) -> Shard:
    """All images of a set, of which one is no image."""
    manifest = colours()
    (manifest.root / "003.png").write_bytes(b"no image")
    (shelf,) = pixel_shelves(manifest, HOW, str(tmp_path / "cache"))
    shelf.part.folder.mkdir(parents=True)
    paths = [r.path for r in manifest.records]
    shelf.look_up(states_of(manifest.root, paths))
    return shards._shard(manifest.root, paths, [shelf], range(len(paths)), 2)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    requests: list[Request] = []
    real = shards.decode

    def decode(wanted: Sequence[Request], *rest: Any, **named: Any) -> Iterator[Any]:
        requests.extend(wanted)
        return real(wanted, *rest, **named)

    monkeypatch.setattr(shards, "decode", decode)
    return requests


def records(shard: Shard) -> list[Path]:
    return list(shard.parts[0].folder.glob("*.rows"))


def same_as_in_memory(store: PixelStore, manifest: Manifest) -> bool:
    memory = open_store(manifest, HOW, cache="off")
    rows = memory.readable(np.arange(len(memory)))
    return (
        np.array_equal(rows, store.readable(np.arange(len(store))))
        and store.unreadable == memory.unreadable
        and np.array_equal(store.take(rows), memory.take(rows))
    )


def test_a_shard_that_is_built_twice_decodes_once_and_gives_the_same_receipt(
    shard: Shard, asked: list[Request]
) -> None:
    first = build(shard)
    assert sorted(first.stored[0]) == [r for r in range(48) if r != 3]
    assert "bytes" in first.unreadable[0][3][0]
    asked.clear()
    assert build(pickle.loads(pickle.dumps(shard))) == first
    assert [r.row for r in asked] == [3], "what was unreadable may be readable by now"
    assert len(records(shard)) == 1


def test_a_shard_whose_build_was_killed_goes_on_where_it_was(
    shard: Shard, asked: list[Request], tmp_path: Path, colours: Callable[..., Manifest]
) -> None:
    slow = tmp_path / "slow"
    slow.mkdir()
    (slow / "sitecustomize.py").write_text(
        "import time\nfrom medcnn.pixels import decoder\nreal = decoder.read_pixels\n"
        "def read_pixels(*given, **how):\n    time.sleep(0.03)\n    return real(*given, **how)\n"
        "decoder.read_pixels = read_pixels\n"
    )
    (tmp_path / "shard").write_bytes(pickle.dumps(shard))
    ways = [str(slow), *filter(None, sys.path)]
    with subprocess.Popen(
        [sys.executable, "-c", BUILD, str(tmp_path / "shard")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(ways)},
    ) as run:
        while sum(f.stat().st_size for f in records(shard)) < 1000:
            assert run.poll() is None
            time.sleep(0.005)
        run.send_signal(signal.SIGKILL)
    receipt = build(shard)
    assert 0 < len(asked) < 44
    assert len(records(shard)) == 2
    assert len(receipt.stored[0]) == 47
    manifest = colours()
    Image.new("RGB", (24, 24)).save(manifest.root / "003.png")
    asked.clear()
    store = open_store(manifest, HOW, cache=str(tmp_path / "cache"))
    assert len(asked) == 48, "these are other files"
    assert same_as_in_memory(store, manifest)


def test_any_executor_of_the_standard_library_builds_shards(
    colours: Callable[..., Manifest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = colours()
    (manifest.root / "003.png").write_bytes(b"no image")
    monkeypatch.setitem(executors.CLUSTERS, Where.DASK, lambda: ProcessPoolExecutor(2))
    monkeypatch.setattr(shards, "FEWEST_IN_SHARD", 20)
    store = open_store(manifest, HOW, cache=str(tmp_path / "cache"), executor=Where.DASK)
    assert len(store.segments) == 3
    assert same_as_in_memory(store, manifest)


@pytest.mark.parametrize("where", [Where.DASK, Where.SUBMITIT])
def test_a_cluster_whose_library_is_not_installed_says_how_to_install_it(
    colours: Callable[..., Manifest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: Where
) -> None:
    for name in ("distributed", "submitit"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UsageError, match=rf"data.executor={where}.*\[scale\]"):
        open_store(colours(), HOW, cache=str(tmp_path / "cache"), executor=where)


@pytest.mark.fault
@pytest.mark.slow
def test_a_worker_of_dask_that_is_killed_costs_no_image(
    colours: Callable[..., Manifest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 30."""
    distributed, dask = pytest.importorskip("distributed"), pytest.importorskip("dask")
    manifest = colours()
    (manifest.root / "003.png").write_bytes(b"no image")
    slow, cache = tmp_path / "slow", tmp_path / "cache"
    slow.mkdir()
    (slow / "sitecustomize.py").write_text(
        "import time\nfrom medcnn.pixels import decoder\nreal = decoder.read_pixels\n"
        "def read_pixels(*given, **how):\n    time.sleep(0.2)\n    return real(*given, **how)\n"
        "decoder.read_pixels = read_pixels\n"
    )
    ways = [str(slow), *filter(None, sys.path)]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(ways))
    monkeypatch.setattr(shards, "FEWEST_IN_SHARD", 16)
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        pids = [nanny.pid for nanny in cluster.workers.values()]

        def kill() -> None:
            while not any(f.stat().st_size for f in cache.rglob("*.rows")):
                time.sleep(0.01)
            os.kill(pids[0], signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        with dask.config.set({"scheduler-address": cluster.scheduler_address}):
            store = open_store(manifest, HOW, cache=str(cache), executor=Where.DASK)
        killer.join()
        assert pids[0] not in [nanny.pid for nanny in cluster.workers.values()]
    monkeypatch.undo()
    assert same_as_in_memory(store, manifest)
