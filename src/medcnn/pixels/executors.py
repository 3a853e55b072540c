"""Where shards are built: in this process, or on a cluster that shares the disk with it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from enum import StrEnum
from importlib import import_module
from typing import Any, Protocol

from medcnn.system.errors import UsageError, pip_install
from medcnn.system.files import cache_place


class Where(StrEnum):
    """Who decodes.

    `dask` is the cluster that Dask's own settings name (DASK_SCHEDULER_ADDRESS); without one, Dask
    starts processes on this machine. `submitit` sends jobs to Slurm, by its own settings
    (SBATCH_PARTITION, SBATCH_TIMELIMIT).
    """

    HERE = "here"
    DASK = "dask"
    SUBMITIT = "submitit"


class Submits(Protocol):
    """As much of `concurrent.futures.Executor` as is needed, which submitit has too."""

    def submit(self, fn: Callable[..., Any], /, *args: Any) -> Any: ...


# Of a cluster: a shard is what one task decodes and what is asked for again where its machine is
# lost; each leaves a file that stays open while its pixels are read.
MOST_SHARDS, FEWEST_IN_SHARD = 256, 256
# Slurm ends a job that takes longer; SBATCH_TIMELIMIT goes before it.
JOB_MINUTES, JOB_CORES = 720, 8


@contextmanager
def _dask() -> Iterator[Submits]:
    distributed = _library("distributed", Where.DASK)
    with distributed.Client() as client, client.get_executor(pure=False) as executor:
        yield executor


@contextmanager
def _submitit() -> Iterator[Submits]:
    submitit = _library("submitit", Where.SUBMITIT)
    # jobs read their shard from there, with paths that may hold names: gone when they are done
    with tempfile.TemporaryDirectory(dir=cache_place("jobs")) as folder:
        executor = submitit.AutoExecutor(folder=folder)
        executor.update_parameters(timeout_min=JOB_MINUTES, cpus_per_task=JOB_CORES)
        yield executor


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
# How many processes decode a shard: Dask runs as many tasks at once as it has threads.
PROCESSES = {Where.DASK: 1, Where.SUBMITIT: JOB_CORES}
