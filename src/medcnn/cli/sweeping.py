"""`train -m`: Hydra's sweeps, with one run per combination."""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import re
import shlex
from collections.abc import Sequence
from functools import partial
from typing import Any, cast

from hydra import compose, initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.types import HydraContext
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from medcnn.cli.compose import hidden, read_command, read_options, read_words, words_of
from medcnn.cli.faults import misread
from medcnn.cli.own_yaml import searched
from medcnn.cli.words import NAMING, word_of
from medcnn.statistics.metrics.table import METRICS
from medcnn.system.errors import StoppedError, UsageError, pip_install
from medcnn.system.paths import config_folder
from medcnn.system.privacy import for_terminal
from medcnn.system.progress import hushed, show_log, wrapped
from medcnn.verbs import Verb
from medcnn.verbs.sweep import refuse_faults


def run_each(verb: Verb, words: list[str]) -> int:
    """Run each combination of `key=a,b` by Hydra's launchers, print how they compare on validation,
    and return the worst exit code.

    Raises:
        UsageError: all faults of all combinations, before the first run.
    """
    if not verb.shared:
        raise UsageError(f"-m works with train and finetune, not with {verb.name}.")
    given = read_options(verb, words, many=True)
    settings, own_folder, show = given.settings, given.folder, given.show
    options = [f"--config-dir={own_folder}"] if own_folder else []
    with initialize_config_dir(version_base="1.3", config_dir=str(config_folder())):
        loader = GlobalHydra.instance().config_loader()
        launching, rest = _split(settings, loader.get_group_options("hydra/launcher"))
        jobs, names = _combinations(rest, loader)
        plain = [
            *("hydra.output_subdir=null", "hydra/job_logging=none", "hydra/hydra_logging=none"),
            *("hydra.sweep.dir=.", "hydra.sweep.subdir=."),  # each run has its own folder
        ]
        overrides = [*searched(own_folder), *plain, *launching]
        try:
            config = compose(verb.name, overrides, return_hydra_config=True)
        except (HydraException, OmegaConfBaseException) as error:
            raise UsageError(f"{' '.join(launching)}: {words_of(error)}") from error
    reads = (partial(read_command, verb.name, [*options, *job]) for job in jobs)
    refuse_faults(reads, places=not show)
    if show:
        print("\n".join(shlex.join(["medcnn", verb.name, *options, *job]) for job in jobs))
        return 0
    print(
        f"runs of medcnn {verb.name}: {len(jobs)}; the messages of each are in its log.txt",
        flush=True,
    )
    job = partial(_job, verb.name, options, names)
    context = HydraContext(loader, cast(Any, Callback()))  # from which each job needs two things
    launcher = Plugins.instance().instantiate_launcher(context, job, config)
    from medcnn.training.stopping import Interrupted, signals

    try:
        with signals(patient=False):  # otherwise processes of a launcher would outlive this one
            done = [r.return_value for r in launcher.launch(jobs, initial_job_idx=0)]
    except Interrupted as signal:
        raise StoppedError(f"stopped by {signal}; run the same command again to resume.") from None
    _table(names, done)
    return max(int(result["code"]) for result in done)


def _split(settings: list[str], installed: Sequence[str]) -> tuple[list[str], list[str]]:
    """Words for Hydra's launcher, and all others."""
    launching = [w for w in settings if re.match(r"hydra[/.]launcher\b", w)]
    rest = [w for w in settings if w not in launching]
    for word in [w for w in rest if w.startswith("jobs=")]:
        rest.remove(word)
        if not re.fullmatch("jobs=[1-9][0-9]*", word):
            raise UsageError(f"{word} should be a whole number of at least 1.")
        launching += ["hydra/launcher=joblib", f"hydra.launcher.n_jobs={word[5:]}"]
    for word in launching:
        _, given, name = word.partition("hydra/launcher=")
        if given and name not in installed:
            raise UsageError(
                f"launcher {name} is not installed; available: {', '.join(sorted(installed))}. "
                f"joblib and jobs=N need the extra medcnn[sweep]: {pip_install('sweep')}; "
                "submitit_slurm needs .venv/bin/pip install hydra-submitit-launcher."
            )
    return launching, rest


