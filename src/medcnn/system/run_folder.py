"""The folder of a run: who may write in it, what stands where, and `run.json`, which says all that
is needed to tell how the results came about."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from medcnn import __version__
from medcnn.system.distributed import ALONE, Ranks
from medcnn.system.errors import MedcnnError, UsageError
from medcnn.system.files import (
    cache_folder,
    cache_place,
    kept_twice,
    locked,
    private_to,
    read_own,
    sweep,
    write_text,
)
from medcnn.system.paths import ELSEWHERE, name_of_place, places_in, without_folders, without_ways
from medcnn.system.plugins import distributions
from medcnn.system.privacy import pseudonymised
from medcnn.system.progress import keep_log, log

# Settings that change where or how fast a run goes. Another device or number of threads moves the
# last bits of a sum, which the user who asks for it knows.
FREE_SETTINGS = (
    "run_dir",
    "trainer.device",
    "trainer.threads",
    "trainer.save_every_s",
    "trainer.keep_state",
    "trainer.dry_run",
    "data.cache",
    "data.executor",
    "device",
    "threads",
)

# Settings that may grow (null: no end): a run that is begun, or finished, then goes on further.
EXTENDING = ("trainer.epochs", "trainer.patience")

_PACKAGES = ("torch", "torchvision", "timm", "numpy", "pillow", "pydicom", "scikit-learn")


class RunFolder:
    """Paths of a run, and the facts that end up in `run.json`.

    Attributes:
        facts: written at the start and again at the end, also where the run fails.
        finished: an earlier sitting came to its end; there is nothing left to do.
        earlier: the facts as the sitting before left them.
        written: what becomes of a sentence: without names, and without folders of this machine.
        ranks: processes that work on this run; only the leader writes here.
    """

    def __init__(
        self,
        path: Path,
        facts: dict[str, Any],
        finished: bool,
        ranks: Ranks = ALONE,
        earlier: Mapping[str, Any] | None = None,
        written: Callable[[str], str] = pseudonymised,
    ) -> None:
        self.path, self.facts, self.finished, self.ranks = path, facts, finished, ranks
        self.written = written
        self.earlier = earlier or {}
        self.checkpoints = path / "checkpoints"
        self.best = self.checkpoints / "best.safetensors"
        self.last = self.checkpoints / "last.safetensors"
        self.resume = self.checkpoints / "resume.pt"
        self.events = path / "events"
        self.metrics = path / "metrics.json"
        self.report = path / "report.html"
        self.errors = path / "errors.json"
        self.audit = path / "audit.html"
        self.manifest = path / "manifest.csv"

    def resumable(self) -> bool:
        """Whether a state to go on from is saved."""
        return any(place.exists() for place in kept_twice(self.resume))

    def began(self) -> bool:
        """Whether anything stands here that took work."""
        return self.checkpoints.exists() or self.metrics.exists()

    def moved(self) -> list[str]:
        """What this sitting computes with and the one before it did not."""
        return [
            line
            for part in ("versions", "hardware")
            for line in differences(self.earlier.get(part, {}), self.facts[part], part)
        ]

    def predictions(self, split: str) -> Path:
        return self.path / f"predictions_{split}.csv"

    def note(self, text: str) -> None:
        """Say something that must stand in terminal, run.json and report alike."""
        written = self.written(text)
        if written not in self.facts["notes"]:
            self.facts["notes"].append(written)
            log.warning(text)

    def write_facts(self) -> None:
        if self.ranks.leads:
            _write_facts(self.path, self.facts)

    def looks_at_test(self, origin: Path | None = None) -> None:
        """Write down that the test split is opened, in the run whose split it is, and say how
        often that was done by now: whoever looks again and again chooses by test in the end.

        Args:
            origin: the run folder of the checkpoint; None means this one.
        """
        look = {"when": _now(), "command": self.facts["command"]}
        facts = _earlier(origin) if origin else self.facts
        looks = facts["test_looks"] = [*facts.get("test_looks", ()), look]
        try:
            _write_facts(origin or self.path, facts)
        except OSError as error:
            if origin is None:
                raise
            log.warning(f"this look at test cannot be recorded in {origin}: {error.strerror}")
        if len(looks) > 1:
            self.note(
                f"this is look number {len(looks)} at the test split of this run: a choice that is "
                "made after a look at test makes its scores too good."
            )


@contextmanager
def open_run(
    path: Path, config: Mapping[str, Any], command: list[str], *, resumable: bool
) -> Iterator[RunFolder]:
    """The folder at `path`, locked for this process, with log and `run.json`.

    Args:
        config: the resolved config as plain dicts.
        resumable: whether the same settings may be taken up again there.

    Raises:
        UsageError: another process writes there, another run's results lie there, or it cannot be
            written.
    """
    places = places_in(config)
    typed = [*places.values()]
    if root := places.get("data.root"):  # a table `../labels.csv` is meant from there
        below = {k: v for k, v in places.items() if k.startswith("data.options.")}
        places |= {key: os.path.join(root, way) for key, way in below.items()}
    if checkpoint := config.get("checkpoint"):  # known by its content, wherever it lies
        places["checkpoint"] = os.path.abspath(checkpoint)
    known: list[str | Path] = [path.absolute(), cache_folder().absolute(), *places.values()]
    known += typed
    config = _placeless(config)

    def written(text: str) -> str:
        return pseudonymised(without_folders(text, known))

    made_here = not path.exists()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if made_here:
            path.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise UsageError(f"run_dir={path} cannot be written: {error.strerror}.") from error
    with ExitStack() as stack:
        unlocked = ""
        try:
            stack.enter_context(locked(path / ".lock"))
        except BlockingIOError:
            raise UsageError(
                f"run_dir={path} is in use by another medcnn process; wait for it or give another "
                "run_dir."
            ) from None
        except OSError as error:
            unlocked = f"{path} cannot be locked ({error.strerror}): start one process there only"
        earlier = _earlier(path)
        if not any((path / name).exists() for name in ("checkpoints", "metrics.json")):
            earlier = {}  # it failed before it came to anything; there is nothing to lose
        _refuse_other_run(path, earlier, config, resumable)
        _refuse_other_places(path, earlier, places)
        extended = extensions(earlier.get("config", {}), config)
        if (earlier.get("exit") or {}).get("code") == 0 and not extended:
            yield RunFolder(path, earlier, finished=True)  # nothing is done, so nothing is written
            return
        words = [_word(word, known) for word in command]
        facts = {**earlier, **_facts(config, words, earlier)}
        run = RunFolder(path, facts, finished=False, earlier=earlier, written=written)
        stack.enter_context(private_to(path))
        _keep_places(facts["id"], path, places)
        try:
            for folder in filter(Path.exists, (path, run.checkpoints)):
                sweep(folder)
                tempfile.TemporaryFile(dir=folder).close()
            run.write_facts()
            write_text(path / "config.yaml", yaml.safe_dump(dict(config), sort_keys=False))
            stop_log = keep_log(path / "log.txt", written)
        except OSError as error:
            raise UsageError(f"run_dir={path} cannot be written: {error.strerror}.") from error
        started = time.monotonic()
        try:
            if unlocked:
                run.note(unlocked)
            if extended:
                run.note(
                    f"this run was extended ({'; '.join(extended)}): the learning rate follows the "
                    "schedule of the new number of epochs from here on"
                )
            yield run
            facts["exit"] = {"reason": "finished", "code": 0}
        except BaseException as error:
            code = error.exit_code if isinstance(error, MedcnnError) else 1
            # what a library says may hold anything, a file name too
            ours = isinstance(error, MedcnnError) and str(error)
            reason = written(ours) if ours else type(error).__name__
            facts["exit"] = {"reason": reason, "code": code}
            raise
        finally:
            facts["ended"] = _now()
            facts["wall_s"] = round(facts["wall_s"] + time.monotonic() - started, 1)
            try:
                run.write_facts()
            except OSError as error:
                if facts["exit"]["code"] == 0:
                    raise
                log.warning(f"{path / 'run.json'} cannot be written: {error.strerror}")
            stop_log()
            if made_here and facts["exit"]["code"] in (2, 4) and not run.began():
                shutil.rmtree(path)  # refused before it came to anything: no litter
                with suppress(OSError):
                    (cache_folder() / "places" / f"{facts['id']}.json").unlink()


def _placeless(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config as a run folder keeps it: of every place the name alone."""
    config = dict(config)
    if checkpoint := config.get("checkpoint"):
        config["checkpoint"] = f"{ELSEWHERE}/{Path(checkpoint).name}"
    cut: dict[str, Any] = without_ways(config)
    return cut


