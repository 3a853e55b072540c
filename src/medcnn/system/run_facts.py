"""What a run was made with, and what may change when it is resumed."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shlex
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from medcnn import __version__
from medcnn.system.paths import ELSEWHERE
from medcnn.system.plugins import distributions

# Settings that change only where or how fast a run works. Another device or number of threads
# changes the last bits of a sum; users who ask for it know that.
FREE_SETTINGS = (
    "run_dir",
    "trainer.device",
    "trainer.threads",
    "trainer.save_every_s",
    "trainer.keep_state",
    "trainer.dry_run",
    "trainer.overfit_batches",
    "trainer.watch",
    "data.cache",
    "data.executor",
    "device",
    "threads",
    "accept",  # a rule that changes is recorded with its time, and said
    "old_data",
    "subgroups",
    "explain",
)

# Settings that may grow (null: no end), which extends an unfinished or finished run.
EXTENDING = ("trainer.epochs", "trainer.patience")
# Settings that earlier runs lack, with the value that reproduces what medcnn did then.
ADDED: dict[str, Any] = {
    "data.names": {},
    "model.partial": False,
    "model.auxiliary": False,
    "pooling": {"name": "auto", "options": {}},
    "optimizer.l2_sp": 0.0,
    "transfer.options.features": "auto",
    "transfer.options.views": 0,
    "loss.options.weighting": "none",
    "loss.options.beta": 0.9999,
    "loss.options.twice": False,
    "loss.options.defer": 0.0,
    "readout.unusual": 0.05,  # changes no weight and no score
    "sampler": {"name": "shuffle", "options": {"by": "image"}},
}

# Settings that may be left open (null). A run that goes on keeps what it decided.
OPEN = (("optimizer", "lr"), ("data", "size_px"))

_PACKAGES = ("torch", "torchvision", "timm", "numpy", "pillow", "pydicom", "scikit-learn")


def differences(left: Any, right: Any, key: str = "") -> list[str]:
    """Dotted keys and both values where two nested configs differ in what must not change."""
    if key in FREE_SETTINGS:
        return []
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        names = {**left, **right}
        return [
            line
            for name in names
            for line in differences(left.get(name), right.get(name), f"{key}.{name}".lstrip("."))
        ]
    if isinstance(left, str) and right == {"name": left, "options": {}}:
        return []  # the run is from before this choice had options
    if key == "model.weights" and right == f"{ELSEWHERE}/{PurePosixPath(str(left)).name}":
        return []  # earlier versions kept the folders of a relative path
    if left is None and right is not None:
        left = ADDED.get(key)
    allowed = left == right or (key in EXTENDING and _grows(left, right))
    return [] if allowed else [f"{key}: {left} there, {right} now"]


def as_begun(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a continued run: what it leaves open is as in the `earlier` one."""
    filled = {**now}
    for group, name in OPEN:
        decided = (earlier.get(group) or {}).get(name)
        if filled.get(group) and filled[group].get(name) is None:
            filled[group] = {**filled[group], name: decided}
    return filled


def _grows(before: int | None, now: int | None) -> bool:
    return now is None or (before is not None and now > before)


def extensions(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The settings that extend a run beyond what its last sitting asked for."""
    said = []
    for key in EXTENDING:
        part, name = key.split(".")
        old, new = ({**(config.get(part) or {})}.get(name) for config in (before, now))
        if before and old != new:
            said.append(f"{key} {old} -> {new}")
    return said


def without_free_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Plain nested dicts of a config, without the settings that may differ between sittings."""

    def kept(part: Mapping[str, Any], where: str) -> dict[str, Any]:
        return {
            name: kept(value, f"{where}{name}.") if isinstance(value, Mapping) else value
            for name, value in part.items()
            if f"{where}{name}" not in FREE_SETTINGS
        }

    return kept(config, "")


def facts_of(
    config: Mapping[str, Any], words: Sequence[str], earlier: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "medcnn": __version__,
        "id": earlier.get("id", uuid.uuid4().hex),
        "command": shlex.join(["medcnn", *words]),
        "started": earlier.get("started", now()),
        "ended": None,
        "wall_s": earlier.get("wall_s", 0.0),
        "sittings": earlier.get("sittings", 0) + 1,
        "exit": None,
        "notes": [*earlier.get("notes", [])],
        "versions": {"python": platform.python_version(), **versions()},
        "hardware": {"machine": platform.machine(), "cpu_cores": os.cpu_count()},
        "git": _git(),
        "config": json.loads(json.dumps(config)),
    }


def versions() -> dict[str, str]:
    """Versions of the packages that results depend on, including those with plug-ins."""
    return {name: importlib.metadata.version(name) for name in _PACKAGES} | distributions()


def _git() -> dict[str, Any] | None:
    """State of the checkout that medcnn runs from; None for an installed wheel."""

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), *arguments],
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
        return done.stdout.strip()

    try:
        source = Path(__file__).parents[1]
        if source.name != "src" or not (source.parent / "pyproject.toml").is_file():
            return None
        return {"commit": git("rev-parse", "HEAD"), "changed": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
