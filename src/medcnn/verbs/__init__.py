"""The commands. Each is one file of this folder, named in VERBS; `steps/` holds what they share.

Even `--help` imports these files, so they import nothing slow at the top: not numpy, torch or
`medcnn.config`. Annotations may still name types of `medcnn.config`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# In the order in which `medcnn --help` shows them.
VERBS = (
    *("audit", "train", "probe", "sweep", "crossvalidate", "learning-curve", "finetune"),
    *("evaluate", "external", "robustness", "predict", "export", "report", "compare", "readers"),
    *("plan", "monitor", "serve", "verify", "who", "preview", "inspect", "look", "init", "list"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """Composed settings before they are frozen.

    Attributes:
        settings: nested plain values, which `Verb.prepare` may change.
        groups: the choice made in each group of `configs/`; None if none was made.
        keys: of the settings named in the command itself.
    """

    settings: dict[str, Any]
    groups: Mapping[str, str | None]
    keys: Sequence[str]


def _alone(_: Mapping[str, Any]) -> Command:
    raise AssertionError("a command without settings has no variants")


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command that was understood.

    Attributes:
        words: those of the command, verb first.
        keys: those of the settings it names.
        config: an instance of `verb.config`.
        yaml: the settings as `--show-config` shows them.
        show: whether to show the settings and stop.
        hints: what to tell the user about the settings.
        varied: builds the training command with these settings and the given ones.
    """

    verb: Verb
    words: list[str]
    keys: list[str] = field(default_factory=list)
    config: Any = None
    yaml: str = ""
    show: bool = False
    hints: list[str] = field(default_factory=list)
    varied: Callable[[Mapping[str, Any]], Command] = _alone


def _nothing(_: Any) -> None:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """A command.

    Attributes:
        lines: examples for `medcnn --help`, the words after `medcnn`.
        usage: what follows `medcnn NAME` in its own help.
        examples: for its own help.
        about: what it does, unless the first lines of `configs/NAME.yaml` say so.
        synonyms: other names that people use for it.
        places: the settings that words without a key set, in this order.
        rest: the setting that collects all words without a key.
        mistaken: settings of other commands, and what to say about them.
        config: frozen class of its settings; None if it parses its own words.
        prepare: changes composed settings, or raises UsageError.
        check: raises UsageError or DataError for faults that can be found before torch is imported.
        run: runs the command.
        resumes: whether it can be resumed after a signal, with everything saved.
        shared: whether several processes can share it (torchrun), and `-m` can run many of it.
    """

    name: str
    lines: tuple[str, ...]
    usage: str = "[key=value ...]"
    examples: tuple[str, ...]
    about: str = ""
    synonyms: tuple[str, ...] = ()
    places: tuple[str, ...] = ()
    rest: str = ""
    mistaken: Mapping[str, str] = field(default_factory=dict)
    config: type | None
    prepare: Callable[[Given], None] = _nothing
    check: Callable[[Any], None] = _nothing
    run: Callable[[Any, Command], object]
    resumes: bool = False
    shared: bool = False


def verb_of(name: str) -> Verb:
    """Raises ModuleNotFoundError if `name` is not in VERBS."""
    verb: Verb = importlib.import_module(f"{__name__}.{name.replace('-', '_')}").VERB
    return verb


def execute(command: Command) -> None:
    """Check the paths of a command, then run it. Torch is imported here, not before."""
    from medcnn.system.privacy import for_terminal
    from medcnn.system.progress import follows, log, show_log

    command.verb.check(command.config)
    show_log(for_terminal)
    for hint in command.hints:
        log.info(hint)
    if command.verb.shared or not follows():
        command.verb.run(command.config, command)
