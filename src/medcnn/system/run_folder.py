"""The folder of a run: who may write in it, what is where, and `run.json`, which records how the
results were made."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from medcnn.system.distributed import ALONE, Ranks
from medcnn.system.errors import MedcnnError, UsageError
from medcnn.system.files import (
    is_part,
    kept_twice,
    locked,
    private_to,
    read_json,
    sweep,
    write_text,
)
from medcnn.system.privacy import pseudonymised
from medcnn.system.progress import keep_log, log
from medcnn.system.run_facts import as_begun, differences, extensions, facts_of, now
from medcnn.system.run_places import kept_at, placeless, places_given


class RunFolder:
    """Paths of a run, and the facts that end up in `run.json`.

    Attributes:
        facts: written at the start and again at the end, even if the run fails.
        finished: an earlier sitting finished the run; there is nothing left to do.
        earlier: the facts as the previous sitting left them.
        went_on: a state that this sitting trained is saved.
        written: removes names and folders of this machine from a sentence.
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
        self.written, self.went_on = written, False
        self.earlier = earlier or {}
        self.checkpoints = path / "checkpoints"
        self.best = self.checkpoints / "best.safetensors"
        self.last = self.checkpoints / "last.safetensors"
        self.resume = self.checkpoints / "resume.pt"
        self.start = self.checkpoints / "start.safetensors"
        self.events = path / "events"
        self.metrics = path / "metrics.json"
        self.report = path / "report.html"
        self.errors = path / "errors.json"
        self.maps = path / "explanations.json"
        self.audit = path / "audit.html"
        self.manifest = path / "manifest.csv"

    def resumable(self) -> bool:
        """Whether a state to resume from is saved."""
        return any(place.exists() for place in kept_twice(self.resume))

    def began(self) -> bool:
        """Whether anything here took work to make."""
        return self.checkpoints.exists() or self.metrics.exists()

    def moved(self) -> list[str]:
        """Versions and hardware that changed since the previous sitting."""
        return [
            line
            for part in ("versions", "hardware")
            for line in differences(self.earlier.get(part, {}), self.facts[part], part)
        ]

    def predictions(self, split: str) -> Path:
        return self.path / f"predictions_{split}.csv"

    def note(self, text: str) -> None:
        """Say something in the terminal, run.json and the report alike."""
        written = self.written(text)
        if written not in self.facts["notes"]:
            self.facts["notes"].append(written)
            log.warning(text)

    def write_facts(self) -> None:
        if self.ranks.leads:
            self._take_over_looks()
            write_text(self.path / "run.json", json.dumps(self.facts, indent=2) + "\n")

    def looks_at_test(self) -> None:
        """Record that the test split of this run is opened."""
        self._take_over_looks()
        self.facts["test_looks"] = self._looks_with_this(self.facts)
        self.write_facts()
        self._count(len(self.facts["test_looks"]))

    def looks_at_test_of(self, manifest: str, origins: Iterable[Path]) -> None:
        """Record that the test split of other runs is opened, where they keep their facts, and say
        how often that has happened: repeated looks turn into choosing by the test split.

        Args:
            manifest: fingerprint of the data set with this split.
            origins: where the `run.json` of each checkpoint should be, or the file of their
                cross-validation.
        """
        most, unknown = 0, 0
        for origin in dict.fromkeys(origins):
            facts = read_json(origin)
            if facts.get("manifest") != manifest:
                unknown += 1
                continue
            facts["test_looks"] = self._looks_with_this(facts)
            most = max(most, len(facts["test_looks"]))
            try:
                write_text(origin, json.dumps(facts, indent=2) + "\n")
            except OSError as error:
                log.warning(f"this look at test cannot be recorded in {origin}: {error.strerror}")
        self._count(most)
        if unknown:
            self.note(
                "this look at the test split is not counted: a checkpoint outside of its run "
                "folder, or one of other images or splits, does not show where its looks are "
                "recorded."
            )

    def _take_over_looks(self) -> None:
        """Add the looks that other commands recorded on disk while this one was at work."""
        there = facts_at(self.path)
        mine = self.facts.get("test_looks", [])
        lacking = [look for look in there.get("test_looks", []) if look not in mine]
        if lacking and there.get("id") == self.facts.get("id"):
            self.facts["test_looks"] = sorted([*mine, *lacking], key=lambda look: look["when"])

    def _looks_with_this(self, facts: Mapping[str, Any]) -> list[Any]:
        look = {"when": now(), "command": self.facts["command"]}
        return [*facts.get("test_looks", ()), look]

    def _count(self, looks: int) -> None:
        if looks > 1:
            self.note(
                f"this is look number {looks} at the test split. Any choice made after a look "
                "makes the test scores too optimistic."
            )


