"""What a position of a stage depends on is what its gradient reaches."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from medcnn.images.frame import Box
from medcnn.models.classifier import Architecture, build_classifier
from medcnn.models.receptive import fields_of, part_seen
from medcnn.verbs.steps.looking import stages

SIDE = 64


@pytest.mark.parametrize("backbone", ["lenet5", "resnet18"])
def test_the_part_is_the_one_that_the_gradient_reaches(backbone: str) -> None:
    settings = {"options": {}, "head": "linear", "head_options": {}, "channels": 3}
    architecture = Architecture(backbone=backbone, size_px=SIDE, **settings)
    classifier, _ = build_classifier(architecture, 2)
    for module in classifier.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            # so that nothing cancels out, and no ReLU is off
            nn.init.constant_(module.weight, 1 / module.weight[0].numel())
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)  # which timm sets to 0 at the end of a block
        if isinstance(module, nn.MaxPool2d):
            module.forward = nn.AvgPool2d(  # a maximum passes the gradient to one place alone
                module.kernel_size, module.stride, module.padding
            ).forward
    fields = fields_of(architecture, 2)
    image = torch.ones(1, 3, SIDE, SIDE, requires_grad=True)
    checked = 0
    for name, _ in stages(classifier.eval(), image):
        made: list[torch.Tensor] = []
        of = classifier.body.get_submodule(name)
        handle = of.register_forward_hook(lambda _m, _i, out, made=made: made.append(out))
        classifier(image)
        handle.remove()
        maps = made[0]
        at = (maps.shape[2] // 2, 1)
        (slope,) = torch.autograd.grad(maps[0, :, *at].sum(), image)
        reached = slope[0].abs().sum(0).nonzero()
        (top, left), (bottom, right) = reached.min(0).values.tolist(), reached.max(0).values + 1
        part = part_seen(fields, name, (maps.shape[2], maps.shape[3]), at, SIDE)
        found = part or Box(top=0, left=0, height=SIDE, width=SIDE)
        assert (found.top, found.left) == (top, left), name
        assert (found.top + found.height, found.left + found.width) == (bottom, right), name
        checked += 1
    assert checked >= 4


def test_a_map_of_another_size_is_not_guessed() -> None:
    settings = {"options": {}, "head": "linear", "head_options": {}, "channels": 3}
    fields = fields_of(Architecture(backbone="lenet5", size_px=32, **settings), 2)
    assert part_seen(fields, "1", (28, 28), (0, 0), 32) == Box(top=0, left=0, height=5, width=5)
    assert part_seen(fields, "1", (9, 9), (0, 0), 32) is None
    assert part_seen(fields, "nothing", (9, 9), (0, 0), 32) is None
