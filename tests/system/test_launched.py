from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from medcnn.system.errors import UsageError
from medcnn.system.launched import launched

WHOLE = {
    "WORLD_SIZE": "2",
    "RANK": "1",
    "LOCAL_RANK": "1",
    "MASTER_ADDR": "localhost",
    "MASTER_PORT": "29500",
}


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name, value in WHOLE.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_what_torchrun_sets_is_understood(given: pytest.MonkeyPatch) -> None:
    assert launched() == (2, 1)
    for alone in ("", "1"):
        given.setenv("WORLD_SIZE", alone)
        assert launched() == (1, 0)


@pytest.mark.fault
@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        *((name, "", f"{name} is missing") for name in WHOLE if name != "WORLD_SIZE"),
        ("WORLD_SIZE", "two", "WORLD_SIZE=two is not a number"),
        ("WORLD_SIZE", "-2", "WORLD_SIZE=-2 is not a number"),
        ("WORLD_SIZE", "0", "WORLD_SIZE=0 is not a number of processes"),
        ("WORLD_SIZE", "1.0", "is not a number"),
        ("RANK", "2", "RANK=2 is not below WORLD_SIZE=2"),
        ("RANK", "None", "RANK=None is not a number"),
        ("LOCAL_RANK", "7", "LOCAL_RANK=7 is not below WORLD_SIZE=2"),
        ("LOCAL_RANK", "\N{SUPERSCRIPT TWO}", "is not a number"),
        ("MASTER_PORT", "99999", "MASTER_PORT=99999 is not a port"),
        ("MASTER_PORT", "tcp://x", "MASTER_PORT=tcp://x is not a number"),
    ],
)
def test_an_incomplete_launch_names_what_is_wrong_and_both_ways_out(
    given: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    """Row B6."""
    given.setenv(name, value)
    with pytest.raises(UsageError) as told:
        launched()
    assert said in str(told.value)
    assert "torchrun --nproc-per-node" in str(told.value)
    assert "env -u WORLD_SIZE" in str(told.value)
    assert "\n" not in str(told.value)


def test_all_that_is_missing_is_named_at_once(given: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        given.delenv(name)
    # as `srun` leaves it where a batch script exports WORLD_SIZE alone
    given.setenv("SLURM_PROCID", "1")
    with pytest.raises(UsageError, match=r"RANK is missing, LOCAL_RANK is missing, MASTER_PORT"):
        launched()


@pytest.mark.fault
@pytest.mark.parametrize("taken", [False, True])
def test_the_command_line_says_it_in_one_paragraph(tmp_path: Path, taken: bool) -> None:
    """Row B6. WORLD_SIZE alone, and a meeting place that another program holds."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        whole = {**WHOLE, "RANK": "0", "LOCAL_RANK": "0", "MASTER_PORT": port}
        more = {**whole, "MASTER_ADDR": "127.0.0.1"} if taken else {"WORLD_SIZE": "2"}
        done = subprocess.run(
            [sys.executable, "-m", "medcnn", "train", f"run_dir={tmp_path / 'r'}"],
            env={**os.environ, **more},
            capture_output=True,
            text=True,
            check=False,
        )
    said = " ".join(done.stderr.split())
    assert done.returncode == (1 if taken else 2), said
    assert "bug in medcnn" not in said
    assert "torchrun --nproc-per-node=N" in said
    assert "env -u WORLD_SIZE medcnn train" in said
    assert not (tmp_path / "r").exists()
