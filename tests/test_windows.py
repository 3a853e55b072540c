"""What Windows lacks is not needed: simulated by taking it away, since no Windows is at hand.

The simulation is a `sitecustomize.py`, so that decoder processes are without it too. It hides from
medcnn's own modules what the documentation of Python marks as "Unix", and it opens no folder as a
file. The libraries see the true system, whose own builds they are. It shows nothing of drives,
access lists and names of files.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.command import run as here

TAKEN_AWAY = '''
import builtins, os, signal, sys, types

# selectors looks at sockets alone there, never at pipes
MODULES = "fcntl grp pwd resource termios tty pty syslog select selectors".split()
NAMES = """
    geteuid getuid getegid getgid fork chown fchown fchmod mkfifo mknod pread preadv pwrite pwritev
    sched_getaffinity statvfs fstatvfs sysconf uname getloadavg getpgid setsid killpg sync
    O_NOFOLLOW O_NONBLOCK O_CLOEXEC O_DIRECTORY O_NOCTTY WNOHANG
    SIGUSR1 SIGUSR2 SIGALRM SIGPROF SIGVTALRM SIGHUP SIGQUIT SIGKILL alarm setitimer pause sigwait
""".split()


def is_ours(frame):
    return frame.f_globals.get("__name__", "").startswith("medcnn")


class Guarded(types.ModuleType):
    def __getattribute__(self, name):
        if name in NAMES and is_ours(sys._getframe(1)):
            raise AttributeError(name)
        if name == "open" and is_ours(sys._getframe(1)):
            return open_no_folder
        return super().__getattribute__(name)


def open_no_folder(path, flags, mode=0o777):
    if os.path.isdir(path):
        raise PermissionError(13, "Permission denied", str(path))
    return os.open(path, flags, mode)


def import_(name, *more, true=builtins.__import__, **named):
    if name in MODULES and is_ours(sys._getframe(1)):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    return true(name, *more, **named)


os.__class__ = signal.__class__ = Guarded
builtins.__import__ = import_
'''


@pytest.fixture(scope="module")
def without_unix(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("windows")
    (folder / "sitecustomize.py").write_text(TAKEN_AWAY, encoding="utf-8")
    ways = [str(folder), *filter(None, sys.path)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(ways), "OMP_NUM_THREADS": "1"}


def run(words: list[str], env: dict[str, str]) -> None:
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_package_imports_where_nothing_of_unix_is(without_unix: dict[str, str]) -> None:
    script = """
import importlib, pkgutil, medcnn
for module in pkgutil.walk_packages(medcnn.__path__, "medcnn."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
"""
    run([sys.executable, "-c", script], without_unix)
    with pytest.raises(AssertionError, match="No module named 'fcntl'"):
        run([sys.executable, "-c", "__name__ = 'medcnn'; import fcntl"], without_unix)
    with pytest.raises(AssertionError, match="AttributeError: geteuid"):
        run([sys.executable, "-c", "__name__ = 'medcnn'; import os; os.geteuid()"], without_unix)


def test_a_run_and_its_predictions_are_the_same_where_nothing_of_unix_is(
    without_unix: dict[str, str],
    drawn: Callable[[str, int], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    setting = "data.root=drawn data.patients=40 data.size_px=32 model=lenet5 trainer.epochs=1"
    train = ["train", *setting.split(), "trainer.threads=1"]
    drawn("fundus", 40).rename("drawn")
    medcnn = [sys.executable, "-m", "medcnn"]
    run([*medcnn, *train, "run_dir=there"], without_unix)
    assert here(*train, "run_dir=here") == 0
    predict = ["predict", "checkpoint=there/checkpoints/best.safetensors", "input=drawn"]
    run([*medcnn, *predict, "output=there.csv"], without_unix)
    assert here(*predict, "output=here.csv") == 0
    weights = [Path(run, "checkpoints", "best.safetensors") for run in ("there", "here")]
    first, second = (load_file(file) for file in weights)
    assert all(first[name].equal(second[name]) for name in first | second)
    assert Path("there.csv").read_bytes() == Path("here.csv").read_bytes()
    assert len(Path("here.csv").read_text().splitlines()) > 40
