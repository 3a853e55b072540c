"""`train -m`: Hydra's sweeps, a run of each combination. `sweep`: Optuna's trials as commands."""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.types import HydraContext
from omegaconf import DictConfig

from medcnn.cli.compose import Command, read_command, read_options, read_words, searched
from medcnn.config import SweepConfig, TrainConfig, config_folder
from medcnn.errors import UsageError
from medcnn.metrics import METRICS
from medcnn.privacy import for_terminal
from medcnn.progress import show_log, wrapped

DRY = "trainer.dry_run=true rehearses one run, so with medcnn train and without -m."
LAUNCHERS = {"joblib": "'medcnn[sweep]'", "submitit_slurm": "hydra-submitit-launcher"}


def run_each(verb: str, words: list[str]) -> int:
    """A run of each combination of `key=a,b`, by Hydra's launchers; prints how they compare on
    validation, and returns the worst exit code.

    Raises:
        UsageError: all faults of all combinations, before the first of them runs.
    """
    if verb not in ("train", "finetune"):
        raise UsageError(f"-m makes many runs of train or finetune; {verb} has none.")
    refuse_torchrun()
    settings, own_folder, show = read_options(words)
    options = [f"--config-dir={own_folder}"] if own_folder else []
    with initialize_config_dir(version_base="1.3", config_dir=str(config_folder())):
        loader = GlobalHydra.instance().config_loader()
        launching, rest = _split(settings, loader.get_group_options("hydra/launcher"))
        jobs, names = _combinations(rest, loader)
        plain = [
            *("hydra.output_subdir=null", "hydra/job_logging=none", "hydra/hydra_logging=none"),
            *("hydra.sweep.dir=.", "hydra.sweep.subdir=."),  # each run has a folder of its own
        ]
        config = compose(
            verb, [*searched(own_folder), *plain, *launching], return_hydra_config=True
        )
    _check(verb, jobs, options)
    if show:
        print("\n".join(shlex.join(["medcnn", verb, *options, *job]) for job in jobs))
        return 0
    print(f"{len(jobs)} runs of medcnn {verb}; what each says is in its log.txt", flush=True)
    job = partial(_job, verb, options, names)
    context = HydraContext(loader, Callbacks())
    launcher = Plugins.instance().instantiate_launcher(context, job, config)
    done = [r.return_value for r in launcher.launch(jobs, initial_job_idx=0)]
    _table(names, done)
    return max(int(result["code"]) for result in done)


def refuse_torchrun() -> None:
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError(
            "a sweep runs in one process, or in those of a launcher: leave torchrun out."
        )


def _split(settings: list[str], installed: Sequence[str]) -> tuple[list[str], list[str]]:
    """Words for Hydra's launcher, and the others."""
    launching = [w for w in settings if re.match(r"hydra[/.]launcher\b", w)]
    rest = [w for w in settings if w not in launching]
    for word in [w for w in rest if w.startswith("jobs=")]:
        rest.remove(word)
        count = word.removeprefix("jobs=")
        if not count.isdigit() or count == "0":
            raise UsageError(f"{word} should be a whole number of at least 1.")
        if count != "1":
            launching += ["hydra/launcher=joblib", f"hydra.launcher.n_jobs={count}"]
    for word in launching:
        _, given, name = word.partition("hydra/launcher=")
        if given and name not in installed:
            package = LAUNCHERS.get(name.replace("_local", "_slurm"), "the package it comes with")
            raise UsageError(
                f"{name} is not installed as a launcher: pip install {package}. "
                f"Installed: {', '.join(sorted(installed))}."
            )
    return launching, rest


def _combinations(words: list[str], loader: ConfigLoader) -> tuple[list[list[str]], list[str]]:
    """The words of each run, and what tells it from the others."""
    choices: list[list[str]] = []
    for o in read_words(words, loader):
        if not o.is_sweep_override():
            choices.append([str(o.input_line)])
        elif o.is_discrete_sweep():
            key = o.get_key_element()
            choices.append(list(dict.fromkeys(f"{key}={v}" for v in o.sweep_string_iterator())))
        else:
            raise UsageError(f"{o.input_line}: an interval has no end of values; see medcnn sweep.")
    jobs, names = [], []
    for combination in itertools.product(*choices):
        own = [w for w, of in zip(combination, choices, strict=True) if len(of) > 1]
        names.append(" ".join(own))
        jobs.append([_in_folder(w, own) for w in combination])
    return jobs, names


