"""What the environment says about processes started together; torch-free."""

from __future__ import annotations

import os
import re

from medcnn.system.errors import UsageError

_NUMBERS = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_PORT")
WAYS_OUT = (
    "Start them all with torchrun --nproc-per-node=N scripts/train.py, which sets these variables "
    "(under SLURM: srun torchrun, see docs/many-machines.md), or train in this process alone: "
    "env -u WORLD_SIZE medcnn train."
)


def one_of_several() -> bool:
    """Whether the environment says so, correctly or not."""
    return os.environ.get("WORLD_SIZE", "").strip() not in ("", "1")


def launched() -> tuple[int, int]:
    """The number of processes started together, and the number of this one on its machine, from
    the variables that torchrun sets. Without WORLD_SIZE there is one process.

    Raises:
        UsageError: some are missing or make no sense.
    """
    given = {name: os.environ.get(name, "").strip() for name in (*_NUMBERS, "MASTER_ADDR")}
    if not one_of_several():
        return 1, 0
    faults = [f"{name} is missing" for name, value in given.items() if not value]
    faults += [
        f"{name}={given[name]} is not a number"
        for name in _NUMBERS
        if given[name] and not re.fullmatch(r"[0-9]{1,9}", given[name])
    ]
    if not faults:
        world, rank, local, port = (int(given[name]) for name in _NUMBERS)
        wrong = {
            f"WORLD_SIZE={world} is not a number of processes": world < 1,
            f"RANK={rank} is not below WORLD_SIZE={world}": rank >= world,
            f"LOCAL_RANK={local} is not below WORLD_SIZE={world}": local >= world,
            f"MASTER_PORT={port} is not a port": not 0 < port < 65536,
        }
        faults = [fault for fault, so in wrong.items() if so]
    if faults:
        raise UsageError(
            f"WORLD_SIZE={given['WORLD_SIZE']} says that this is one of several processes, but "
            f"{', '.join(faults)}. {WAYS_OUT}"
        )
    return world, local