def _keep_places(run_id: str, path: Path, places: Mapping[str, str]) -> None:
    """Where data and weights of a run lie, in the cache folder: it stays on this machine, whoever
    is given the run folder."""
    stored = {key: [os.path.relpath(p, path), os.path.abspath(p)] for key, p in places.items()}
    try:
        write_text(cache_place("places") / f"{run_id}.json", json.dumps(stored))
    except OSError as error:
        log.warning(
            f"{cache_folder()} cannot be written ({error.strerror}), so `medcnn evaluate` will not "
            "know where the images of this run lie, and asks for data.root."
        )


def places_of(facts: Mapping[str, Any], run: Path) -> dict[str, str]:
    """Dotted setting -> absolute path of what the run folder `run` was given on this machine; empty
    where that is not known here. A run that was moved together with its data is found too.

    Args:
        facts: its `run.json`.
    """
    if "id" not in facts:  # of an earlier medcnn: relative to the run folder
        data = facts.get("config", {}).get("data") or {}
        return {f"data.{k}": str((run / data[k]).resolve()) for k in _OF_DATA if data.get(k)}
    stored = _stored_places(facts)
    found = {}
    for key, (relative, absolute) in stored.items():
        near = (run / relative).resolve()
        found[key] = str(near) if near.exists() else absolute
    return found


