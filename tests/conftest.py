"""What all tests share: a cache of their own, no network, one thread, and a tiny learnable set."""

from __future__ import annotations

import gc
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medcnn.data.labels import Kind, LabelSpace
from medcnn.data.manifest import Manifest, Record, Split
from medcnn.data.phantoms.drawing import generate
from medcnn.statistics.predictions import Predictions
from medcnn.system import plugins
from medcnn.system.files import locked

os.environ["HF_HUB_OFFLINE"] = "1"
# Threads of two processes that share a core wait for each other; here and in what tests start.
os.environ["OMP_NUM_THREADS"] = "1"

SHARED = Path(__file__).parents[2] / "shared" / "data"


# Modules about signals, clocks, memory and whole processes: never two of them at once.
SERIAL = (
    *("training/test_survival.py", "training/test_stopping.py", "verbs/test_ranks.py"),
    *("verbs/test_sweeping.py", "pixels/test_pixel_store.py", "pixels/test_batches.py"),
    *("models/test_weights.py", "system/test_progress.py", "images/test_decoders.py"),
    "clinic/test_round_trip.py",
    *("data/own/test_workbooks.py", "data/own/test_sheets.py", "cli/test_own_yaml.py"),
    "clinic/test_archive.py",
)


# Folders whose modules train: they start early, so that no worker ends long after the other.
LONG = ("verbs", "", "training", "clinic", "models")


def group_of(module: str) -> str:
    """A module stays on one worker, so that what its tests share is made once; those of SERIAL
    stay on the same one."""
    return "serial" if module in SERIAL else module


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """SERIAL begins first, and LONG follows."""

    def place(item: pytest.Item) -> int:
        module = item.path.relative_to(Path(__file__).parent)
        folder = module.parts[0] if len(module.parts) > 1 else ""
        rank = LONG.index(folder) if folder in LONG else len(LONG)
        return -1 if group_of(module.as_posix()) == "serial" else rank

    items.sort(key=place)


def pytest_collection_finish() -> None:
    """What was collected stays to the end, so no collection of garbage looks at it again: every
    training begins with one, and most of the objects are those of pytest."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    gc.unfreeze()  # or libraries report leaks at the end


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """By `group_of`, since pytest 9.2 overlooks the groups of xdist 3.8."""
    from xdist.scheduler import LoadScopeScheduling

    class ByModule(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid.partition("::")[0].removeprefix("tests/"))

    return ByModule(config, log)


def for_all_workers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the workers of one pytest share; each has a folder of its own in it."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["MEDCNN_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int], Path]:
    """Draws a phantom set, once for all workers: whoever comes second waits. Returns a copy, which
    a test may change."""

    def draw(kind: str, patients: int) -> Path:
        place = for_all_workers(tmp_path_factory) / f"{kind}-{patients}"
        with locked(place.with_suffix(".lock"), waiting=lambda: None):
            generate(place, kind, patients=patients)
        copy = tmp_path_factory.mktemp(kind) / kind
        return Path(shutil.copytree(place, copy))

    return draw


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real images, where this machine has it."""
    if not SHARED.is_dir():
        pytest.skip("real images (../shared/data) are not on this machine")
    return SHARED


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Installs a package with entry points for the length of a test: `package("ours", "1.0",
    {"losses": ["dice"]}, code)` has `dice = "ours:dice"`, and the module `ours` holds the code."""
    place = tmp_path / "site-packages"
    made = []

    def install(name: str, version: str, entries: dict[str, list[str]], code: str) -> None:
        about = place / f"{name}-{version}.dist-info"
        about.mkdir(parents=True)
        (about / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n", encoding="utf-8")

        def entry(given: str) -> str:  # "bad name" has a value that is well formed all the same
            return f"{given} = {name}:" + re.sub(r"\W", "_", given)

        lines = [
            line
            for group, names in entries.items()
            for line in (f"[medcnn.{group}]", *map(entry, names))
        ]
        (about / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")
        (place / f"{name}.py").write_text(code, encoding="utf-8")
        monkeypatch.syspath_prepend(place)
        made.append(name)
        plugins.known.cache_clear()

    yield install
    plugins.known.cache_clear()
    for name in made:
        sys.modules.pop(name, None)


def write_colours(folder: Path, count: int, classes: int = 3, size_px: int = 24) -> list[int]:
    """`count` PNG images whose class shows in their colour, under noise; returns the classes."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    of = [i % classes for i in range(count)]
    for i, c in enumerate(of):
        pixels = rng.normal(110, 30, (size_px, size_px, 3))
        pixels[..., c % 3] += 50
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{i:03d}.png")
    return of


@pytest.fixture
def colours(tmp_path: Path) -> Callable[..., Manifest]:
    """Makes a manifest of coloured images, two a patient, with splits."""

    def make(count: int = 48, kind: Kind = Kind.MULTICLASS) -> Manifest:
        root = tmp_path / "colours"
        of = write_colours(root, count)
        names = ("no", "yes") if kind is Kind.BINARY else ("red", "green", "blue")
        labels = LabelSpace(kind=kind, names=names)
        splits = [Split.TRAIN] * 8 + [Split.VALIDATION, Split.TEST] * 2
        return Manifest(
            source="colours",
            root=root,
            labels=labels,
            records=tuple(
                Record(
                    image_id=f"i{i:03d}",
                    path=f"{i:03d}.png",
                    group=f"p{i // 2}",
                    target=labels.encode([names[min(c, len(names) - 1)]]),
                    split=splits[(i // 2) % len(splits)],
                )
                for i, c in enumerate(of)
            ),
        )

    return make


Simulate = Callable[..., Predictions]


@pytest.fixture(scope="session")
def simulate() -> Simulate:
    """Predictions of a model of some skill; patients have two images each."""

    def build(
        kind: Kind = Kind.MULTILABEL,
        n: int = 120,
        *,
        names: Sequence[str] | None = None,
        images_per_group: int = 2,
        missing: float = 0.0,
        split: str = "test",
        seed: int = 0,
    ) -> Predictions:
        draw = np.random.default_rng(seed)
        given = names or (("clear", "melanoma") if kind is Kind.BINARY else ("mass", "edema", "x"))
        labels = LabelSpace(kind=kind, names=tuple(given))
        width = len(labels.outputs)
        if labels.exclusive:
            targets = np.eye(width)[draw.integers(width, size=n)]
            targets[draw.random(n) < missing] = np.nan
        else:
            targets = (draw.random((n, width)) < 0.4).astype(float)
            targets[draw.random((n, width)) < missing] = np.nan
        logits = 2 * np.nan_to_num(targets) - 1 + draw.normal(size=(n, width))
        return Predictions(
            labels=labels,
            split=split,
            image_ids=tuple(f"image {i}" for i in range(n)),
            groups=tuple(f"patient {i // images_per_group}" for i in range(n)),
            targets=targets.astype(np.float32),
            logits=logits.astype(np.float32),
        )

    return build
