"""L2-SP: weight decay towards the starting weights instead of 0, so that a body keeps what it knows
unless the data contradict it (Li, Grandvalet and Davoine 2018, ICML).

It is decoupled from the gradient, like AdamW's weight decay: each step moves the weights by
`lr * l2_sp` of the distance. With plain SGD this is the penalty of the paper.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from medcnn.config import OptimizerConfig
from medcnn.models.parts import HEAD
from medcnn.system.errors import CheckpointError, UsageError
from medcnn.system.files import write_bytes
from medcnn.training.transfer import LORA, Plan


def pulled(plan: Plan) -> set[str]:
    """Names of the parameters to pull: those of the body that train in any stage.

    Raises:
        UsageError: no such parameter, or they are low-rank matrices that begin at 0.
    """
    trained = {part for stage in plan.stages for part in stage.rates}
    names = {name for part in trained - {HEAD} for name in plan.parts[part]}
    if not names or LORA in trained:
        what = "trains low-rank matrices that begin at 0" if names else "trains only the head"
        raise UsageError(
            f"optimizer.l2_sp pulls the body to its starting weights, but this transfer {what}. "
            "Leave l2_sp at 0, or choose another transfer."
        )
    return names


def write_start(path: Path, classifier: nn.Module, plan: Plan) -> None:
    """Save the starting weights, since a resumed run is pulled to them too."""
    names = pulled(plan)
    kept = {n: p.detach().cpu() for n, p in classifier.named_parameters() if n in names}
    write_bytes(path, safetensors.torch.save(kept))


def read_start(path: Path) -> dict[str, Tensor]:
    """Raises CheckpointError if the file is missing or damaged."""
    try:
        return safetensors.torch.load_file(path)
    except Exception as error:  # whatever safetensors meets first
        raise CheckpointError(
            f"{path}, the starting weights of this run, cannot be read: "
            f"{str(error).splitlines()[0]:.200}. Set another run_dir to start again."
        ) from error


class Pull:
    """Moves weights towards their starting values, at the rates of an optimizer's groups."""

    def __init__(
        self,
        start: Mapping[str, Tensor],
        classifier: nn.Module,
        config: OptimizerConfig,
        optimizer: torch.optim.Optimizer,
    ) -> None:
        self.strength, self.groups = config.l2_sp, optimizer.param_groups
        own = dict(classifier.named_parameters())
        self.start = {own[name]: at.to(own[name].device) for name, at in start.items()}

    @torch.no_grad()
    def step(self, skip: Tensor) -> None:
        """Changes nothing if `skip` is 1, nor weights without a gradient in this stage."""
        for group in self.groups:
            own = [p for p in group["params"] if p in self.start and p.grad is not None]
            if own:
                away = torch._foreach_sub(own, [self.start[p] for p in own])
                torch._foreach_mul_(away, 1 - skip)
                torch._foreach_add_(own, away, alpha=-group["lr"] * self.strength)
