"""The maps of a report, with their checks, from a real training on phantoms."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from medcnn.clinic.review.reading import checks_of
from medcnn.config import Choice
from medcnn.data.public.marks import SEGMENTED
from medcnn.models.deployed import Model, load_model
from medcnn.pages.gallery import failed
from medcnn.system.files import sha256_of
from medcnn.verbs.steps.gallery import _cascade
from tests.command import SMALL, run

WORDS = tuple(word for word in SMALL if not word.startswith("explain"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("gallery")
    root = f"data.root={place / 'lesions'}"
    assert run("train", *WORDS, root, f"run_dir={place / 'run'}") == 0
    return place / "run"


@pytest.fixture(scope="module")
def maps(trained: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((trained / "explanations.json").read_text())
    return found


def best(folder: Path) -> Path:
    return folder / "checkpoints" / "best.safetensors"


def test_a_training_on_phantoms_shows_maps_with_all_their_checks(maps: dict[str, Any]) -> None:
    assert 0 < len(maps["cases"]) <= 12
    checks = {check["name"]: check for check in maps["checks"]}
    assert {"weights", "agreement", "pointing"} <= set(checks), "phantoms know their lesions"
    hits = checks["pointing"]["detail"]
    assert 0 <= hits["hits"] <= checks["pointing"]["maps"]
    assert next(iter(checks["weights"]["detail"])) == "head"
    assert list(checks["weights"]["detail"])[-1] == "everything"


def test_the_page_says_that_maps_explain_nothing_where_a_check_failed_and_only_there(
    trained: Path, maps: dict[str, Any], tmp_path: Path
) -> None:
    for passed in (True, False):
        folder = tmp_path / str(passed)
        shutil.copytree(trained, folder)
        checks = [check | {"passed": passed} for check in maps["checks"]]
        (folder / "explanations.json").write_text(json.dumps(maps | {"checks": checks}))
        assert run("report", folder) == 0, "without the images"
        page = (folder / "report.html").read_text()
        assert "Where decisions come from" in page
        assert ("These maps explain nothing" in page) is not passed
        assert ("The maps passed the checks below" in page) is passed


def test_evaluate_shows_them_too_and_either_can_do_without(trained: Path, tmp_path: Path) -> None:
    words = (best(trained), f"data.root={trained.parent / 'lesions'}", "trainer.device=cpu")
    assert run("evaluate", *words, f"run_dir={tmp_path / 'a'}", "explain=occlusion") == 0
    found = json.loads((tmp_path / "a" / "explanations.json").read_text())
    assert (found["method"], found["other"]) == ("occlusion", "gradcam")
    assert found["options"] == {"patch": 0.125}, "with defaults, which may change"
    assert run("evaluate", *words, f"run_dir={tmp_path / 'b'}", "explain=null") == 0
    assert not (tmp_path / "b" / "explanations.json").exists()
    assert "Where decisions come from" not in (tmp_path / "b" / "report.html").read_text()


def test_checks_count_for_these_weights_and_this_method_with_its_options_alone(
    trained: Path, maps: dict[str, Any], tmp_path: Path
) -> None:
    file, how = best(trained), Choice(name="gradcam", options={})
    assert checks_of(file, sha256_of(file), how) == failed(maps)
    assert checks_of(file, sha256_of(file), None) is None
    last = file.with_name("last.safetensors")
    assert checks_of(last, sha256_of(last), how) is None
    stored = maps | {"method": "occlusion", "options": {"patch": 0.125}, "checkpoint_sha256": "a"}
    copied = best(tmp_path)
    for name, patch, known in (
        ("occlusion", {}, True),
        ("occlusion", {"patch": 0.125}, True),
        ("occlusion", {"patch": 0.5}, False),
        ("gradcam", {}, False),
    ):
        (tmp_path / "explanations.json").write_text(json.dumps(stored))
        found = checks_of(copied, "a", Choice(name=name, options=patch))
        assert found == (failed(maps) if known else None)
    earlier = {k: v for k, v in stored.items() if k not in ("options", "checkpoint_sha256")}
    (tmp_path / "explanations.json").write_text(json.dumps(earlier))
    assert checks_of(copied, "a", Choice(name="occlusion", options={})) is None


def test_scores_do_not_depend_on_whether_maps_can_be_had(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*_: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr("medcnn.verbs.steps.gallery._maps", no_room)
    words = (best(trained), f"data.root={trained.parent / 'lesions'}", "trainer.device=cpu")
    assert run("evaluate", *words, f"run_dir={tmp_path / 'a'}") == 0
    assert "no maps: out of memory" in (tmp_path / "a" / "log.txt").read_text()
    assert (tmp_path / "a" / "report.html").is_file()


@pytest.mark.parametrize("verb", ["train", "evaluate"])
def test_a_wrong_option_is_refused_before_any_work(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    words = WORDS if verb == "train" else (best(trained), "trainer.device=cpu")
    root = f"data.root={trained.parent / 'lesions'}"
    assert run(verb, *words, root, f"run_dir={tmp_path}/r", "explain={name: gradcam, a: 1}") == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "has no option 'a'" in said
    assert "epoch 1" not in said


@pytest.fixture(scope="module")
def model(trained: Path) -> Model:
    return load_model(best(trained), device="cpu")


def test_weights_become_random_from_the_top_until_none_is_left(model: Model) -> None:
    before = {name: tensor.clone() for name, tensor in model.classifier.state_dict().items()}
    stayed, state = [], torch.get_rng_state()
    for stage, classifier in _cascade(model):
        now = classifier.state_dict()
        stayed.append({name for name in now if torch.equal(now[name], before[name])})
        if stage == "head":
            assert stayed[-1] == {name for name in now if not name.startswith("head.")}
    assert stayed[-1] == set()
    assert all(later < earlier for earlier, later in pairwise(stayed))
    after = model.classifier.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in after), "the model stays"
    assert torch.equal(state, torch.get_rng_state())


def test_masks_in_the_layout_of_a_public_set_are_used_for_the_pointing_game(
    tmp_path: Path,
) -> None:
    """HAM10000 in miniature: the lesion is bright, and its mask lies where the authors put it."""
    folder = tmp_path / "ham" / "HAM10000_images_part_1"
    masks = tmp_path / "ham" / SEGMENTED
    masks.mkdir(parents=True)
    folder.mkdir()
    rows = ["lesion_id,image_id,dx"]
    for n in range(36):
        rows.append(f"HAM_{n:07},ISIC_{n:07},{('nv', 'mel')[n % 2]}")
        pixels = np.random.default_rng(n).integers(0, 120, (40, 40, 3), np.uint8)
        pixels[10:20, 10:20, n % 2] += 100
        Image.fromarray(pixels).save(folder / f"ISIC_{n:07}.jpg")
        mask = np.zeros((40, 40), np.uint8)
        mask[10:20, 10:20] = 255
        Image.fromarray(mask).save(masks / f"ISIC_{n:07}_segmentation.png")
    (tmp_path / "ham" / "HAM10000_metadata.csv").write_text("\n".join(rows))
    words = [word for word in WORDS if not word.startswith(("data.phantom", "data.pat", "data="))]
    place = ("data=ham10000", f"data.root={tmp_path / 'ham'}", f"run_dir={tmp_path / 'run'}")
    assert run("train", *words, *place, "audit.allow=[classes]") == 0
    found = json.loads((tmp_path / "run" / "explanations.json").read_text())
    (pointing,) = [check for check in found["checks"] if check["name"] == "pointing"]
    assert pointing["maps"] == len(found["cases"])


def test_an_ensemble_has_maps_too(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "members").mkdir()
    for number, name in enumerate(("best", "last")):
        member = tmp_path / "members" / f"{number}.safetensors"
        shutil.copy(trained / "checkpoints" / f"{name}.safetensors", member)
    words = (tmp_path / "members", f"data.root={trained.parent / 'lesions'}")
    assert run("evaluate", *words, "trainer.device=cpu", f"run_dir={tmp_path / 'r'}") == 0
    found = json.loads((tmp_path / "r" / "explanations.json").read_text())
    assert {"weights", "agreement", "pointing"} <= {check["name"] for check in found["checks"]}
