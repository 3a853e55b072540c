"""Which corruptions an image of each modality meets, and how strong their five grades are.

Names and amounts are those of MedMNIST-C for DermaMNIST, RetinaMNIST and ChestMNIST (Di Salvo,
Doerrich and Ledig 2024, arXiv 2406.17536; medmnistc-api, `corruptions/registry.py`, Apache-2.0), at
224 px; the code is medcnn's own. Torch is not needed here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from medcnn.data.manifest import Modality

PUBLISHED_PX = 224
"""Side of the images that radii and lengths in pixels are meant for."""
MOVES = ("translation", "rotation")
"""Not damage: the same image, framed a little differently."""

TITLES: Mapping[str, str] = {
    "pixelate": "Pixelation",
    "jpeg_compression": "JPEG compression",
    "gaussian_noise": "Gaussian noise",
    "speckle_noise": "Speckle noise",
    "impulse_noise": "Impulse noise",
    "shot_noise": "Shot noise",
    "defocus_blur": "Defocus",
    "gaussian_blur": "Gaussian blur",
    "motion_blur": "Motion blur",
    "zoom_blur": "Zoom blur",
    "brightness_up": "More brightness",
    "brightness_down": "Less brightness",
    "contrast_up": "More contrast",
    "contrast_down": "Less contrast",
    "gamma_corr_up": "Gamma above 1",
    "gamma_corr_down": "Gamma below 1",
    "black_corner": "Black corners",
    "characters": "Characters",
    "translation": "Translation",
    "rotation": "Rotation",
}
UNITS: Mapping[str, str] = {
    "pixelate": "{:g} of the pixels per side",
    "jpeg_compression": "quality {:g}",
    "gaussian_noise": "SD {:g}",
    "speckle_noise": "SD {:g} of the value",
    "impulse_noise": "{:g} of the pixels",
    "shot_noise": "{:g} photons at white",
    "defocus_blur": "radius {:g} px at 224",
    "gaussian_blur": "SD {:g} px at 224",
    "motion_blur": "radius {:g}, SD {:g} px at 224",
    "zoom_blur": "up to {:g} times, in steps of {:g}",
    "gamma_corr_up": "exponent {:g}",
    "gamma_corr_down": "exponent {:g}",
    "black_corner": "radius {:g} of half the side",
    "characters": "up to {:g} words of {:g} letters",
    "translation": "{:g} % of the side",
    "rotation": "{:g} degrees",
}

_MOVED: Mapping[str, Sequence[Any]] = {
    "translation": (1, 2, 4, 6, 8),
    "rotation": (2, 4, 6, 10, 15),
}
_MOTION = ((10, 5), (15, 5), (15, 8), (15, 12), (20, 15))
_DERMOSCOPY: Mapping[str, Sequence[Any]] = {
    "pixelate": (0.7, 0.5, 0.4, 0.3, 0.25),
    "jpeg_compression": (30, 20, 15, 10, 7),
    "gaussian_noise": (0.04, 0.08, 0.12, 0.18, 0.26),
    "speckle_noise": (0.05, 0.15, 0.2, 0.35, 0.45),
    "impulse_noise": (0.01, 0.03, 0.06, 0.09, 0.17),
    "shot_noise": (60, 25, 18, 10, 5),
    "defocus_blur": (4, 5, 6, 7, 8),
    "motion_blur": _MOTION,
    "zoom_blur": ((1.1, 0.01), (1.15, 0.01), (1.2, 0.02), (1.24, 0.02), (1.3, 0.03)),
    "brightness_up": (1.1, 1.2, 1.3, 1.4, 1.5),
    "brightness_down": (0.9, 0.8, 0.7, 0.6, 0.5),
    "contrast_up": (1.1, 1.2, 1.3, 1.4, 1.6),
    "contrast_down": (0.8, 0.7, 0.6, 0.5, 0.4),
    "black_corner": (1.1, 1.05, 1.0, 0.95, 0.9),  # published with the last two exchanged
    "characters": ((1, 6, 0.14), (2, 7, 0.15), (3, 8, 0.16), (4, 9, 0.17), (6, 10, 0.18)),
}
_FUNDUS: Mapping[str, Sequence[Any]] = {
    "pixelate": (0.8, 0.6, 0.5, 0.4, 0.35),
    "jpeg_compression": (30, 25, 20, 10, 5),
    "gaussian_noise": (0.04, 0.08, 0.12, 0.16, 0.2),
    "speckle_noise": (0.1, 0.15, 0.2, 0.25, 0.3),
    "defocus_blur": (4, 5, 6, 7, 8),
    "motion_blur": ((8, 5), *_MOTION[1:]),
    "brightness_down": (0.9, 0.8, 0.7, 0.6, 0.5),
    "contrast_down": (0.9, 0.8, 0.7, 0.6, 0.4),
}
_CHEST: Mapping[str, Sequence[Any]] = {
    "pixelate": (0.3, 0.25, 0.2, 0.15, 0.1),
    "jpeg_compression": (50, 30, 15, 10, 7),
    **{
        name: _DERMOSCOPY[name]
        for name in ("gaussian_noise", "speckle_noise", "impulse_noise", "shot_noise")
    },
    # published as 3, 5, 7, 9 and 11 px of kernel, from which torchvision takes these
    "gaussian_blur": (0.8, 1.1, 1.4, 1.7, 2.0),
    "brightness_up": _DERMOSCOPY["brightness_up"],
    "brightness_down": _DERMOSCOPY["brightness_down"],
    "contrast_up": _DERMOSCOPY["contrast_up"],
    "contrast_down": _FUNDUS["contrast_down"],
    "gamma_corr_up": (1.1, 1.2, 1.3, 1.4, 1.6),
    "gamma_corr_down": (0.9, 0.8, 0.7, 0.6, 0.4),
}
_OF: Mapping[Modality, Mapping[str, Sequence[Any]]] = {
    Modality.DERMOSCOPY: _DERMOSCOPY,
    Modality.FUNDUS: _FUNDUS,
    Modality.CHEST: _CHEST,
    Modality.OTHER: _CHEST,
}


def grades_of(modality: Modality, kinds: Sequence[str] | None) -> dict[str, Sequence[Any]]:
    """Five amounts of each kind; for kinds that the modality lacks, those of another modality.

    Args:
        kinds: keys of TITLES; None: all of the modality, and MOVES.
    """
    own = {**_OF[modality], **_MOVED}
    every = {**_CHEST, **_DERMOSCOPY, **own}
    return {name: every[name] for name in (own if kinds is None else kinds)}


def amount_text(kind: str, amount: Any) -> str:
    """`quality 30`."""
    return UNITS.get(kind, "factor {:g}").format(
        *(amount if isinstance(amount, tuple) else (amount,))
    )
