"""All that changes while training, and how it is saved and taken up again.

Random numbers are a function of (seed, epoch, step), so no generator has a state to save.
"""

from __future__ import annotations

import copy
import io
import pickle
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from medcnn.models.classifier import Classifier
from medcnn.models.lora import unmerged
from medcnn.system.distributed import ALONE, Ranks
from medcnn.system.errors import CheckpointError
from medcnn.system.files import kept_twice, read_sealed, sha256_of, write_sealed
from medcnn.system.progress import log
from medcnn.training.tally import Counts, Tally


@dataclass(slots=True, kw_only=True)
class TrainState:
    """The one thing that may change.

    Attributes:
        averaged: exponential moving average of the classifier, or the mean of late epochs (`swa`),
            or None.
        averaged_epochs: how many epochs that mean is of.
        averaged_at: the last of them, from 0.
        epoch: that is being trained, from 0.
        step: micro-batches of this epoch that are done.
        updates: steps of the optimizer over all epochs, taken or skipped.
        micro_batch: images that go through the network at once; 0 until the first step.
        tally: of this epoch so far.
        history: one flat dict of numbers per finished epoch.
    """

    classifier: Classifier
    averaged: Classifier | None
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    tally: Tally
    epoch: int = 0
    step: int = 0
    updates: int = 0
    micro_batch: int = 0
    best_score: float | None = None
    best_epoch: int | None = None
    averaged_epochs: int = 0
    averaged_at: int | None = None
    history: list[dict[str, float]] = field(default_factory=list)

    @property
    def judged(self) -> Classifier:
        """The classifier that is validated and saved: the average where there is one."""
        return self.averaged or self.classifier

    def save(self, path: Path) -> None:
        modules = {"classifier": self.classifier, "averaged": self.averaged}
        stored = {
            **{k: m.state_dict() for k, m in modules.items() if m is not None},
            "optimizer": self.optimizer.state_dict(),
        }
        self._write(path, stored)

    def finish(self, path: Path, last: Path) -> None:
        """Replace the saved states of a run that has trained all its epochs by what the weights in
        `last` lack, some kilobytes; with more epochs it goes on from there."""
        self._write(path, {"weights_sha256": sha256_of(last)})
        for before in kept_twice(path)[1:]:
            before.unlink(missing_ok=True)

    def _write(self, path: Path, stored: dict[str, Any]) -> None:
        """`stored` and how far training has come."""
        stored |= {
            "scaler": self.scaler.state_dict(),
            "tally": asdict(self.tally.read()),
            "numbers": {name: getattr(self, name) for name in _NUMBERS},
        }
        # torch has no clear word for a full disk, so it does not write the file itself
        content = io.BytesIO()
        torch.save(stored, content)
        write_sealed(path, content.getbuffer())

    def load(self, path: Path, last: Path, ranks: Ranks = ALONE) -> bool:
        """Take up where `save` left; where that file is damaged, where the save before it did.

        Args:
            last: checkpoint with the weights of a run that was finished.

        Returns:
            False where the run was finished: its weights are the averaged ones, and what the
            optimizer knew is gone.

        Raises:
            CheckpointError: both are damaged, or belong to another network.
        """
        stored = ranks.from_leader(lambda: _with_weights(newest_whole(path), path, last))
        try:
            for name in ("classifier", "averaged"):
                if (module := getattr(self, name)) is not None:
                    finished = "weights_sha256" in stored
                    weights = stored[name]
                    module.load_state_dict(unmerged(module, weights) if finished else weights)
            if "optimizer" in stored:
                self.optimizer.load_state_dict(stored["optimizer"])
            self.scaler.load_state_dict(stored["scaler"])
            self.tally.set(Counts(**stored["tally"]))
        except (RuntimeError, KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{path} cannot be taken up again: {str(error).splitlines()[0]}. {AFRESH}"
            ) from error
        for name, value in stored["numbers"].items():
            setattr(self, name, value)
        return "optimizer" in stored


AFRESH = "Remove that folder's resume*.pt to start this run afresh, or give another run_dir."


def newest_whole(path: Path) -> dict[str, Any]:
    """The newest saved state that can be read; a damaged one is moved out of its way."""
    damaged: dict[Path, str] = {}
    for place in kept_twice(path):
        try:
            # weights_only: tensors and numbers, never code
            content = io.BytesIO(read_sealed(place))
            stored: dict[str, Any] = torch.load(content, map_location="cpu", weights_only=True)
        except FileNotFoundError:
            continue
        except (ValueError, RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
            damaged[place] = f"{place.name} {str(error).splitlines()[0]}"
            continue
        for bad, fault in damaged.items():
            log.warning(f"{fault}; going on from the state saved before it, to the same result")
            bad.replace(bad.with_suffix(".damaged"))
        return stored
    faults = "; ".join(damaged.values())
    raise CheckpointError(f"{path.parent}: no saved state can be read: {faults}. {AFRESH}")


def _with_weights(stored: dict[str, Any], path: Path, last: Path) -> dict[str, Any]:
    """Raises CheckpointError where `last` does not hold the weights of a finished run."""
    if "weights_sha256" not in stored:
        return stored
    if not last.is_file() or sha256_of(last) != stored["weights_sha256"]:
        raise CheckpointError(
            f"{path} belongs to a finished run, whose weights are not in {last.name} any more. "
            f"{AFRESH}"
        )
    tensors = safetensors.torch.load_file(last)
    return {**stored, "classifier": tensors, "averaged": tensors}


_NUMBERS = (
    *("epoch", "step", "updates", "micro_batch", "best_score", "best_epoch", "history"),
    *("averaged_epochs", "averaged_at"),
)


def average_of(classifier: Classifier) -> Classifier:
    averaged = copy.deepcopy(classifier)
    averaged.requires_grad_(False)
    return averaged.eval()
