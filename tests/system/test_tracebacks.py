"""A traceback says where, and names nobody."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from medcnn.system.errors import DataError, private
from medcnn.system.tracebacks import traceback_of

NAME = "CNRYDOE"


def chained() -> None:
    try:
        try:
            raise KeyError(NAME)
        except KeyError as error:
            raise ValueError(f"could not convert string to float: '{NAME}'") from error
    except ValueError:
        raise FileNotFoundError(2, "No such file", f"/data/{NAME}/x.png")  # noqa: B904


def in_a_group() -> None:
    noted = TypeError(NAME)
    noted.add_note(f"while reading {NAME}")
    raise ExceptionGroup(NAME, [noted, ExceptionGroup("inner", [OSError(NAME)])])


def ours() -> None:
    raise DataError(f"{private(NAME)} is blank in /home/{NAME}/tables/labels.csv")


def in_code_that_holds_it() -> None:
    exec(compile(f"x = int('{NAME}')", f"/home/{NAME}/script.py", "exec"))


@pytest.mark.fault
@pytest.mark.parametrize("fail", [chained, in_a_group, ours, in_code_that_holds_it])
def test_a_traceback_holds_no_name_whatever_led_to_it(fail: object) -> None:
    """Row A2: causes, groups, notes, lines of code and the places of files."""
    with pytest.raises(BaseException) as raised:  # noqa: PT011 - whichever it is
        fail()  # type: ignore[operator]
    told = traceback_of(raised.value)
    assert NAME not in told
    assert told.count("Traceback") >= (3 if fail is chained else 1)
    assert raised.type.__name__ in told


PROGRAM = """
import logging, sys, threading, warnings
from medcnn.system.tracebacks import guard
guard()
name = "CNR" + "YDOE"
warnings.warn(f"Invalid value for VR UI: '{name}'")
logging.getLogger("pydicom").warning("odd value %s", name)
logging.getLogger("pydicom").warning("odd value %d", name)
thread = threading.Thread(target=lambda: int(name))
thread.start()
thread.join()
class Odd:
    def __del__(self):
        raise ValueError(name)
odd = Odd()
del odd
raise ValueError(name)
"""


@pytest.mark.fault
def test_what_python_itself_says_of_a_fault_holds_no_name(tmp_path: Path) -> None:
    """Row A2: warnings, logs of libraries, threads, finalizers and the exception at the end."""
    (tmp_path / "program.py").write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, tmp_path / "program.py"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "CNRY" not in done.stderr
    assert str(tmp_path) not in done.stderr
    assert done.stderr.count("ValueError") == 3
    assert "UserWarning" in done.stderr
    assert "warning: pydicom" in done.stderr
