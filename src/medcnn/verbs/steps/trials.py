"""The trials of a sweep, which share a folder.

A trial's proposal is a function of (seed, trial, results so far) and its training resumes exactly,
so a sweep that was killed comes to the same trials as one that was not.
"""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import optuna
import torch
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from medcnn.config import settings_digest, short_hash, to_json
from medcnn.system.errors import (
    DataError,
    DivergedError,
    StoppedError,
    TooLittleMemoryError,
    UsageError,
)
from medcnn.system.files import locked, private_to, quoted, write_text
from medcnn.system.paths import without_ways
from medcnn.system.progress import wrapped
from medcnn.system.run_facts import without_free_settings
from medcnn.training.tasks import Task
from medcnn.verbs.steps.auditing import manifest_to_audit
from medcnn.verbs.steps.many_runs import other_images
from medcnn.verbs.steps.sitting import ClosedTestError
from medcnn.verbs.sweep import SweepConfig
from medcnn.verbs.train import TrainConfig, train

# Settings of a trial, and its folder -> its config and the words of its command.
Make = Callable[[Mapping[str, Any], Path], tuple[TrainConfig, list[str]]]
DONE = (TrialState.COMPLETE, TrialState.PRUNED)


class PrunedError(StoppedError):
    """The trial is worse than the median of those before it."""


