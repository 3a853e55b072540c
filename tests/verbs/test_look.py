"""A look inside a checkpoint, on one page."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from medcnn.data.labels import Kind, LabelSpace
from medcnn.images.frame import Box
from medcnn.models.deployed import load_model
from medcnn.pages.looking import LOOKING, Move, Seen
from medcnn.statistics.decisions import Readout
from medcnn.verbs.look import LookConfig, Searched
from medcnn.verbs.steps.exciting import EXAMPLES, _example, exciting, others_of
from medcnn.verbs.steps.looking import moved, moves, stages, strongest
from tests.command import SMALL, run
from tests.conftest import write_colours

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
    assert "41 moved images" in said, "the image as it is, is not among them"
    assert said.split(".")[0] in html
    assert html.count("<svg") == 4
    assert html.count("correlation 0.") == 6, "C1 of LeNet-5 has six filters"
    assert "Inside lenet5" in html
    assert "<h3>3, 6 maps of 14×14</h3>" in html
    assert "Meyer" not in html
    assert "<script" not in html
    assert run(*words) == 0  # its own page is replaced


class Sure(torch.nn.Module):
    """A logit of 3 for an image, whichever way, and of -30 for its mirror image."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        mirrored = images[:, 0, 0, 0] > images[:, 0, 0, -1]
        return torch.where(mirrored, -30.0, 3.0)[:, None]


@pytest.mark.parametrize(("flips", "label", "sure"), [("", "ill", 0.953), ("h", "well", 1.0)])
def test_the_chart_is_of_the_class_that_predict_names(flips: str, label: str, sure: float) -> None:
    model = load_model(BEST, device="cpu")
    labels = LabelSpace(kind=Kind.BINARY, names=("well", "ill"))
    checkpoint = replace(model.checkpoint, flips=flips, labels=labels, readout=Readout())
    model = replace(model, checkpoint=checkpoint, network=Sure())
    images = torch.zeros(1, 3, 32, 32)
    images[..., 16:] = 1.0  # darker on the left
    translated = moves(model, images)[0]
    assert translated.label == label
    assert translated.probabilities[translated.amounts.index(0)] == pytest.approx(sure, abs=1e-3)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a hospital's own data: 24 patients with two images each, called by their names."""
    place = tmp_path_factory.mktemp("own")
    write_colours(place / "images", 48, classes=2, size_px=32)
    lines = [f"{i:03d}.png,{'ab'[i % 2]},Meyer-{i // 2}" for i in range(48)]
    (place / "images" / "labels.csv").write_text("\n".join(["file,label,patient", *lines]))
    table = ("data=table", f"data.root={place / 'images'}", "data.table=labels.csv")
    columns = ("data.image=file", "data.label=label", "data.patient=patient")
    small = [word for word in SMALL if not word.startswith(("data", "model"))]
    words = ("train", "model=lenet5", *table, *columns, "data.size_px=32", *small)
    assert run(*words, f"run_dir={place / 'run'}") == 0
    return place / "run"


