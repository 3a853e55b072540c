"""A look inside a checkpoint, on one page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from medcnn.pages.looking import LOOKING, Move, Seen
from medcnn.verbs.steps.looking import moved, stages, strongest
from tests.command import run

GOLDEN = Path(__file__).parents[1] / "golden" / "run"
BEST = GOLDEN / "checkpoints" / "best.safetensors"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    from PIL import Image

    pixels = torch.randint(0, 255, (40, 40, 3), generator=torch.Generator().manual_seed(0))
    Image.fromarray(pixels.to(torch.uint8).numpy()).save(tmp_path / "patient_Meyer.png")
    return tmp_path / "patient_Meyer.png"


def test_a_page_shows_filters_maps_and_the_image_moved(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "l.html"
    words = ("look", BEST, image, f"output={output}", "trainer.device=cpu")
    assert run(*words) == 0
    said = capsys.readouterr().out
    html = output.read_text(encoding="utf-8")
    assert "moved images" in said
    assert said.split(".")[0] in html
    assert html.count("<svg") == 4
    assert html.count("correlation 0.") == 6, "C1 of LeNet-5 has six filters"
    assert "Inside lenet5" in html
    assert "<h3>3, 6 maps of 14×14</h3>" in html
    assert "Meyer" not in html
    assert "<script" not in html
    assert run(*words) == 0  # its own page is replaced


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((BEST, "gone.png"), "no such file; look takes one image"),
        ((BEST, str(GOLDEN)), "no such file; look takes one image"),
        ((BEST, str(GOLDEN / "log.txt"), "output=l.txt"), "the page is a .html file"),
    ],
)
def test_what_cannot_be_looked_at_is_said(
    words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("look", *words) == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_an_image_moves_by_what_is_said() -> None:
    image = torch.zeros(1, 1, 32, 32)
    image[0, 0, 16, 10] = 1
    right = moved(image, "translation, px", [0, 5])
    assert torch.allclose(right[0], image[0], atol=1e-5)
    assert right[1, 0, 16].argmax() == 15
    turned = moved(image, "rotation, degrees", [90])[0, 0]
    row, column = divmod(int(turned.argmax()), 32)
    assert sorted((abs(row - 15.5), abs(column - 15.5))) == [0.5, 5.5]
    block = torch.zeros(1, 1, 32, 32)
    block[..., 12:20, 12:20] = 1
    larger, cropped = (moved(block, k, [a]).sum() for k, a in (("scale", 2.0), ("crop", 0.5)))
    assert float(larger) == pytest.approx(4 * 64, rel=0.1)
    assert float(cropped) == pytest.approx(float(larger))


def test_the_strongest_channels_are_those_that_differ_most_between_positions() -> None:
    maps = torch.zeros(12, 4, 4)
    maps[7, 0, 0], maps[2, 0, 0] = 9, 5
    assert strongest(maps)[:2] == [7, 2]
    assert len(strongest(maps)) == 8


STILL = Move(
    kind="scale", label="a", amounts=(0.9, 1.0), probabilities=(0.7, 0.8), same=(True,) * 2
)
MOVED = replace(STILL, same=(False, True))


@pytest.mark.fault
@pytest.mark.parametrize(
    ("name", "facts", "words", "others"),
    [
        ("flips", Seen(moves=(MOVED,)), "in 1 of 2 moved images (50 %)", [Seen(moves=(STILL,))]),
        ("steady", Seen(moves=(STILL,)), "the same in all 2", [Seen(moves=(MOVED,)), Seen()]),
        ("alike", Seen(correlations=(0.9, 0.2)), "1 of 2 filters correlate", [Seen()]),
        (
            "no filters",
            Seen(moves=(STILL,)),
            "no convolution",
            [Seen(moves=(STILL,), correlations=(0.9,)), Seen()],
        ),
    ],
)
def test_a_sentence_is_made_by_its_facts_and_not_by_others(
    name: str, facts: Seen, words: str, others: list[Seen]
) -> None:
    """Row A13."""
    assert words in LOOKING[name].words(facts)
    assert [LOOKING[name].words(of) for of in others] == [""] * len(others)


def test_stages_are_the_last_maps_of_each_size() -> None:
    from medcnn.models.classifier import Architecture, build_classifier

    settings = {"options": {}, "head": "linear", "head_options": {}, "channels": 3}
    classifier, _ = build_classifier(Architecture(backbone="resnet18", size_px=64, **settings), 2)
    found = stages(classifier.eval(), torch.zeros(1, 3, 64, 64))
    assert [name for name, _ in found][-3:] == ["layer2", "layer3", "layer4"]
    assert [maps.shape[1] for _, maps in found] == [32, 16, 8, 4, 2]