def _in_folder(word: str, own: list[str]) -> str:
    """`run_dir=DIR` as a folder of that run alone within DIR."""
    if not word.startswith("run_dir=") or not own:
        return word
    name = ",".join(own)
    safe = re.sub(r"[^\w.=,+-]", "_", name)
    if safe != name or len(safe) > 120:
        safe = f"{safe[:100]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    parent = word.removeprefix("run_dir=").strip("'\"")
    return f"run_dir={word_of(f'{parent}/{safe}')}"


def _check(verb: str, jobs: list[list[str]], options: list[str]) -> None:
    commands: list[Command] = []
    faults: dict[str, None] = {}
    for job in jobs:
        try:
            commands.append(read_command(verb, [*options, *job]))
        except UsageError as error:
            faults.update(dict.fromkeys(str(error).splitlines()))
    if faults:
        raise UsageError("\n".join(faults))
    if any(isinstance(c.config, TrainConfig) and c.config.trainer.dry_run for c in commands):
        raise UsageError(DRY)


def _job(verb: str, options: list[str], names: list[str], _: DictConfig) -> dict[str, Any]:
    """One run, in this process or in one that a launcher started. Its warnings and progress are in
    its log.txt, and one line is shown."""
    from medcnn.cli import run

    job = HydraConfig.get()
    words = [*options, *job.overrides.task]
    show_log(for_terminal, logging.ERROR)
    try:
        code = run([verb, *words])
    finally:
        show_log(for_terminal, logging.INFO)
    if code in (75, 130):
        raise SystemExit(code)  # whoever stops a run means the sweep
    from medcnn.workflows.training import run_folder_of

    config = read_command(verb, words).config
    assert isinstance(config, TrainConfig)
    folder = run_folder_of(config)
    facts = json.loads((folder / "run.json").read_text()) if code == 0 else {}
    result = {"code": code, "folder": str(folder), "validation": facts.get("validation", {})}
    number = job.job.num
    line = f"{number + 1}/{len(names)}  {names[number]}  {_said(result)}  {folder}"
    print(wrapped(line), flush=True)
    return result


def _said(result: dict[str, Any]) -> str:
    scores = [f"val {k} {v:.4f}" for k, v in result["validation"].items() if v is not None]
    return "".join(scores) or (f"exit code {result['code']}" if result["code"] else "no score")


def _table(names: list[str], results: list[dict[str, Any]]) -> None:
    """Best first; of runs with different scores each score for itself."""

    def rank(at: int) -> tuple[int, str, float]:
        name, value = next(iter(results[at]["validation"].items()), ("", None))
        if value is None:
            return 1, name, 0.0
        return 0, name, -value if METRICS[name].higher_is_better else value

    width = max(map(len, names))
    print("\non validation, which is what a sweep may choose by:")
    for at in sorted(range(len(results)), key=rank):
        print(f"  {_said(results[at]):<28}  {names[at]:<{width}}  {results[at]['folder']}")


def search_of(command: Command, config: SweepConfig) -> None:
    """`sweep`: every trial is a command of its own, which is understood before the first begins."""
    refuse_torchrun()
    if config.train.trainer.dry_run:
        raise UsageError(DRY)
    settings, own_folder, _ = read_options(command.words[1:])
    options = [f"--config-dir={own_folder}"] if own_folder else []
    shared = [
        word
        for word, o in zip(settings, read_words(settings), strict=True)
        if o.key_or_group.split(".")[0] not in ("sweep", "run_dir")
    ]

    def trial(chosen: Mapping[str, Any], folder: Path | None) -> tuple[TrainConfig, list[str]]:
        words = [*shared, *(f"{key}={word_of(value)}" for key, value in chosen.items())]
        words += [f"run_dir={word_of(str(folder))}"] if folder else []
        made = read_command("train", [*options, *words])
        assert isinstance(made.config, TrainConfig)
        return made.config, made.words

    faults: dict[str, None] = {}
    for key, of in config.sweep.space.items():
        for value in of if isinstance(of, list) else (of["low"], of["high"]):
            try:
                trial({key: value}, None)
            except UsageError as error:
                faults.update(dict.fromkeys(f"sweep.space: {x}" for x in str(error).splitlines()))
    if faults:
        raise UsageError("\n".join(faults))
    show_log(for_terminal, logging.ERROR)
    try:
        from medcnn.workflows.sweeping import search

        search(config, trial)
    finally:
        show_log(for_terminal, logging.INFO)


def word_of(value: Any) -> str:
    """A value in Hydra's grammar."""
    if isinstance(value, str) and not re.fullmatch(r"[A-Za-z_][\w./-]*", value):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, list):
        return f"[{','.join(map(word_of, value))}]"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{k}:{word_of(v)}" for k, v in value.items()) + "}"
    return value if isinstance(value, str) else json.dumps(value)
