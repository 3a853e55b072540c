"""Foundation weights that medcnn recognises: their licence, and the pixels that they expect.

They are recognised by the name of their file or folder, by names of tensors, or by the class of an
object in the file. A renamed file whose tensors look like any other ViT's is not recognised.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from medcnn.models.backbones import IMAGENET_MEAN, IMAGENET_STD, Normalisation


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Weights that somebody published.

    Attributes:
        source: where the licence was read.
        named: matches the name of a file or folder, in lower case.
        holds: matches the name of a tensor or of a class.
        terms: what the licence demands beyond naming its authors; empty if it is permissive.
        normalisation: what the network was trained with, if no backbone of timm says so.
    """

    name: str
    licence: str
    source: str
    named: str
    holds: str = "(?!)"
    terms: str = ""
    normalisation: Normalisation | None = None


OF_IMAGENET = Normalisation(IMAGENET_MEAN, IMAGENET_STD)

KNOWN = (
    Known(
        name="RETFound",
        licence="CC BY-NC 4.0",
        source="https://huggingface.co/YukunZhou/RETFound_mae_meh",
        named=r"retfound(?!.?green)",  # which is another group's
        terms="no commercial use",
        # timm's ViT of that size expects 0.5; RETFound_MAE/util/datasets.py, `build_transform`
        normalisation=OF_IMAGENET,
    ),
    Known(
        name="DINO",
        licence="Apache-2.0",
        source="https://github.com/facebookresearch/dino/blob/main/LICENSE",
        # others call theirs dino_vit_small_..., under other licences
        named=r"\bdino_(deitsmall|vitbase|xcit_\w+|resnet50)\d*(_p\d+)?_pretrain",
        normalisation=OF_IMAGENET,  # as timm's own vit_small_patch16_224.dino
    ),
    Known(
        name="torchvision's ViT",
        licence="",  # differs by file: BSD-3-Clause, or CC-BY-NC-4.0 for those of SWAG
        source="https://github.com/pytorch/vision",
        named="(?!)",
        holds=r"(^|\.)encoder\.layers\.encoder_layer_0\.",
        # torchvision/transforms/_presets.py, `ImageClassification`
        normalisation=OF_IMAGENET,
    ),
    Known(
        name="DINOv3",
        licence="DINOv3 License",
        source="https://ai.meta.com/resources/models-and-libraries/dinov3-license/",
        named="dinov3",
        holds=r"(^|\.)(storage_tokens|rope_embed\.periods)$",
        terms="it has its own terms for passing on what is made from them",  # timm/models/eva.py
    ),
    Known(
        name="MedSigLIP",
        licence="Health AI Developer Foundations terms of use",
        # so says https://developers.google.com/health-ai-developer-foundations/medsiglip/model-card
        source="https://developers.google.com/health-ai-developer-foundations/terms",
        named="medsiglip",
        terms="every use is subject to them",
    ),
    Known(
        name="torchxrayvision",
        licence="Apache-2.0",
        source="https://github.com/mlmed/torchxrayvision/blob/main/LICENSE (xrv.models)",
        # the files of its releases, torchxrayvision/models.py: `model_urls`
        named=r"densenet121-d121-tw-lr001|resnet50-test512-e400-state|torchxrayvision|\bxrv\b",
        holds=r"^torchxrayvision\.|(^|\.)op_threshs$",
        # pixels of -1024..1024: torchxrayvision/utils.py, `normalize`
        normalisation=Normalisation((0.5,), (1 / 2048,)),
    ),
)


def recognised(source: str, held: Iterable[str] = ()) -> Known | None:
    """The known weights that a file holds, if any.

    Args:
        source: its name with that of its folder, or an address.
        held: names of its tensors, and of the classes of anything else in it.
    """
    names, called = list(held), source.lower()
    for known in KNOWN:
        if re.search(known.named, called) or any(re.search(known.holds, n) for n in names):
            return known
    return None
