"""The command line: `medcnn VERB key=value ...`.

Nothing heavy is imported before the command has been parsed.
"""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext

from medcnn.verbs import VERBS, Command, execute, verb_of

# What people may type instead of `medcnn list ...`.
LISTS = {
    **dict.fromkeys(("backbones", "models"), "list backbones"),
    **dict.fromkeys(("datasets", "data"), "list datasets"),
    **{name: f"list {name}" for name in ("augmentations", "heads", "losses", "metrics", "steps")},
}


def main(arguments: list[str] | None = None) -> None:
    """Run a command and exit with its code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if {"--version", "-V"} & set(words) or words == ["version"]:
        from medcnn import __version__

        print(f"medcnn {__version__}")
        raise SystemExit(0)
    asked = {"-h", "--help", "-?", "help"} & {*words[:1], *(w for w in words if w[:1] == "-")}
    if asked or not words:
        from medcnn.cli.help import general, help_of

        verbs = [w for w in words if w in VERBS]
        print(help_of(verb_of(verbs[0])) if asked and verbs else general(), end="")
        raise SystemExit(0 if words else 2)
    if arguments is None:  # in a separate process
        from medcnn.system.tracebacks import guard

        guard()
    raise SystemExit(run(words))


def run(words: list[str]) -> int:
    """Run a command, report what went wrong, and return the exit code."""
    from medcnn.system.errors import MedcnnError, private
    from medcnn.system.privacy import for_terminal
    from medcnn.system.progress import follows, wrapped

    def say(text: str) -> None:
        if follows():
            return  # the leader reports it
        if debug:  # like the traceback above, it is meant to be sent
            from medcnn.system.tracebacks import shareable

            text = shareable(text, _typed_places(words))
        print(wrapped(for_terminal(f"error: {text}")), file=sys.stderr)

    debug = "--debug" in words

    def trace(error: BaseException) -> None:
        if debug:
            from medcnn.system.tracebacks import traceback_of

            print(traceback_of(error, _typed_places(words)), file=sys.stderr)

    try:
        rest = [w for w in words if w != "--debug"] or [""]
        with _heard(rest[0]):
            return _dispatch(rest)
    except MedcnnError as error:
        trace(error)
        say(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        print("stopped at once; earlier files are intact", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 1  # the reader of a list has quit
    except Exception as error:
        trace(error)
        if isinstance(error, OSError) and error.strerror:
            of = f"{_place(error.filename, words)}: " if error.filename else ""
            say(f"{of}{error.strerror}.{_advice(error)}")
            return 1
        if isinstance(error, RuntimeError):  # torch raises no others
            from medcnn.models.computing import out_of_memory

            if out_of_memory(error):
                say("there is too little memory for this network, or other programs are using it.")
                return 1
        text = " ".join(str(error).split())
        way = "report the traceback above" if debug else "add --debug for the traceback to report"
        say(
            f"{type(error).__name__}: {private(text)}. This is a bug in medcnn, not your mistake; "
            f"{way}, which contains no names."
        )
        return 1


def _heard(verb: str) -> AbstractContextManager[None]:
    """From here on, before torch is imported, signals end a resumable command with 75."""
    if verb not in VERBS or not verb_of(verb).resumes:
        return nullcontext()
    from medcnn.training.stopping import end_with_torchrun, ended_by_signals

    end_with_torchrun()
    return ended_by_signals()


def _typed_places(words: list[str]) -> list[str]:
    """The paths in a command, which may contain the name of a patient."""
    import os

    from medcnn.cli.words import SHORT, is_place, parts
    from medcnn.system.paths import PATHS

    found = [w for w in words[1:] if is_place(w)]
    for _, key, value in map(parts, words):
        place = os.path.expanduser(value.strip("'\""))
        of_place = key in PATHS or key in SHORT or key == "--config-dir"
        if of_place or "/" in place or os.path.exists(place):
            found.append(value.strip("'\""))
    return found


def _place(filename: object, words: list[str]) -> str:
    """The name of a file in a message: the part that the user typed is shown, the rest is marked as
    a name, since it may be a patient's. Files that we write have names of ours."""
    import os
    from pathlib import Path

    from medcnn.system.errors import private

    place = Path(str(filename)).absolute()
    for word in words:
        key, _, value = word.partition("=")
        for typed in filter(None, (word, value.strip("'\""))):
            folder = Path(os.path.expanduser(typed)).absolute()  # in which `~key` is not an error
            if place == folder:
                return typed
            ours = words[0] == "report" or key in ("output", "run_dir")
            if ours and place.with_suffix("") == folder.with_suffix(""):
                return str(Path(typed).with_suffix(place.suffix))
            if place.is_relative_to(folder) and folder.parent != folder:
                below = str(place.relative_to(folder))
                return os.path.join(typed, below) if ours else f"{typed}, in it {private(below)}"
    return private(str(filename))


def _advice(error: OSError) -> str:
    import errno

    return {
        errno.EACCES: " Your account has no access: ask its owner, or name another place.",
        errno.ENOSPC: " The disk is full: make room, or name a place on another disk.",
        errno.EDQUOT: " Your disk quota is used up: make room, or name another place.",
        errno.EFBIG: " File sizes are limited here (`ulimit -f`): ask the administrator, or name "
        "another place.",
        errno.EROFS: " It cannot be written: name another place (for caches, another folder in "
        "MEDCNN_CACHE).",
    }.get(error.errno or 0, "")


def _no_verb(word: str, rest: list[str]) -> str:
    """A message about a first word that is not a command."""
    import shlex

    from medcnn.system.registry import nearest

    if word.startswith("-") or "=" in word:
        verb = next((w for w in rest if w in VERBS), None)
        others = [word, *(w for w in rest if w != verb)]
        command = shlex.join(["medcnn", verb or "COMMAND", *others])
        return f"the command comes first: {command}"
    synonyms = {synonym: name for name in VERBS for synonym in verb_of(name).synonyms} | LISTS
    meant = synonyms.get(word.lower())
    hint = f"; did you mean '{meant}'?" if meant else nearest(word, VERBS)
    return f"unknown command '{word}'{hint} Commands: {', '.join(VERBS)}."


def _dispatch(words: list[str]) -> int:
    from medcnn.system.errors import UsageError

    name, rest = words[0], words[1:]
    if name not in VERBS:
        raise UsageError(_no_verb(name, rest))
    verb = verb_of(name)
    if verb.config is None:
        options = {"--show-config", "--config-dir", "-m", "--multirun"}
        if wrong := [w for w in rest if w.partition("=")[0] in options]:
            raise UsageError(
                f"medcnn {name} has no settings, so {wrong[0]} has no effect; see medcnn {name} "
                "--help."
            )
        execute(Command(verb=verb, words=words))
        return 0
    if {"-m", "--multirun"} & set(rest):
        from medcnn.cli.sweeping import run_each

        return run_each(verb, [w for w in rest if w not in ("-m", "--multirun")])
    from medcnn.cli.compose import read_command

    command = read_command(name, rest)
    if command.show:
        print(command.yaml, end="")
    else:
        execute(command)
    return 0
