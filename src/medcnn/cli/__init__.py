"""The command line: `medcnn VERB key=value ...`.

Nothing heavy is imported before the words of the command have been understood.
"""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext

from medcnn.verbs import VERBS, Command, execute, verb_of

# What people type instead of `medcnn list ...`.
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
    if arguments is None:  # in a process of its own
        from medcnn.system.tracebacks import guard

        guard()
    raise SystemExit(run(words))


def run(words: list[str]) -> int:
    """Run a command, say what went wrong, and return the exit code."""
    from medcnn.system.errors import MedcnnError, private
    from medcnn.system.privacy import for_terminal
    from medcnn.system.progress import follows, wrapped

    def say(text: str) -> None:
        if follows():
            return  # the leader says it
        if debug:  # as the traceback above, it is made to be sent
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
        print("stopped at once; the last saved state is whole", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 1  # the reader of a list had enough
    except Exception as error:
        trace(error)
        if isinstance(error, OSError) and error.strerror:
            of = f"{_place(error.filename, words)}: " if error.filename else ""
            say(f"{of}{error.strerror}.{_advice(error)}")
            return 1
        if isinstance(error, RuntimeError):  # as all of torch's are
            from medcnn.models.inference import out_of_memory

            if out_of_memory(error):
                say("there is too little memory for this network, or other programs hold it.")
                return 1
        text = " ".join(str(error).split())
        way = "report the traceback above" if debug else "add --debug for the traceback to report"
        say(
            f"{type(error).__name__}: {private(text)}. This is a fault of medcnn, not of yours; "
            f"{way}, which holds no names."
        )
        return 1


def _heard(verb: str) -> AbstractContextManager[None]:
    """Signals end a command that can go on with 75 from here on, before torch is imported."""
    if verb not in VERBS or not verb_of(verb).resumes:
        return nullcontext()
    from medcnn.training.stopping import end_with_torchrun, ended_by_signals

    end_with_torchrun()
    return ended_by_signals()


def _typed_places(words: list[str]) -> list[str]:
    """The paths that a command names, which may hold the name of a patient."""
    from medcnn.cli.words import PATHS, is_place, parts

    named = [value.strip("'\"") for _, key, value in map(parts, words) if key in PATHS]
    return named + [w for w in words[1:] if is_place(w)]


def _place(filename: object, words: list[str]) -> str:
    """A file as a message may name it: what the user typed in clear, what lies below marked as a
    name, since it may be that of a patient. What is written has names of ours."""
    import os
    from pathlib import Path

    from medcnn.system.errors import private

    place = Path(str(filename)).absolute()
    for word in words:
        key, _, value = word.partition("=")
        for typed in filter(None, (word, value.strip("'\""))):
            folder = Path(os.path.expanduser(typed)).absolute()  # which knows no `~key` as a fault
            if place == folder:
                return typed
            ours = words[0] == "report" or key in ("output", "run_dir")
            if ours and place.with_suffix("") == folder.with_suffix(""):
                return str(Path(typed).with_suffix(place.suffix))
            if place.is_relative_to(folder) and folder.parent != folder:
                below = str(place.relative_to(folder))
                return (
                    os.path.join(typed, below) if ours else f"{typed}, within it {private(below)}"
                )
    return private(str(filename))


def _advice(error: OSError) -> str:
    import errno

    return {
        errno.EACCES: " Your account may not go there: ask whoever owns it, or name another place.",
        errno.ENOSPC: " The disk is full: make room, or name a place on another one.",
        errno.EDQUOT: " Your share of the disk is used up: make room, or name another place.",
        errno.EFBIG: " Files may not grow so large here (`ulimit -f`): ask whoever runs this "
        "machine, or name another place.",
        errno.EROFS: " Nothing can be written there: name another place, and for caches another "
        "folder in MEDCNN_CACHE.",
    }.get(error.errno or 0, "")


def _no_verb(word: str, rest: list[str]) -> str:
    """What to say of a first word that is not a command."""
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
