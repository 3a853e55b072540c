"""Everything that changes during training, and how it is saved and loaded.

Random numbers are a function of (seed, epoch, step), so no generator has a state to save.
"""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Mapping
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
    """The only object that changes.

    Attributes:
        averaged: exponential moving average of the classifier, or the mean of late epochs (`swa`),
            or None.
        averaged_epochs: the number of epochs in that mean.
        averaged_at: the last of them, from 0.
        epoch: the current epoch, from 0.
        step: batches of this epoch that are done.
        updates: steps of the optimizer over all epochs, taken or skipped.
        micro_batch: images that go through the network at once; 0 until the first step.
        tally: counts of this epoch so far.
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
        """The classifier that is validated and saved: the average, if there is one."""
        return self.averaged or self.classifier

    def save(self, path: Path) -> None:
        modules = {"classifier": self.classifier, "averaged": self.averaged}
        stored = {
            **{k: m.state_dict() for k, m in modules.items() if m is not None},
            "optimizer": self.optimizer.state_dict(),
        }
        self._write(path, stored)

    def finish(self, path: Path, last: Path) -> None:
        """After the last epoch, replace the saved states by some kilobytes: everything but the
        weights, which are in `last`. A run with more epochs can continue from there."""
        self._write(path, {"weights_sha256": sha256_of(last)})
        for before in kept_twice(path)[1:]:
            before.unlink(missing_ok=True)

    def _write(self, path: Path, stored: dict[str, Any]) -> None:
        """Write `stored` and the progress of training."""
        stored |= {
            "scaler": self.scaler.state_dict(),
            "tally": asdict(self.tally.read()),
            "numbers": {name: getattr(self, name) for name in _NUMBERS},
        }
        # torch does not report a full disk clearly, so it does not write the file itself
        content = io.BytesIO()
        torch.save(stored, content)
        write_sealed(path, content.getbuffer())

    def load(self, path: Path, last: Path, ranks: Ranks = ALONE) -> str:
        """Continue from the last saved state, or from the one before if that file is damaged.

        Args:
            last: checkpoint with the weights of a finished run.

        Returns:
            Why the optimizer is a new one: the run was finished, so its weights are the averaged
            ones, or more epochs divide the parameters into other groups. Empty if it goes on.

        Raises:
            CheckpointError: both files are damaged, or belong to another network.
        """
        stored = ranks.from_leader(lambda: _with_weights(newest_whole(path), path, last))
        try:
            for name in ("classifier", "averaged"):
                if (module := getattr(self, name)) is not None:
                    finished = "weights_sha256" in stored
                    weights = stored[name]
                    module.load_state_dict(unmerged(module, weights) if finished else weights)
            new = self._new_optimizer(stored.get("optimizer"))
            if not new:
                self.optimizer.load_state_dict(stored["optimizer"])
            self.scaler.load_state_dict(stored["scaler"])
            self.tally.set(Counts(**stored["tally"]))
        except (RuntimeError, KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{path} cannot be resumed: {str(error).splitlines()[0]}. {AFRESH}"
            ) from error
        for name, value in stored["numbers"].items():
            setattr(self, name, value)
        return new

    def _new_optimizer(self, stored: Mapping[str, Any] | None) -> str:
        if stored is None:
            return (
                "this run was finished, so the state of its optimizer is gone: it continues from "
                "the averaged weights with a new optimizer (trainer.keep_state=true keeps the "
                "state)"
            )
        here = self.optimizer.state_dict()["param_groups"]
        groups = [
            [(g.get("name"), len(g["params"])) for g in of] for of in (stored["param_groups"], here)
        ]
        if groups[0] == groups[1]:
            return ""
        return (
            "the saved state has other groups of parameters, as the stages of transfer depend on "
            "the number of epochs: the run continues from its weights with a new optimizer"
        )


AFRESH = "To start this run again, remove resume*.pt from that folder, or set another run_dir."


def newest_whole(path: Path) -> dict[str, Any]:
    """The newest readable state; damaged ones are renamed."""
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
            log.warning(f"{fault}; continuing from the state before it, with the same result")
            bad.replace(bad.with_suffix(".damaged"))
        return stored
    faults = "; ".join(damaged.values())
    raise CheckpointError(f"{path.parent}: no saved state can be read: {faults}. {AFRESH}")


def _with_weights(stored: dict[str, Any], path: Path, last: Path) -> dict[str, Any]:
    """Raises CheckpointError if `last` does not hold the weights of the finished run."""
    if "weights_sha256" not in stored:
        return stored
    if not last.is_file() or sha256_of(last) != stored["weights_sha256"]:
        raise CheckpointError(
            f"{path} belongs to a finished run, but {last.name} no longer holds its weights. "
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
