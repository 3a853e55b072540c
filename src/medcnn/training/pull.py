"""L2-SP: weight decay towards the weights that training began with, not towards 0, so that what a
body knew is given up only for a reason (Li, Grandvalet and Davoine 2018, ICML).

It is decoupled from the gradient as AdamW's weight decay is: each step takes `lr * l2_sp` of the
distance. Under plain SGD that is the penalty of the paper.
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
    """Names of the parameters that are pulled: those of the body that ever train.

    Raises:
        UsageError: none does, or those that do begin with nothing worth keeping.
    """
    trained = {part for stage in plan.stages for part in stage.rates}
    names = {name for part in trained - {HEAD} for name in plan.parts[part]}
    if not names or LORA in trained:
        what = "trains low-rank matrices that begin at 0" if names else "trains the head alone"
        raise UsageError(
            f"optimizer.l2_sp pulls the body to its starting weights, and this transfer {what}: "
            "leave l2_sp at 0, or take another transfer."
        )
    return names


def write_start(path: Path, classifier: nn.Module, plan: Plan) -> None:
    """Keep the starting weights, which a resumed run pulls to as well."""
    names = pulled(plan)
    kept = {n: p.detach().cpu() for n, p in classifier.named_parameters() if n in names}
    write_bytes(path, safetensors.torch.save(kept))


def read_start(path: Path) -> dict[str, Tensor]:
    """Raises CheckpointError where the file is gone or damaged."""
    try:
        return safetensors.torch.load_file(path)
    except Exception as error:  # whatever safetensors meets first
        raise CheckpointError(
            f"{path} holds the weights that this run began with, and cannot be read: "
            f"{str(error).splitlines()[0]:.200}. Give another run_dir to begin afresh."
        ) from error


class Pull:
    """Takes the step towards the starting weights, by the groups of an optimizer."""

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
        """Moves nothing where `skip` is 1, nor what has no gradient in this stage."""
        for group in self.groups:
            own = [p for p in group["params"] if p in self.start and p.grad is not None]
            if own:
                away = torch._foreach_sub(own, [self.start[p] for p in own])
                torch._foreach_mul_(away, 1 - skip)
                torch._foreach_add_(own, away, alpha=-group["lr"] * self.strength)
