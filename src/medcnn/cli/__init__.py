"""The command line: `medcnn VERB key=value ...`.

Nothing heavy is imported before the words of the command have been understood.
"""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext

HELP = """\
medcnn: audit data, train, evaluate and fine-tune CNNs on medical images.

usage: medcnn VERB [key=value ...] [--config-dir FOLDER] [--show-config] [--debug]

  audit      medcnn audit data=ham10000 data.root=/data/ham10000
  train      medcnn train data=ham10000 data.root=/data/ham10000 model=resnet50
  train -m   medcnn train -m optimizer.lr=1e-3,1e-4 seed=0,1,2 jobs=2: a run of each combination
  sweep      medcnn sweep data=ham10000 data.root=...: settings searched by Optuna, on validation
  finetune   medcnn finetune checkpoint=best.safetensors data=my_hospital --config-dir configs
  evaluate   medcnn evaluate checkpoint=runs/.../checkpoints/best.safetensors
  predict    medcnn predict checkpoint=best.safetensors input=FOLDER output=predictions.csv
  report     medcnn report run=runs/...: the report again, from its predictions alone
  compare    medcnn compare runs/a runs/b margin=0.02: two models on the same test images
  who        medcnn who IMAGE-ID data=my_hospital --config-dir configs: which picture that is
  preview    medcnn preview data=ham10000 data.root=/data/ham10000: images, step by step
  init       medcnn init FOLDER [table.csv]: guess what your data are, write a YAML to edit
  list       medcnn list backbones|heads|losses|datasets|metrics [part of a name]

  Without any data, `medcnn train` draws phantoms: it works at once and shows everything.
  Settings have Hydra's grammar. Complete recipes: experiment=retinopathy|skin_lesion|chest_xray.

  --config-dir FOLDER   your own YAML, e.g. FOLDER/data/my_hospital.yaml for data=my_hospital
  --show-config         print all settings of the command and stop
  --debug               show a traceback, without names, where something goes wrong
  --version             print the version and stop

exit codes: 0 done, 1 failed, 2 wrong usage or setting, 3 training diverged, 4 data refused,
75 stopped by a signal with everything saved (run the same command again to go on)
"""

VERBS = (
    *("audit", "preview", "train", "sweep", "finetune", "evaluate", "predict", "report"),
    *("compare", "who", "init", "list"),
)


def main(arguments: list[str] | None = None) -> None:
    """Run a command and exit with its code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if arguments is None:  # in a process of its own
        from medcnn.system.tracebacks import guard

        guard()
    if not words or words[0] in ("-h", "--help", "help"):
        print(HELP, end="")
        raise SystemExit(0 if words else 2)
    if words[0] == "--version":
        from medcnn import __version__

        print(f"medcnn {__version__}")
        raise SystemExit(0)
    raise SystemExit(run(words))


def run(words: list[str]) -> int:
    """Run a command, say what went wrong, and return the exit code."""
    from medcnn.system.errors import MedcnnError, private
    from medcnn.system.privacy import for_terminal
    from medcnn.system.progress import follows, wrapped

    def say(text: str) -> None:
        if follows():
            return  # the leader says it
        print(wrapped(for_terminal(f"error: {text}")), file=sys.stderr)

    debug = "--debug" in words

    def trace(error: BaseException) -> None:
        if debug:
            from medcnn.system.tracebacks import traceback_of

            print(traceback_of(error), file=sys.stderr)

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
    if verb not in ("train", "finetune", "sweep"):
        return nullcontext()
    from medcnn.training.stopping import end_with_torchrun, ended_by_signals

    end_with_torchrun()
    return ended_by_signals()


def _place(filename: object, words: list[str]) -> str:
    """A file as a message may name it: what the user typed in clear, what lies below marked as a
    name, since it may be that of a patient."""
    import os
    from pathlib import Path

    from medcnn.system.errors import private

    place = Path(str(filename)).absolute()
    for word in words:
        for typed in filter(None, (word, word.partition("=")[2].strip("'\""))):
            folder = Path(os.path.expanduser(typed)).absolute()  # which knows no `~key` as a fault
            if place == folder:
                return typed
            if place.is_relative_to(folder) and folder.parent != folder:
                return f"{typed}, within it {private(str(place.relative_to(folder)))}"
    return private(str(filename))


def _advice(error: OSError) -> str:
    import errno

    return {
        errno.EACCES: " Your account may not go there: ask whoever owns it, or name another place.",
        errno.ENOSPC: " The disk is full: make room, or name a place on another one.",
        errno.EDQUOT: " Your share of the disk is used up: make room, or name another place.",
        errno.EROFS: " Nothing can be written there: name another place, and for caches another "
        "folder in MEDCNN_CACHE.",
    }.get(error.errno or 0, "")


def _dispatch(words: list[str]) -> int:
    from medcnn.system.errors import UsageError
    from medcnn.system.registry import nearest

    verb, rest = words[0], words[1:]
    if verb not in VERBS:
        raise UsageError(
            f"'{verb}' is no command{nearest(verb, VERBS)} Commands: {', '.join(VERBS)}."
        )
    if "-h" in rest or "--help" in rest:
        print(HELP, end="")
        return 0
    if verb == "list":
        from medcnn.cli.listing import show_list

        show_list(rest)
        return 0
    if verb == "init":
        from medcnn.cli.init import show_init

        show_init(rest)
        return 0
    if {"-m", "--multirun"} & set(rest):
        from medcnn.cli.sweeping import run_each

        return run_each(verb, [w for w in rest if w not in ("-m", "--multirun")])
    from medcnn.cli.compose import read_command

    command = read_command(verb, rest)
    if command.show:
        print(command.yaml, end="")
        return 0
    from medcnn.cli.execute import execute

    execute(command)
    return 0
