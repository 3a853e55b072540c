"""Where shards are built: in this process, or on a cluster that shares the disk with it."""

from __future__ import annotations

import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from enum import StrEnum
from importlib import import_module
from types import FrameType
from typing import Any, Protocol

from medcnn.pixels.slurm import JOB_MINUTES, Jobs, job_cores
from medcnn.system.errors import UsageError, pip_install
from medcnn.system.files import cache_place


class Where(StrEnum):
    """Who decodes.

    `dask` is the cluster named in Dask's own settings (DASK_SCHEDULER_ADDRESS); without one, Dask
    starts processes on this machine. `submitit` sends jobs to Slurm, by Slurm's own settings
    (SBATCH_PARTITION, SBATCH_TIMELIMIT).
    """

    HERE = "here"
    DASK = "dask"
    SUBMITIT = "submitit"


class Submits(Protocol):
    """The part of `concurrent.futures.Executor` that is needed; submitit has it too."""

    def submit(self, fn: Callable[..., Any], /, *args: Any) -> Any: ...


# On a cluster, a shard is what one task decodes, and what is requested again if its machine is
# lost. Each leaves a file that stays open while its pixels are read.
MOST_SHARDS, FEWEST_IN_SHARD = 256, 256


@contextmanager
def _dask() -> Iterator[Submits]:
    distributed = _library("distributed", Where.DASK)
    # Processes of our own need no dashboard, which would be open to the network.
    named = import_module("dask").config.get("scheduler-address", None)
    own = {} if named else {"dashboard_address": None}
    with distributed.Client(**own) as client, client.get_executor(pure=False) as executor:
        yield executor


# What a killed process left; `Jobs.look` keeps the time of a folder in use.
_OLD_S = 3 * 24 * 3600


@contextmanager
def _unwound_by_sigterm() -> Iterator[None]:
    """Where nothing else hears it, SIGTERM would end the process with its jobs and files left."""
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return

    def end(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)  # a second one must not interrupt the cleaning
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def _submitit() -> Iterator[Submits]:
    submitit = _library("submitit", Where.SUBMITIT)
    # jobs read their shards here, whose paths may contain names; deleted when they are done
    place = cache_place("jobs")
    for left in place.iterdir():
        with suppress(OSError):  # another process was faster
            if time.time() - left.stat().st_mtime > _OLD_S:
                shutil.rmtree(left, ignore_errors=True)
    with (
        _unwound_by_sigterm(),
        tempfile.TemporaryDirectory(dir=place, ignore_cleanup_errors=True) as folder,
    ):
        try:
            executor = submitit.SlurmExecutor(folder=folder)
        except RuntimeError as error:
            raise UsageError(
                "data.executor=submitit: there is no Slurm on this machine (no srun). Run the "
                "command where sbatch works, or use data.executor=here."
            ) from error
        # since Slurm 22.05, srun gives a step one core unless it gets this option itself
        cores = job_cores()
        executor.update_parameters(
            time=JOB_MINUTES, cpus_per_task=cores, srun_args=[f"--cpus-per-task={cores}"]
        )
        with Jobs(executor).cancelled_at_the_end() as jobs:
            yield jobs


def _library(name: str, where: Where) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise UsageError(
            f"data.executor={where} needs a library: {pip_install('scale')}"
        ) from error


CLUSTERS: dict[Where, Callable[[], AbstractContextManager[Submits]]] = {
    Where.DASK: _dask,
    Where.SUBMITIT: _submitit,
}


def processes_of(where: Where) -> int:
    """How many decode a shard: Dask runs as many tasks at once as it has threads."""
    return job_cores() if where is Where.SUBMITIT else 1
