"""One step of the optimizer. The device decides alone whether to take or skip it: reading a number
from a GPU would stop the loop until the GPU has finished all its work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from medcnn.config import Compile, Reproducible
from medcnn.models.classifier import unit_range
from medcnn.models.computing import autocast, out_of_memory
from medcnn.pixels.batches import Batch
from medcnn.system.errors import MedcnnError, TooLittleMemoryError, UsageError
from medcnn.system.progress import log
from medcnn.training.augmentations import augment
from medcnn.training.averages import Average, first_averaged
from medcnn.training.draws import again
from medcnn.training.mixing import mix_of, mixed
from medcnn.training.pull import Pull
from medcnn.training.setting import Setting
from medcnn.training.state import TrainState

# Compiling for the two batch sizes of an epoch takes minutes and saves milliseconds per step.
# Counted over the whole run, not over the rest of it: a resumed run must do what it began with.
COMPILING_PAYS_FROM_BATCHES = 20_000
# Devices that report that their memory is full; on a CPU the system kills the process instead.
PROBED = ("cuda",)


class Stepper:
    """Takes the steps of one sitting.

    Attributes:
        network: the module that trains: the classifier, or only its head if features of the body
            replace the images.
        forward: the network, compiled if that was asked for and works.
    """

    def __init__(self, state: TrainState, setting: Setting, *, num_batches: int) -> None:
        """`num_batches` counts the whole run, from its first epoch to its last."""
        trainer = setting.trainer
        self.state, self.setting = state, setting
        self.parameters = [p for g in state.optimizer.param_groups for p in g["params"]]
        self.features = setting.features_at(state.epoch) is not None
        self.network: nn.Module = state.classifier
        moving: nn.Module | None = state.averaged if trainer.ema_decay else None
        if self.features:
            # a frozen body need not be averaged either
            self.network = state.classifier.head
            moving = state.averaged.head if state.averaged and moving else None
        self.dtype = torch.float32 if self.features else setting.dtype
        self.statistics = Statistics(self.network)
        self.average = Average(moving, self.network) if moving else None
        self.pull = Pull(setting.start, state.classifier, setting.optimizer, state.optimizer)
        # a resumed run keeps the size that it found
        automatic = trainer.micro_batch is None and not state.micro_batch
        self.to_probe = automatic and setting.device.type in PROBED
        self.probing = False
        state.micro_batch = state.micro_batch or trainer.micro_batch or trainer.batch_size
        on_gpu = setting.device.type == "cuda"
        self.tf32 = on_gpu and trainer.reproducible is Reproducible.FAST
        pays = on_gpu and num_batches >= COMPILING_PAYS_FROM_BATCHES
        self.compiled = trainer.compile is Compile.ON or (trainer.compile is Compile.AUTO and pays)
        # wrappers share the weights of the network, and its names are those of checkpoints
        self.plain: nn.Module = self.network
        if setting.ranks.world > 1:
            self.plain = DistributedDataParallel(
                self.network, device_ids=[setting.device] if on_gpu else None
            )
        self.forward: Callable[..., Any] = self.plain
        if self.compiled:
            try:
                self.forward = torch.compile(self.plain, dynamic=False)
            except Exception as error:  # torch.compile does not work on this system
                self._without_compiling(error)

    def step(self, group: list[Batch], keys: NDArray[np.uint64]) -> None:
        """One step over a group of batches, averaged over their assessed labels.

        If loss or gradient is not finite, the step leaves no trace: weights, BatchNorm statistics,
        optimizer and average stay as they were.

        Before the first step, a probe finds how many images fit into memory at once.

        Raises:
            TooLittleMemoryError: not even a single image fits into memory.
        """
        state, trainer = self.state, self.setting.trainer
        ranks = self.setting.ranks
        if self.to_probe:
            self._probe(group, keys)
        own = [t.to(state.tally.dtype) for t in self._gradients(group, keys)]
        loss_sum, count, unpaired = ranks.summed(torch.stack(own)).unbind()
        state.scaler.unscale_(state.optimizer)
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        # dividing by the batch size kept half precision in range; the true divisor is known only
        # now. If no label of these images was assessed, there is nothing to learn.
        assessed = count > 0
        # DistributedDataParallel averages over processes; the sum is needed.
        factor = torch.where(assessed, ranks.world * trainer.batch_size / count, 0)
        norm = nn.utils.get_total_norm(gradients).to(factor.dtype) * factor
        bad = assessed & ~(loss_sum.isfinite() & norm.isfinite())
        if trainer.clip_norm is not None:
            factor = factor * torch.where(norm > trainer.clip_norm, trainer.clip_norm / norm, 1)
        torch._foreach_mul_(gradients, factor.float())
        skip = (bad | ~assessed).float()
        self.pull.step(skip)
        # fused optimizers change nothing if this is 1; GradScaler uses the same mechanism
        state.optimizer.found_inf = skip  # type: ignore[attr-defined]
        state.optimizer.step()
        state.scaler.update()
        state.optimizer.zero_grad(set_to_none=True)
        self.statistics.settle(bad)
        state.tally.add(loss_sum, count, unpaired, bad, state.step - 1)
        state.updates += 1
        if self.average and state.epoch < first_averaged(trainer):
            self.average.update(trainer.ema_decay, state.updates, skip)

    def _probe(self, group: list[Batch], keys: NDArray[np.uint64]) -> None:
        """Compute the gradients of this group in smaller and smaller parts, until they fit into the
        memory of every process. Only `micro_batch` remains.

        The optimizer, the average and the buffers of DistributedDataParallel are in memory already,
        so later steps need no more. Each batch seeds its own random numbers.
        """
        ranks, fault = self.setting.ranks, None
        network: nn.Module = self.network
        buffers = list(network.buffers())
        before = [b.clone() for b in buffers]
        wrapped = self.plain, self.forward
        if ranks.world > 1:
            # nothing is exchanged: a process whose memory is full would leave the others waiting
            self.plain = self.forward = network
            for module in network.modules():
                if isinstance(module, nn.SyncBatchNorm):
                    module.eval()
        self.probing = True
        try:
            self._gradients(group, keys)
        except MedcnnError as error:
            fault = error
        self.probing = self.to_probe = False
        if ranks.world > 1:
            self.plain, self.forward = wrapped
            network.train()
        self.state.optimizer.zero_grad(set_to_none=True)
        torch._foreach_copy_(buffers, before)
        own = self.state.micro_batch
        self.state.micro_batch = ranks.least(0 if fault else own)
        if fault:
            raise fault
        if self.state.micro_batch == 0:
            raise TooLittleMemoryError(
                "the GPU of another process has too little memory for one image at a time. Free "
                "memory that other programs use, or use a smaller model or data.size_px."
            )
        if self.state.micro_batch < own:
            self._say_smaller("on another GPU")

    def _gradients(self, group: list[Batch], keys: NDArray[np.uint64]) -> tuple[Tensor, ...]:
        """Gradients of the loss divided by `batch_size`; in smaller parts if memory was too small,
        and without compiling if that failed. Returns sum and count of the loss, and the number of
        labels that a paired loss left out."""
        while True:
            try:
                with tf32() if self.tf32 else nullcontext():
                    return self._gradients_at_once(group, keys)
            except Exception as error:
                if not self._can_do_without(error):
                    raise
            # outside of `except`, whose traceback keeps the tensors that fill the memory
            self.state.optimizer.zero_grad(set_to_none=True)
            self.statistics.restore()
            if self.setting.device.type == "cuda":
                torch.cuda.empty_cache()

    def _gradients_at_once(
        self, group: list[Batch], keys: NDArray[np.uint64]
    ) -> tuple[Tensor, ...]:
        state, setting = self.state, self.setting
        sums, counts, unpaired = [], [], [torch.zeros((), device=setting.device)]
        left = sum(batch.own or len(batch.rows) for batch in group)
        for step, batch in enumerate(group, start=state.step - len(group)):
            # dropout and the like draw from this seed, so a restart repeats them
            torch.manual_seed(_seed_of(setting.seed, state.epoch, step, setting.ranks.rank))
            images, targets = self._inputs(batch, keys, step)
            parts = -(-len(images) // state.micro_batch)
            for part, target in zip(images.chunk(parts), targets.chunk(parts), strict=True):
                left -= len(part)
                with self._exchanging(left == 0):
                    with autocast(self.dtype, setting.device):
                        outputs = self.forward(part)
                    loss_sum, count = setting.task.total(outputs, target, state.epoch)
                    state.scaler.scale(loss_sum / setting.trainer.batch_size).backward()
                sums.append(loss_sum.detach())
                counts.append(count)
                if setting.task.paired:
                    unpaired.append((~target.isnan()).sum() - count)
        return tuple(torch.stack(each).sum() for each in (sums, counts, unpaired))

    def _inputs(self, batch: Batch, keys: NDArray[np.uint64], step: int) -> tuple[Tensor, Tensor]:
        """Augmented images, or features, and their targets."""
        setting, how = self.setting, self.setting.augmentation
        if self.features:
            return batch.images, batch.targets
        now = {"seed": setting.seed, "epoch": self.state.epoch}
        images = augment(unit_range(batch.images), again(keys[batch.rows], batch.times), how, **now)
        images, targets = mixed(images, batch.targets, mix_of(how, **now, step=step), batch.own)
        return images.contiguous(memory_format=setting.memory_format), targets

    def _exchanging(self, last: bool) -> AbstractContextManager[None]:
        """Processes exchange gradients once, after the last part of a step."""
        if isinstance(self.plain, DistributedDataParallel) and not last:
            return self.plain.no_sync()
        return nullcontext()

    def _can_do_without(self, error: Exception) -> bool:
        """Change what failed and try the step again; False if nothing can be changed."""
        state, world = self.state, self.setting.ranks.world
        # one process sees only its share of the batch
        many = min(state.micro_batch, -(-self.setting.trainer.batch_size // world))
        if out_of_memory(error):
            if self.setting.task.paired:
                raise TooLittleMemoryError(
                    f"{self.setting.device} has too little memory for {many} images at once, and "
                    "this loss compares all of them with each other. Run the same command with a "
                    "smaller trainer.batch_size in a new run_dir, or choose another loss."
                ) from error
            if world > 1 and not self.probing:
                # the others wait for the gradients of this step and would have to repeat it
                raise TooLittleMemoryError(
                    f"{self.setting.device} has too little memory for {many} images at once. "
                    "Checkpoints of earlier epochs are intact. Run the same command with "
                    f"trainer.micro_batch={max(many // 2, 1)} in a new run_dir, or on more GPUs."
                ) from error
            if many == 1:
                raise TooLittleMemoryError(
                    f"{self.setting.device} has too little memory for one image of "
                    f"{self.setting.store.shape[1]} px at a time. Checkpoints of earlier epochs "
                    "are intact. Free memory that other programs use and run the same command "
                    "again, or use a smaller model or data.size_px, or trainer.precision=bf16."
                ) from error
            state.micro_batch = many // 2
            self._say_smaller(f"with {many} images at once")
            return True
        if "Expected more than 1 value per channel" in str(error):
            raise UsageError(
                "BatchNorm needs at least two images, and a batch here has only one. Set "
                "trainer.batch_size (and trainer.micro_batch) to 2 or more, and to a number that "
                "leaves no single image for the last batch."
            ) from error
        if self.compiled:
            self._without_compiling(error)
            return True
        return False

    def _say_smaller(self, where: str) -> None:
        log.warning(
            f"out of memory {where}: continuing with {self.state.micro_batch} images at once, "
            f"still {self.setting.trainer.batch_size} in a batch. Without BatchNorm and dropout "
            "this changes only the last digits; BatchNorm sees fewer images at once."
        )

    def _without_compiling(self, error: Exception) -> None:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        log.warning(f"torch.compile failed ({reason:.120}): continuing without it")
        self.compiled, self.forward = False, self.plain


@contextmanager
def tf32() -> Iterator[None]:
    """Matrix products of float32 on tensor cores with 11 significant bits, as in cuDNN's
    convolutions by default. Not used in evaluation, where scores depend on the order of logits."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


class Statistics:
    """The statistics of normalisation layers, with a packed copy of their last good values."""

    def __init__(self, network: nn.Module) -> None:
        self.buffers = [b for b in network.buffers() if b.is_floating_point()]
        self.good = self._packed()
        pieces = zip(self.good.split([b.numel() for b in self.buffers]), self.buffers, strict=True)
        self.pieces = [piece.view_as(buffer) for piece, buffer in pieces]

    def _packed(self) -> Tensor:
        return torch.cat([b.reshape(-1) for b in self.buffers] or [torch.empty(0)])

    def settle(self, bad: Tensor) -> None:
        """Keep the current values of the buffers, or restore the last good ones if `bad`."""
        if self.buffers:
            self.good.copy_(torch.where(bad, self.good, self._packed()))
            self.restore()

    def restore(self) -> None:
        if self.buffers:
            torch._foreach_copy_(self.buffers, self.pieces)


def _seed_of(seed: int, epoch: int, step: int, rank: int) -> int:
    return int(np.random.SeedSequence((seed, epoch, step, 2 + rank)).generate_state(1)[0])