def _stored_places(facts: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    try:
        name = f"{uuid.UUID(str(facts.get('id'))).hex}.json"
        stored = json.loads(read_own(cache_folder() / "places" / name))
        return {str(key): (str(near), str(far)) for key, (near, far) in stored.items()}
    except (OSError, ValueError, AttributeError):
        return {}


_OF_DATA = ("root", "path")


def _refuse_other_places(path: Path, earlier: Mapping[str, Any], places: Mapping[str, str]) -> None:
    """Raises UsageError where a run was begun with data that lie elsewhere."""
    before = _stored_places(earlier) if earlier else {}
    moved = [
        f"{key}: another {name_of_place(place)}"
        for key, place in places.items()
        if key in before
        and key not in FREE_SETTINGS
        and os.path.relpath(place, path) != before[key][0]
        and os.path.abspath(place) != before[key][1]
    ]
    if moved:
        raise UsageError(
            f"run_dir={path} holds a run with other settings ({'; '.join(moved)}). Nothing is "
            "overwritten: give another run_dir, or the old settings to go on there."
        )


def _word(word: str, known: Sequence[str | Path]) -> str:
    """A word of a command as it is kept."""
    if re.match(r"\+*data\.exclude\b", word):
        return "data.exclude=..."  # may name patients; config.yaml has their pseudonyms
    key, equals, value = word.rpartition("=")
    bare = value.strip("'\"")
    if (said := name_of_place(bare)) != bare:
        return f"{key}{equals}{said}"
    return without_folders(word, known)


def free_folder(path: Path) -> Path:
    """`path`, or the first of `path-2`, `path-3`, ... where nothing stands yet."""
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}-{number}")
    return free


def differences(left: Any, right: Any, key: str = "") -> list[str]:
    """Dotted keys with both values where two nested configs differ in what may not change."""
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        names = {**left, **right}
        return [
            line
            for name in names
            for line in differences(left.get(name), right.get(name), f"{key}.{name}".lstrip("."))
        ]
    if isinstance(left, str) and right == {"name": left, "options": {}}:
        return []  # of a run from before this choice had options
    allowed = left == right or key in FREE_SETTINGS or (key in EXTENDING and _grows(left, right))
    return [] if allowed else [f"{key}: {left} there, {right} now"]


