"""`predict explain=METHOD`: a map of every image, beside the table."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from medcnn.data.labels import Kind, LabelSpace
from medcnn.data.manifest import Modality
from medcnn.images.preprocessing import Preprocessing
from medcnn.models import checkpoint as checkpoints
from medcnn.models.checkpoint import Checkpoint
from medcnn.models.classifier import Architecture, build_classifier
from medcnn.models.deployed import load_model
from medcnn.models.explained import mean_map, most_probable
from medcnn.pages.overlay import STRIP_PX
from medcnn.statistics.decisions import Readout
from medcnn.system.errors import UsageError
from tests.command import run

NAME = "Mueller_Anna"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint, and images of which one is damaged; a file name is that of a person."""
    place = tmp_path_factory.mktemp("explained")
    torch.manual_seed(0)
    architecture = Architecture(
        backbone="lenet5", options={}, head="linear", head_options={}, channels=3, size_px=32
    )
    classifier, body = build_classifier(architecture, 3)
    described = Checkpoint(
        labels=LabelSpace(kind=Kind.MULTICLASS, names=("a", "b", "c")),
        preprocessing=Preprocessing(size_px=32),
        architecture=architecture,
        normalisation=body.normalisation,
        modality=Modality.OTHER,
        flips="h",
        readout=Readout(),
        training={},
        provenance={},
    )
    checkpoints.save(place / "a.safetensors", classifier, described)
    checkpoints.save(place / "b.safetensors", classifier, described)
    rng = np.random.default_rng(0)
    (place / "in").mkdir()
    for name, shape in ((NAME, (300, 400, 3)), ("other", (320, 280, 3))):
        image = Image.fromarray(rng.integers(0, 255, shape, np.uint8))
        image.save(place / "in" / f"{name}.png")
    (place / "in" / "broken.png").write_bytes(b"no image")
    return place


def predict(place: Path, output: Path, *words: str) -> int:
    files = (f"checkpoint={place}/a.safetensors", f"input={place}/in", f"output={output}")
    return run("predict", *files, "audit.max_bad=1", "trainer.device=cpu", *words)


@pytest.mark.parametrize("method", ["gradcam", "{name: occlusion, patch: 0.5, label: c}"])
def test_every_image_gets_a_map_whose_file_names_nobody(
    place: Path, tmp_path: Path, method: str
) -> None:
    assert predict(place, tmp_path / "new.csv", f"explain={method}") == 0
    lines = (tmp_path / "new.csv").read_text().splitlines()
    maps = tmp_path / "new-maps"
    with (maps / "maps.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {p.name for p in maps.iterdir()} == {"maps.csv", *(row["picture"] for row in rows)}
    assert len(rows) == 2, "the damaged image has none"
    sizes = {NAME: (400, 300), "other": (280, 320)}
    for row in rows:
        image_id = lines[int(row["line"]) - 1].split(",")[0].removesuffix(".png")
        width, height = sizes[image_id]
        with Image.open(maps / row["picture"]) as picture:
            assert picture.size == (width, height + STRIP_PX)
            assert not picture.info, "nothing but pixels"
        if "label: c" in method:
            assert row["label"] == "c"
        if float(row["highest"]):
            assert 0 <= int(row["x"]) < width
            assert 0 <= int(row["y"]) < height
    assert not any(NAME in p.name or NAME.encode() in p.read_bytes() for p in maps.iterdir())


def test_nothing_is_overwritten(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "new-maps").mkdir()
    assert predict(place, tmp_path / "new.csv", "explain=gradcam") == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "new-maps exists. Nothing is overwritten" in said
    assert not (tmp_path / "new.csv").exists()
    assert predict(place, tmp_path / "new.csv") == 0, "without maps the folder is in no way"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("explain=gradcm", "did you mean 'gradcam'"),
        ("explain={name: gradcam, label: d}", "no class is called 'd'"),
        ("explain={name: gradcam, patch: 0.5}", "has no option 'patch'"),
    ],
)
def test_a_wrong_word_is_named_and_leaves_nothing(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: str, said: str
) -> None:
    assert predict(place, tmp_path / "new.csv", words) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert list(tmp_path.iterdir()) == []


def test_the_map_of_an_ensemble_is_the_mean_of_those_of_its_members(
    place: Path, tmp_path: Path
) -> None:
    ensemble = tmp_path / "members"
    ensemble.mkdir()
    for seed in (0, 1):
        checkpoint, classifier = checkpoints.load(place / "a.safetensors", torch.device("cpu"))
        torch.manual_seed(seed)
        torch.nn.init.normal_(classifier.head[-1].weight)
        checkpoints.save(ensemble / f"{seed}.safetensors", classifier, checkpoint)
    image = place / "in" / "other.png"
    both = load_model(ensemble, device="cpu")
    found = both.explain(image, method="hirescam")
    assert found.label == most_probable(
        both.labels, [np.asarray(m.predict([image]).probabilities) for m in both.members]
    )
    each = [m.explain(image, found.label, method="hirescam") for m in both.members]
    np.testing.assert_allclose(found.map, np.mean([e.map for e in each], axis=0), atol=1e-6)
    assert found.logit == pytest.approx(np.mean([e.logit for e in each]))
    words = (f"checkpoint={ensemble}", f"input={image}", f"output={tmp_path}/new.csv")
    assert run("predict", *words, "explain=gradcam") == 0
    assert (tmp_path / "new-maps" / "maps.csv").is_file()


def test_maps_of_different_sizes_are_not_averaged() -> None:
    with pytest.raises(UsageError, match=r"different sizes \(5×5, 7×7\)"):
        mean_map([torch.zeros(1, 5, 5), torch.zeros(1, 7, 7)])


def test_maps_that_were_not_finished_are_removed(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("medcnn.verbs.steps.maps.table", full)
    assert predict(place, tmp_path / "new.csv", "explain=gradcam") == 1
    assert not (tmp_path / "new-maps").exists()
