from __future__ import annotations

import pytest
import torch

from medcnn.models.classifier import Architecture, Classifier, build_classifier, unit_range
from medcnn.models.heads import HEADS, output_layer
from medcnn.system.errors import UsageError


def make(head: str = "linear", **options: object) -> Classifier:
    architecture = Architecture(
        backbone="resnet18", options={}, head=head, head_options=options, channels=3, size_px=32
    )
    return build_classifier(architecture, 4)[0]


@pytest.mark.parametrize("head", sorted(set(HEADS) - {"original"}))
def test_every_head_ends_in_one_row_per_class(head: str) -> None:
    classifier = make(head)
    assert output_layer(classifier.head).out_features == 4
    assert classifier.eval()(torch.rand(2, 3, 32, 32)).shape == (2, 4)


def test_integers_of_full_range_and_floats_mean_the_same() -> None:
    bytes_ = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    words = (bytes_.to(torch.int32) * 257).to(torch.uint16)
    assert torch.allclose(unit_range(bytes_), unit_range(words))
    assert unit_range(bytes_).max() == 1


def test_a_frozen_body_moves_neither_weights_nor_batchnorm_statistics() -> None:
    classifier = make()
    classifier.train_only({n for n, _ in classifier.named_parameters() if n.startswith("head.")})
    before = {k: v.clone() for k, v in classifier.body.state_dict().items()}
    classifier.train()
    optimizer = torch.optim.SGD(classifier.parameters(), lr=0.1, weight_decay=0.1)
    classifier(torch.rand(8, 3, 32, 32)).square().sum().backward()
    optimizer.step()
    for name, value in classifier.body.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert output_layer(classifier.head).weight.grad is not None


def test_without_freezing_the_statistics_do_move() -> None:
    classifier = make()
    before = classifier.body.state_dict()["bn1.running_mean"].clone()
    classifier.train()
    classifier(torch.rand(8, 3, 32, 32))
    assert not torch.equal(classifier.body.state_dict()["bn1.running_mean"], before)


def test_an_option_that_a_head_lacks_is_refused() -> None:
    with pytest.raises(UsageError, match="head linear has no option 'hiden'"):
        make("linear", hiden=3)


def test_logits_keep_full_precision_under_half_precision() -> None:
    classifier = make().eval()
    images = torch.rand(64, 3, 32, 32)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        logits = classifier(images)
    assert logits.dtype == torch.float32
    assert len(logits[:, 0].unique()) > 60
