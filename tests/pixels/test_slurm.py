"""Shards built by jobs of a real Slurm: a cluster of one node, started for these tests, and of one
that is never there."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from medcnn.data.manifest import Manifest
from medcnn.images import Preprocessing
from medcnn.pixels import shards, slurm
from medcnn.pixels.executors import Where
from medcnn.pixels.opening import open_store
from medcnn.system.errors import MedcnnError, UsageError

HOW = Preprocessing(size_px=16)
CONF = """\
ClusterName=tiny
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/none
CredType=cred/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
KillWait=2
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs=2
NodeName=wide NodeAddr=127.0.0.2 CPUs=4 State=DOWN
PartitionName=all Nodes={host} Default=YES State=UP
PartitionName=wide Nodes=wide State=UP
"""


def said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def queue_empties() -> bool:
    """A job whose result is there takes a moment to end."""
    end = time.monotonic() + 30
    while (left := said("squeue", "--noheader")) and time.monotonic() < end:
        time.sleep(0.2)
    return not left


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Slurm without accounting, as many have it; the cache folder that medcnn uses."""
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", f"{os.environ['PATH']}:/usr/sbin")
    daemons = ("slurmctld", "slurmd")
    if missing := [name for name in (*daemons, "srun") if not shutil.which(name)]:
        pytest.skip(f"no {' and no '.join(missing)}: apt-get install slurmctld slurmd slurm-client")
    folder = tmp_path / "slurm"
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    with socket.socket() as one, socket.socket() as two:
        ports = [s.bind(("127.0.0.1", 0)) or s.getsockname()[1] for s in (one, two)]
    host, user = socket.gethostname().split(".")[0], getpass.getuser()
    conf = folder / "slurm.conf"
    conf.write_text(CONF.format(host=host, user=user, folder=folder, ports=ports))
    monkeypatch.setenv("SLURM_CONF", str(conf))
    monkeypatch.setenv("MEDCNN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(slurm, "ASK_EVERY_S", 0.5)
    monkeypatch.setattr(slurm, "LATE_S", 1.0)
    monkeypatch.setattr(shards, "FEWEST_IN_SHARD", 24)
    slurm.job_cores.cache_clear()
    with ExitStack() as stack:
        for name in daemons:
            log = stack.enter_context((folder / name).open("w"))
            run = stack.enter_context(subprocess.Popen([name, "-D"], stdout=log, stderr=log))
            stack.callback(run.terminate)
        end = time.monotonic() + 60
        while "idle" not in said("sinfo", "--noheader", "--format=%T"):
            if time.monotonic() > end:
                pytest.skip(
                    "Slurm does not start here: " + (folder / "slurmctld").read_text()[-300:]
                )
            time.sleep(0.2)
        yield tmp_path / "cache"
        queue_empties()  # a step whose slurmd is gone stays behind
    slurm.job_cores.cache_clear()


@pytest.mark.fault
@pytest.mark.slow
def test_a_job_of_slurm_that_is_cancelled_costs_no_image(
    cluster: Path, colours: Callable[..., Manifest], caplog: pytest.LogCaptureFixture
) -> None:
    """Row 30."""
    manifest = colours()
    (manifest.root / "003.png").write_bytes(b"no image")
    ended: list[str] = []

    def cancel() -> None:
        while not (running := said("squeue", "-h", "--states=R", "--format=%i").split()):
            time.sleep(0.05)
        said("scancel", running[0])
        ended.append(running[0])

    killer = threading.Thread(target=cancel)
    killer.start()
    store = open_store(manifest, HOW, cache="auto", executor=Where.SUBMITIT)
    killer.join()
    assert f"Slurm job {ended[0]} ended without a result" in caplog.text
    assert "CANCELLED AT" in caplog.text, "Slurm's reason, without the name of its machine"
    assert queue_empties()
    assert list((cluster / "jobs").iterdir()) == [], "no path is left behind"
    memory = open_store(manifest, HOW, cache="off")
    rows = memory.readable(np.arange(48))
    assert store.unreadable == memory.unreadable
    assert np.array_equal(store.take(rows), memory.take(rows))


@pytest.mark.slow
def test_jobs_that_always_fail_end_the_command_and_leave_no_job(
    cluster: Path, colours: Callable[..., Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(MedcnnError, match=r"Slurm job \d+ ended .* Run the same command again"):
        open_store(colours(), HOW, cache="auto", executor=Where.SUBMITIT)
    assert queue_empties()
    assert list((cluster / "jobs").iterdir()) == []


@pytest.mark.slow
def test_what_slurm_says_of_a_job_that_it_refuses_or_lets_wait_is_told(
    cluster: Path,
    colours: Callable[..., Manifest],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("SBATCH_PARTITION", "gone")
    with pytest.raises(UsageError, match=r"no job: .*[Ii]nvalid partition.* SBATCH_PARTITION"):
        open_store(colours(), HOW, cache="auto", executor=Where.SUBMITIT)
    monkeypatch.setenv("SBATCH_PARTITION", "all")
    monkeypatch.setattr(shards, "FEWEST_IN_SHARD", 48)
    said("scontrol", "update", "PartitionName=all", "MaxTime=60")
    slurm.job_cores.cache_clear()

    def allow() -> None:
        while "waits (PartitionTimeLimit)" not in caplog.text:
            time.sleep(0.05)
        said("scontrol", "update", "PartitionName=all", "MaxTime=UNLIMITED")

    helper = threading.Thread(target=allow)
    helper.start()
    open_store(colours(), HOW, cache="auto", executor=Where.SUBMITIT)
    helper.join()


@pytest.mark.slow
def test_a_job_asks_for_no_more_cores_than_a_machine_of_its_own_partition_has(
    cluster: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert slurm.job_cores() == 2, "of the default partition, although another has four"
    monkeypatch.setenv("SBATCH_PARTITION", "wide")
    slurm.job_cores.cache_clear()
    assert slurm.job_cores() == 4


def test_without_slurm_the_executor_is_refused(
    colours: Callable[..., Manifest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="there is no Slurm on this machine"):
        open_store(colours(), HOW, cache=str(tmp_path / "cache"), executor=Where.SUBMITIT)