def test_images_of_the_validation_excite_channels_under_pseudonyms(
    run_folder: Path, image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "l.html"
    best = run_folder / "checkpoints" / "best.safetensors"
    words = ("look", best, image, f"output={output}", "trainer.device=cpu", "split=validation")
    assert run(*words, "stage=3", "channels=[4,0]") == 0
    html = output.read_text(encoding="utf-8")
    assert re.findall(r"<h4>(.*?)</h4>", html) == ["channel 4", "channel 0"]
    assert "images of the validation split" in html
    assert "Every layer gets a gradient" in html
    assert len(re.findall(r"6×6 px · image-[0-9a-f]+", html)) == 2 * EXAMPLES
    assert "Meyer" not in html
    assert "keep it only where the images may be kept" in html
    capsys.readouterr()
    for more, said in (
        (["stage=layer9"], "no such stage; did you mean"),
        (["stage=3", "channels=[6]"], "3 has 6 channels, counted from 0"),
        (["channels=[1]"], "channels= needs stage=NAME"),
        (["split=none", f"data.root={run_folder}"], "has no effect on split=none"),
    ):
        assert run(*words, *more) == 2
        assert said.partition(";")[0] in " ".join(capsys.readouterr().err.split())


def test_the_images_of_a_channel_are_those_with_its_highest_values(run_folder: Path) -> None:
    best = run_folder / "checkpoints" / "best.safetensors"
    model, config = load_model(best, device="cpu", precision="fp32"), looking_at(best)
    others = others_of(config, model, print)
    assert others
    (found,) = exciting(model, others, {"1": [2]})["1"]
    pixels = torch.from_numpy(others.store.take(others.rows))
    values = dict(stages(model.classifier, pixels))["1"][:, 2].amax((1, 2))
    assert found[0].value == pytest.approx(float(values.max()))
    records = others.manifest.records
    of = {r.image_id: r.group for r in records}
    assert len({of[example.image_id] for example in found}) == EXAMPLES
    assert [e.value for e in found] == sorted((e.value for e in found), reverse=True)


@pytest.mark.parametrize(
    ("part", "told", "width"),
    [
        (Box(top=2, left=3, height=5, width=6), "6×5 px", 320),
        (Box(top=0, left=0, height=32, width=32), "the whole image", 160),
        (None, "part not known", 160),
    ],
)
def test_a_part_that_is_not_known_is_not_called_the_whole_image(
    run_folder: Path, part: Box | None, told: str, width: int
) -> None:
    best = run_folder / "checkpoints" / "best.safetensors"
    model = load_model(best, device="cpu", precision="fp32")
    others = others_of(looking_at(best), model, print)
    assert others
    example = _example(model, others, int(others.rows[0]), 1.0, part)
    assert (example.part, example.width) == (told, width)


def looking_at(checkpoint: Path) -> LookConfig:
    return LookConfig(
        checkpoint=str(checkpoint),
        input="",
        output="",
        split=Searched.VALIDATION,
        stage=None,
        channels=(),
        data=None,
        moved={},
        device="cpu",
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((BEST, "gone.png"), "no such file; look needs a single image"),
        ((BEST, str(GOLDEN)), "is a folder; look needs a single image. Name a file in it: /"),
        ((BEST, str(GOLDEN / "log.txt"), "output=l.txt"), "name should end in .html"),
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
    kind="scale",
    label="a",
    amounts=(0.9, 1.0, 1.1),
    probabilities=(0.7, 0.8, 0.8),
    same=(True,) * 3,
)
MOVED = replace(STILL, same=(False, True, True))
OTHERS = Seen(moves=(STILL,), images=20, of=90, split="validation")
DEAD = replace(OTHERS, watched={"dead/relu": 0.9}, trouble=("relu: never fires",))


@pytest.mark.fault
@pytest.mark.parametrize(
    ("name", "facts", "words", "others"),
    [
        ("flips", Seen(moves=(MOVED,)), "in 1 of 2 moved images (50 %)", [Seen(moves=(STILL,))]),
        ("steady", Seen(moves=(STILL,)), "the same in all 2", [Seen(moves=(MOVED,)), Seen()]),
        ("alike", Seen(correlations=(0.9, 0.2)), "1 of 2 filters have a correlation", [Seen()]),
        (
            "no filters",
            Seen(moves=(STILL,)),
            "no convolution",
            [Seen(moves=(STILL,), correlations=(0.9,)), Seen()],
        ),
        ("alone", Seen(moves=(STILL,)), "Only this image was looked at", [OTHERS, Seen()]),
        ("examples", OTHERS, "of 20 images of the validation split, drawn from 90", [Seen()]),
        ("watched", DEAD, "with the training loss", [OTHERS, Seen()]),
        ("trouble", DEAD, "relu: never fires.", [OTHERS, replace(DEAD, trouble=())]),
        (
            "no trouble",
            replace(DEAD, trouble=()),
            "and no ReLU leaves half of its channels at 0",
            [DEAD, OTHERS],
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
    assert [maps.shape[2] for _, maps in found] == [32, 16, 8, 4, 2]


def test_attention_within_windows_is_no_map() -> None:
    class Attends(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 4, 4), Window())

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.body(images)

    class Window(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attn_drop = torch.nn.Dropout(0.0)

        def forward(self, maps: torch.Tensor) -> torch.Tensor:
            self.attn_drop(torch.zeros(4 * len(maps), 2, 9, 9))  # of four windows in an image
            return maps.mean((2, 3))

    found = stages(Attends().eval(), torch.zeros(2, 3, 32, 32))
    assert [(name, maps.shape[2]) for name, maps in found] == [("0", 8)]
