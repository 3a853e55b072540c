"""Processes that train one model together, one for each GPU, as torchrun starts them.

A process that was started alone runs the same code; everything here then does nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from medcnn.system.errors import MedcnnError, UsageError
from medcnn.system.launched import WAYS_OUT, launched

if TYPE_CHECKING:  # torch is imported late: a process on its own does not need it here
    from torch import Tensor, nn

T = TypeVar("T")

# The first pass over a data set may take a night, and the others wait for the leader.
PATIENCE = timedelta(hours=48)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranks:
    """This process among all of them.

    Attributes:
        rank: 0 is the leader, the only one that writes.
        world: number of processes.
        local: number on this machine.
        words: group that exchanges objects and decisions over the CPU; None for a single process.
    """

    rank: int = 0
    world: int = 1
    local: int = 0
    words: Any = None

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def share(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """This process's part of `rows`; the parts of all processes cover each row once."""
        return np.asarray(np.array_split(rows, self.world)[self.rank])

    def any(self, flags: Sequence[bool]) -> list[bool]:
        """For each flag, whether any process set it, so that all decide alike."""
        if self.world == 1:
            return list(flags)
        import torch
        import torch.distributed as dist

        together = torch.tensor(flags, dtype=torch.uint8)
        dist.all_reduce(together, op=dist.ReduceOp.MAX, group=self.words)
        return [bool(flag) for flag in together.tolist()]

    def least(self, number: int) -> int:
        """The smallest `number` of all processes."""
        if self.world > 1:
            import torch
            import torch.distributed as dist

            together = torch.tensor(number)
            dist.all_reduce(together, op=dist.ReduceOp.MIN, group=self.words)
            number = int(together)
        return number

    def summed(self, values: Tensor) -> Tensor:
        """The sum over all processes, on the device of `values`."""
        if self.world > 1:
            import torch.distributed as dist

            dist.all_reduce(values)
        return values

    def gathered(self, part: NDArray[Any]) -> NDArray[Any]:
        """The parts of all processes, concatenated by rank."""
        if self.world == 1:
            return part
        import torch.distributed as dist

        parts: list[Any] = [None] * self.world
        dist.all_gather_object(parts, part, group=self.words)
        return np.concatenate(parts)

    def from_leader(self, make: Callable[[], T]) -> T:
        """What the leader makes. If it fails, all processes raise the same error."""
        if self.world == 1:
            return make()
        import torch.distributed as dist

        said: list[Any] = [None, None]
        if self.leads:
            try:
                said[0] = make()
            except MedcnnError as error:
                said[1] = error
        dist.broadcast_object_list(said, src=0, group=self.words)
        if said[1] is not None:
            raise said[1]
        return said[0]  # type: ignore[no-any-return]

    def align(self, module: nn.Module) -> None:
        """Copy the leader's weights and statistics to all."""
        if self.world > 1:
            import torch.distributed as dist

            for value in module.state_dict().values():
                dist.broadcast(value, src=0)

    @contextmanager
    def one_a_machine_first(self) -> Iterator[None]:
        """One process of each machine runs the block first; the others then find its files."""
        if self.world == 1:
            yield
            return
        import torch.distributed as dist

        if self.local:
            dist.barrier(group=self.words)
        try:
            yield
        finally:
            if not self.local:
                dist.barrier(group=self.words)


ALONE = Ranks()


@contextmanager
def joined(device: str) -> Iterator[Ranks]:
    """The processes that torchrun started, or this one alone.

    Args:
        device: as the user named it; each of several processes takes the GPU of its number.

    Raises:
        UsageError: the environment says that there are others, but not where.
    """
    world, local = launched()
    if world == 1:
        yield ALONE
        return
    import torch
    import torch.distributed as dist
    from torch._C._distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    on_gpu = device != "cpu" and torch.cuda.is_available()
    if on_gpu:
        if local >= torch.cuda.device_count():
            raise UsageError(
                f"LOCAL_RANK={local}, but this machine has {torch.cuda.device_count()} GPUs. Start "
                f"one process for each (torchrun --nproc-per-node={torch.cuda.device_count()})."
            )
        torch.cuda.set_device(local)
    try:
        store, rank, world = next(rendezvous("env://"))
    except (RuntimeError, ValueError, OSError) as error:
        place = f"MASTER_ADDR={os.environ['MASTER_ADDR']}, MASTER_PORT={os.environ['MASTER_PORT']}"
        raise MedcnnError(
            f"the {world} processes of this training cannot meet at {place}: "
            f"{str(error).splitlines()[0]:.200}. {WAYS_OUT}"
        ) from error
    # torchrun restarts processes with the old store, which still holds addresses of dead ones
    again = PrefixStore(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"), store)
    backend = "nccl" if on_gpu else "gloo"
    dist.init_process_group(backend, store=again, rank=rank, world_size=world)
    try:
        words = dist.new_group(backend="gloo", timeout=PATIENCE)
        yield Ranks(rank=dist.get_rank(), world=world, local=local, words=words)
    except RuntimeError as error:
        if not any(word in str(error) for word in ("gloo", "NCCL", "Connection")):
            raise
        raise MedcnnError(
            "another process of this training ended, so this one cannot continue. Everything saved "
            "is intact. Run the same command again to continue, or let torchrun do so: "
            "--max-restarts=N."
        ) from error
    finally:
        dist.destroy_process_group()