def search(config: SweepConfig, make: Make) -> None:
    """Train `sweep.trials` trials and write the best one as a command that evaluates it on the test
    split. The same command resumes a sweep; started twice at once, both share the work.

    Raises:
        UsageError: the folder holds another sweep.
        DataError: images, labels or splits are not those of its earlier trials.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder = folder_of(config)
    study = opened(config, folder)
    print(f"sweep folder: {folder}", flush=True)
    with private_to(folder):
        if "manifest" in study.user_attrs:
            now, _ = manifest_to_audit(config.train.data, config.train.seed, unheard)
            refuse_other_images(study, folder, now.fingerprint())
        while begun := next_trial(study, config, folder):
            trial, lock = begun
            with lock:
                run_trial(study, trial, config, folder, make)
            write_text(folder / "trials.csv", table(study, config))
            keep_best_weights(study, folder)
        tell(study, config, folder, make)


def unheard(_: str) -> None:
    """Each trial has these sentences in its log."""


def refuse_other_images(study: optuna.Study, folder: Path, now: str) -> None:
    """Keep what the images are. Raises DataError if they differ from those of earlier trials, whose
    scores could not be compared with the next ones."""
    if study.user_attrs.get("manifest", now) != now:
        raise DataError(other_images(folder))
    study.set_user_attr("manifest", now)


def folder_of(config: SweepConfig) -> Path:
    if config.train.run_dir:
        return Path(config.train.run_dir)
    return (
        Path("runs") / f"{config.train.data.called()}-sweep-{settings_digest(settings_of(config))}"
    )


def settings_of(config: SweepConfig) -> dict[str, Any]:
    """The settings that define this sweep; the number of trials may grow."""
    own = {k: v for k, v in to_json(config.sweep).items() if k != "trials"}
    return {"train": without_free_settings(to_json(config.train)), "sweep": own}


def opened(config: SweepConfig, folder: Path) -> optuna.Study:
    journal = folder / "journal.log"
    if folder.exists() and any(folder.iterdir()) and not journal.exists():
        raise UsageError(f"run_dir={folder} holds other files but no sweep; set another run_dir.")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        storage = JournalStorage(JournalFileBackend(str(journal)))
    except OSError as error:
        raise UsageError(f"run_dir={folder} cannot be written: {error.strerror}.") from error
    pruner = optuna.pruners.MedianPruner(
        n_startup_trials=config.sweep.startup,
        n_warmup_steps=config.sweep.prune_after or 10**9,  # null: never
    )
    with locked(folder / ".lock", waiting=patiently):
        study = optuna.create_study(
            storage=storage,
            study_name="medcnn",
            direction="maximize",
            pruner=pruner,
            load_if_exists=True,
        )
        mine = short_hash(without_ways(settings_of(config)))
        if study.user_attrs.get("settings", mine) != mine:
            raise UsageError(
                f"run_dir={folder} holds a sweep with other settings or another space; "
                "choose another run_dir, or use the old settings to continue there."
            )
        study.set_user_attr("settings", mine)
    return study


def patiently() -> None:
    """A process of this sweep holds the lock only for a moment, so no message is needed."""


def next_trial(
    study: optuna.Study, config: SweepConfig, folder: Path
) -> tuple[optuna.Trial, ExitStack] | None:
    """A trial left by a dead process, or a new one, with its lock; None if all have begun."""
    with locked(folder / ".lock", waiting=patiently):
        for left in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if (lock := taken(folder, left.user_attrs)) is None:
                continue  # another process works on it
            lock.close()
            study.tell(left.number, state=TrialState.FAIL)
            study.enqueue_trial(left.params, user_attrs=left.user_attrs)
        number = len(study.get_trials(deepcopy=False, states=(*DONE, TrialState.RUNNING)))
        if number >= config.sweep.trials:
            return None
        # a sampler of its own for each trial: its random numbers do not depend on sittings
        study.sampler = optuna.samplers.TPESampler(
            seed=config.train.seed + number, n_startup_trials=config.sweep.startup
        )
        trial = study.ask()
        if "folder" not in trial.user_attrs:
            trial.set_user_attr("folder", f"trials/{number:03d}")
        for key, of in config.sweep.space.items():
            suggest(trial, key, of)
        lock = taken(folder, trial.user_attrs)
        assert lock is not None, "only this process knows of it"
        return trial, lock


def taken(folder: Path, attributes: Mapping[str, Any]) -> ExitStack | None:
    """The lock of a trial, which ends with its process; None if another process has it."""
    path = folder / f"{attributes.get('folder', 'trials/none')}.lock"
    path.parent.mkdir(exist_ok=True)
    lock = ExitStack()
    try:
        lock.enter_context(locked(path))
    except BlockingIOError:
        return None
    return lock


def suggest(trial: optuna.Trial, key: str, of: Mapping[str, Any] | list[Any]) -> Any:
    """The value of a setting; choices by their place in the list, so that any may be one."""
    if isinstance(of, list):
        return of[trial.suggest_categorical(key, range(len(of)))]
    low, high, log = of["low"], of["high"], of.get("log", False)
    if isinstance(low, int) and isinstance(high, int):
        return trial.suggest_int(key, low, high, log=log)
    value = trial.suggest_float(key, low, high, log=log)
    return min(max(float(f"{value:.4g}"), low), high)  # a number to type


def run_trial(
    study: optuna.Study, trial: optuna.Trial, config: SweepConfig, folder: Path, make: Make
) -> None:
    """Train it to its end or until it is pruned, and tell Optuna its best score on validation."""
    chosen = {key: suggest(trial, key, of) for key, of in config.sweep.space.items()}
    settings, words = make(chosen, folder / trial.user_attrs["folder"])
    signed: list[float] = []  # by epoch, higher is better
    shown = "no score"

    def best() -> float | None:
        return max((s for s in signed if s == s), default=None)

    def watch(task: Task, history: list[dict[str, float]]) -> None:
        nonlocal shown
        sign = 1 if task.higher_is_better else -1
        for row in history[len(signed) :]:
            signed.append(sign * row[f"val/{task.score}"])
            if signed[-1] == signed[-1]:
                trial.report(signed[-1], int(row["epoch"]))
        if (value := best()) is None:
            return
        trial.set_user_attr(task.score, sign * value)
        shown = f"val {task.score} {sign * value:.4f}"
        if len(history) < settings.trainer.epochs and trial.should_prune():
            raise PrunedError("pruned: worse than the median of the trials before.")

    value, end = None, ""
    try:
        train(settings, words, watch)
    except ClosedTestError:
        if (value := best()) is None:
            raise DataError(
                "validation has no score to choose by; set another with trainer.score=..."
            ) from None
    except PrunedError:
        end = f"  pruned after epoch {len(signed)}"
    except (UsageError, DivergedError, TooLittleMemoryError, torch.OutOfMemoryError) as error:
        done = ranked(study)
        scored = any(t.state is TrialState.COMPLETE for t in done)
        if isinstance(error, UsageError) and len(done) >= 2 and not scored:
            study.tell(trial, state=TrialState.PRUNED)  # the next start tries other choices
            raise  # three without a score: the command itself may be wrong
        end = f"  given up: {' '.join(str(error).split())[:160]}"
    refuse_trial_of_others(study, folder, folder / trial.user_attrs["folder"])
    study.tell(trial, value, TrialState.PRUNED if value is None else None)
    number = int(Path(trial.user_attrs["folder"]).name) + 1
    said = " ".join(f"{k.rpartition('.')[2]}={v}" for k, v in chosen.items())
    print(wrapped(f"{number}/{config.sweep.trials}  {shown}  {said}{end}"), flush=True)


def refuse_trial_of_others(study: optuna.Study, folder: Path, run: Path) -> None:
    """Raises DataError if labels were corrected while the sweep was at work."""
    facts = {}
    with suppress(OSError):  # it was given up before anything was computed
        facts = json.loads((run / "run.json").read_text(encoding="utf-8"))
    if "manifest" in facts:
        try:
            refuse_other_images(study, folder, facts["manifest"])
        except DataError:
            shutil.rmtree(run)  # or it could not begin again once the labels are restored
            raise


def values_of(trial: optuna.trial.FrozenTrial, config: SweepConfig) -> dict[str, Any]:
    fixed = optuna.trial.FixedTrial(trial.params)
    return {k: suggest(fixed, k, of) for k, of in config.sweep.space.items()}  # type: ignore[arg-type]


def ranked(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """The trials that are done: finished ones first, the best at the top."""
    done = study.get_trials(deepcopy=False, states=DONE)
    value = {t.number: -float("inf") if t.value is None else t.value for t in done}
    return sorted(done, key=lambda t: (t.state is not TrialState.COMPLETE, -value[t.number]))


def table(study: optuna.Study, config: SweepConfig) -> str:
    text = io.StringIO()
    out = csv.writer(text, lineterminator="\n")
    out.writerow(["trial", "end", "epochs", "score", "validation", *config.sweep.space])
    for t in ranked(study):
        score = {k: v for k, v in t.user_attrs.items() if k != "folder"}
        name, value = next(iter(score.items()), ("", ""))
        epochs = max(t.intermediate_values, default=0)
        end = "finished" if t.state is TrialState.COMPLETE else "pruned"
        own = [quoted(str(v)) for v in values_of(t, config).values()]
        out.writerow([t.user_attrs["folder"], end, epochs, name, value, *own])
    return text.getvalue()


def keep_best_weights(study: optuna.Study, folder: Path) -> None:
    """Keep the weights of the best trial, and of those evaluated on the test split; a hundred
    trials of a large network would fill a disk."""
    for t in ranked(study)[1:]:
        path = folder / t.user_attrs["folder"]
        if not (path / "metrics.json").exists():
            shutil.rmtree(path / "checkpoints", ignore_errors=True)


def tell(study: optuna.Study, config: SweepConfig, folder: Path, make: Make) -> None:
    done = ranked(study)
    if len(done) < config.sweep.trials:
        left = config.sweep.trials - len(done)
        print(f"another process is working on the last {left} of {config.sweep.trials} trials")
        return
    finished = [t for t in done if t.state is TrialState.COMPLETE]
    print(f"\n{len(done)} trials, {len(done) - len(finished)} of them pruned: {folder}/trials.csv")
    if not finished:
        raise DataError(
            "no trial finished; the line of each says why. Where training diverged, search smaller "
            "learning rates."
        )
    best = finished[0]
    words = without_names(*make(values_of(best, config), folder / best.user_attrs["folder"]))
    write_text(folder / "best.sh", f"{shlex.join([sys.executable, '-m', 'medcnn', *words])}\n")
    print("the best on validation; this evaluates it once on the test split, without training:")
    print(f"  sh {shlex.quote(str(folder / 'best.sh'))}")


def without_names(settings: TrainConfig, words: list[str]) -> list[str]:
    """The command with a pseudonym for each patient that it excludes, which `data.exclude` accepts
    as well."""
    kept = [word for word in words if not re.match(r"\+*data\.exclude\b", word)]
    exclude = to_json(settings)["data"]["options"].get("exclude")
    if len(kept) == len(words) or not exclude:
        return words
    columns = []
    for column, excluded in exclude.items():
        key = re.sub(r"([\\()\[\]{}:=, \t])", r"\\\1", column)  # in Hydra's grammar
        columns.append(f"{key}:[{','.join(excluded)}]")
    return [*kept, f"++data.exclude={{{','.join(columns)}}}"]