def _combinations(words: list[str], loader: ConfigLoader) -> tuple[list[list[str]], list[str]]:
    """The words of each run, and what distinguishes it from the others."""
    choices: list[list[str]] = []
    for o in read_words(words, loader):
        if not o.is_sweep_override():
            choices.append([_nameless(str(o.input_line))])
        elif not o.is_discrete_sweep():
            raise UsageError(
                f"{o.input_line}: an interval is not a list of values; see medcnn sweep."
            )
        elif o.key_or_group == "run_dir":
            raise UsageError("run_dir: give only one; each run gets its own folder in it.")
        else:
            key = o.get_key_element()
            each = (_nameless(f"{key}={v}") for v in o.sweep_string_iterator())
            choices.append(list(dict.fromkeys(each)))
    jobs, names = [], []
    for combination in itertools.product(*choices):
        own = [w for w, of in zip(combination, choices, strict=True) if len(of) > 1]
        names.append(" ".join(own) or "the only one")
        jobs.append([_in_folder(w, own) for w in combination])
    return jobs, names


def _nameless(word: str) -> str:
    """A word whose values of `data.exclude`, which may name patients, are the pseudonyms that mean
    them: words name folders, and the files of launchers contain them."""
    if not NAMING.match(word):
        return word
    override = read_words([word])[0]
    if any(misread(override)):
        return word  # each run refuses it
    return f"{override.get_key_element()}={word_of(hidden(override.value()))}"


def _in_folder(word: str, own: list[str]) -> str:
    """`run_dir=DIR` with a separate folder for that run within DIR."""
    parent = read_words([word])[0].value() if word.startswith("run_dir=") else None
    if parent in (None, "") or not own:
        return word
    name = ",".join(own)
    safe = re.sub(r"[^\w.=,+-]", "_", name)
    if safe != name or len(safe) > 120:
        safe = f"{safe[:100]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return f"run_dir={word_of(f'{parent}/{safe}')}"


def _job(verb: str, options: list[str], names: list[str], _: DictConfig) -> dict[str, Any]:
    """One run, in this process or in a launcher's."""
    from medcnn.cli import run

    job = HydraConfig.get()
    words = [*options, *job.overrides.task]
    show_log(for_terminal)
    with hushed(logging.ERROR):  # warnings and progress of a run are in its log.txt
        code = run([verb, *words])
    if code in (75, 130):
        raise SystemExit(code)  # stopping a run stops the sweep
    from medcnn.verbs.steps.sitting import run_folder_of

    folder = run_folder_of(read_command(verb, words).config)
    facts = json.loads((folder / "run.json").read_text()) if code == 0 else {}
    result = {
        "code": code,
        "folder": str(folder),
        "validation": facts.get("validation", {}),
        "manifest": facts.get("manifest"),
    }
    number = job.job.num
    print(wrapped(f"{number + 1}/{len(names)}  {_said(result)}  {names[number]}"), flush=True)
    return result


def _said(result: dict[str, Any]) -> str:
    scores = [f"val {k} {v:.4f}" for k, v in result["validation"].items() if v is not None]
    return "".join(scores) or (f"exit code {result['code']}" if result["code"] else "no score")


def _table(names: list[str], results: list[dict[str, Any]]) -> None:
    """Best first; runs with different scores are grouped by score."""

    def rank(of: tuple[str, dict[str, Any]]) -> tuple[bool, str, float]:
        score, value = next(iter(of[1]["validation"].items()), ("", None))
        sign = -1 if value is not None and METRICS[score].higher_is_better else 1
        return value is None, score, sign * (value or 0.0)

    print("\non validation, by which a sweep may choose:")
    for name, result in sorted(zip(names, results, strict=True), key=rank):
        print(wrapped(f"  {_said(result)}  {name}  {result['folder']}"))
    if len({result["manifest"] for result in results if result["manifest"]}) > 1:
        dealt = "the seed determines them if the set has no splits"
        how = "compare within one seed, or means over seeds"
        print(wrapped(f"warning: not all runs have the same validation images ({dealt}): {how}"))