@contextmanager
def open_run(
    path: Path, config: Mapping[str, Any], command: list[str], *, resumable: bool
) -> Iterator[RunFolder]:
    """The folder at `path`, locked for this process, with log and `run.json`.

    Args:
        config: the resolved config as plain dicts.
        resumable: whether a run with the same settings may be resumed there.

    Raises:
        UsageError: another process is writing there, another run is there, or the folder cannot be
            written.
    """
    places, config = places_given(path, config), placeless(config)
    made_here = not path.exists()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if made_here:
            path.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise UsageError(f"run_dir={path} cannot be written: {error.strerror}.") from error
    with ExitStack() as stack:
        unlocked = _lock(path, stack)
        earlier = _earlier(path)
        if not any((path / name).exists() for name in ("checkpoints", "metrics.json")):
            earlier = {}  # it failed before it produced anything; there is nothing to lose
        config = as_begun(earlier.get("config", {}), config)
        _refuse_other_run(path, earlier, config, resumable)
        places.refuse_others(path, earlier)
        extended = extensions(earlier.get("config", {}), config)
        if (earlier.get("exit") or {}).get("code") == 0 and not extended:
            yield RunFolder(path, earlier, finished=True)  # nothing is done, so nothing is written
            return
        facts = {**earlier, **facts_of(config, [places.word(w) for w in command], earlier)}
        run = RunFolder(path, facts, finished=False, earlier=earlier, written=places.written)
        stack.enter_context(private_to(path))
        places.keep(facts["id"], path)
        try:
            for folder in filter(Path.exists, (path, run.checkpoints)):
                sweep(folder)
                tempfile.TemporaryFile(dir=folder).close()
            run.write_facts()
            write_text(path / "config.yaml", yaml.safe_dump(dict(config), sort_keys=False))
            stop_log = keep_log(path / "log.txt", places.written)
        except OSError as error:
            raise UsageError(f"run_dir={path} cannot be written: {error.strerror}.") from error
        with _concluded(run, stop_log, made_here=made_here, resumable=resumable):
            if unlocked:
                run.note(unlocked)
            if extended:
                run.note(
                    f"this run was extended ({'; '.join(extended)}): from here on, the learning "
                    "rate follows the schedule of the new number of epochs"
                )
            try:
                yield run
            except BaseException:
                if extended and not run.went_on:
                    _take_back(run, earlier)
                raise


def _take_back(run: RunFolder, earlier: Mapping[str, Any]) -> None:
    """Nothing was trained under the settings that extend the run, so the command of before may go
    on, too."""
    run.facts |= {"config": earlier["config"], "notes": earlier.get("notes", [])}
    with suppress(OSError):
        write_text(run.path / "config.yaml", yaml.safe_dump(earlier["config"], sort_keys=False))


def _lock(path: Path, stack: ExitStack) -> str:
    """Lock the folder until `stack` ends; returns why that failed, or "".

    Raises:
        UsageError: another process holds the lock.
    """
    try:
        stack.enter_context(locked(path / ".lock"))
    except BlockingIOError:
        raise UsageError(
            f"run_dir={path} is in use by another medcnn process. Wait for it, or give another "
            "run_dir."
        ) from None
    except OSError as error:
        return f"{path} cannot be locked ({error.strerror}): start only one process there"
    return ""