def _grows(before: int | None, now: int | None) -> bool:
    return now is None or (before is not None and now > before)


def extensions(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What lets a run go on further than its last sitting meant to."""
    said = []
    for key in EXTENDING:
        part, name = key.split(".")
        old, new = ({**(config.get(part) or {})}.get(name) for config in (before, now))
        if before and old != new:
            said.append(f"{key} {old} -> {new}")
    return said


def shorter_run(path: Path, config: Mapping[str, Any]) -> Path | None:
    """Where nothing stands at `path`: the run beside it that could be extended to what `config`
    asks for, the longest of them."""
    now = json.loads(json.dumps(_placeless(config)))
    found: list[tuple[int, Path]] = []
    for file in () if path.exists() else path.parent.glob("*/run.json"):
        try:
            before = json.loads(file.read_text(encoding="utf-8"))["config"]
        except (OSError, ValueError, LookupError, TypeError):
            continue  # whatever it is, it is not meant
        run = RunFolder(file.parent, {}, finished=False)
        if run.resumable() and extensions(before, now) and not differences(before, now):
            found.append((before["trainer"]["epochs"], run.path))
    return max(found)[1] if found else None


def without_free_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Plain nested dicts of a config, without the settings that may differ between sittings."""

    def kept(part: Mapping[str, Any], where: str) -> dict[str, Any]:
        return {
            name: kept(value, f"{where}{name}.") if isinstance(value, Mapping) else value
            for name, value in part.items()
            if f"{where}{name}" not in FREE_SETTINGS
        }

    return kept(config, "")


def _write_facts(path: Path, facts: Mapping[str, Any]) -> None:
    write_text(path / "run.json", json.dumps(facts, indent=2) + "\n")


def _earlier(path: Path) -> dict[str, Any]:
    file = path / "run.json"
    if not file.is_file():
        return {}
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except ValueError:
        raise UsageError(
            f"{file} is damaged, so what lies there is not known; give another run_dir."
        ) from None


def _refuse_other_run(
    path: Path, earlier: Mapping[str, Any], config: Mapping[str, Any], resumable: bool
) -> None:
    own = (
        *(".lock", "log.txt", "run.json", "config.yaml", "manifest.csv", "manifest.json", "events"),
        "audit.html",
    )
    strangers = [p.name for p in path.iterdir() if p.name not in own and ".part" not in p.suffixes]
    if not earlier and strangers:
        raise UsageError(
            f"run_dir={path} holds other files ({', '.join(sorted(strangers)[:3])}) and no run; "
            "nothing is overwritten, give another run_dir."
        )
    if not earlier:
        return
    # an earlier medcnn wrote places relative to the run
    changed = differences(_placeless(earlier["config"]), json.loads(json.dumps(config)))
    if changed:
        raise UsageError(
            f"run_dir={path} holds a run with other settings ({'; '.join(changed[:6])}). "
            "Nothing is overwritten: give another run_dir, or the old settings to go on there."
        )
    if not resumable:
        raise UsageError(f"run_dir={path} holds results already; give another run_dir.")


def _facts(
    config: Mapping[str, Any], command: list[str], earlier: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "medcnn": __version__,
        "id": earlier.get("id", uuid.uuid4().hex),
        "command": shlex.join(["medcnn", *command]),
        "started": earlier.get("started", _now()),
        "ended": None,
        "wall_s": earlier.get("wall_s", 0.0),
        "sittings": earlier.get("sittings", 0) + 1,
        "exit": None,
        "notes": earlier.get("notes", []),
        "versions": {"python": platform.python_version(), **versions()},
        "hardware": {"machine": platform.machine(), "cpu_cores": os.cpu_count()},
        "git": _git(),
        "config": json.loads(json.dumps(config)),
    }


def versions() -> dict[str, str]:
    """Of the packages that results depend on, those with plug-ins among them."""
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


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
