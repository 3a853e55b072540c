"""What trains and what does not: ReLUs that never fire, and how far gradients move each layer."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from medcnn.data.manifest import Split
from medcnn.models.auxiliary import PREFIX
from medcnn.models.classifier import Classifier, unit_range
from medcnn.pixels.batches import batches, epoch_order
from medcnn.training.setting import Setting
from medcnn.training.tasks import Task

if TYPE_CHECKING:
    from collections.abc import Iterator

IMAGES = 32
DEAD, GRADIENT = "dead", "gradient"


class _Relus(TorchDispatchMode):
    """Share of dead channels after each ReLU, with or without a module of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.inside: list[str] = []
        self.dead: dict[str, float] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        done = func(*args, **(kwargs or {}))
        if func.overloadpacket.__name__ in ("relu", "relu_") and done.ndim > 1:
            name = self.inside[-1] if self.inside else "classifier"
            while name in self.dead:  # of several in one module
                name += "'"
            others = [d for d in range(done.ndim) if d != 1]
            self.dead[name] = float((done.detach().amax(others) <= 0).float().mean())
        return done


@contextmanager
def _named(classifier: Classifier, seen: _Relus) -> Iterator[None]:
    def entering(name: str) -> Callable[..., None]:
        return lambda *_: seen.inside.append(name)

    def leaving(*_: Any) -> None:  # whatever a hook returns would replace the output
        seen.inside.pop()

    with ExitStack() as hooks:
        for name, module in classifier.named_modules():
            for hook in (
                module.register_forward_pre_hook(entering(name)),
                module.register_forward_hook(leaving),
            ):
                hooks.callback(hook.remove)
        yield


def watched(
    classifier: Classifier, task: Task, images: Tensor, targets: Tensor, epoch: int = 0
) -> dict[str, float]:
    """`dead/LAYER`: share of the channels that a ReLU leaves at 0 for all these images, everywhere.
    `gradient/WEIGHT`: norm of the gradient of the loss, relative to that of the weights.

    In evaluation mode, so that nothing is drawn at random and no statistics move: a run that is
    watched ends with the weights of one that is not.
    """
    training = classifier.training
    classifier.eval()
    weights = {
        name: weight
        for name, weight in classifier.named_parameters()
        # auxiliary classifiers are not computed in evaluation mode
        if weight.requires_grad and weight.ndim > 1 and not name.startswith(PREFIX)
    }
    relus = _Relus()
    try:
        with torch.enable_grad(), _named(classifier, relus), relus:
            total, count = task.loss(classifier(unit_range(images)).float(), targets, epoch)
        slopes = torch.autograd.grad(total / count, [*weights.values()], allow_unused=True)
    finally:
        classifier.train(training)
    found = {f"{DEAD}/{name}": share for name, share in relus.dead.items()}
    for (name, weight), slope in zip(weights.items(), slopes, strict=True):
        norm = 0.0 if slope is None else float(slope.norm())
        found[f"{GRADIENT}/{name}"] = norm / max(float(weight.detach().norm()), 1e-12)
    return found


def watch(classifier: Classifier, setting: Setting, epoch: int) -> dict[str, float]:
    """The same for some images of the training split, always the same ones."""
    rows = setting.store.readable(setting.manifest.rows(Split.TRAIN))
    order = epoch_order(rows, seed=setting.seed, epoch=0)[:IMAGES]
    targets = setting.manifest.targets()
    batch = next(batches(setting.store, targets, order, IMAGES, device=setting.device))
    return watched(classifier, setting.task, batch.images, batch.targets, epoch)


def trouble(found: dict[str, float], share: float = 0.5) -> list[str]:
    """Which of these keep a network from learning, in words."""
    dead = [n.partition("/")[2] for n, v in found.items() if n.startswith(DEAD) and v >= share]
    still = [n.partition("/")[2] for n, v in found.items() if n.startswith(GRADIENT) and v == 0]
    said = []
    if dead:
        said.append(
            f"{_some(dead)}: at least {100 * share:.0f} % of the channels never fire (dead ReLUs)"
        )
    if still:
        said.append(f"{_some(still)}: no gradient arrives")
    return said


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