@contextmanager
def _concluded(
    run: RunFolder, stop_log: Callable[[], None], *, made_here: bool, resumable: bool
) -> Iterator[None]:
    """Record in `run.json` how the block ended; remove a new folder with no results."""
    facts, started = run.facts, time.monotonic()
    useless: tuple[int, ...] = (2, 4)
    try:
        yield
        facts["exit"] = {"reason": "finished", "code": 0}
    except BaseException as error:
        code = error.exit_code if isinstance(error, MedcnnError) else 1
        # the message of a library may contain anything, even a file name
        ours = isinstance(error, MedcnnError) and str(error)
        reason = run.written(ours) if ours else type(error).__name__
        facts["exit"] = {"reason": reason, "code": code}
        if isinstance(error, OSError) and not (resumable or any(run.path.glob("predictions_*"))):
            useless = (*useless, code)  # a full disk, before there is anything to keep
        raise
    finally:
        facts["ended"] = now()
        facts["wall_s"] = round(facts["wall_s"] + time.monotonic() - started, 1)
        try:
            run.write_facts()
        except OSError as error:
            if facts["exit"]["code"] == 0:
                raise
            log.warning(f"{run.path / 'run.json'} cannot be written: {error.strerror}")
        stop_log()
        if made_here and facts["exit"]["code"] in useless and not run.began():
            shutil.rmtree(run.path)  # it has not produced anything: leave no litter
            log.info(f"{run.path} was removed, since nothing had been computed yet")
            with suppress(OSError):
                kept_at(facts["id"]).unlink()


def free_folder(path: Path) -> Path:
    """`path`, or the first of `path-2`, `path-3`, ... that does not exist."""
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}-{number}")
    return free


def shorter_run(path: Path, config: Mapping[str, Any]) -> Path | None:
    """If `path` does not exist: the longest run beside it that could be extended to `config`."""
    now = json.loads(json.dumps(placeless(config)))
    found: list[tuple[int, Path]] = []
    for file in () if path.exists() else path.parent.glob("*/run.json"):
        try:
            before = _earlier(file.parent)["config"]
        except (OSError, UsageError, LookupError):
            continue  # not a run of ours
        run = RunFolder(file.parent, {}, finished=False)
        as_there = as_begun(before, now)
        if run.resumable() and extensions(before, as_there) and not differences(before, as_there):
            found.append((before["trainer"]["epochs"], run.path))
    return max(found)[1] if found else None


def facts_at(path: Path) -> dict[str, Any]:
    """The `run.json` of a run; empty if there is none, or one of another program."""
    with suppress(UsageError, OSError):
        return _earlier(path)
    return {}


def _earlier(path: Path) -> dict[str, Any]:
    file = path / "run.json"
    if not file.is_file():
        return {}
    try:
        facts = dict(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        facts = {}
    if not _is_ours(facts.get("config")):
        raise UsageError(
            f"{file} is damaged or not of medcnn, so the content of this folder is unknown; give "
            "another run_dir."
        )
    return facts


def _is_ours(config: object) -> bool:
    """Whether this may be the config of a run; other programs write a `run.json`, too."""
    if not isinstance(config, dict):
        return False
    groups = (config.get(name) for name in ("data", "optimizer", "trainer"))
    return all(group is None or isinstance(group, dict) for group in groups)


def _refuse_other_run(
    path: Path, earlier: Mapping[str, Any], config: Mapping[str, Any], resumable: bool
) -> None:
    own = (
        *(".lock", "log.txt", "run.json", "config.yaml", "manifest.csv", "manifest.json", "events"),
        "audit.html",
    )
    strangers = [p.name for p in path.iterdir() if p.name not in own and not is_part(p)]
    if not earlier and strangers:
        raise UsageError(
            f"run_dir={path} contains other files ({', '.join(sorted(strangers)[:3])}) and no run. "
            "Nothing is overwritten: give another run_dir."
        )
    if not earlier:
        return
    # earlier versions wrote paths relative to the run
    changed = differences(placeless(earlier["config"]), json.loads(json.dumps(config)))
    if changed:
        raise UsageError(
            f"run_dir={path} contains a run with other settings ({'; '.join(changed[:6])}). "
            "Nothing is overwritten: give another run_dir, or the old settings to resume it."
        )
    if not resumable:
        raise UsageError(f"run_dir={path} already contains results; give another run_dir.")
